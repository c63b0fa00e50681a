"""The janitor on the real control plane; "later" is a moment that is handed in: creation times are the server's."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from pytest_ephemeral_ns.connection import Connection
from pytest_ephemeral_ns.errors import ApiError
from pytest_ephemeral_ns.heartbeat import Heart
from pytest_ephemeral_ns.kube.api import Api
from pytest_ephemeral_ns.reap import AT_ONCE, Pass, count_leaked, look_at, reap, survey
from pytest_ephemeral_ns.rules import naming
from pytest_ephemeral_ns.rules.identity import Identity
from pytest_ephemeral_ns.rules.retention import HEARTBEAT, heartbeat_lease, keep_patch
from tests.kube.conftest import api_server

__all__ = ["api_server"]
pytestmark = pytest.mark.cluster
NAMESPACES = "/api/v1/namespaces"
HOUR = timedelta(hours=1)


class Janitor:
    """Namespaces of one run, which nobody else's reaper or test knows."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.run_id = f"r{uuid.uuid4().hex[:9]}"
        self.selector = f"{naming.RUN}={self.run_id}"
        self.made: list[str] = []
        self.said: list[str] = []

    @property
    def now(self) -> datetime:
        return datetime.fromtimestamp(self.api.server_time, timezone.utc)

    def make(self, name: str, *, expires: timedelta = HOUR, **changes: Any) -> dict[str, Any]:
        self.api.version()  # so that the server's time is known
        labels = naming.labels_of(
            Identity("shop", "main"), run_id=self.run_id, worker_id="gw0", scope="worker", owner="ada"
        )
        annotations = naming.annotations_of(Identity("shop", "main"), expires=self.now + expires, created_by="me:1")
        metadata = {"name": f"{name}-{self.run_id}", "labels": labels, "annotations": annotations}
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {**metadata, **changes}}
        self.made.append(metadata["name"])
        return self.api.create(NAMESPACES, body)

    def beat(self, namespace: dict[str, Any], *, ago: timedelta = timedelta()) -> None:
        name = namespace["metadata"]["name"]
        lease = heartbeat_lease(self.run_id, "gw0", holder="me:1", now=self.now - ago)
        self.api.apply(f"/apis/coordination.k8s.io/v1/namespaces/{name}/leases/{HEARTBEAT}", lease)

    def reap(self, *, later: timedelta = timedelta(), dry_run: bool = False) -> Pass:
        self.said = []
        return reap(self.api, say=self.said.append, dry_run=dry_run, selector=self.selector, now=self.now + later)

    def alive(self) -> set[str]:
        """Names, without the run's id, of what is not being deleted."""
        found = self.api.list(NAMESPACES, label_selector=self.selector)
        names = [item["metadata"]["name"] for item in found if not item["metadata"].get("deletionTimestamp")]
        return {name.removesuffix(f"-{self.run_id}") for name in names}


@pytest.fixture
def janitor(api_server: Connection) -> Iterator[Janitor]:
    with Api(api_server) as api:
        janitor = Janitor(api)
        yield janitor
        for name in janitor.made:
            api.delete(f"{NAMESPACES}/{name}")


def test_what_has_expired_goes_and_the_rest_stays(janitor: Janitor) -> None:
    janitor.make("short", expires=HOUR)
    janitor.make("long", expires=4 * HOUR)
    done = janitor.reap(later=2 * HOUR)
    assert done.deleted == [f"short-{janitor.run_id}"]
    assert janitor.said == [f"delete short-{janitor.run_id}: expired 1h ago (owner ada)"]
    assert not done.failed
    assert janitor.alive() == {"long"}


def test_a_dry_run_says_the_same_and_deletes_nothing(janitor: Janitor) -> None:
    janitor.make("short")
    later = 2 * HOUR
    assert janitor.reap(later=later, dry_run=True).deleted == [f"short-{janitor.run_id}"]
    said = janitor.said
    assert janitor.alive() == {"short"}
    janitor.reap(later=later)
    assert janitor.said == said
    assert janitor.alive() == set()


def test_an_expired_one_that_is_younger_than_five_minutes_stays(janitor: Janitor) -> None:
    janitor.make("young", expires=-HOUR)
    assert janitor.reap().deleted == []
    assert janitor.alive() == {"young"}


def test_the_namespaces_of_a_dead_run_go_before_they_expire(janitor: Janitor, monkeypatch: pytest.MonkeyPatch) -> None:
    janitor.api.version()  # so that the server's time is known
    monkeypatch.setattr(Janitor, "now", janitor.now.replace(microsecond=0))  # it stands still: "30m ago" is exact
    janitor.beat(janitor.make("dead", expires=4 * HOUR))
    janitor.make("silent", expires=4 * HOUR)  # the same run, but no heartbeat of its own
    assert janitor.reap(later=timedelta(minutes=4)).deleted == []
    done = janitor.reap(later=timedelta(minutes=30))
    assert len(done.deleted) == 2
    assert f"run {janitor.run_id} is dead, last heartbeat 30m ago" in janitor.said[0]


def test_a_live_run_keeps_its_namespaces_past_their_expiry(janitor: Janitor) -> None:
    later = 2 * HOUR
    first, second = janitor.make("one"), janitor.make("two")
    janitor.beat(first, ago=later)
    janitor.beat(second, ago=-later)  # another worker of the same run lives
    assert janitor.reap(later=later).deleted == []
    assert janitor.alive() == {"one", "two"}


