"""What the processes of a run wrote down → its namespaces and tests."""

from __future__ import annotations

import pytest

from pytest_ephemeral_ns.rules.timeline import Space, Step, attempts_of, spaces_of, tell_slowest, zero


def span(number: str, what: str, began: float, ended: float | None, worker: str = "gw0", ns: str = "shop", **more):
    begin = {"at": began, "worker": worker, "what": what, "namespace": ns, "span": number}
    rows = [{**begin, **{k: v for k, v in more.items() if k in ("lane", "on")}}]
    if ended is not None:
        rows.append({**begin, "at": ended, "end": True, "ok": True, **more})
    return rows


def mark(at: float, what: str, worker: str = "gw0", ns: str = "shop", **more):
    return {"at": at, "worker": worker, "what": what, "namespace": ns, **more}


LIFE = [
    mark(10.0, "session", worker="main", ns=""),
    {"at": 10.5, "worker": "gw0", "what": "create", "namespace": "", "span": "a", "lane": "gw0"},
    {
        "at": 10.6,
        "worker": "gw0",
        "what": "create",
        "namespace": "shop",
        "span": "a",
        "end": True,
        "ok": True,
        "uid": "u1",
    },
    *span("b", "deploy", 10.6, 11.0, count=3),
    *span("c", "infrastructure", 11.0, 15.0, count=3, last="StatefulSet/db"),
    mark(11.1, "object", object="StatefulSet/db", state="waiting", reason="Pending"),
    mark(14.9, "object", object="StatefulSet/db", state="ready", reason="Ready"),
    mark(15.0, "ready"),
    *span("d", "application", 20.0, 60.0),
    *span("e", "release", 61.0, 61.2, how="deleted"),
]


def by_time(rows):
    return sorted(rows, key=lambda row: row["at"])


def test_a_life():
    [space] = spaces_of(by_time(LIFE))
    assert zero(LIFE) == 10.0
    assert (space.name, space.worker, space.uid, space.fate) == ("shop", "gw0", "u1", "deleted")
    assert (space.began, space.ready, round(space.ended, 3)) == (0.5, 5.0, 51.2)
    assert [step.what for step in space.steps] == ["create", "deploy", "infrastructure", "application", "release"]
    assert [step.note for step in space.steps][1:3] == ["3 objects", "3 objects, StatefulSet/db last"]
    assert [state.state for state in space.objects["StatefulSet/db"]] == ["waiting", "ready"]


def test_what_came_after_it_was_ready_did_not_hold_it_up():
    [space] = spaces_of(by_time(LIFE))
    slowest = space.slowest()
    assert slowest is not None
    assert (slowest.what, slowest.seconds) == ("infrastructure", 4.0)


def test_steps_of_one_name_count_together():
    steps = [Step("deploy", 0, 3, True), Step("application", 3, 7, True), Step("application", 7, 9, True, "job/x")]
    slowest = Space("shop", "gw0", "gw0", 0, 9, ready=9, steps=steps).slowest()
    assert slowest is not None
    assert (slowest.what, slowest.seconds) == ("application", 6)


def test_a_step_that_a_killed_process_left_open_ends_with_its_last_sign_of_life():
    rows = [
        *span("a", "create", 1.0, 2.0, lane="gw0"),
        *span("b", "deploy", 2.0, None),
        mark(7.5, "object", object="x"),
    ]
    rows += [mark(30.0, "swept", worker="main")]
    [space] = spaces_of(rows)
    assert (space.steps[1].ended, space.steps[1].ok, space.fate, space.ready) == (6.5, None, "swept", None)


def test_a_failed_one_keeps_its_first_reason():
    rows = [*span("a", "create", 1.0, 2.0), mark(3.0, "failed", error="no image"), mark(4.0, "failed", error="later")]
    [space] = spaces_of(rows)
    assert (space.error, space.seconds) == ("no image", None)


def test_the_shared_one_has_a_lane_of_its_own():
    rows = [*span("a", "create", 1.0, 2.0, lane="shared"), *span("b", "contract", 3.0, 4.0, worker="gw1")]
    [space] = spaces_of(rows)
    assert (space.worker, space.maker, len(space.steps)) == ("shared", "gw0", 2)


def test_a_reused_one_is_told_for_each_worker():
    rows = [mark(1.0, "reused", lane="gw0"), mark(1.1, "reused", worker="gw1", lane="gw1")]
    rows += span("b", "deploy", 2.0, 3.0, worker="gw1")
    first, second = spaces_of(rows)
    assert (first.worker, first.fate, first.steps) == ("gw0", "reused", [])
    assert (second.worker, [step.what for step in second.steps]) == ("gw1", ["deploy"])


