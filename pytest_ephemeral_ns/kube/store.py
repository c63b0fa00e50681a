"""What a watch knows of one collection; this module must never talk to a server.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from pytest_ephemeral_ns.errors import ApiError

Object = dict[str, Any]
Key = tuple[str, str]

_REMEMBERED = 1000


class Store:
    """The objects of one collection as the server last told them. Thread-safe; filled by a :class:`Watcher`.

    Objects are shared between all readers: do not change them. ``metadata.managedFields`` is left out.

    Args:
        path: of the collection.
        tell: called after every change.

    Attributes:
        path: of the collection.
        synced: whether the first list has arrived.
        error: why the server refuses to list or watch this, as long as it does (a missing permission, a kind that
            is gone, an expired credential); waiting alone does not help.
        trouble: why there is no connection at the moment; it is being tried again.

    Example:
        >>> store = Store("/api/v1/namespaces/shop/pods", lambda: None)
        >>> store.replace([{"metadata": {"namespace": "shop", "name": "api", "resourceVersion": "7"}}])
        >>> sorted(store.snapshot())
        [('shop', 'api')]
    """

    def __init__(self, path: str, tell: Callable[[], None]) -> None:
        self.path = path
        self.synced = False
        self.error: ApiError | None = None
        self.trouble: ApiError | None = None
        self._tell = tell
        self._lock = threading.Lock()
        self._objects: dict[Key, Object] = {}
        self._seen: dict[Key, float] = {}
        self._deleted: dict[Key, Object] = {}

    def snapshot(self) -> dict[Key, Object]:
        """Return all objects by namespace and name, as they are now."""
        with self._lock:
            return dict(self._objects)

    def get(self, namespace: str, name: str) -> Object | None:
        """Return one object, or ``None``."""
        with self._lock:
            return self._objects.get((namespace, name))

    def deleted(self) -> dict[Key, Object]:
        """Return the last state of the objects that were there once and are gone: a Job that its TTL has removed."""
        with self._lock:
            return dict(self._deleted)

    def seen_at(self, namespace: str, name: str) -> float:
        """Return when the last news of an object came in, on :func:`time.monotonic`; 0 if there was none."""
        with self._lock:
            return self._seen.get((namespace, name), 0.0)

    def replace(self, items: Iterable[Object]) -> None:
        """Take over a whole list: what is not in it any more has been deleted."""
        now = time.monotonic()
        with self._lock:
            gone = dict(self._objects)
            for item in items:
                gone.pop(_key(item), None)
                self._put(item, now)
            for key, item in gone.items():
                self._remove(key, item, now)
            self.synced, self.error, self.trouble = True, None, None
        self._tell()

    def apply(self, kind: str, item: Object) -> None:
        """Take over one event of a watch.

        Args:
            kind: ``ADDED``, ``MODIFIED`` or ``DELETED``.
            item: the object; for ``DELETED`` its last state.
        """
        now = time.monotonic()
        with self._lock:
            changed = self._remove(_key(item), item, now) if kind == "DELETED" else self._put(item, now)
        if changed:
            self._tell()

    def fail(self, error: ApiError, *, lasting: bool) -> None:
        """Note that the collection cannot be followed; what was known stays."""
        with self._lock:
            self.error = error if lasting else None
            self.trouble = None if lasting else error
        self._tell()

    def recover(self) -> None:
        """Note that the connection is there again."""
        if self.error is not None or self.trouble is not None:
            self.error = self.trouble = None
            self._tell()

    def _put(self, item: Object, now: float) -> bool:
        key = _key(item)
        known = self._objects.get(key)
        if known is not None and _version(known) == _version(item):
            return False  # told twice, after a reconnection
        item["metadata"].pop("managedFields", None)
        self._objects[key] = item
        self._deleted.pop(key, None)
        self._seen[key] = now
        return True

    def _remove(self, key: Key, item: Object, now: float) -> bool:
        if self._objects.pop(key, None) is None:
            return False
        self._deleted[key] = item
        self._seen[key] = now
        if len(self._deleted) > _REMEMBERED:
            oldest = next(iter(self._deleted))
            del self._deleted[oldest]
            del self._seen[oldest]
        return True


def _key(item: Object) -> Key:
    metadata = item["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


def _version(item: Object) -> tuple[str, str]:
    metadata = item["metadata"]
    return metadata.get("uid", ""), metadata.get("resourceVersion", "")
