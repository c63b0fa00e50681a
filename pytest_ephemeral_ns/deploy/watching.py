"""What happens to one object, as it happens; this module must never sleep.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_ephemeral_ns.deadline import Deadline
    from pytest_ephemeral_ns.kube.api import Api

DELETED = "DELETED"
ERROR = "ERROR"
ONE_WATCH = 30.0


def events_of(api: Api, path: str, version: str, deadline: Deadline) -> Iterator[Mapping[str, Any]]:
    """Yield the watch events of one object until the deadline.

    Args:
        api: the server.
        path: of the object.
        version: the resourceVersion after which to begin; empty begins with the object as it is.
        deadline: when to end.

    Yields:
        ``{"type": "MODIFIED", "object": {...}}`` and so on. After an ``ERROR`` (the version is too old) the watch
        begins again with the object as it is: one that is gone by then gives no event.

    Example:
        >>> def wait_for(api, path, deadline):
        ...     return next(event for event in events_of(api, path, "", deadline) if event["type"] != "ERROR")
    """
    collection, _, name = path.rpartition("/")
    while not deadline.expired:
        seconds = max(1, int(deadline.sooner(ONE_WATCH)))
        params = {"watch": "true", "fieldSelector": f"metadata.name={name}", "timeoutSeconds": str(seconds)}
        if version:
            params["resourceVersion"] = version
        with api.stream(collection, params=params, read_timeout=seconds + 5.0) as lines:
            for line in lines:
                event = json.loads(line)
                version = "" if event["type"] == ERROR else version
                yield event


def await_gone(api: Api, path: str, version: str, deadline: Deadline) -> bool:
    """Wait until an object that is being deleted is gone; False when the deadline came first."""
    for event in events_of(api, path, version, deadline):
        if event["type"] == DELETED or (event["type"] == ERROR and api.find(path) is None):
            return True
    return False
