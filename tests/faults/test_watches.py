"""Watches over a way that breaks: nothing is lost, nothing is told twice, and they end when they are told to."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from pytest_ephemeral_ns.deadline import Deadline
from pytest_ephemeral_ns.kube import watch
from pytest_ephemeral_ns.kube.api import Api
from pytest_ephemeral_ns.kube.watch import Store, Watcher
from tests.faults.proxy import FaultProxy
from tests.kube.test_watch import configmap, names, until, watch_threads

pytestmark = pytest.mark.cluster


@pytest.fixture
def path(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/configmaps"


@pytest.fixture
def watcher(api: Api) -> Iterator[Watcher]:
    with Watcher(api) as watcher:
        yield watcher
    assert watch_threads() == []


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The values of ``data.n`` that came in as news, in order."""
    seen: list[str] = []
    put = Store._put

    def record(store: Store, item: dict[str, Any], now: float) -> bool:
        news = put(store, item, now)
        if news and "n" in (item.get("data") or {}):
            seen.append(item["data"]["n"])
        return news

    monkeypatch.setattr(Store, "_put", record)
    return seen


def watches(proxy: FaultProxy) -> list[Any]:
    return proxy.seen(watch=True)


@pytest.mark.parametrize("half_event", [False, True])
def test_a_watch_that_is_cut_goes_on_where_it_was(
    proxy: FaultProxy, server_api: Api, watcher: Watcher, path: str, namespace: str, told: list[str], half_event: bool
) -> None:
    for after in (1, 3, 0, 2):
        proxy.cut("within", watch=True, after_events=after, half_event=half_event)
    store = watcher.follow(path, field_selector="metadata.name=a")
    server_api.create(path, configmap("a", n="0"))
    for number in range(1, 12):
        server_api.patch(f"{path}/a", {"data": {"n": str(number)}})
    until(watcher, lambda: "11" in told)
    assert told == [str(number) for number in range(12)]
    assert len(proxy.seen(watch=False)) == 1  # one list
    assert store.get(namespace, "a") is not None


def test_a_watch_that_the_server_ends_goes_on(
    proxy: FaultProxy, server_api: Api, watcher: Watcher, path: str, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "_SHORT", 0.0)
    for _ in range(3):
        proxy.close_watch(after_events=2)
    watcher.follow(path, field_selector="metadata.name=a")
    server_api.create(path, configmap("a", n="0"))
    for number in range(1, 8):
        server_api.patch(f"{path}/a", {"data": {"n": str(number)}})
    until(watcher, lambda: "7" in told)
    assert told == [str(number) for number in range(8)]
    assert [request.status for request in watches(proxy)] == [200] * 4


@pytest.mark.parametrize("where", ["in the stream", "as an answer"])
def test_a_forgotten_version_means_a_new_list_and_its_difference(
    proxy: FaultProxy, api: Api, server_api: Api, watcher: Watcher, path: str, namespace: str, where: str
) -> None:
    server_api.create(path, configmap("stays"))
    server_api.create(path, configmap("goes"))
    server_api.create(path, configmap("changes"))
    store = watcher.follow(path)
    proxy.wait_for(1, watch=True)
    with proxy.down():  # what happens now is not seen
        server_api.delete(f"{path}/goes")
        server_api.create(path, configmap("comes"))
        server_api.patch(f"{path}/changes", {"data": {"x": "1"}})
        if where == "in the stream":
            proxy.end_watch(410)
        else:
            proxy.fail(410, reason="Expired", watch=True)
    until(watcher, lambda: names(store) == {"stays", "changes", "comes"})
    assert (store.get(namespace, "changes") or {})["data"] == {"x": "1"}
    assert (namespace, "goes") in store.deleted()
    assert (store.error, store.trouble) == (None, None)


def test_a_server_that_forgets_every_version_is_not_asked_without_a_pause(
    proxy: FaultProxy, watcher: Watcher, path: str
) -> None:
    rule = proxy.end_watch(410, times=None)
    store = watcher.follow(path)
    threading.Event().wait(1.0)
    assert 2 <= len(watches(proxy)) <= 6
    assert store.trouble is not None
    rule.remove()
    until(watcher, lambda: store.trouble is None)