def test_what_is_kept_stays_until_its_own_expiry(janitor: Janitor) -> None:
    namespace = janitor.make("kept")
    path = f"{NAMESPACES}/{namespace['metadata']['name']}"
    janitor.api.patch(path, keep_patch(janitor.now + 24 * HOUR, "failed: test_a"))
    janitor.beat(namespace, ago=HOUR)
    assert janitor.reap(later=2 * HOUR).deleted == []
    assert janitor.reap(later=25 * HOUR).deleted == [namespace["metadata"]["name"]]
    assert "kept (failed: test_a), expired 1h ago" in janitor.said[0]


@pytest.mark.parametrize(
    "labels",
    [
        {},
        {naming.MANAGED_BY: naming.MANAGER},
        {naming.MANAGED_BY: "Helm", naming.RUN: "r1"},
        {naming.MANAGED_BY: naming.MANAGER, naming.RUN: ""},
    ],
)
def test_what_does_not_carry_all_our_labels_is_not_even_seen(janitor: Janitor, labels: dict[str, str]) -> None:
    name = janitor.make("foreign", expires=-HOUR, labels=labels)["metadata"]["name"]
    found = survey(janitor.api, now=janitor.now + 2 * HOUR).found
    assert not [one for one in found if one.name == name and one.verdict.take]
    _, seen = look_at(janitor.api, name)
    assert seen.verdict.state == "foreign"


def test_what_changed_after_it_was_judged_is_left(janitor: Janitor, monkeypatch: pytest.MonkeyPatch) -> None:
    name = janitor.make("kept-meanwhile")["metadata"]["name"]
    delete = janitor.api.delete

    def keep_first(path: str, **options: Any) -> Any:
        janitor.api.patch(path, keep_patch(janitor.now + 24 * HOUR, "wanted"))
        return delete(path, **options)

    monkeypatch.setattr(janitor.api, "delete", keep_first)
    done = janitor.reap(later=2 * HOUR)
    monkeypatch.undo()
    assert (done.deleted, done.failed) == ([], [])
    assert done.notes == [f"left {name}: it changed while it was looked at"]
    assert janitor.alive() == {"kept-meanwhile"}


def test_a_deletion_leaves_an_event_that_outlives_the_namespace(janitor: Janitor) -> None:
    name = janitor.make("short")["metadata"]["name"]
    janitor.reap(later=2 * HOUR)
    selector = f"involvedObject.kind=Namespace,involvedObject.name={name}"
    [event] = janitor.api.list("/api/v1/namespaces/default/events", field_selector=selector)
    assert event["reason"] == "Reaped"
    assert event["message"] == "expired 1h ago (owner ada)"


def test_many_go_several_at_once_in_the_order_of_their_names(janitor: Janitor, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [janitor.make(f"many-{number:02}")["metadata"]["name"] for number in range(2 * AT_ONCE + 1)]

    def refuse(path: str, body: Any, **options: Any) -> Any:
        raise ApiError(f"create {path}: Forbidden", status=403)

    monkeypatch.setattr(janitor.api, "create", refuse)
    done = janitor.reap(later=2 * HOUR)
    monkeypatch.undo()
    assert done.deleted == names
    assert [line.split()[1].rstrip(":") for line in janitor.said] == names
    assert [note.partition(":")[0].partition(" many")[0] for note in done.notes] == ["no event for"]
    assert janitor.alive() == set()


def test_what_earlier_runs_leaked_is_counted_with_one_request_or_two(janitor: Janitor) -> None:
    alive = janitor.make("short")
    janitor.make("long", expires=4 * HOUR)

    def count(later: timedelta) -> tuple[int, int]:
        before = janitor.api.requests
        found = count_leaked(janitor.api, selector=janitor.selector, now=janitor.now + later)
        return found, janitor.api.requests - before

    assert count(timedelta()) == (0, 1)
    assert count(2 * HOUR) == (1, 2)
    assert count(5 * HOUR) == (2, 2)
    janitor.beat(alive, ago=-5 * HOUR)
    assert count(5 * HOUR) == (0, 2)


def _until(condition: Callable[[], Any]) -> Any:
    end = time.monotonic() + 20
    while not (found := condition()):
        assert time.monotonic() < end, "did not happen in 20 s"
        time.sleep(0.05)
    return found


def _heartbeat(api: Api, namespace: str) -> dict[str, Any] | None:
    return api.find(f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{HEARTBEAT}")


def test_a_heart_beats_in_each_namespace_and_stops(janitor: Janitor) -> None:
    names = [janitor.make(name)["metadata"]["name"] for name in ("one", "two")]
    heart = Heart(janitor.api, janitor.run_id, "gw0", "me:1")
    for name in names:
        heart.add(name)
    for name in names:
        lease = _until(lambda name=name: _heartbeat(janitor.api, name))
        assert lease["spec"]["holderIdentity"] == "me:1"
        assert lease["metadata"]["labels"][naming.RUN] == janitor.run_id
    heart.remove(names[0])
    heart.close()
    assert not heart._thread.is_alive()
    [one] = [one for one in survey(janitor.api, selector=janitor.selector).found if one.name == names[1]]
    assert "is alive" in one.verdict.reason


def test_a_heart_forgets_a_namespace_that_is_gone(janitor: Janitor) -> None:
    heart = Heart(janitor.api, janitor.run_id, "gw0", "me:1")
    heart.add(f"never-there-{janitor.run_id}")
    _until(lambda: not heart._namespaces)
    heart.close()
    heart.add("after-the-end")  # is not an error and starts no thread
    assert not heart._thread.is_alive()
