"""What one look at a contract means: it holds, not yet, or never; this module must never ask anybody.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import random
import ssl
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pytest_ephemeral_ns.deadline import Deadline
from pytest_ephemeral_ns.errors import NeverReady, UsageError, WaitFailed, WaitTimeout
from pytest_ephemeral_ns.ready import asking
from pytest_ephemeral_ns.ready.history import History, shorten
from pytest_ephemeral_ns.rules.durations import format_duration
from pytest_ephemeral_ns.rules.redaction import Redactor

if TYPE_CHECKING:
    import tenacity

CORRELATION_HEADER = "X-Correlation-ID"
_ALWAYS_WAITS = 404
# What a body does to a check while it has not its final shape yet.
_SHAPE = (LookupError, TypeError)


class NotYet(Exception):
    """This look found nothing to end the wait with."""


@dataclass
class Contract:
    """One wait: what counts as true, what as hopeless, and what was seen so far.

    Args:
        subject: for people: ``"GET http://…/orders/7"`` or the callable's name.
        until: what must hold.
        fail_when: what ends the wait at once; ``None`` for nothing.
        deadline: when it ends.
        interval: seconds between two looks.
        jitter: by which part of itself the interval may vary.
        consecutive: how often in a row ``until`` must hold.
        retry_on: see :func:`pytest_ephemeral_ns.ready.asking.statuses`.
        redactor: removes secrets.
        correlation_id: printed with every error; empty for callables that got none.
        layer: for the errors.
        command: what to type next.
    """

    subject: str
    until: Callable[[Any], Any]
    fail_when: Callable[[Any], Any] | None
    deadline: Deadline
    interval: float
    jitter: float
    consecutive: int
    retry_on: Collection[Any]
    redactor: Redactor
    correlation_id: str = ""
    layer: str = "contract"
    command: str | None = None
    history: History = field(init=False)
    _in_a_row: int = 0
    _retry_after: float = 0.0

    def __post_init__(self) -> None:
        if self.consecutive < 1:
            raise UsageError(f"consecutive={self.consecutive} is not a count of looks")
        if self.interval <= 0 or not 0 <= self.jitter <= 1:
            raise UsageError(f"interval={self.interval}, jitter={self.jitter}: seconds above 0, and a part from 0 to 1")
        self.history = History(self.redactor)
        self._codes, self._classes = asking.statuses(self.retry_on)

    # What a look found

    def judge_answer(self, answer: asking.Answer) -> Any:
        """Return the body that ends the wait, or raise: not yet, or never."""
        if 200 <= answer.status < 300:
            return self.judge_value(
                answer.body, told=f"{answer.status}: {answer.text}" + (" (cut)" if answer.cut else "")
            )
        body = f": {answer.text}" if answer.text else ""
        place = f" → {answer.location}" if answer.location else ""
        self._saw(f"{answer.status} {answer.phrase}{place}{body}")
        self._retry_after = answer.retry_after
        if answer.status == _ALWAYS_WAITS or answer.status in self._codes:
            raise NotYet
        hint = ""
        if 300 <= answer.status < 400:
            hint = "; redirects are not followed, unless follow_redirects=True"
        elif answer.status >= 500:
            hint = f"; to wait for it to pass: retry_on=[{answer.status}]"
        raise self.failed(f"HTTP {answer.status} {answer.phrase}{place}{hint}")

    def judge_value(self, value: Any, told: str = "") -> Any:
        """Return ``value`` if it ends the wait, or raise: not yet, or never."""
        told = told or repr(value)
        try:
            if self.fail_when is not None and self._holds(self.fail_when, value):
                self._saw(told)
                raise self.failed(f"fail_when holds for {shorten(self.redactor.clean(told), 200)}")
            held = bool(self.until(value))
        except NeverReady as error:
            self._saw(told)
            raise self.failed(_first_line(error)) from error
        except AssertionError as error:
            raise self._not_yet(f"{told}; until: {_first_line(error)}") from error
        except _SHAPE as error:
            raise self._not_yet(f"{told}; until raised {type(error).__name__}: {error}") from error
        if not held:
            raise self._not_yet(told)
        self._in_a_row += 1
        self._saw(f"{told} ✓" if self.consecutive == 1 else f"{told} ✓ {self._in_a_row}/{self.consecutive}", held=True)
        if self._in_a_row < self.consecutive:
            raise NotYet
        return value

    def judge_error(self, error: Exception) -> NotYet:
        """Return "not yet" for an error that may pass; raise for one that never does."""
        if isinstance(error, NeverReady):
            self._saw(f"NeverReady: {_first_line(error)}")
            raise self.failed(_first_line(error)) from error
        if isinstance(error, UsageError):
            self._saw(error.summary)
            raise self.failed(error.summary) from error
        plain = isinstance(error, AssertionError) and bool(str(error))
        told = _first_line(error) if plain else f"{type(error).__name__}: {_first_line(error)}"
        if _is_certificate(error):
            self._saw(told)
            raise self.failed(
                f"{_first_line(error)}; a certificate does not become valid by waiting (verify=…)"
            ) from error
        if not (isinstance(error, (AssertionError, OSError, *self._classes)) or _is_transport(error)):
            raise error
        return self._not_yet(told)

    def _holds(self, check: Callable[[Any], Any], value: Any) -> bool:
        try:
            return bool(check(value))
        except _SHAPE:
            return False

    def _not_yet(self, told: str) -> NotYet:
        self._saw(told)
        return NotYet()

    def _saw(self, told: str, held: bool = False) -> None:
        if not held:
            self._in_a_row = 0
        self._retry_after = 0.0
        self.history.add(told, self.deadline.elapsed())

    # How a wait ends badly

    def failed(self, why: str) -> WaitFailed:
        """Return the error for "never"."""
        return WaitFailed(f"{self.subject} can never hold: {self.redactor.clean(why)}", **self._told())

    def timed_out(self) -> WaitTimeout:
        """Return the error for "not in time"."""
        last = shorten(self.history.last, 200) or "nothing was seen"
        within = format_duration(self.deadline.budget)
        return WaitTimeout(f"{self.subject} did not hold within {within}; last: {last}", **self._told())

    def _told(self) -> dict[str, Any]:
        lines = self.history.lines()
        evidence = [f"layer: {self.layer}, after {self.deadline.elapsed():.1f} s"]
        if self.correlation_id:
            evidence.append(f"{CORRELATION_HEADER}: {self.correlation_id}")
        evidence += ["seen:", *lines] if lines else []
        return {"layer": self.layer, "history": lines, "evidence": evidence, "command": self.command}

    # Mechanics

    def retrying(self) -> dict[str, Any]:
        """Return the arguments of tenacity's ``Retrying``."""
        import tenacity

        return {
            "retry": tenacity.retry_if_exception_type(NotYet),
            "wait": self._pause,
            "stop": lambda state: self.deadline.expired,
            "reraise": True,
        }

    def _pause(self, state: tenacity.RetryCallState) -> float:
        pause = self.interval * (1 + self.jitter * random.uniform(-1, 1))  # noqa: S311
        return self.deadline.sooner(max(pause, self._retry_after))

    def step(self, longest: float) -> float:
        """Return the seconds that one look may take: the last one gets a moment, even when no time is left."""
        return max(0.5, self.deadline.sooner(longest))


def _is_transport(error: Exception) -> bool:
    import httpx

    return isinstance(error, httpx.TransportError)


def _is_certificate(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError) or "CERTIFICATE_VERIFY_FAILED" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0] or type(error).__name__