def test_a_server_that_ends_every_watch_at_once_is_not_asked_without_a_pause(
    proxy: FaultProxy, watcher: Watcher, path: str
) -> None:
    proxy.close_watch(times=None)
    watcher.follow(path)
    threading.Event().wait(1.0)
    assert 2 <= len(watches(proxy)) <= 6


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_watch_that_is_refused_for_a_while(
    proxy: FaultProxy, server_api: Api, watcher: Watcher, path: str, status: int
) -> None:
    proxy.fail(status, watch=True, times=3)
    store = watcher.follow(path)
    server_api.create(path, configmap("a"))
    until(watcher, lambda: names(store) == {"a"})
    assert [request.status for request in watches(proxy)] == [status] * 3 + [200]
    assert store.error is None


def test_an_error_within_a_watch_that_is_not_410(
    proxy: FaultProxy, server_api: Api, watcher: Watcher, path: str
) -> None:
    proxy.end_watch(500, reason="InternalError", message="etcdserver: leader changed", times=2)
    store = watcher.follow(path)
    server_api.create(path, configmap("a"))
    until(watcher, lambda: names(store) == {"a"})
    assert len(proxy.seen(watch=False)) == 1


def test_a_restart_of_the_server(proxy: FaultProxy, server_api: Api, watcher: Watcher, path: str) -> None:
    store = watcher.follow(path)
    for number in range(3):
        with proxy.down():
            server_api.create(path, configmap(f"c{number}"))
        until(watcher, lambda: names(store) == {f"c{n}" for n in range(number + 1)})  # noqa: B023
    assert len(proxy.seen(watch=False)) == 1


def test_a_connection_that_has_gone_silent_is_made_again(
    proxy: FaultProxy, server_api: Api, watcher: Watcher, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "_SILENCE", 0.5)
    proxy.silence(watch=True)
    store = watcher.follow(path)
    server_api.create(path, configmap("a"))
    until(watcher, lambda: names(store) == {"a"})
    assert [request.fault for request in watches(proxy)][:2] == ["silence", ""]
    assert (store.error, store.trouble) == (None, None)


def test_a_list_that_fails_at_first(proxy: FaultProxy, watcher: Watcher, path: str) -> None:
    proxy.cut("before", watch=False)
    proxy.fail(503, watch=False, times=2)
    store = watcher.follow(path)
    assert store.synced
    assert len(proxy.seen(watch=False)) == 4


def test_a_list_over_pages_whose_snapshot_ends(
    proxy: FaultProxy, api: Api, server_api: Api, watcher: Watcher, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        server_api.create(path, configmap(f"c{number}"))
    list_all = Api.list_all
    monkeypatch.setattr(Api, "list_all", lambda *args, **options: list_all(*args, **{**options, "limit": 2}))
    proxy.fail(410, reason="Expired", when=lambda request: "continue" in request.query)
    store = watcher.follow(path)
    assert names(store) == {f"c{n}" for n in range(5)}


def test_a_server_that_is_away_is_told_as_trouble_and_follow_returns(proxy: FaultProxy, watcher: Watcher) -> None:
    with proxy.down():
        store = watcher.follow("/api/v1/namespaces", timeout=0.2)
        assert not store.synced
        until(watcher, lambda: store.trouble is not None)
        assert store.error is None
    until(watcher, lambda: store.synced and store.trouble is None)


@pytest.mark.parametrize("blocked_in", ["the list", "the head of the watch", "the watch", "a pause", "a retry"])
def test_threads_end_within_a_second_wherever_they_are(proxy: FaultProxy, path: str, blocked_in: str) -> None:
    if blocked_in == "the list":
        proxy.delay(60.0)
    elif blocked_in == "the head of the watch":
        proxy.delay(60.0, watch=True)
    elif blocked_in == "a pause":
        proxy.fail(403)
    elif blocked_in == "a retry":
        proxy.fail(429, headers={"Retry-After": "20"})
    api = Api(proxy.connection)
    watcher = Watcher(api)
    watcher.follow(path, wait=False)
    proxy.wait_for(2 if "watch" in blocked_in else 1)
    threading.Event().wait(0.1)
    deadline = Deadline.after(1.0)
    watcher.close()
    assert not deadline.expired
    assert watch_threads() == []
    api.close()


def test_twenty_collections_over_a_bad_way(
    proxy: FaultProxy, server_api: Api, watcher: Watcher, path: str, namespace: str
) -> None:
    stores = [watcher.follow(path, field_selector=f"metadata.name=c{n}", wait=False) for n in range(20)]
    until(watcher, lambda: all(store.synced for store in stores))
    for _ in range(3):
        proxy.cut_all()
        proxy.fail(429, times=5, headers={"Retry-After": "0"})
    for n in range(20):
        server_api.create(path, configmap(f"c{n}"))
    until(watcher, lambda: all(names(store) == {f"c{n}"} for n, store in enumerate(stores)))
