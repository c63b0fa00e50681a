"""The objects around the one that is judged, with the indexes that the rules need; this module must never fetch.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any

from pytest_ephemeral_ns.rules.objects import Object
from pytest_ephemeral_ns.rules.status import fields
from pytest_ephemeral_ns.rules.status.answers import Cause, Seen

_KEPT = ("crash", "image", "image back-off", "unprobed")


class Related:
    """What is known of a namespace at one moment, and what was seen first of each cause.

    Args:
        objects: kind → its objects, for example ``{"Pod": [...], "Event": [...]}``; a kind that could not be read is
            absent, which is not the same as an empty list.
        seen: causes as they were seen first, by :attr:`Cause.key`.
        calm_since: since when nothing else is on its way; ``None`` if that is not known.

    Example:
        >>> Related({"Pod": [{"metadata": {"name": "a", "ownerReferences": [{"uid": "1"}]}}]}).owned_by("1", "Pod")
        [{'metadata': {'name': 'a', 'ownerReferences': [{'uid': '1'}]}}]
    """

    def __init__(
        self, objects: Mapping[str, Sequence[Object]], *, seen: Seen | None = None, calm_since: datetime | None = None
    ) -> None:
        self._objects = objects
        self.calm_since = calm_since
        self.seen: Seen = seen or {}
        self._owned: dict[str, dict[str, list[Object]]] = {}

    def knows(self, kind: str) -> bool:
        """Whether objects of this kind could be read."""
        return kind in self._objects

    def all(self, kind: str) -> Sequence[Object]:
        """Return every object of this kind."""
        return self._objects.get(kind, ())

    def named(self, kind: str, name: str) -> Object | None:
        """Return the object of this kind and name."""
        return next((obj for obj in self.all(kind) if fields.name(obj) == name), None)

    def owned_by(self, uid: str, kind: str) -> list[Object]:
        """Return the objects of this kind whose owner has this UID."""
        if kind not in self._owned:
            index: dict[str, list[Object]] = defaultdict(list)
            for obj in self.all(kind):
                for owner in fields.dig(obj, "metadata", "ownerReferences", default=()):
                    index[str(owner.get("uid", ""))].append(obj)
            self._owned[kind] = index
        return self._owned[kind].get(uid, []) if uid else []

    def selected(self, selector: Mapping[str, Any], kind: str) -> list[Object]:
        """Return the objects of this kind that carry all these labels."""
        wanted = selector.items()
        return [obj for obj in self.all(kind) if wanted <= fields.dig(obj, "metadata", "labels", default={}).items()]

    def events(self, obj: Mapping[str, Any], *reasons: str) -> list[Object]:
        """Return the events about exactly this object (by UID), oldest first.

        Args:
            obj: the object.
            reasons: only events with one of these reasons; all when empty.
        """
        found = self._events.get(fields.uid(obj), [])
        return [event for event in found if not reasons or event.get("reason") in reasons]

    def first(self, cause: Cause) -> Cause | None:
        """Return the same cause as it was seen first."""
        return self.seen.get(cause.key)

    @cached_property
    def _events(self) -> Mapping[str, list[Object]]:
        index: dict[str, list[Object]] = defaultdict(list)
        for event in self.all("Event"):
            index[str(fields.dig(event, "involvedObject", "uid", default=""))].append(event)
        for events in index.values():
            events.sort(key=last_seen)
        return index


def first_seen(event: Mapping[str, Any]) -> datetime:
    """Return when an event happened first."""
    for path in (("firstTimestamp",), ("eventTime",), ("metadata", "creationTimestamp")):
        if text := fields.dig(event, *path):
            return fields.when(text)
    return fields.EPOCH


def last_seen(event: Mapping[str, Any]) -> datetime:
    """Return when an event happened last."""
    for path in (("series", "lastObservedTime"), ("lastTimestamp",), ("eventTime",), ("metadata", "creationTimestamp")):
        if text := fields.dig(event, *path):
            return fields.when(text)
    return fields.EPOCH


def times(event: Mapping[str, Any]) -> int:
    """Return how often an event happened."""
    return max(fields.number(event, "count", default=1), fields.number(event, "series", "count", default=1))


def remember(seen: Seen, causes: Iterable[Cause]) -> dict[tuple[str, str, str], Cause]:
    """Return the causes to hand to the next look, as they were seen first.

    The kubelet replaces its first, precise message ("… not found") by a vague one ("Back-off pulling image"), and a
    container that crashes runs between two crashes: these are kept while they are out of sight.

    Args:
        seen: what :func:`remember` returned before.
        causes: the causes of all verdicts of one look.
    """
    known = {key: cause for key, cause in seen.items() if cause.topic in _KEPT}
    for cause in causes:
        known.setdefault(cause.key, seen.get(cause.key, cause))
    return known
