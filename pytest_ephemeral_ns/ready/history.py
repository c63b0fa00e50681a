"""What a wait saw, each change with its time, bounded and without secrets; this module must never decide.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pytest_ephemeral_ns.rules.redaction import Redactor

SHOWN = 500
_FIRST, _LAST = 5, 45


@dataclass
class Observation:
    """One thing that was seen for a while.

    Args:
        what: the words.
        first: seconds after the start of the wait.
        last: when it was seen last, in the same seconds.
        count: how often in a row.
    """

    what: str
    first: float
    last: float
    count: int = 1

    def __str__(self) -> str:
        again = f"  ({self.count} times, until {self.last:.1f} s)" if self.count > 1 else ""
        return f"{self.first:6.1f} s  {self.what}{again}"


def redactor_of(secrets: Iterable[str]) -> Redactor:
    """Return what removes these values, and what looks like a secret, from text.

    Args:
        secrets: the values.

    Example:
        >>> redactor_of(["hunter22"]).clean("login with hunter22")
        'login with ***'
    """
    return Redactor(dict.fromkeys(secrets, "secret"))


class History:
    """The distinct observations of one wait, in order; of very many, the first few and the last ones are kept.

    Args:
        redactor: removes secrets before anything is kept.

    Example:
        >>> history = History(redactor_of([]))
        >>> for second in range(3):
        ...     history.add("404 Not Found", second)
        >>> history.lines()
        ['   0.0 s  404 Not Found  (3 times, until 2.0 s)']
    """

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._kept: list[Observation] = []
        self._dropped = 0

    def add(self, what: str, at: float) -> None:
        """Note what was seen ``at`` seconds after the start."""
        line = shorten(self._redactor.clean(what))
        if self._kept and self._kept[-1].what == line:
            self._kept[-1].last, self._kept[-1].count = at, self._kept[-1].count + 1
            return
        self._kept.append(Observation(line, at, at))
        if len(self._kept) > _FIRST + _LAST:
            del self._kept[_FIRST]
            self._dropped += 1

    @property
    def last(self) -> str:
        """What was seen last; empty if nothing was."""
        return self._kept[-1].what if self._kept else ""

    def lines(self) -> list[str]:
        """Return the observations for people."""
        lines = [str(item) for item in self._kept]
        if self._dropped:
            lines.insert(_FIRST, f"    …     {self._dropped} more changes")
        return lines


def shorten(text: str, limit: int = SHOWN) -> str:
    """Return the text on one line, its middle left out when it is longer than ``limit`` characters."""
    line = " ".join(text.split())
    if len(line) <= limit:
        return line
    return f"{line[: limit * 3 // 4]} … {line[-limit // 5 :]} ({len(line)} characters)"
