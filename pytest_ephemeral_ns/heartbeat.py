"""The sign of life of a run: a Lease in each of its namespaces; this module must never delay or fail a test.

A Lease in the namespace itself needs no right outside it, and goes with it. A run is alive while any of its Leases is.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import logging
import threading
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from pytest_ephemeral_ns.errors import ApiError, EphemeralNsError
from pytest_ephemeral_ns.rules.retention import HEARTBEAT, HEARTBEAT_EVERY, heartbeat_lease

if TYPE_CHECKING:
    from pytest_ephemeral_ns.kube.api import Api

__tracebackhide__ = True
log = logging.getLogger("pytest_ephemeral_ns")
REQUEST_TIMEOUT = 10.0


class Heart:
    """Renews the Lease of every namespace that it was told of, in one thread of its own.

    Args:
        api: the API server.
        run_id: the run.
        worker_id: this process's place in it.
        holder: ``host:pid``, for people.

    Example:
        >>> heart = Heart(api, "k3x9k3x9", "gw0", "laptop:4711")  # doctest: +SKIP
        >>> heart.add("shop-gw0")  # doctest: +SKIP
        >>> heart.close()  # doctest: +SKIP
    """

    def __init__(self, api: Api, run_id: str, worker_id: str, holder: str) -> None:
        self._api = api
        self._run_id = run_id
        self._worker_id = worker_id
        self._holder = holder
        self._changed = threading.Condition()
        self._namespaces: set[str] = set()
        self._fresh: set[str] = set()
        self._closed = False
        self._thread: threading.Thread | None = None

    def add(self, namespace: str) -> None:
        """Begin to renew the Lease of a namespace; returns at once, the first request is the thread's."""
        with self._changed:
            self._namespaces.add(namespace)
            self._fresh.add(namespace)
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._beat, name="ephemeral-ns-heartbeat", daemon=True)
                self._thread.start()
            self._changed.notify()

    def remove(self, namespace: str) -> None:
        """Stop to renew it; call it before the namespace is deleted or handed over."""
        with self._changed:
            self._namespaces.discard(namespace)
            self._fresh.discard(namespace)

    def close(self) -> None:
        """Stop at once; a request that is on its way is not waited for longer than a second."""
        with self._changed:
            self._closed = True
            self._namespaces.clear()
            self._fresh.clear()
            self._changed.notify()
            thread = self._thread
        if thread is not None:
            thread.join(1.0)

    def _beat(self) -> None:
        while (due := self._due()) is not None:
            for namespace in due:
                if not self._renew(namespace):
                    self.remove(namespace)

    def _due(self) -> list[str] | None:
        """Wait for a new namespace or for the next round; ``None`` when closed."""
        with self._changed:
            if not self._fresh and not self._closed:
                self._changed.wait(HEARTBEAT_EVERY.total_seconds())
            if self._closed:
                return None
            due = sorted(self._fresh or self._namespaces)
            self._fresh.clear()
            return due

    def _renew(self, namespace: str) -> bool:
        """Return whether it makes sense to go on with this namespace."""
        now = datetime.fromtimestamp(self._api.server_time, timezone.utc)
        body = heartbeat_lease(self._run_id, self._worker_id, holder=self._holder, now=now)
        path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{HEARTBEAT}"
        try:
            self._api.apply(path, body, timeout=REQUEST_TIMEOUT)
        except ApiError as error:
            log.debug("heartbeat of namespace %s: %s", namespace, error.summary)
            # Not allowed, or the namespace is going; the expiry is what protects it then.
            return error.status not in (403, 404)
        except EphemeralNsError as error:
            log.debug("heartbeat of namespace %s: %s", namespace, error.summary)
        return True
