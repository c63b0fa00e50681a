"""Which outcomes are tried again: a table of outcomes and verdicts, and the pauses."""

from __future__ import annotations

import json
import ssl
import threading
import time
from email.utils import formatdate

import pytest

from pytest_ephemeral_ns.kube.http import NoAnswer, Reply
from pytest_ephemeral_ns.kube.retry import Policy, pause, repeat, retry_after


def reply(status: int, reason: str = "", message: str = "", causes: int = 0, **headers: str) -> Reply:
    details = {"causes": [{"reason": "FieldManagerConflict"}] * causes}
    body = {"kind": "Status", "reason": reason, "message": message, "details": details}
    return Reply(status, {name.replace("_", "-"): value for name, value in headers.items()}, json.dumps(body).encode())


LOST = NoAnswer(ConnectionResetError(), sent=True)
REFUSED = NoAnswer(ConnectionRefusedError(), sent=False)
UNKNOWN_CA = NoAnswer(ssl.SSLCertVerificationError(), sent=False)

CASES = [
    # outcome, repeatable, fresh, verdict
    (reply(200), True, True, False),
    (reply(404, "NotFound"), True, True, False),
    (reply(403, "Forbidden"), True, True, False),
    (reply(429), False, True, True),
    (reply(429, retry_after="1"), False, True, True),
    (reply(503, retry_after="1"), False, True, True),
    (reply(503), False, True, False),
    (reply(503), True, True, True),
    (reply(500, "InternalError"), True, True, True),
    (reply(500, "InternalError"), False, True, False),
    (reply(500, message="failed to create typed patch object (x): field not declared"), True, True, False),
    (reply(502), True, True, True),
    (reply(504, "Timeout"), False, True, False),
    (reply(409, "Conflict", "the object has been modified"), False, True, True),
    (reply(409, "Conflict", "the object has been modified"), False, False, False),
    (reply(409, "Conflict", "Apply failed with 1 conflict", causes=1), True, True, False),
    (reply(409, "Conflict", "Precondition failed: UID in precondition: 1"), True, True, False),
    (reply(409, "AlreadyExists"), True, True, False),
    (LOST, True, True, True),
    (LOST, False, True, False),
    (REFUSED, False, True, True),
    (UNKNOWN_CA, True, True, False),
]


@pytest.mark.parametrize(("outcome", "repeatable", "fresh", "verdict"), CASES, ids=[str(n) for n in range(len(CASES))])
def test_what_is_tried_again(outcome: Reply | NoAnswer, repeatable: bool, fresh: bool, verdict: bool) -> None:
    assert Policy(repeatable, fresh).again(outcome, 1) is verdict


def test_attempts_are_bounded() -> None:
    policy = Policy(repeatable=True, refused=3, attempts=5)
    assert [policy.again(REFUSED, n) for n in (2, 3)] == [True, False]
    assert [policy.again(LOST, n) for n in (4, 5)] == [True, False]
    assert [policy.again(reply(429), n) for n in (4, 5)] == [True, False]


@pytest.mark.parametrize(
    ("value", "low", "high"),
    [
        ("", 0.0, 0.0),
        ("3", 3.0, 3.0),
        (30, 20.0, 31.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0, 0),
        ("soon", 0, 0),
        ("-1", 0, 0),
    ],
)
def test_retry_after(value: str | int, low: float, high: float) -> None:
    if isinstance(value, int):
        value = formatdate(time.time() + value, usegmt=True)
    assert low <= retry_after(Reply(429, {"retry-after": value}, b"")) <= high


def test_pauses_grow_are_bounded_and_never_shorter_than_asked_for() -> None:
    assert 0.1 <= pause(REFUSED, 1) <= 0.15
    assert 5.0 <= pause(REFUSED, 20) <= 7.5
    assert pause(reply(429, retry_after="8"), 1) >= 8.0


def test_a_pause_longer_than_the_time_left_is_not_begun() -> None:
    outcome, tries = repeat(lambda: reply(429, retry_after="60"), Policy(True), timeout=5.0, stopped=threading.Event())
    assert (outcome.status, tries) == (429, 1)  # type: ignore[union-attr]


def test_a_pause_can_be_ended_by_another_thread() -> None:
    stopped = threading.Event()

    def attempt() -> Reply:
        stopped.set()
        return reply(429, retry_after="3000")

    outcome, tries = repeat(attempt, Policy(True), timeout=9000.0, stopped=stopped)
    assert (outcome.status, tries) == (429, 1)  # type: ignore[union-attr]


def test_the_last_outcome_and_the_attempts_are_told() -> None:
    answers = iter([reply(500), LOST, reply(200)])

    def attempt() -> Reply:
        outcome = next(answers)
        if isinstance(outcome, NoAnswer):
            raise outcome
        return outcome

    outcome, tries = repeat(attempt, Policy(True), timeout=10.0, stopped=threading.Event())
    assert (outcome.status, tries) == (200, 3)  # type: ignore[union-attr]
