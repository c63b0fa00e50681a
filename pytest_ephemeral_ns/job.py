"""RUN: a command as a Job in a namespace, its log streamed, its exit code returned; this module must never retry one.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import secrets
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pytest_ephemeral_ns.errors import EphemeralNsError, WaitFailed
from pytest_ephemeral_ns.kube.logs import follow_logs
from pytest_ephemeral_ns.ready import wait_ready
from pytest_ephemeral_ns.rules.objects import Ref
from pytest_ephemeral_ns.rules.pods import pinned

if TYPE_CHECKING:
    from pytest_ephemeral_ns.deadline import Deadline
    from pytest_ephemeral_ns.kube.api import Api
    from pytest_ephemeral_ns.kube.watch import Watcher
    from pytest_ephemeral_ns.rules.graces import Graces

__tracebackhide__ = True
CONTAINER = "run"
LAST_LINES = 5.0  # seconds that the log may take to arrive after the Job has ended


def run_job(
    api: Api,
    watcher: Watcher,
    namespace: str,
    image: str,
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    deadline: Deadline,
    nodes: Mapping[str, Any] | None = None,
    graces: Graces | None = None,
    write: Callable[[str], object] | None = None,
) -> int:
    """Run a command as a Job, stream its log, and return its exit code.

    Args:
        api: the API server.
        watcher: shared by all waits of a handle.
        namespace: where.
        image: container image.
        command: program and arguments.
        env: environment variables.
        deadline: when it must have ended.
        nodes: ``node_selector`` and ``tolerations``, see :func:`~pytest_ephemeral_ns.rules.pods.pinned`.
        graces: how long each kind of trouble may last.
        write: gets the log, line by line with line ends; default: standard output.

    Returns:
        The exit code of the command.

    Raises:
        WaitFailed: the command never started; says why.
        WaitTimeout: it did not end in time.

    Example:
        >>> run_job(api, watcher, "shop", "busybox:1.36", ["true"], env={}, deadline=deadline)  # doctest: +SKIP
        0
    """
    wanted = _job(image, command, env)
    job = api.create(f"/apis/batch/v1/namespaces/{namespace}/jobs", pinned(wanted, **nodes) if nodes else wanted)
    ref = Ref.of(job)
    pods = f"/api/v1/namespaces/{namespace}/pods"
    store = watcher.follow(pods, label_selector=f"batch.kubernetes.io/job-name={ref.name}")
    over = threading.Event()

    def stream() -> None:
        seen = 0
        while True:
            last_look = over.is_set()
            if _state(store.snapshot().values()):
                return _copy(api, namespace, f"job/{ref.name}", write or sys.stdout.write)
            if last_look:
                return None
            seen = watcher.changed(seen, 0.2)

    log = threading.Thread(target=stream, name=f"ephemeral-ns-log-{ref.name}", daemon=True)
    log.start()
    try:
        return _exit_code(api, watcher, ref, deadline, graces, pods)
    finally:
        over.set()
        log.join(LAST_LINES)


def _exit_code(api: Api, watcher: Watcher, ref: Ref, deadline: Deadline, graces: Graces | None, pods: str) -> int:
    try:
        wait_ready(api, watcher, ref.namespace, [ref], deadline=deadline, graces=graces, layer="application")
    except WaitFailed:
        found = api.list(pods, label_selector=f"batch.kubernetes.io/job-name={ref.name}")
        ended = _state(found)
        if ended is None or "terminated" not in ended:
            raise
        return int(ended["terminated"]["exitCode"])
    return 0


def _state(pods: Any) -> dict[str, Any] | None:
    """Return the state of the container once it has started."""
    for pod in pods:
        for status in pod.get("status", {}).get("containerStatuses", ()):
            state: dict[str, Any] = status.get("state", {})
            if status["name"] == CONTAINER and ("running" in state or "terminated" in state):
                return state
    return None


def _copy(api: Api, namespace: str, target: str, write: Callable[[str], object]) -> None:
    try:
        with follow_logs(api, namespace, target, container=CONTAINER) as lines:
            for line in lines:
                write(line.decode("utf-8", "replace") + "\n")
    except EphemeralNsError as error:
        write(f"the rest of the log could not be had: {error.summary}\n")


def _job(image: str, command: Sequence[str], env: Mapping[str, str]) -> dict[str, Any]:
    container = {
        "name": CONTAINER,
        "image": image,
        "command": list(command),
        "env": [{"name": name, "value": value} for name, value in env.items()],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": f"run-{secrets.token_hex(4)}"},
        "spec": {
            "backoffLimit": 0,
            "template": {"spec": {"restartPolicy": "Never", "containers": [container]}},
        },
    }
