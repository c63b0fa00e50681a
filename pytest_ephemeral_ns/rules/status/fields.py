"""Reading an object's fields safely, whatever is missing; this module must never decide.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

from pytest_ephemeral_ns.rules.objects import Object, Ref

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def dig(obj: Mapping[str, Any] | None, *path: str, default: Any = None) -> Any:
    """Return the field at ``path``, or ``default`` where any part of it is missing or null.

    Example:
        >>> dig({"status": {"replicas": 3}}, "status", "replicas", default=0)
        3
    """
    value: Any = obj
    for part in path:
        if not isinstance(value, Mapping):
            return default
        value = value.get(part)
        if value is None:
            return default
    return value


def number(obj: Mapping[str, Any], *path: str, default: int = 0) -> int:
    """Return the whole number at ``path``."""
    value = dig(obj, *path, default=default)
    return value if isinstance(value, int) else default


def when(text: Any, default: datetime = EPOCH) -> datetime:
    """Return a Kubernetes time as an aware datetime.

    Example:
        >>> when("2026-01-02T03:04:05Z").hour
        3
    """
    if not isinstance(text, str) or not text:
        return default
    head, _, fraction = text.removesuffix("Z").partition(".")
    try:
        return datetime.fromisoformat(head).replace(tzinfo=timezone.utc) + timedelta(
            seconds=float(f"0.{fraction or 0}")
        )
    except ValueError:
        return default


def created(obj: Mapping[str, Any]) -> datetime:
    """Return when the object was made."""
    return when(dig(obj, "metadata", "creationTimestamp"))


def deleting_since(obj: Mapping[str, Any]) -> datetime | None:
    """Return when its deletion was asked for; ``None`` if it was not."""
    text = dig(obj, "metadata", "deletionTimestamp")
    if not text:
        return None
    # The timestamp is the moment at which the grace period ends.
    return when(text) - timedelta(seconds=number(obj, "metadata", "deletionGracePeriodSeconds"))


def uid(obj: Mapping[str, Any]) -> str:
    """Return its UID."""
    return str(dig(obj, "metadata", "uid", default=""))


def name(obj: Mapping[str, Any]) -> str:
    """Return its name."""
    return str(dig(obj, "metadata", "name", default=""))


def condition(obj: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    """Return the condition of that type; empty if there is none."""
    for item in dig(obj, "status", "conditions", default=()):
        if isinstance(item, Mapping) and item.get("type") == kind:
            return item
    return {}


def is_true(obj: Mapping[str, Any], kind: str) -> bool:
    """Whether the condition of that type is True."""
    return condition(obj, kind).get("status") == "True"


def is_false(obj: Mapping[str, Any], kind: str) -> bool:
    """Whether the condition of that type is there and False."""
    return condition(obj, kind).get("status") == "False"


def ref_of(obj: Object, api_version: str, kind: str) -> Ref:
    """Return its reference; items of a list do not carry their kind, so the caller gives it."""
    found = Ref.of(obj)
    return Ref(found.api_version or api_version, found.kind or kind, found.name, found.namespace, found.uid)


def one_line(text: Any, limit: int = 600) -> str:
    """Return the text on one line, cut in the middle when it is longer than ``limit`` characters."""
    line = " ".join(str(text or "").split())
    if len(line) <= limit:
        return line
    half = (limit - 3) // 2
    return f"{line[:half]} … {line[-half:]}"
