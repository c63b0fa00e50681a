"""Durations as people write them; this module must never look at a clock.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import re

from pytest_ephemeral_ns.errors import UsageError

_UNITS = {"w": 604800, "d": 86400, "h": 3600, "m": 60, "s": 1}
_PLAIN = re.compile(r"[0-9]+(\.[0-9]+)?")
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)([wdhms])")


def parse_duration(text: str) -> float:
    """Return the seconds that ``text`` means.

    Args:
        text: ``"90s"``, ``"5m"``, ``"2h"``, ``"1d"``, ``"1w"``, several of them (``"1h30m"``), or plain seconds.

    Returns:
        Seconds, zero or more.

    Raises:
        UsageError: it is none of these.

    Example:
        >>> parse_duration("1h30m")
        5400.0
    """
    value = text.strip().lower()
    if _PLAIN.fullmatch(value):
        return float(value)
    parts = _PART.findall(value)
    if not parts or "".join(amount + unit for amount, unit in parts) != value:
        raise UsageError(f"{text!r} is not a duration; write 90s, 5m, 2h, 1d, 1h30m or plain seconds")
    return float(sum(float(amount) * _UNITS[unit] for amount, unit in parts))


def format_duration(seconds: float) -> str:
    """Return a duration for people: the two largest units, nothing below a second except under ten seconds.

    Args:
        seconds: may be negative: then with a minus sign.

    Example:
        >>> format_duration(5400), format_duration(3.25), format_duration(90061)
        ('1h30m', '3.2s', '1d1h')
    """
    if seconds < 0:
        return "-" + format_duration(-seconds)
    if seconds < 9.95:
        return f"{seconds:.1f}".removesuffix(".0") + "s"
    rest = round(seconds)
    parts: list[str] = []
    for unit in "dhms":
        amount, rest = divmod(rest, _UNITS[unit])
        if amount or parts:
            parts.append(f"{amount}{unit}")
    return "".join(part for part in parts[:2] if not part.startswith("0"))
