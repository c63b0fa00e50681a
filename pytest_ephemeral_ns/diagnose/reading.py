"""Reads a namespace within a time budget, many things at once; this module must never wait longer, and never decide.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pytest_ephemeral_ns.deadline import Deadline
from pytest_ephemeral_ns.errors import ApiError, EphemeralNsError
from pytest_ephemeral_ns.rules.objects import Object
from pytest_ephemeral_ns.rules.triage import LogWish

if TYPE_CHECKING:
    from pytest_ephemeral_ns.kube.api import Api
    from pytest_ephemeral_ns.kube.resource import Resource

# What causes are made of, the Secrets first: without their values nothing may be printed.
CORE: tuple[tuple[str, str], ...] = (
    ("v1", "Secret"),
    ("v1", "Pod"),
    ("v1", "Event"),
    ("apps/v1", "Deployment"),
    ("apps/v1", "ReplicaSet"),
    ("apps/v1", "StatefulSet"),
    ("apps/v1", "DaemonSet"),
    ("batch/v1", "Job"),
    ("batch/v1", "CronJob"),
    ("v1", "Service"),
    ("discovery.k8s.io/v1", "EndpointSlice"),
    ("v1", "PersistentVolumeClaim"),
    ("networking.k8s.io/v1", "Ingress"),
    ("v1", "ResourceQuota"),
    ("autoscaling/v2", "HorizontalPodAutoscaler"),
    ("policy/v1", "PodDisruptionBudget"),
)
# Not in the namespace, but claims and ingresses cannot be judged without them.
AROUND = (("storage.k8s.io/v1", "StorageClass"), ("networking.k8s.io/v1", "IngressClass"))
_SKIPPED = {"PodMetrics", "Lease", "Endpoints", "LocalSubjectAccessReview", "Binding", "Event"}
_THREADS = 6
_STEP = 5.0  # seconds for one request
_MEBIBYTE = 1 << 20
_NO_PREVIOUS = 400
_THROWN_AWAY = "unable to retrieve container logs for "  # what a kubelet answers, with status 200


class Reader:
    """One look at a namespace: own connections, a deadline, and a list of what could not be had.

    Args:
        api: the API server; its credentials are used, over connections of our own.
        namespace: which.
        budget: seconds for all of it.

    Attributes:
        missing: what could not be had, a line each.
    """

    def __init__(self, api: Api, namespace: str, budget: float) -> None:
        from pytest_ephemeral_ns.kube.api import Api as OwnApi
        from pytest_ephemeral_ns.kube.discovery import Discovery

        self.deadline = Deadline.after(budget)
        self.namespace = namespace
        self.missing: list[str] = []
        self.paths: dict[str, str] = {}  # kind → its file's name in the bundle
        self._api = OwnApi(api.connection, timeout=min(_STEP, budget))
        self._discovery = Discovery(self._api)
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="ephemeral-ns-diagnose")

    def close(self) -> None:
        """End all requests that still run."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._api.close()

    @property
    def now(self) -> float:
        """The time on the server's clock, seconds since the epoch."""
        return self._api.server_time

    def namespace_object(self) -> Object:
        """Return the namespace itself; raises ApiError when it is gone, or the server does not answer."""
        return self._api.get(f"/api/v1/namespaces/{self.namespace}", timeout=self.deadline.sooner(_STEP))

    def core(self) -> dict[str, list[Object]]:
        """Return the objects that causes are made of, by kind; a kind that could not be read is absent."""
        jobs = {kind: self._lister(self._discovery.find(version, kind)) for version, kind in (*CORE, *AROUND)}
        found = self._all(jobs)
        for _, kind in AROUND:
            if kind not in found:  # permission for what is outside the namespace is rare, and rarely needed
                self.missing[:] = [line for line in self.missing if not line.startswith(f"{kind} objects")]
        return found

    def rest(self, known: Iterable[str]) -> dict[str, list[Object]]:
        """Return every other object of the namespace, by kind.

        Args:
            known: kinds that need not be read again.
        """
        skipped = {*known, *_SKIPPED}
        wanted: dict[str, Resource] = {}
        try:
            resources = self._discovery.all()
        except EphemeralNsError as error:
            self.missing.append(f"other kinds: {error.summary}")
            return {}
        for resource in resources:
            key = f"{resource.kind}.{resource.group}" if resource.kind in wanted else resource.kind
            listed = resource.namespaced and "list" in resource.verbs and resource.kind not in skipped
            if listed and not any(r.full_name == resource.full_name for r in wanted.values()):
                wanted[key] = resource
        return self._all({key: self._lister(resource) for key, resource in wanted.items()})

    def _lister(self, resource: Resource) -> Callable[[], list[Object]]:
        self.paths[resource.kind] = resource.full_name
        path = resource.path(namespace=self.namespace)
        return lambda: [*self._until(self._api.list(path))]

    def _until(self, items: Iterator[Object]) -> Iterator[Object]:
        for item in items:
            if self.deadline.expired:
                return
            (item.get("metadata") or {}).pop("managedFields", None)
            yield item

    def logs(
        self,
        wishes: Sequence[LogWish],
        *,
        tail: int,
        limit: int = _MEBIBYTE // 4,
        since: datetime | None = None,
    ) -> dict[LogWish, str]:
        """Return the last lines of some containers' logs, each with its time; what could not be had is absent.

        Args:
            wishes: which containers.
            tail: lines of each.
            limit: bytes of each.
            since: only what is newer.
        """
        params: dict[str, Any] = {"tailLines": tail, "limitBytes": limit, "timestamps": True}
        if since is not None:
            params["sinceTime"] = f"{since:%Y-%m-%dT%H:%M:%SZ}"
        return self._all({wish: self._log_reader(wish, params) for wish in wishes})

    def _log_reader(self, wish: LogWish, params: dict[str, Any]) -> Callable[[], str]:
        path = f"/api/v1/namespaces/{self.namespace}/pods/{wish.pod}/log"
        query = {**params, "container": wish.container}
        if wish.previous:
            query["previous"] = True

        def read() -> str:
            timeout = max(0.1, self.deadline.sooner(_STEP))
            text = self._api.text(path, params=query, timeout=timeout)
            while len(text) >= params["limitBytes"] - 4 and query["tailLines"] > 100:
                query["tailLines"] //= 4  # the server cuts the end, which is what we want most
                text = self._api.text(path, params=query, timeout=timeout)
            if text.startswith(_THROWN_AWAY):
                raise ApiError(f"{wish.container}: {text.strip()}", status=404)
            return text

        return read

    def _all(self, jobs: dict[Any, Callable[[], Any]]) -> dict[Any, Any]:
        """Do all at once, as far as the time goes; what failed is named."""
        futures: dict[Any, Future[Any]] = {key: self._pool.submit(job) for key, job in jobs.items()}
        wait(futures.values(), timeout=self.deadline.remaining())
        found: dict[Any, Any] = {}
        late: list[str] = []
        for key, future in futures.items():
            if not future.done():
                future.cancel()
                late.append(_told(key))
            elif (error := future.exception()) is None:
                found[key] = future.result()
            elif not _expected(key, error):
                self.missing.append(f"{_told(key)}: {getattr(error, 'summary', '') or repr(error)}")
        if late:
            more = f" and {len(late) - 3} more" if len(late) > 3 else ""
            self.missing.append(f"{', '.join(late[:3])}{more}: no answer within {self.deadline.budget:g} s")
        return found


def _told(key: Any) -> str:
    if isinstance(key, LogWish):
        return f"{'previous ' if key.previous else ''}log of Pod/{key.pod}, container {key.container}"
    return f"{key} objects"


def _expected(key: Any, error: BaseException) -> bool:
    """A previous log that the node has thrown away by now is no news; neither is a kind that nobody serves."""
    with contextlib.suppress(AttributeError):
        if isinstance(error, ApiError) and isinstance(key, LogWish):
            return key.previous and error.status in (_NO_PREVIOUS, 404)
        return isinstance(error, ApiError) and error.status in (404, 405)
    return False
