from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_ephemeral_ns.rules import naming, retention
from pytest_ephemeral_ns.rules.retention import Heartbeat, is_failure, judge

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=timezone.utc)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
LIVE = {"r1": Heartbeat(NOW - MINUTE, 5 * MINUTE)}
DEAD = {"r1": Heartbeat(NOW - 20 * MINUTE, 5 * MINUTE)}


def at(moment: datetime) -> str:
    return naming.format_time(moment)


def namespace(
    name: str = "shop-gw0",
    *,
    age: timedelta = HOUR,
    labels: dict[str, str] | None = None,
    expires: str | None = None,
    **metadata: Any,
) -> dict[str, Any]:
    ours = {naming.MANAGED_BY: naming.MANAGER, naming.RUN: "r1"}
    annotations = {naming.EXPIRES: expires} if expires is not None else {}
    annotations.update(metadata.pop("annotations", {}))
    return {
        "metadata": {
            "name": name,
            "uid": "1",
            "creationTimestamp": at(NOW - age),
            "labels": ours if labels is None else labels,
            "annotations": annotations,
            **metadata,
        }
    }


KEPT = {naming.MANAGED_BY: naming.MANAGER, naming.RUN: "r1", naming.KEEP: "true"}
PAST, FUTURE = at(NOW - HOUR), at(NOW + HOUR)


@pytest.mark.parametrize(
    ("obj", "heartbeats", "take", "state", "words"),
    [
        pytest.param(namespace(expires=PAST), {}, True, "expired", "expired 1h ago", id="expired"),
        pytest.param(namespace(expires=FUTURE), {}, False, "active", "expires in 1h", id="not yet"),
        pytest.param(namespace(expires=at(NOW)), {}, True, "expired", "expired 0s ago", id="this moment"),
        pytest.param(namespace(), {}, False, "active", "without a readable expiry", id="no expiry"),
        pytest.param(namespace(expires="soon"), {}, False, "active", "without a readable", id="nonsense"),
        pytest.param(
            namespace(age=4 * MINUTE, expires=PAST), {}, False, "expired", "younger than 5m", id="too young to expire"
        ),
        pytest.param(
            namespace(age=4 * MINUTE, expires=FUTURE), DEAD, False, "orphaned", "younger than 5m", id="too young to die"
        ),
        pytest.param(namespace(age=5 * MINUTE, expires=PAST), {}, True, "expired", "expired", id="old enough"),
        pytest.param(namespace(expires=FUTURE), DEAD, True, "orphaned", "run r1 is dead", id="dead run"),
        pytest.param(namespace(expires=FUTURE), LIVE, False, "active", "is alive", id="live run"),
        pytest.param(namespace(expires=PAST), LIVE, False, "active", "is alive", id="live run past its expiry"),
        pytest.param(namespace(expires=FUTURE), {"other": DEAD["r1"]}, False, "active", "expires", id="another run"),
        pytest.param(namespace(labels=KEPT, expires=FUTURE), DEAD, False, "kept", "no reason", id="kept, run is over"),
        pytest.param(namespace(labels=KEPT, expires=PAST), LIVE, True, "expired", "kept", id="kept until"),
        pytest.param(namespace(labels=KEPT), {}, False, "kept", "without a readable expiry", id="kept for ever"),
        pytest.param(
            namespace(labels=KEPT, expires=FUTURE, annotations={naming.REASON: "test_a"}),
            {},
            False,
            "kept",
            "kept (test_a)",
            id="kept for a reason",
        ),
        pytest.param(
            namespace(labels={**KEPT, naming.KEEP: "false"}, expires=PAST), {}, True, "expired", "expired", id="keep=no"
        ),
        pytest.param(namespace(labels={}, expires=PAST), DEAD, False, "foreign", "not ours", id="no labels"),
        pytest.param(
            namespace(labels={naming.RUN: "r1"}, expires=PAST), DEAD, False, "foreign", "not ours", id="no manager"
        ),
        pytest.param(
            namespace(labels={naming.MANAGED_BY: "Helm", naming.RUN: "r1"}, expires=PAST),
            DEAD,
            False,
            "foreign",
            "not ours",
            id="another manager",
        ),
        pytest.param(
            namespace(labels={naming.MANAGED_BY: naming.MANAGER}, expires=PAST),
            DEAD,
            False,
            "foreign",
            "not ours",
            id="no run",
        ),
        *(
            pytest.param(namespace(name, expires=PAST), DEAD, False, "foreign", "protected", id=name)
            for name in ("default", "kube-system", "kube-public", "openshift", "openshift-etcd")
        ),
        pytest.param(
            namespace(expires=PAST, deletionTimestamp=at(NOW - MINUTE)),
            {},
            False,
            "terminating",
            "being deleted since 1m",
            id="terminating",
        ),
        pytest.param(
            namespace(expires=PAST, deletionTimestamp=at(NOW - HOUR)),
            {},
            False,
            "stuck",
            "being deleted since 1h",
            id="stuck",
        ),
        pytest.param(namespace(annotations={naming.TTL: "30m"}), {}, True, "expired", "expired 30m ago", id="ttl"),
        pytest.param(namespace(annotations={naming.TTL: "2h"}), {}, False, "active", "expires in 1h", id="long ttl"),
        pytest.param(namespace(annotations={naming.TTL: "forever"}), {}, False, "active", "without", id="forever"),
        pytest.param(namespace(annotations={naming.TTL: "9" * 20 + "w"}), {}, False, "active", "without", id="eternal"),
        pytest.param(
            namespace(expires=FUTURE, annotations={naming.TTL: "30m"}), {}, True, "expired", "30m", id="earlier: ttl"
        ),
        pytest.param(
            namespace(expires=PAST, annotations={naming.TTL: "2h"}), {}, True, "expired", "1h", id="earlier: expires"
        ),
        pytest.param(namespace(expires="2025-12-31"), {}, True, "expired", "12h", id="a date"),
        pytest.param(namespace(expires="2026-01-01T11:30"), {}, True, "expired", "30m", id="a date with minutes"),
    ],
)
def test_the_verdict(obj: dict[str, Any], heartbeats: Any, take: bool, state: str, words: str) -> None:
    verdict = judge(obj, now=NOW, heartbeats=heartbeats)
    assert (verdict.take, verdict.state) == (take, state)
    assert words in verdict.reason


