"""What containers print, now or as it comes; this module must never look for something in it.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_ephemeral_ns.errors import ApiError, NotReady
from pytest_ephemeral_ns.kube.target import default_container, pods_of

if TYPE_CHECKING:
    from pytest_ephemeral_ns.kube.api import Api
    from pytest_ephemeral_ns.kube.stream import Stream

Object = dict[str, Any]


@dataclass(frozen=True)
class ContainerLog:
    """The log of one container.

    Args:
        pod: the pod's name.
        container: the container's name, init containers included.
        text: what it printed; empty when it could not be read.
        error: why it could not be read, in one line: not started yet, no previous one …
    """

    pod: str
    container: str
    text: str
    error: str = ""


def read_logs(
    api: Api,
    namespace: str,
    target: str,
    *,
    container: str = "",
    previous: bool = False,
    tail: int | None = None,
    since: float | None = None,
    limit_bytes: int | None = None,
    timestamps: bool = False,
) -> str:
    """Return the log of one container.

    Args:
        api: the API server.
        namespace: of the target.
        target: ``"pod/x"``, ``"deploy/x"``, ``"job/x"`` …: a running pod of it, else the newest.
        container: default: the one that the pod's annotation names, else its first.
        previous: the log before its last restart.
        tail: last lines only.
        since: last seconds only.
        limit_bytes: stop after so many bytes.
        timestamps: whether each line begins with its time.

    Raises:
        UsageError: the kind is not one that has pods.
        NotReady: the target has no pod.
        ApiError: there is no such target or container, it has not started (``status`` 400), or reading is not allowed.

    Example:
        ``read_logs(api, "shop", "deploy/api", tail=50)``
    """
    pod = _choose(api, namespace, target)
    params = _params(previous, tail, since, limit_bytes, timestamps)
    return api.text(_path(pod), params={"container": container or default_container(pod), **params})


def follow_logs(
    api: Api,
    namespace: str,
    target: str,
    *,
    container: str = "",
    tail: int | None = None,
    since: float | None = None,
    timestamps: bool = False,
) -> Stream:
    """Return the lines of one container's log as they come, until it ends.

    Args:
        api: the API server.
        namespace: of the target.
        target: see :func:`read_logs`.
        container: see :func:`read_logs`.
        tail: begin with so many of the last lines; default: with the first.
        since: begin so many seconds ago.
        timestamps: whether each line begins with its time.

    Returns:
        A context manager that is iterated for bytes, one line each; its ``close()`` may be called by any thread.

    Raises:
        UsageError: see :func:`read_logs`.
        NotReady: see :func:`read_logs`.
        ApiError: see :func:`read_logs`; those about the container are raised when it is entered.

    Example:
        >>> def show(api):
        ...     with follow_logs(api, "shop", "job/migrate") as lines:
        ...         for line in lines:
        ...             print(line.decode(errors="replace"))
    """
    pod = _choose(api, namespace, target)
    params = {"container": container or default_container(pod), "follow": True}
    # A program may be silent for as long as it likes; that the connection is alive is TCP's business.
    return api.stream(_path(pod), params={**params, **_params(False, tail, since, None, timestamps)}, read_timeout=None)


def all_logs(
    api: Api,
    namespace: str,
    target: str,
    *,
    previous: bool = False,
    tail: int | None = None,
    since: float | None = None,
    limit_bytes: int | None = None,
) -> Iterator[ContainerLog]:
    """Yield the log of every container of every pod of a target; one that cannot be read says why.

    Args:
        api: the API server.
        namespace: of the target.
        target: see :func:`read_logs`.
        previous: see :func:`read_logs`.
        tail: see :func:`read_logs`; for each container.
        since: see :func:`read_logs`.
        limit_bytes: see :func:`read_logs`; for each container.

    Raises:
        UsageError: see :func:`read_logs`.
        ApiError: there is no such target, or reading it is not allowed.
    """
    params = _params(previous, tail, since, limit_bytes, False)
    for pod in pods_of(api, namespace, target):
        spec = pod["spec"]
        for found in (*(spec.get("initContainers") or ()), *spec["containers"]):
            name, container = str(pod["metadata"]["name"]), str(found["name"])
            try:
                yield ContainerLog(name, container, api.text(_path(pod), params={"container": container, **params}))
            except ApiError as error:
                yield ContainerLog(name, container, "", error.summary)


def _choose(api: Api, namespace: str, target: str) -> Object:
    pods = pods_of(api, namespace, target)
    if not pods:
        raise NotReady(f"{target} in namespace {namespace} has no pod", evidence=["no pod matches its selector"])
    return max(pods, key=_interest)


def _interest(pod: Object) -> tuple[bool, bool, str]:
    going = bool(pod["metadata"].get("deletionTimestamp"))
    running = (pod.get("status") or {}).get("phase") == "Running"
    return running and not going, not going, str(pod["metadata"].get("creationTimestamp"))


def _path(pod: Object) -> str:
    return f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}/log"


def _params(
    previous: bool, tail: int | None, since: float | None, limit_bytes: int | None, timestamps: bool
) -> dict[str, Any]:
    params = {
        "previous": previous or None,
        "tailLines": tail,
        "sinceSeconds": None if since is None else max(1, math.ceil(since)),
        "limitBytes": limit_bytes,
        "timestamps": timestamps or None,
    }
    return {key: value for key, value in params.items() if value is not None}
