"""Collections of a real control plane that are followed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from pytest_ephemeral_ns.connection import Connection
from pytest_ephemeral_ns.deadline import Deadline
from pytest_ephemeral_ns.kube.api import Api
from pytest_ephemeral_ns.kube.watch import Store, Watcher

pytestmark = pytest.mark.cluster


def configmap(name: str, **data: str) -> dict[str, Any]:
    labels = {"kind": data.pop("label", "none")}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels}, "data": data}


def until(watcher: Watcher, check: Callable[[], object], seconds: float = 20.0) -> None:
    """Look after every change until ``check`` is true."""
    deadline, seen = Deadline.after(seconds), 0
    while not check():
        assert not deadline.expired
        seen = watcher.changed(seen, deadline.remaining())


def names(store: Store) -> set[str]:
    return {name for _, name in store.snapshot()} - {"kube-root-ca.crt"}


def watch_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("ephemeral-ns watch")]


@pytest.fixture
def path(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/configmaps"


@pytest.fixture
def watcher(server_api: Api) -> Iterator[Watcher]:
    with Watcher(server_api) as watcher:
        yield watcher
    assert watch_threads() == []


def test_what_is_there_and_what_comes(server_api: Api, watcher: Watcher, path: str, namespace: str) -> None:
    server_api.create(path, configmap("a"))
    store = watcher.follow(path)
    assert store.synced
    assert names(store) == {"a"}
    assert store.snapshot()[namespace, "a"]["kind"] == "ConfigMap"
    server_api.create(path, configmap("b"))
    server_api.patch(f"{path}/a", {"data": {"x": "1"}})
    until(watcher, lambda: names(store) == {"a", "b"} and (store.get(namespace, "a") or {}).get("data"))
    server_api.delete(f"{path}/a")
    until(watcher, lambda: names(store) == {"b"})
    assert store.deleted()[namespace, "a"]["data"] == {"x": "1"}
    assert store.seen_at(namespace, "a") > 0


def test_one_thread_list_and_watch_for_all_who_look(server_api: Api, watcher: Watcher, path: str) -> None:
    before = server_api.requests
    with ThreadPoolExecutor(6) as threads:
        stores = {*threads.map(lambda _: watcher.follow(path), range(6))}
    assert len(stores) == len(watch_threads()) == 1
    server_api.create(path, configmap("a"))
    (store,) = stores
    until(watcher, lambda: names(store) == {"a"})
    assert server_api.requests - before == 3  # list, watch and the create


def test_selectors(server_api: Api, watcher: Watcher, path: str) -> None:
    red = watcher.follow(path, label_selector="kind=red")
    only = watcher.follow(path, field_selector="metadata.name=b")
    server_api.create(path, configmap("a", label="red"))
    server_api.create(path, configmap("b", label="blue"))
    until(watcher, lambda: names(red) == {"a"} and names(only) == {"b"})
    server_api.patch(f"{path}/a", {"metadata": {"labels": {"kind": "blue"}}})
    until(watcher, lambda: names(red) == set())


def test_many_collections_at_once(server_api: Api, watcher: Watcher, namespace: str) -> None:
    kinds = ["pods", "services", "configmaps", "secrets", "events", "serviceaccounts", "persistentvolumeclaims"]
    stores = [watcher.follow(f"/api/v1/namespaces/{namespace}/{kind}", wait=False) for kind in kinds]
    until(watcher, lambda: all(store.synced for store in stores))
    assert len(watch_threads()) == len(kinds)


def test_every_change_is_seen_in_order_and_once(
    server_api: Api, watcher: Watcher, path: str, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    apply = Store.apply

    def record(store: Store, kind: str, item: dict[str, Any]) -> None:
        seen.append((item.get("data") or {}).get("n", ""))
        apply(store, kind, item)

    monkeypatch.setattr(Store, "apply", record)
    store = watcher.follow(path, field_selector="metadata.name=a")
    server_api.create(path, configmap("a", n="0"))
    for number in range(1, 30):
        server_api.patch(f"{path}/a", {"data": {"n": str(number)}})
    until(watcher, lambda: ((store.get(namespace, "a") or {}).get("data") or {}).get("n") == "29")
    assert seen == [str(number) for number in range(30)]


def test_changed_returns_the_same_number_when_nothing_happens(watcher: Watcher, path: str) -> None:
    watcher.follow(path, field_selector="metadata.name=nobody")
    now = watcher.changed(-1, 0.0)
    assert watcher.changed(now, 0.05) == now


def test_a_missing_permission_is_known_at_once_and_named(api_server: Connection, path: str) -> None:
    jane = replace(api_server, headers=(("Impersonate-User", "jane"),))
    with Api(jane) as api, Watcher(api) as watcher:
        store = watcher.follow(path)
        assert not store.synced
        assert store.error is not None
        assert store.error.status == 403
        assert 'verb "list" on "configmaps"' in str(store.error)


def test_a_permission_that_comes_later_is_used(
    server_api: Api, api_server: Connection, path: str, namespace: str
) -> None:
    jane = replace(api_server, headers=(("Impersonate-User", "jane"),))
    rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
    with Api(jane) as api, Watcher(api) as watcher:
        store = watcher.follow(path)
        assert store.error is not None
        rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list", "watch"]}]
        role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "r"}, "rules": rules}
        server_api.create(f"{rbac}/roles", role)
        binding = {
            **{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "r"}},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "jane"}],
        }
        server_api.create(f"{rbac}/rolebindings", binding)
        until(watcher, lambda: store.synced and store.error is None)


def test_a_kind_that_the_server_does_not_have(watcher: Watcher) -> None:
    store = watcher.follow("/apis/shop.example/v1/orders")
    assert store.error is not None
    assert store.error.status == 404


def test_close_wakes_everybody_and_is_final(server_api: Api, path: str) -> None:
    watcher = Watcher(server_api)
    watcher.follow(path)
    now = watcher.changed(-1, 0.0)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(watcher.changed, now + 1000, 60.0)
        watcher.close()
        with pytest.raises(RuntimeError, match="has been closed"):
            waiting.result(5)
    with pytest.raises(RuntimeError, match="has been closed"):
        watcher.follow(path)
    assert watch_threads() == []
    watcher.close()