times = st.one_of(st.none(), st.text(max_size=12), st.datetimes().map(lambda m: m.strftime("%Y-%m-%dT%H:%M:%SZ")))
label_maps = st.dictionaries(
    st.sampled_from([naming.MANAGED_BY, naming.RUN, naming.KEEP]), st.sampled_from([naming.MANAGER, "r1", "true", ""])
)


@given(
    labels=label_maps,
    expires=times,
    ttl=times,
    created=times,
    deleted=times,
    name=st.sampled_from(["kube-system", "default", "shop"]),
    heartbeats=st.sampled_from([{}, LIVE, DEAD]),
)
def test_nothing_is_ever_taken_that_is_not_ours_old_and_over(
    labels: dict[str, str], expires: Any, ttl: Any, created: Any, deleted: Any, name: str, heartbeats: Any
) -> None:
    annotations = {naming.EXPIRES: expires, naming.TTL: ttl}
    metadata = {"name": name, "labels": labels, "annotations": annotations, "creationTimestamp": created}
    obj = {"metadata": {**metadata, "deletionTimestamp": deleted}}
    if judge(obj, now=NOW, heartbeats=heartbeats).take:
        assert labels[naming.MANAGED_BY] == naming.MANAGER
        assert labels[naming.RUN]
        assert name == "shop"
        born = retention.parse_time(created)
        assert born is not None
        assert NOW - born >= retention.MIN_AGE


def test_heartbeats_are_those_of_ours_that_last_longest() -> None:
    early = retention.heartbeat_lease("r1", "gw0", holder="h:1", now=NOW - HOUR)
    late = retention.heartbeat_lease("r1", "gw1", holder="h:2", now=NOW)
    foreign = retention.heartbeat_lease("r2", "gw0", holder="h:3", now=NOW)
    foreign["metadata"]["labels"][naming.MANAGED_BY] = "somebody"
    broken = retention.heartbeat_lease("r3", "gw0", holder="h:4", now=NOW)
    broken["spec"] = None
    assert retention.heartbeats_of([early, late, foreign, broken]) == {"r1": Heartbeat(NOW, retention.HEARTBEAT_LASTS)}


def test_a_heartbeat_is_missed_several_times_before_a_run_counts_as_dead() -> None:
    assert retention.HEARTBEAT_LASTS >= 3 * retention.HEARTBEAT_EVERY
    assert retention.HEARTBEAT_LASTS <= retention.MIN_AGE


@pytest.mark.parametrize(
    ("policy", "failure", "kept", "keep", "words"),
    [
        ("never", "test_a", 0, False, "not kept"),
        ("on-failure", "test_a", 0, True, "failed: test_a"),
        ("on-failure", "", 0, False, "nothing failed"),
        ("on-failure", "test_a", 5, False, "its limit"),
        ("always", "", 0, True, "kept always"),
        ("always", "test_a", 0, True, "failed: test_a"),
        ("always", "", 5, False, "its limit"),
    ],
)
def test_what_is_kept(policy: Any, failure: str, kept: int, keep: bool, words: str) -> None:
    decision = retention.decide_keep(policy, failure=failure, kept=kept, keep_max=5)
    assert decision.keep is keep
    assert words in decision.reason


def test_a_kept_namespace_says_until_when_and_why() -> None:
    assert retention.keep_patch(NOW, "failed: test_a") == {
        "metadata": {
            "labels": {naming.KEEP: "true"},
            "annotations": {naming.EXPIRES: "2026-01-01T12:00:00Z", naming.TTL: None, naming.REASON: "failed: test_a"},
        }
    }


@pytest.mark.parametrize(
    ("kinds", "verdict"),
    [
        (["AssertionError", "Exception", "BaseException"], True),
        (["Failed", "OutcomeException", "BaseException"], True),
        (["SystemExit", "BaseException"], True),
        (["Skipped", "OutcomeException", "BaseException"], False),
        (["XFailed", "Failed", "OutcomeException", "BaseException"], False),
        (["Exit", "Exception", "BaseException"], False),
        (["KeyboardInterrupt", "BaseException"], False),
        (["GeneratorExit", "BaseException"], False),
    ],
)
def test_what_is_a_failure(kinds: list[str], verdict: bool) -> None:
    assert is_failure(kinds) is verdict
