"""Credentials that end in the middle: renewed once for all threads, or an error that says how to get a new one."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_ephemeral_ns.connection import Connection
from pytest_ephemeral_ns.errors import ApiError, UsageError
from pytest_ephemeral_ns.kube.api import Api
from pytest_ephemeral_ns.kube.watch import Watcher
from tests.faults.proxy import FaultProxy, Request
from tests.kube.test_watch import configmap, names, until

pytestmark = pytest.mark.cluster


class Login:
    """Accepts one token at a time at the proxy, and hands it out. (To the server the proxy is always the same.)"""

    def __init__(self, proxy: FaultProxy) -> None:
        self.number, self.times = 1, 0
        self.connection = replace(proxy.connection, token="token-1", refreshable=True, context="prod")
        proxy.fail(401, reason="Unauthorized", message="Unauthorized", when=self.refuses, times=None)

    def refuses(self, request: Request) -> bool:
        return request.headers.get("Authorization") != f"Bearer token-{self.number}"

    def expire(self) -> None:
        self.number += 1

    def __call__(self) -> Connection:
        self.times += 1
        return replace(self.connection, token=f"token-{self.number}")


@pytest.fixture
def login(proxy: FaultProxy) -> Login:
    return Login(proxy)


@pytest.fixture
def path(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/configmaps"


def test_a_token_that_expired_is_renewed_and_the_call_repeated(login: Login, path: str) -> None:
    with Api(login.connection, refresh=login) as api:
        api.version()
        login.expire()
        api.create(path, configmap("a"))
        api.version()
        assert login.times == 1
        assert api.connection.token == "token-2"


def test_many_threads_renew_once(login: Login) -> None:
    with Api(login.connection, refresh=login) as api:
        api.version()
        login.expire()
        together = threading.Barrier(8)

        def call(_: int) -> str:
            together.wait(10)
            return str(api.version()["major"])

        with ThreadPoolExecutor(8) as threads:
            assert [*threads.map(call, range(8))] == ["1"] * 8
    assert login.times == 1


def test_a_new_token_that_is_refused_too_is_an_error_and_not_asked_for_again_and_again(login: Login) -> None:
    def refresh() -> Connection:
        login.times += 1
        return replace(login.connection, token="refused-too")

    with Api(login.connection, refresh=refresh) as api:
        login.expire()
        for _ in range(3):
            with pytest.raises(ApiError, match="401 Unauthorized: the credential of context prod") as caught:
                api.version()
    assert caught.value.status == 401
    assert "a new one was asked for and was not accepted either" in str(caught.value)
    assert "kubectl --context prod auth whoami" in str(caught.value)
    assert login.times == 1


def test_a_login_that_fails_says_so(login: Login) -> None:
    def refresh() -> Connection:
        raise UsageError("exec plugin aws-iam failed", evidence=["no session"], command="aws sso login")

    with Api(login.connection, refresh=refresh) as api:
        login.expire()
        with pytest.raises(ApiError, match="the credential could not be renewed: exec plugin aws-iam failed") as caught:
            api.version()
    assert caught.value.status == 401
    assert (caught.value.evidence, caught.value.command) == (("no session",), "aws sso login")


def test_nothing_to_renew_with(login: Login) -> None:
    with Api(login.connection) as api:
        login.expire()
        with pytest.raises(ApiError, match="is not accepted: expired, revoked or wrong"):
            api.version()
    assert api.requests == 1


def test_the_token_is_never_shown(login: Login) -> None:
    with Api(login.connection) as api:
        login.expire()
        with pytest.raises(ApiError) as caught:
            api.version()
    assert "token-1" not in str(caught.value) + repr(caught.value) + repr(api.connection)


def test_a_token_file_is_read_again(login: Login, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("token-1\n")
    with Api(replace(login.connection, token="", token_file=str(file))) as api:
        api.version()
        login.expire()
        file.write_text("token-2\n")
        api.version()
    assert api.requests == 3


def test_a_stream_is_opened_with_a_new_token(login: Login, path: str) -> None:
    with Api(login.connection, refresh=login) as api:
        login.expire()
        with api.stream(path, params={"watch": True}) as lines:
            assert next(iter(lines))
    assert login.times == 1


def test_a_watch_goes_on_with_a_new_token(proxy: FaultProxy, server_api: Api, login: Login, path: str) -> None:
    with Api(login.connection, refresh=login) as api, Watcher(api) as watcher:
        store = watcher.follow(path)
        proxy.wait_for(1, watch=True)
        login.expire()
        proxy.cut_all()
        server_api.create(path, configmap("a"))
        until(watcher, lambda: names(store) == {"a"})
        assert store.error is None
    assert login.times == 1


def test_a_watch_says_that_its_credential_has_expired(proxy: FaultProxy, login: Login, path: str) -> None:
    with Api(login.connection) as api, Watcher(api) as watcher:
        store = watcher.follow(path)
        proxy.wait_for(1, watch=True)
        login.expire()
        proxy.cut_all()
        until(watcher, lambda: store.error is not None)
        assert store.error is not None
        assert store.error.status == 401


def test_a_new_client_certificate_means_new_connections(
    proxy: FaultProxy, server_api: Api, login: Login, path: str, api_server: Connection
) -> None:
    """The renewed identity is reached by another server here: what was open to the old one is not used."""

    def refresh() -> Connection:
        return api_server

    with Api(login.connection, refresh=refresh) as api, Watcher(api) as watcher:
        store = watcher.follow(path)
        proxy.wait_for(1, watch=True)
        login.expire()
        before = len(proxy.requests)
        assert api.version()["major"] == "1"
        assert len(proxy.requests) == before + 1
        proxy.cut_all()
        server_api.create(path, configmap("a"))
        until(watcher, lambda: names(store) == {"a"})
