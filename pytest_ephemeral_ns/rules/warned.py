"""Warning events, folded: what says the same is told once; this module must never look at another object.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from pytest_ephemeral_ns.rules.objects import Object, Ref
from pytest_ephemeral_ns.rules.status import fields
from pytest_ephemeral_ns.rules.status.related import first_seen, last_seen, times

_GENERATED = re.compile(r"-[0-9a-f]{5,10}-[a-z0-9]{5}\b|-[a-z0-9]{5}\b(?=[\s\"',.)]|$)|\b[0-9a-f]{8}-[0-9a-f-]{27}\b")
_PLACE = re.compile(r"_[a-z0-9.-]+\([0-9a-f-]{36}\)")
_QUICK = timedelta(seconds=2)  # times of events and states are whole seconds


@dataclass(frozen=True)
class Warned:
    """Events that say the same, told once.

    Args:
        ref: about which object, the first of them.
        reason: CamelCase.
        message: in the cluster's words.
        first: when it was seen first.
        last: when it was seen last.
        count: how often.
        others: about how many further objects.
        during: whether it happened while the failed test ran.
    """

    ref: Ref
    reason: str
    message: str
    first: datetime
    last: datetime
    count: int = 1
    others: int = 0
    during: bool = False


def warnings_of(events: Iterable[Object], since: datetime | None, until: datetime | None = None) -> list[Warned]:
    """Return the warning events, those that say the same of objects of one kind told once, oldest first.

    Args:
        events: all events of a namespace.
        since: when the failed test began, on the API server's clock.
        until: when it ended.
    """
    found: dict[tuple[str, str, str], Warned] = {}
    for event in events:
        if event.get("type", "Normal") == "Normal":
            continue
        told = event.get("involvedObject") or event.get("regarding") or {}
        ref = Ref(str(told.get("apiVersion", "")), str(told.get("kind", "")), str(told.get("name", "")))
        # "… in pod api-x_shop(08dd…)": whose it is stands before it.
        message = _PLACE.sub("", fields.one_line(event.get("message") or event.get("note"), 400))
        first, last = first_seen(event), last_seen(event)
        during = since is not None and last >= since - _QUICK and (until is None or first <= until + _QUICK)
        one = Warned(ref, str(event.get("reason", "")), message, first, last, times(event), 0, during)
        key = (ref.kind, one.reason, _GENERATED.sub("-*", message.replace(ref.name, "*")))
        found[key] = _folded(found[key], one) if key in found else one
    return sorted(found.values(), key=lambda item: (item.first, item.last))


def _folded(known: Warned, one: Warned) -> Warned:
    return replace(
        known,
        first=min(known.first, one.first),
        last=max(known.last, one.last),
        count=known.count + one.count,
        others=known.others + (one.ref.name != known.ref.name),
        during=known.during or one.during,
    )
