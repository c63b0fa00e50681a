"""What is outside a namespace, and whether it may go."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from pytest_ephemeral_ns.rules.leftovers import Living, dead_heartbeats, over
from pytest_ephemeral_ns.rules.naming import HOME, MANAGED_BY, MANAGER, RUN
from pytest_ephemeral_ns.rules.retention import heartbeat_lease

NOW = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
LIVING = Living(frozenset({"here"}), frozenset({"alive"}))


@pytest.mark.parametrize(
    ("labels", "age", "more", "reason"),
    [
        ({RUN: "dead", HOME: "gone"}, 60, {}, "its namespace gone is gone"),
        ({RUN: "alive", HOME: "gone"}, 60, {}, "its namespace gone is gone"),
        ({RUN: "dead", HOME: "here"}, 60, {}, ""),
        ({RUN: "dead"}, 60, {}, "no namespace of its run dead is left"),
        ({RUN: "alive"}, 60, {}, ""),
        ({RUN: "dead", HOME: "gone"}, 4, {}, ""),
        ({RUN: "dead", HOME: "gone"}, 5, {}, "its namespace gone is gone"),
        ({HOME: "gone"}, 60, {}, ""),
        ({}, 60, {}, ""),
        ({RUN: "dead", HOME: "gone"}, 60, {"deletionTimestamp": "2026-01-01T11:59:00Z"}, ""),
        ({RUN: "dead", HOME: "gone"}, 60, {"creationTimestamp": None}, ""),
    ],
)
def test_what_is_outside(labels: dict[str, str], age: int, more: dict[str, Any], reason: str) -> None:
    created = (NOW - timedelta(minutes=age)).strftime("%Y-%m-%dT%H:%M:%SZ")
    metadata = {"name": "x", "labels": labels, "creationTimestamp": created, **more}
    assert over({"metadata": metadata}, now=NOW, living=LIVING) == reason


@pytest.mark.parametrize(
    ("age", "namespace", "name", "goes"),
    [
        (60, "kept", "", True),
        (4, "kept", "", False),
        (60, "other", "", False),
        (60, "kept", "somebody-elses", False),
    ],
)
def test_heartbeats(age: int, namespace: str, name: str, goes: bool) -> None:
    lease = heartbeat_lease("r", "gw0", holder="me:1", now=NOW - timedelta(minutes=age))
    lease["metadata"]["namespace"] = namespace
    lease["metadata"]["name"] = name or lease["metadata"]["name"]
    assert bool(dead_heartbeats([lease], now=NOW, staying=frozenset({"kept"}))) is goes


def test_a_run_with_one_living_heartbeat_loses_none() -> None:
    leases = [heartbeat_lease("r", "gw0", holder="me:1", now=NOW - timedelta(minutes=age)) for age in (60, 1)]
    for lease in leases:
        lease["metadata"]["namespace"] = "kept"
    assert dead_heartbeats(leases, now=NOW, staying=frozenset({"kept"})) == []
    foreign = {"metadata": {"name": "leader", "namespace": "kept", "labels": {MANAGED_BY: MANAGER}}, "spec": {}}
    assert dead_heartbeats([foreign], now=NOW, staying=frozenset({"kept"})) == []
