"""Reads a namespace within a time budget, many things at once; this module must never wait longer, and never decide.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pytest_ephemeral_ns.deadline import Deadline
from pytest_ephemeral_ns.errors import ApiError, EphemeralNsError
from pytest_ephemeral_ns.rules.known_secrets import secret_values
from pytest_ephemeral_ns.rules.objects import Object
from pytest_ephemeral_ns.rules.triage import LogWish

if TYPE_CHECKING:
    from pytest_ephemeral_ns.kube.api import Api
    from pytest_ephemeral_ns.kube.resource import Resource

# What causes are made of; first what holds the values that must not be printed.
CORE: tuple[tuple[str, str], ...] = (
    ("v1", "Secret"),
    ("v1", "ConfigMap"),
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
_UNNAMED = {kind for _, kind in AROUND}  # the right to read them is rare, and they are rarely needed
_SKIPPED = {"PodMetrics", "Lease", "Endpoints", "LocalSubjectAccessReview", "Binding", "Event"}
_THREADS = 6
_STEP = 5.0  # seconds for one request
_CORE = 0.5  # of the time, for what causes are made of: logs need some too
_LOG_STEP = 3.0  # seconds for one log
_SILENCES = 2  # logs that a node may owe us before it is not asked any more
_CUT = 256  # characters
_MEBIBYTE = 1 << 20
_NO_PREVIOUS = 400
_ASKED = re.compile(r"^list \S+( in namespace \S+)?: ")
_THROWN_AWAY = "unable to retrieve container logs for "  # what a kubelet answers, with status 200


def known_values(api: Api, namespace: str, timeout: float = 2.0) -> dict[str, str]:
    """Return the values of a namespace's Secrets → what they are called.

    Args:
        api: the API server.
        namespace: which.
        timeout: seconds for each page; a server that is gone is not worth more.

    Raises:
        ApiError: they may not be read, or the server does not answer.
    """
    found: list[Object] = []
    params: dict[str, Any] = {"limit": 500}
    while True:
        page = api.get(f"/api/v1/namespaces/{namespace}/secrets", params=params, timeout=timeout)
        found += page.get("items") or ()
        params["continue"] = (page.get("metadata") or {}).get("continue")
        if not params["continue"]:
            return secret_values(found)


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
        self._api = OwnApi(api.connection, timeout=min(_STEP, budget / 4))
        self._discovery = Discovery(self._api)
        self._silences: dict[str, int] = {}  # node → logs in a row that did not come
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
        return self._all(jobs, Deadline.after(self.deadline.remaining() * _CORE))

    def rest(self, known: Iterable[str]) -> dict[str, list[Object]]:
        """Return every other object of the namespace, by kind.

        Args:
            known: kinds that need not be read again.
        """
        # What core() could not have is named already, and not worth asking for a second time.
        skipped = {*known, *_SKIPPED, *(kind for _, kind in CORE)}
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
        return lambda: self._some(resource.kind, self._api.list(path))

    def _some(self, kind: str, items: Iterator[Object]) -> list[Object]:
        """What comes before the time is over or the server is gone; that there is more is named."""
        found: list[Object] = []
        try:
            for item in items:
                (item.get("metadata") or {}).pop("managedFields", None)
                found.append(item)
                if self.deadline.expired:
                    self.missing.append(f"{kind} objects: only the first {len(found)} came within the time")
                    break
        except ApiError as error:
            if not found:
                raise
            self.missing.append(f"{kind} objects: only the first {len(found)} came, then: {error.summary}")
        return found

    def logs(
        self,
        wishes: Sequence[LogWish],
        *,
        tail: int,
        limit: int = _MEBIBYTE // 4,
        since: datetime | None = None,
        within: float = 1.0,
    ) -> dict[LogWish, str]:
        """Return the last lines of some containers' logs, each with its time; what could not be had is absent.

        Args:
            wishes: which containers.
            tail: lines of each.
            limit: bytes of each.
            since: only what is newer.
            within: which part of the time that is left may be used.
        """
        params: dict[str, Any] = {"tailLines": tail, "limitBytes": limit, "timestamps": True}
        if since is not None:
            params["sinceTime"] = f"{since:%Y-%m-%dT%H:%M:%SZ}"
        deadline = Deadline.after(self.deadline.remaining() * within)
        return self._all({wish: self._log_reader(wish, params) for wish in wishes}, deadline)

    def _log_reader(self, wish: LogWish, params: dict[str, Any]) -> Callable[[], str]:
        path = f"/api/v1/namespaces/{self.namespace}/pods/{wish.pod}/log"
        query = {**params, "container": wish.container}
        if wish.previous:
            query["previous"] = True

        def read() -> str:
            if self._silences.get(wish.node, 0) >= _SILENCES:
                raise _Silent(wish.node)
            timeout = max(0.1, self.deadline.sooner(_LOG_STEP))
            try:
                text = self._api.text(path, params=query, timeout=timeout)
                while len(text) >= params["limitBytes"] - 4 and query["tailLines"] > 100:
                    query["tailLines"] //= 4  # the server cuts the end, which is what we want most
                    text = self._api.text(path, params=query, timeout=timeout)
            except ApiError as error:
                if error.status in (0, 504):
                    self._silences[wish.node] = self._silences.get(wish.node, 0) + 1
                    raise _Silent(wish.node) from error
                raise
            self._silences[wish.node] = 0
            if text.startswith(_THROWN_AWAY):
                raise ApiError(f"{wish.container}: {text.strip()}", status=404)
            # What was cut off may have been in the middle of a secret.
            return text[:-_CUT] if len(text) >= params["limitBytes"] - 4 else text

        return read

    def _all(self, jobs: dict[Any, Callable[[], Any]], deadline: Deadline | None = None) -> dict[Any, Any]:
        """Do all at once, as far as the time goes; what failed is named, what failed alike in one line."""
        deadline = deadline or self.deadline
        futures: dict[Any, Future[Any]] = {key: self._pool.submit(job) for key, job in jobs.items()}
        wait(futures.values(), timeout=deadline.remaining())
        found: dict[Any, Any] = {}
        why: dict[str, list[str]] = {}
        for key, future in futures.items():
            if not future.done():
                future.cancel()
                if key in _UNNAMED:
                    continue
                why.setdefault(f"no answer within {deadline.budget:g} s", []).append(_told(key))
            elif (error := future.exception()) is None:
                found[key] = future.result()
            elif not _expected(key, error):
                why.setdefault(_reason(key, error), []).append(_told(key))
        self.missing += [f"{_several(told)}: {reason}" for reason, told in why.items()]
        return found


class _Silent(EphemeralNsError):
    """A node that gives no logs: asking it for each container would cost all the time that there is."""

    def __init__(self, node: str) -> None:
        super().__init__(f"node {node} gives no logs: no answer within {_LOG_STEP:g} s" if node else "no answer")


def _reason(key: Any, error: BaseException) -> str:
    """Of kinds that may not be listed, or that no server answers for, the words differ in nothing but the kind."""
    if isinstance(error, ApiError) and error.status == 403 and not isinstance(key, LogWish):
        return "this account has no right to list them"
    summary = str(getattr(error, "summary", "")) or repr(error)
    return summary if isinstance(key, LogWish) else _ASKED.sub("", summary)


def _several(told: Sequence[str]) -> str:
    more = f" and {len(told) - 3} more" if len(told) > 3 else ""
    return f"{', '.join(told[:3])}{more}"


def _told(key: Any) -> str:
    if isinstance(key, LogWish):
        return f"{'previous ' if key.previous else ''}log of Pod/{key.pod}, container {key.container}"
    return f"{key} objects"


def _expected(key: Any, error: BaseException) -> bool:
    """A previous log that the node has thrown away by now is no news; neither is a kind that nobody serves."""
    if key in _UNNAMED:
        return True
    with contextlib.suppress(AttributeError):
        if isinstance(error, ApiError) and isinstance(key, LogWish):
            return key.previous and error.status in (_NO_PREVIOUS, 404)
        return isinstance(error, ApiError) and error.status in (404, 405)
    return False
