"""A diagnosis as text for a report, the most telling first, bounded; this module must never ask the cluster.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime, timedelta
from typing import Any

from pytest_ephemeral_ns.rules.redaction import printable
from pytest_ephemeral_ns.rules.triage import Finding, LogWish, Triage
from pytest_ephemeral_ns.rules.warned import Warned

LIMIT = 64 * 1024  # bytes of text in a report
_LINE = 500
_FINDINGS, _STORIES, _WARNINGS, _FACTS = 20, 5, 25, 20
_STAMP = re.compile(r"^\d{4}-\d\d-\d\dT(\d\d:\d\d:\d\d)(\.\d{1,3})?\d*(?:Z|[+-]\d\d:\d\d) ?")
_GRACE = timedelta(seconds=1)
_MARKS = {"failed": "✗", "waiting": "…", "ready": "✓"}


@dataclass(frozen=True)
class Diagnosis:
    """What the cluster did, as far as it could be had. Holds no secret.

    Args:
        namespace: which.
        headline: one line: what is wrong, or that nothing is.
        text: for people, at most 64 KiB.
        said: the part of it that is logs.
        bundle: folder with everything else; empty if none was written.
        taken: when, ``2026-11-24T09:00:00Z``.
        seconds: how long it took.
        redactions: how often what was removed: ``{"Secret/db password": 3}``.
        missing: what could not be had, a line each.
        signature: the same as long as the state of the namespace is the same.
        cluster: as people call it, ``"embedded default"``.

    Example:
        >>> print(Diagnosis("shop", "all 3 objects are ready", "✓ all 3 objects are ready"))
        ✓ all 3 objects are ready
    """

    namespace: str
    headline: str
    text: str
    said: str = ""
    bundle: str = ""
    taken: str = ""
    seconds: float = 0.0
    redactions: Mapping[str, int] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    signature: str = ""
    cluster: str = ""

    def __str__(self) -> str:
        return self.text

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values, for another process."""
        return {**asdict(self), "missing": list(self.missing), "redactions": dict(self.redactions)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Diagnosis:
        """Return what :meth:`to_dict` gave; unknown keys are ignored."""
        known = {item.name for item in fields(cls)}
        return cls(**{**{k: v for k, v in data.items() if k in known}, "missing": tuple(data.get("missing", ()))})


def tell(
    found: Triage,
    logs: Mapping[LogWish, str],
    *,
    title: str,
    log_lines: int,
    footer: Sequence[str] = (),
    limit: int = LIMIT,
) -> tuple[str, str]:
    """Return a diagnosis as text, and the part of it that is logs.

    Args:
        found: what matters.
        logs: of the containers that matter; redacted.
        title: the first line.
        log_lines: of each container.
        footer: lines for the end, which are never cut.
        limit: bytes.
    """
    parts = [title, *_verdicts(found), *_stories(found.findings), *_warned(found.warnings)]
    parts += _block("containers that ended or restarted", found.facts)
    parts += _block("pods without a node", found.unscheduled)
    parts += _block("quotas that are nearly used up", found.quotas)
    head = "\n".join(parts)
    tail = "\n".join(["", *footer]) if footer else ""
    room = limit - len(tail.encode())
    head = cut(head, room)
    body = _logs(logs, log_lines, room - len(head.encode()))
    return head + body + tail, body.lstrip("\n")


def _verdicts(found: Triage) -> list[str]:
    lines = [_verdict(item) for item in found.findings[:_FINDINGS]]
    if (left := len(found.findings) - _FINDINGS) > 0:
        lines.append(f"  and {left} more that are not ready")
    if found.ready:
        shown = ", ".join(map(str, found.ready[:12])) + (" …" if len(found.ready) > 12 else "")
        lines.append(f"  ✓ ready: {shown}")
    return lines


def _verdict(item: Finding) -> str:
    told = item.verdict
    return f"  {_MARKS[told.state]} {item.ref} {told.state}: {_short(told.message or told.reason)}"


def _stories(findings: Sequence[Finding]) -> list[str]:
    lines: list[str] = []
    for item in findings[:_STORIES]:
        if item.story:
            lines += ["", f"why {item.ref} is not ready:", *(f"  {_short(line)}" for line in item.story)]
    return lines


def _warned(warnings: Sequence[Warned]) -> list[str]:
    """The last ones count most; those from the time of the test are marked, and stay."""
    if not warnings:
        return []
    kept = [item for item in warnings if item.during][-_WARNINGS:]
    kept += [item for item in warnings if not item.during][-(_WARNINGS - len(kept)) or len(warnings) :]
    marked = any(item.during for item in warnings) and not all(item.during for item in warnings)
    title = "warning events, oldest first" + (" (▸ while the test ran):" if marked else ":")
    lines = ["", title]
    if (left := len(warnings) - len(kept)) > 0:
        lines.append(f"  … {left} earlier ones are in the bundle")
    for item in sorted(kept, key=lambda one: (one.first, one.last)):
        mark = "▸" if item.during and marked else " "
        count = f" ×{item.count}" if item.count > 1 else ""
        others = f" (and {item.others} more)" if item.others else ""
        lines.append(f" {mark}{item.first:%H:%M:%S}{count}  {item.ref}{others}: {item.reason}: {_short(item.message)}")
    return lines


def _block(title: str, lines: Sequence[str]) -> list[str]:
    if not lines:
        return []
    more = [f"  and {len(lines) - _FACTS} more"] if len(lines) > _FACTS else []
    return ["", f"{title}:", *(f"  {_short(line)}" for line in lines[:_FACTS]), *more]


def _logs(logs: Mapping[LogWish, str], log_lines: int, room: int) -> str:
    told: list[str] = []
    share = room // max(1, len(logs))
    for wish, text in logs.items():
        lines = printable(text).splitlines()[-log_lines:] if log_lines else []
        state = f" ({wish.why})" if wish.why else ""
        which = "before its last restart, " if wish.previous else ""
        title = f"Pod/{wish.pod}, container {wish.container}{state}, {which}"
        if not lines:
            told.append(f"\n\n{title}its log is empty")
            continue
        count = "last line" if len(lines) == 1 else f"last {len(lines)} lines"
        begin = f"\n\n{title}{count} of its log:\n"
        told.append(begin + _last([f"  {_log_line(line)}" for line in lines], share - len(begin.encode())))
    return "".join(told) if room > 0 else "\n  … logs are in the bundle"


def _log_line(line: str) -> str:
    """A line with the time of day instead of the kubelet's long stamp."""
    match = _STAMP.match(line)
    if match is None:
        return f"| {_short(line)}"
    return f"{match[1]}{(match[2] or '.0').ljust(4, '0')} | {_short(line[match.end() :])}"


def before(log: str, until: datetime | None) -> str:
    """Return the lines of a log that are not newer than ``until``; lines without a time stay.

    Args:
        log: lines that begin with the kubelet's time.
        until: the end, with whole seconds of grace for a container's own delay.

    Example:
        >>> from datetime import timezone
        >>> before("2026-01-01T00:00:09.5Z late", datetime(2026, 1, 1, tzinfo=timezone.utc))
        ''
    """
    if until is None:
        return log
    last = f"{until + _GRACE:%Y-%m-%dT%H:%M:%S}"
    return "".join(line for line in log.splitlines(keepends=True) if not _is_after(line, last))


def _is_after(line: str, last: str) -> bool:
    match = _STAMP.match(line)
    return match is not None and match[0].rstrip().endswith("Z") and line[: len(last)] > last


def _last(lines: Sequence[str], room: int) -> str:
    kept: list[str] = []
    for line in reversed(lines):
        room -= len(line.encode()) + 1
        if room < 0:
            kept.append("  …")
            break
        kept.append(line)
    return "\n".join(reversed(kept))


def _short(line: str) -> str:
    return line if len(line) <= _LINE else f"{line[:_LINE]} … ({len(line)} characters)"


def cut(text: str, limit: int) -> str:
    """Return the text, its end left out where it is longer than ``limit`` bytes.

    Args:
        text: any.
        limit: bytes.

    Example:
        >>> cut("abc", 64)
        'abc'
    """
    data = text.encode()
    if len(data) <= limit:
        return text
    return data[: max(0, limit - 40)].decode(errors="ignore") + "\n  … cut, all of it is in the bundle"
