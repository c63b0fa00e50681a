"""Collections that are followed, one thread each; this module must never decide what a state means.

A list, then a watch from its version. What breaks is put together again without losing or repeating an event: a lost
connection by a watch from the last version; a version that the server has forgotten (410) by a new list, whose
difference to what was known is what happened meanwhile.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import json
import random
import threading
import time
from typing import TYPE_CHECKING, Any

from pytest_ephemeral_ns.errors import ApiError, EphemeralNsError
from pytest_ephemeral_ns.kube.line import Line
from pytest_ephemeral_ns.kube.pages import selectors
from pytest_ephemeral_ns.kube.store import Store

if TYPE_CHECKING:
    from pytest_ephemeral_ns.kube.api import Api

__all__ = ["Store", "Watcher"]

_GONE = 410
_PASSING = {0, 408, 409, 410, 429}  # and all that are 500 or more
_SILENCE = 90.0  # bookmarks come every 60 to 75 s if anything at all was written; a quiet server costs a reconnection
_FIRST_PAUSE, _LONGEST_PAUSE, _REFUSED_PAUSE = 0.2, 10.0, 2.0
_GRACE = 1.0
_TRUST = 3  # attempts to go on from a version, then a new list
_SHORT = 1.0  # seconds: a watch that ends sooner did not do what it was asked for
_CLOSED = "this Watcher has been closed"

Key = tuple[str, str, str]


class Watcher:
    """Follows collections for as many waits as want to look. Thread-safe; close it, or use it as a context manager.

    Args:
        api: the server.

    Example:
        >>> def wait_for_pod(api):
        ...     with Watcher(api) as watcher:
        ...         pods = watcher.follow("/api/v1/namespaces/shop/pods")
        ...         seen = 0
        ...         while ("shop", "api") not in pods.snapshot():
        ...             seen = watcher.changed(seen, timeout=30.0)
    """

    def __init__(self, api: Api) -> None:
        self._api = api
        self._condition = threading.Condition()
        self._changes = 0
        self._closed = False
        self._followers: dict[Key, _Follower] = {}

    def follow(
        self,
        path: str,
        *,
        label_selector: str = "",
        field_selector: str = "",
        wait: bool = True,
        timeout: float | None = None,
    ) -> Store:
        """Return the store of a collection; the first call for it starts to follow it.

        Args:
            path: of the collection.
            label_selector: as kubectl's ``-l``.
            field_selector: as kubectl's ``--field-selector``.
            wait: whether to return only when the first list has arrived or was refused (``store.error``).
            timeout: seconds for that; by default the Api's. After it the store is returned as it is.

        Raises:
            RuntimeError: the watcher has been closed.
        """
        key = (path, label_selector, field_selector)
        with self._condition:
            if self._closed:
                raise RuntimeError(_CLOSED)
            follower = self._followers.get(key)
            if follower is None:
                follower = self._followers[key] = _Follower(self._api, key, self._tell)
                follower.start()
            store = follower.store
            if wait:
                seconds = self._api.timeout if timeout is None else timeout
                self._condition.wait_for(lambda: store.synced or store.error or self._closed, seconds)
        return store

    def changed(self, since: int, timeout: float) -> int:
        """Wait until anything that is followed has changed.

        Args:
            since: what the last call returned; 0 at first.
            timeout: seconds to wait at most.

        Returns:
            The number of changes so far: ``since`` itself if there was none in time.

        Raises:
            RuntimeError: the watcher has been closed.
        """
        with self._condition:
            self._condition.wait_for(lambda: self._changes > since or self._closed, timeout)
            if self._closed:
                raise RuntimeError(_CLOSED)
            return self._changes

    def close(self) -> None:
        """Stop to follow; all threads end within a second, also those that wait for the server."""
        with self._condition:
            self._closed = True
            followers = [*self._followers.values()]
            self._condition.notify_all()
        for follower in followers:
            follower.line.cut()
        ends = time.monotonic() + _GRACE
        for follower in followers:
            follower.join(max(0.0, ends - time.monotonic()))

    def __enter__(self) -> Watcher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _tell(self) -> None:
        with self._condition:
            self._changes += 1
            self._condition.notify_all()


class _Follower(threading.Thread):
    """Keeps one store up to date until its line is cut."""

    def __init__(self, api: Api, key: Key, tell: Any) -> None:
        path, labels, fields = key
        super().__init__(name=f"ephemeral-ns watch {path}", daemon=True)
        self.line = Line()
        self.store = Store(path, tell)
        self._api = api
        self._path, self._labels, self._fields = path, labels, fields
        self._version = ""  # the resourceVersion to go on from; empty: list first
        self._failures = 0

    def run(self) -> None:
        try:
            while not self.line.is_cut.is_set():
                self._follow_once()
        except Exception as error:
            self.store.fail(ApiError(f"watch {self._path}: given up: {error!r}"), lasting=True)
            raise
        finally:
            self.line.release()

    def _follow_once(self) -> None:
        started = time.monotonic()
        try:
            if not self._version:
                self._list()
            self._watch()
            if time.monotonic() - started < _SHORT:
                raise ApiError(f"watch {self._path}: the server ends every watch at once")
        except EphemeralNsError as error:
            if self.line.is_cut.is_set():
                return
            if time.monotonic() - started > _LONGEST_PAUSE:
                self._failures = 0  # it went well for a while
            self._recover_from(error if isinstance(error, ApiError) else ApiError(str(error), status=401))

    def _list(self) -> None:
        items, self._version = self._api.list_all(
            self._path, label_selector=self._labels, field_selector=self._fields, line=self.line
        )
        self.store.replace(items)

    def _watch(self) -> None:
        """Take over events until the server ends the watch, which it is asked to do after 4 to 5 minutes."""
        params = {
            "watch": True,
            "allowWatchBookmarks": True,
            "resourceVersion": self._version,
            "timeoutSeconds": random.randint(240, 300),  # noqa: S311 - spread, so that not all come back at once
            **selectors(self._labels, self._fields),
        }
        with self._api.stream(self._path, params=params, read_timeout=_SILENCE, line=self.line) as lines:
            if not self.line.is_cut.is_set():
                self.store.recover()
            for line in lines:
                self._take(_decode(line, self._path))

    def _take(self, event: dict[str, Any]) -> None:
        kind, item = event["type"], event["object"]
        if kind == "ERROR":
            raise _in_stream(item, self._path)
        if kind != "BOOKMARK":
            self.store.apply(kind, item)
        self._version = item["metadata"]["resourceVersion"]
        self._failures = 0

    def _recover_from(self, error: ApiError) -> None:
        """Decide where to go on from, say why there is trouble, and pause."""
        self._failures += 1
        if error.status == _GONE or self._failures > _TRUST:
            self._version = ""
        if self._failures == 1 and error.status in (0, _GONE):
            return  # a connection that was lost or silent, a version that is too old: daily life, go on at once
        lasting = error.status < 500 and error.status not in _PASSING
        if lasting:
            self._version = ""
        self.store.fail(error, lasting=lasting)
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(self._failures, 10))
        pause = max(pause, _REFUSED_PAUSE if lasting else 0.0)
        self.line.is_cut.wait(pause * random.uniform(1.0, 1.5))  # noqa: S311


def _decode(line: bytes, path: str) -> dict[str, Any]:
    try:
        event: dict[str, Any] = json.loads(line)
    except ValueError:
        raise ApiError(f"watch {path}: an event was cut off in the middle") from None
    return event


def _in_stream(status: dict[str, Any], path: str) -> ApiError:
    code, reason = int(status.get("code") or 500), str(status.get("reason") or "")
    summary = f"watch {path}: {code} {reason}: {status.get('message') or ''}"
    return ApiError(summary, status=code, reason=reason, body=status)
