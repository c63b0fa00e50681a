"""What a rule answers: ready, waiting or failed, and why; this module must never know a kind.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Literal

from pytest_ephemeral_ns.rules.objects import Ref

State = Literal["ready", "waiting", "failed"]


@dataclass(frozen=True)
class Cause:
    """One reason why something is not ready, seen on one object.

    Args:
        ref: the object on which it was seen, for example the pod of a Deployment.
        reason: CamelCase, the cluster's own word where there is one.
        message: what the cluster said, shortened to what helps.
        since: when it began, on the API server's clock.
        grace: seconds that it may last before it counts as failed; ``math.inf`` is never.
        container: name of the container, empty if the cause is not in one.
        log: ``"previous"`` or ``"current"`` when that container's log belongs into the report.
        topic: causes of one object and container with the same topic are one cause whose words change.
        others: how many further objects show the same.
        command: what to type next, if there is something better than ``kubectl describe``.
        until: when it ends by itself, if that is known.
    """

    ref: Ref
    reason: str
    message: str
    since: datetime
    grace: float = math.inf
    container: str = ""
    log: Literal["", "current", "previous"] = ""
    topic: str = ""
    others: int = 0
    command: str = ""
    until: datetime | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        """What makes it the same cause when it is seen again with other words."""
        return (self.ref.uid or str(self.ref), self.container, self.topic or self.reason)

    @property
    def due(self) -> datetime | None:
        """When it becomes a failure; ``None`` if never."""
        return None if math.isinf(self.grace) else self.since + timedelta(seconds=self.grace)

    def over(self, now: datetime) -> bool:
        """Whether its grace has ended."""
        return self.due is not None and self.due <= now

    def __str__(self) -> str:
        where = f"{self.ref}, container {self.container}" if self.container else str(self.ref)
        more = f" (and {self.others} more)" if self.others else ""
        return f"{where}{more}: {self.reason}: {self.message}" if self.message else f"{where}{more}: {self.reason}"


@dataclass(frozen=True)
class Verdict:
    """The answer for one object.

    Args:
        state: ``"ready"``, ``"waiting"`` or ``"failed"`` (waiting longer cannot help).
        reason: CamelCase.
        message: for people, with the ratio where there is one: ``"Ready: 1/3"``.
        causes: why it is not ready, the most telling first.
        due: when time alone may change the answer; ``None`` if only a change of an object can.

    Example:
        >>> print(Verdict("waiting", "Progressing", "Ready: 1/3"))
        waiting: Progressing: Ready: 1/3
    """

    state: State
    reason: str
    message: str = ""
    causes: tuple[Cause, ...] = ()
    due: datetime | None = None

    @property
    def ready(self) -> bool:
        """Whether it is ready."""
        return self.state == "ready"

    @property
    def failed(self) -> bool:
        """Whether waiting longer cannot help."""
        return self.state == "failed"

    def __str__(self) -> str:
        return f"{self.state}: {self.reason}: {self.message}" if self.message else f"{self.state}: {self.reason}"


def ready(reason: str, message: str = "") -> Verdict:
    """Return "ready"."""
    return Verdict("ready", reason, message)


Seen = Mapping[tuple[str, str, str], Cause]


def not_ready(
    reason: str, message: str, causes: Sequence[Cause], now: datetime, seen: Seen = MappingProxyType({})
) -> Verdict:
    """Return "failed" if a cause's grace is over, else "waiting" until the next grace ends.

    Args:
        reason: used when there is no cause.
        message: how far it is: ``"Ready: 1/3"``.
        causes: what is in the way.
        now: the time, on the API server's clock.
        seen: causes as they were seen first: one that has no time of its own (``since`` is now) began then.

    Example:
        >>> not_ready("Progressing", "Ready: 0/1", [], datetime(2026, 1, 1)).state
        'waiting'
    """
    merged = alike([_dated(cause, now, seen) for cause in causes])
    over = [cause for cause in merged if cause.over(now)]
    ordered = (*over, *(cause for cause in merged if cause not in over))
    if ordered:
        first = ordered[0]
        told = f"{first}"
        return Verdict(
            "failed" if over else "waiting",
            first.reason,
            f"{message}; {told}" if message else told,
            ordered,
            None if over else min((at for cause in ordered for at in (cause.due, cause.until) if at), default=None),
        )
    return Verdict("waiting", reason, message)


def _dated(cause: Cause, now: datetime, seen: Seen) -> Cause:
    known = seen.get(cause.key)
    return replace(cause, since=known.since) if known and cause.since == now else cause


def alike(causes: Sequence[Cause]) -> list[Cause]:
    """Return the causes with those of several pods that say the same told once, and counted."""
    kept: dict[tuple[str, str, str, str], Cause] = {}
    for cause in causes:
        key = (cause.ref.kind, cause.container, cause.reason, cause.message.replace(cause.ref.name, ""))
        known = kept.get(key)
        if known is None:
            kept[key] = cause
        elif known.ref == cause.ref:
            continue
        else:
            oldest = min(known, cause, key=lambda item: item.due or datetime.max.replace(tzinfo=item.since.tzinfo))
            kept[key] = replace(oldest, others=known.others + 1)
    return list(kept.values())
