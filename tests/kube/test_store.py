"""What a store makes of lists and events: nothing lost, nothing told twice."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_ephemeral_ns.errors import ApiError
from pytest_ephemeral_ns.kube.store import Store


class Told:
    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> None:
        self.times += 1


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def store(told: Told) -> Store:
    return Store("/api/v1/namespaces/shop/pods", told)


def pod(name: str, version: int, uid: str = "u") -> dict[str, Any]:
    metadata = {"namespace": "shop", "name": name, "resourceVersion": str(version), "uid": uid}
    return {"kind": "Pod", "metadata": {**metadata, "managedFields": [{}]}}


def versions(store: Store) -> dict[str, str]:
    return {name: item["metadata"]["resourceVersion"] for (_, name), item in store.snapshot().items()}


def test_a_new_list_shows_what_happened_meanwhile(store: Store) -> None:
    store.replace([pod("a", 1), pod("b", 2)])
    assert store.synced
    store.replace([pod("b", 5), pod("c", 4)])
    assert versions(store) == {"b": "5", "c": "4"}
    assert [name for _, name in store.deleted()] == ["a"]


def test_an_event_that_comes_twice_is_told_once(store: Store, told: Told) -> None:
    store.apply("ADDED", pod("a", 1))
    store.apply("ADDED", pod("a", 1))
    store.apply("MODIFIED", pod("a", 2))
    assert told.times == 2
    store.apply("DELETED", pod("a", 3))
    store.apply("DELETED", pod("a", 3))
    assert told.times == 3


def test_the_same_name_and_version_of_another_object_is_news(store: Store, told: Told) -> None:
    store.apply("ADDED", pod("a", 1, uid="x"))
    store.apply("ADDED", pod("a", 1, uid="y"))
    assert told.times == 2


def test_the_last_state_of_what_was_deleted_is_kept_until_it_comes_again(store: Store) -> None:
    store.apply("ADDED", pod("a", 1))
    store.apply("DELETED", pod("a", 9))
    assert store.get("shop", "a") is None
    assert store.deleted()["shop", "a"]["metadata"]["resourceVersion"] == "9"
    store.apply("ADDED", pod("a", 10, uid="v"))
    assert store.deleted() == {}


def test_what_is_remembered_of_the_deleted_is_bounded(store: Store) -> None:
    for number in range(1200):
        store.apply("ADDED", pod(f"p{number}", number))
        store.apply("DELETED", pod(f"p{number}", number))
    assert len(store.deleted()) == 1000
    assert ("shop", "p1199") in store.deleted()


def test_the_time_of_the_last_news(store: Store) -> None:
    assert store.seen_at("shop", "a") == 0.0
    store.apply("ADDED", pod("a", 1))
    first = store.seen_at("shop", "a")
    store.apply("ADDED", pod("a", 1))
    assert store.seen_at("shop", "a") == first > 0


def test_managed_fields_are_left_out(store: Store) -> None:
    store.replace([pod("a", 1)])
    assert "managedFields" not in store.snapshot()["shop", "a"]["metadata"]


def test_trouble_and_error_come_and_go(store: Store, told: Told) -> None:
    store.replace([pod("a", 1)])
    store.fail(ApiError("lost"), lasting=False)
    assert (store.error, str(store.trouble)) == (None, "lost")
    store.fail(ApiError("forbidden", status=403), lasting=True)
    assert (str(store.error), store.trouble) == ("forbidden", None)
    assert versions(store) == {"a": "1"}
    store.recover()
    assert (store.error, store.trouble) == (None, None)
    before = told.times
    store.recover()
    assert told.times == before


def test_readers_do_not_see_later_changes(store: Store) -> None:
    store.apply("ADDED", pod("a", 1))
    snapshot = store.snapshot()
    store.apply("DELETED", pod("a", 2))
    assert list(snapshot) == [("shop", "a")]
