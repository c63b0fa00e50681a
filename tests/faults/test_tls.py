"""TLS that fails: each way has its own words; and what is read to make it is never left readable."""

from __future__ import annotations

import datetime
import os
import ssl
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import trustme

from pytest_ephemeral_ns.connection import Connection
from pytest_ephemeral_ns.errors import ApiError, UsageError
from pytest_ephemeral_ns.kube.api import Api
from pytest_ephemeral_ns.kube.tls import client_context
from tests.faults.proxy import FaultProxy

NOW = datetime.datetime.now(datetime.timezone.utc)
DAY = datetime.timedelta(days=1)

Serve = Callable[..., FaultProxy]


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


def pem(ca: trustme.CA) -> str:
    return ca.cert_pem.bytes().decode()


@pytest.fixture
def serve(api_server: Connection, ca: trustme.CA) -> Iterator[Serve]:
    """Return a function that puts a proxy with a certificate of its own in front of the server."""
    proxies: list[FaultProxy] = []

    def start(
        *names: str, not_before: datetime.datetime | None = None, until: datetime.datetime | None = None
    ) -> FaultProxy:
        certificate = ca.issue_cert(*(names or ("127.0.0.1",)), not_before=not_before, not_after=until)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
        proxies.append(FaultProxy(api_server, tls=context))
        return proxies[-1]

    yield start
    for proxy in proxies:
        proxy.close()


def ask(connection: Connection) -> str:
    with Api(connection) as api:
        return str(api.version()["major"])


def trusting(proxy: FaultProxy, ca: trustme.CA) -> Connection:
    return replace(proxy.connection, ca_data=pem(ca))


@pytest.mark.cluster
def test_a_certificate_of_a_known_ca(serve: Serve, ca: trustme.CA) -> None:
    assert ask(trusting(serve(), ca)) == "1"


@pytest.mark.cluster
def test_an_unknown_ca(serve: Serve) -> None:
    connection = replace(serve().connection, ca_data=pem(trustme.CA()))
    with pytest.raises(ApiError, match="signed by an unknown CA") as caught:
        ask(connection)
    assert caught.value.evidence[0].startswith("tried 1 time ")


@pytest.mark.cluster
def test_the_systems_cas_when_none_is_named(serve: Serve) -> None:
    with pytest.raises(ApiError, match="signed by an unknown CA"):
        ask(serve().connection)


@pytest.mark.cluster
def test_another_host_name(serve: Serve, ca: trustme.CA) -> None:
    proxy = serve("k8s.example")
    with pytest.raises(ApiError, match="certificate is for another host name"):
        ask(trusting(proxy, ca))
    assert ask(replace(trusting(proxy, ca), tls_server_name="k8s.example")) == "1"


@pytest.mark.cluster
def test_an_expired_certificate(serve: Serve, ca: trustme.CA) -> None:
    with pytest.raises(ApiError, match="the server's certificate has expired"):
        ask(trusting(serve(not_before=NOW - 2 * DAY, until=NOW - DAY), ca))


@pytest.mark.cluster
def test_a_certificate_of_tomorrow(serve: Serve, ca: trustme.CA) -> None:
    with pytest.raises(ApiError, match="not valid yet"):
        ask(trusting(serve(not_before=NOW + DAY, until=NOW + 2 * DAY), ca))


@pytest.mark.cluster
def test_unchecked_on_purpose(serve: Serve) -> None:
    assert ask(replace(serve("other.example").connection, insecure_skip_tls_verify=True)) == "1"


@pytest.mark.cluster
def test_a_server_without_tls(proxy: FaultProxy, ca: trustme.CA) -> None:
    plain = replace(proxy.connection, server=proxy.connection.server.replace("http:", "https:"), ca_data=pem(ca))
    with pytest.raises(ApiError, match="does not speak TLS on this port"):
        ask(plain)


@pytest.mark.cluster
def test_a_stream_over_tls_is_ended_by_another_thread(serve: Serve, ca: trustme.CA) -> None:
    with Api(trusting(serve(), ca)) as api:
        stream = api.stream("/api/v1/namespaces", params={"watch": True})
        with stream:
            lines = iter(stream)
            next(lines)
            stream.close()
            for _ in lines:
                pass  # what had arrived before


def test_the_key_is_in_no_file_that_has_a_name(ca: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    before = set(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else set()
    client_context(identity(ca))
    assert [*tmp_path.iterdir()] == []
    if before:
        assert set(os.listdir("/proc/self/fd")) <= before | {str(max(map(int, before)) + 1)}


def test_where_there_are_no_nameless_files_the_file_is_private_and_removed(
    ca: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    load = ssl.SSLContext.load_cert_chain

    def spy(self: ssl.SSLContext, path: str, **options: object) -> None:
        seen.append(os.stat(path).st_mode & 0o777)
        load(self, path, **options)  # type: ignore[arg-type]

    monkeypatch.delattr(os, "memfd_create", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", spy)
    client_context(identity(ca))
    assert seen == [0o600]
    assert [*tmp_path.iterdir()] == []


def identity(ca: trustme.CA) -> Connection:
    leaf = ca.issue_cert("admin.example")
    return Connection(
        "https://127.0.0.1:1",
        ca_data=pem(ca),
        client_cert_data=leaf.cert_chain_pems[0].bytes().decode(),
        client_key_data=leaf.private_key_pem.bytes().decode(),
    )


def test_a_key_with_a_password_is_an_error_and_not_a_question_on_the_terminal(ca: trustme.CA) -> None:
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        PrivateFormat,
        load_pem_private_key,
    )

    plain = identity(ca)
    key = load_pem_private_key(plain.client_key_data.encode(), None)
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")).decode()
    with pytest.raises(UsageError, match="client certificate or its key cannot be read") as caught:
        client_context(replace(plain, client_key_data=locked))
    assert "protected by a password" in str(caught.value)


def test_a_key_that_is_not_the_certificates(ca: trustme.CA) -> None:
    one, other = identity(ca), identity(ca)
    with pytest.raises(UsageError, match="client certificate or its key cannot be read") as caught:
        client_context(replace(one, client_key_data=other.client_key_data))
    assert "PRIVATE KEY" not in str(caught.value)


@pytest.mark.cluster
def test_through_a_forward_proxy(proxy: FaultProxy, api_server: Connection) -> None:
    with Api(replace(api_server, proxy_url=proxy.connection.server)) as api:
        assert api.version()["major"] == "1"
        stream = api.stream("/api/v1/namespaces", params={"watch": True})
        with stream:
            lines = iter(stream)
            next(lines)
            stream.close()
            assert len([*lines]) < 100
    assert [(request.method, request.path) for request in proxy.requests] == [
        ("CONNECT", api_server.server.removeprefix("https://"))
    ] * 2


@pytest.mark.cluster
def test_a_forward_proxy_that_refuses(proxy: FaultProxy, api_server: Connection) -> None:
    proxy.fail(407, method="CONNECT", times=None)
    via = replace(api_server, proxy_url=proxy.connection.server.replace("//", "//me:pass@"))
    with pytest.raises(ApiError, match=r"through proxy http://…@127\.0\.0\.1:\d+: 407 Proxy Auth") as caught:
        ask(via)
    assert "pass" not in str(caught.value)