def phase(at: float, when: str, outcome: str = "passed", test: str = "t.py::a", worker: str = "gw0", **more):
    row = {"what": "phase", "test": test, "worker": worker, "when": when, "outcome": outcome}
    return {"at": at, **row, "began": at - 0.5, "ended": at, **more}


def begin(at: float, test: str = "t.py::a", worker: str = "gw0"):
    return {"at": at, "what": "begin", "test": test, "worker": worker}


OUTCOMES = [
    ([phase(1, "setup"), phase(2, "call"), phase(3, "teardown")], "passed"),
    ([phase(1, "setup"), phase(2, "call", "failed"), phase(3, "teardown")], "failed"),
    ([phase(1, "setup", "failed"), phase(3, "teardown")], "error"),
    ([phase(1, "setup"), phase(2, "call"), phase(3, "teardown", "failed")], "error"),
    ([phase(1, "setup"), phase(2, "call", "failed"), phase(3, "teardown", "failed")], "failed"),
    ([phase(1, "setup", "skipped"), phase(2, "teardown")], "skipped"),
    ([phase(1, "setup"), phase(2, "call", "xfailed"), phase(3, "teardown")], "xfailed"),
    ([phase(1, "setup"), phase(2, "crash", "failed")], "failed"),
    ([phase(1, "setup")], "interrupted"),
    ([], "interrupted"),
]


@pytest.mark.parametrize(("phases", "outcome"), OUTCOMES)
def test_outcomes(phases, outcome):
    [test] = attempts_of([begin(0.5), *phases])
    assert test.outcome == outcome


def test_each_attempt_is_one_of_its_own():
    first = [begin(0.5), phase(1, "setup"), phase(2, "call", "rerun"), phase(2.1, "teardown")]
    second = [phase(3, "setup"), phase(4, "call"), phase(5, "teardown")]
    found = attempts_of([*first, *second])
    assert [(test.attempt, test.outcome) for test in found] == [(1, "rerun"), (2, "passed")]


def test_one_name_on_two_workers_is_two_tests():
    rows = [begin(1, worker="gw0"), begin(2, worker="gw1"), phase(3, "call", worker="gw1")]
    assert [(test.worker, test.outcome) for test in attempts_of(rows)] == [("gw0", "interrupted"), ("gw1", "passed")]


def test_namespaces_by_name_and_by_time():
    made = [Space("in-time", "gw0", "gw0", 1.0, 2.0), Space("others", "gw1", "gw1", 1.0, 2.0)]
    rows = [begin(0), phase(1, "setup", namespaces=["told"]), phase(5, "call", namespaces=["told"])]
    [test] = attempts_of(rows, made)
    assert test.namespaces == ["told", "in-time"]


def test_problems_are_kept_with_their_stories():
    story = {"namespace": "shop", "headline": "Pod/api failed", "text": "…", "bundle": ""}
    problem = {"what": "problem", "test": "t.py::a", "worker": "gw0", "when": "call", "message": "no", "text": "no\nno"}
    [test] = attempts_of([begin(0), phase(1, "call", "failed"), {"at": 1, **problem, "stories": [story]}])
    assert (test.problems[0].message, test.problems[0].stories[0].headline) == ("no", "Pod/api failed")


def ready_after(name: str, seconds: float) -> Space:
    return Space(name, "gw0", "gw0", 0.0, seconds, seconds, steps=[Step("deploy", 0.0, seconds, True)])


@pytest.mark.parametrize(
    ("seconds", "verbose", "names"),
    [
        ([0.2, 0.4], False, []),
        ([0.2, 0.4], True, ["b", "a"]),
        ([0.2, 12, 11, 30, 40], False, ["e", "d", "b"]),
        ([1, 2, 3, 4, 5, 6], True, ["f", "e", "d", "c", "b"]),
        ([], True, []),
    ],
)
def test_the_slowest_are_told_when_that_is_of_use(seconds, verbose, names):
    found = [ready_after(name, took) for name, took in zip("abcdef", seconds, strict=False)]
    lines = tell_slowest(found, verbose=verbose)
    assert [line.split()[1] for line in lines] == names


def test_what_never_became_ready_is_not_slow():
    assert tell_slowest([Space("shop", "gw0", "gw0", 0.0, 99.0)], verbose=True) == []
