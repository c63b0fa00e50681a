"""One point in time that every step of a wait shares; this module must never sleep.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Deadline:
    """A moment on the monotonic clock.

    Args:
        at: seconds on :func:`time.monotonic`.
        budget: how long it was when it was made, in seconds; for messages.

    Example:
        >>> Deadline.after(90).budget
        90
    """

    at: float
    budget: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """Return the deadline that is ``seconds`` from now."""
        return cls(time.monotonic() + seconds, seconds)

    def remaining(self) -> float:
        """Return the seconds that are left, never below zero."""
        return max(0.0, self.at - time.monotonic())

    def elapsed(self) -> float:
        """Return the seconds since the deadline was made."""
        return self.budget - (self.at - time.monotonic())

    @property
    def expired(self) -> bool:
        """Whether no time is left."""
        return self.remaining() == 0.0

    def sooner(self, seconds: float) -> float:
        """Return the smaller of ``seconds`` and what is left; for the time-out of one step."""
        return min(seconds, self.remaining())
