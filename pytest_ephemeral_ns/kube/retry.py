"""Which calls are repeated, how often and when; this module must never send one itself.

The rule: what the server refused before it acted (429, 503 with Retry-After) and what was never sent is repeated
always; what may have been done is repeated only if doing it twice is the same as doing it once.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pytest_ephemeral_ns.kube.http import NoAnswer, Reply

_TOO_MANY, _UNAVAILABLE, _CONFLICT = 429, 503, 409
_SERVER_TROUBLE = {500, 502, 503, 504}
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0

Outcome = Reply | NoAnswer


@dataclass(frozen=True)
class Policy:
    """How often one call may be repeated.

    Args:
        repeatable: whether doing it twice is the same as doing it once.
        fresh: whether the body carries no resourceVersion, so that a write conflict is the server's own and passes.
        refused: attempts when no connection comes about: few for a server that was never there, more for one that
            answered before and may be starting again.
        attempts: attempts in all other cases.
    """

    repeatable: bool
    fresh: bool = True
    refused: int = 4
    attempts: int = 6

    def again(self, outcome: Outcome, tries: int) -> bool:
        """Return whether to try once more after ``tries`` attempts, the last with ``outcome``."""
        if isinstance(outcome, NoAnswer):
            return self._connect_again(outcome, tries)
        if tries >= self.attempts:
            return False
        if outcome.status == _TOO_MANY:
            return True
        if outcome.status == _UNAVAILABLE and "retry-after" in outcome.headers:
            return True
        if outcome.status in _SERVER_TROUBLE:
            return self.repeatable and not _field_trouble(outcome)
        return outcome.status == _CONFLICT and self.fresh and _passing_conflict(outcome)

    def _connect_again(self, outcome: NoAnswer, tries: int) -> bool:
        if outcome.sent:
            return self.repeatable and tries < self.attempts
        return tries < self.refused and not _hopeless(outcome.cause)


def _hopeless(cause: BaseException) -> bool:
    import ssl

    return isinstance(cause, (ssl.SSLCertVerificationError, ConnectionAbortedError))


def _passing_conflict(reply: Reply) -> bool:
    """Two writers met inside the server (quota, managed fields): not a UID mismatch, nor somebody's field."""
    status = reply.json()
    if status.get("reason") != "Conflict" or "recondition" in str(status.get("message")):
        return False
    return not (status.get("details") or {}).get("causes")


def _field_trouble(reply: Reply) -> bool:
    """The server answers 500 to an apply with a field that the kind does not have; that does not pass."""
    return b"typed patch object" in reply.body


def retry_after(reply: Outcome) -> float:
    """Return the seconds that the server asks for, 0 when it does not: a number, or an HTTP date (RFC 9110, 10.2.3).

    Example:
        >>> retry_after(Reply(429, {"retry-after": "2"}, b""))
        2.0
    """
    value = "" if isinstance(reply, NoAnswer) else reply.headers.get("retry-after", "")
    if not value:
        return 0.0
    if value.strip().isdigit():
        return float(value)
    from email.utils import parsedate_to_datetime

    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError):
        return 0.0


def pause(outcome: Outcome, tries: int) -> float:
    """Return the seconds to wait after ``tries`` attempts: at least what the server asks for, with jitter."""
    own = _own_pause(tries)
    asked = retry_after(outcome)
    # Jitter goes up only: workers that were refused together must not come back together, nor too early.
    return max(asked, own) + random.uniform(0.0, own / 2)  # noqa: S311


def _own_pause(tries: int) -> float:
    return min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** (tries - 1))


def repeat(
    attempt: Callable[[], Reply], policy: Policy, *, timeout: float, stopped: threading.Event
) -> tuple[Outcome, int]:
    """Call ``attempt`` until its outcome stands.

    Args:
        attempt: sends the request once; raises :class:`NoAnswer`.
        policy: what is repeated.
        timeout: seconds for all attempts and pauses. A pause that would end later is not begun.
        stopped: set by another thread to end a pause.

    Returns:
        The last outcome and the number of attempts.
    """
    ends = time.monotonic() + timeout
    first = _outcome(attempt)
    if not policy.again(first, 1):
        return first, 1  # nearly always: tenacity (30 ms of CPU to import) is for the bad days
    return _insist(first, attempt, policy, ends, stopped)


def _insist(
    first: Outcome, attempt: Callable[[], Reply], policy: Policy, ends: float, stopped: threading.Event
) -> tuple[Outcome, int]:
    """Go on after an attempt that came to ``first``."""
    import tenacity

    known = iter([first])

    def decide(state: tenacity.RetryCallState) -> bool:
        assert state.outcome is not None
        return policy.again(state.outcome.result(), state.attempt_number)

    def wait(state: tenacity.RetryCallState) -> float:
        assert state.outcome is not None
        return pause(state.outcome.result(), state.attempt_number)

    def stop(state: tenacity.RetryCallState) -> bool:
        assert state.outcome is not None
        soonest = pause_at_least(state.outcome.result(), state.attempt_number)
        return stopped.is_set() or time.monotonic() + soonest >= ends

    def last(state: tenacity.RetryCallState) -> Any:
        assert state.outcome is not None
        return state.outcome.result()

    retrying = tenacity.Retrying(
        retry=decide, wait=wait, stop=stop, retry_error_callback=last, sleep=tenacity.sleep_using_event(stopped)
    )
    outcome: Outcome = retrying(lambda: next(known, None) or _outcome(attempt))
    return outcome, int(retrying.statistics["attempt_number"])


def pause_at_least(outcome: Outcome, tries: int) -> float:
    """Return the shortest pause that :func:`pause` can give."""
    return max(retry_after(outcome), _own_pause(tries))


def _outcome(attempt: Callable[[], Reply]) -> Outcome:
    try:
        return attempt()
    except NoAnswer as error:
        return error
