"""``ephemeral-ns logs`` and ``shell``: into what was kept; this module must never leave a pod of its own behind.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import argparse
import secrets
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pytest_ephemeral_ns.cli.screen import OK, Commands, add_duration, note
from pytest_ephemeral_ns.cli.target import add_target, open_api, our_namespace
from pytest_ephemeral_ns.errors import EphemeralNsError, NotReady, WaitTimeout
from pytest_ephemeral_ns.rules.objects import Object

if TYPE_CHECKING:
    from pytest_ephemeral_ns.kube.api import Api

DEBUG_IMAGE = "busybox:1.36"
_START = 120.0  # seconds for a debug pod to run
_HOPELESS = ("ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError")
_LOOK = 3600.0  # seconds after which a quiet namespace is looked at again


def declare(commands: Commands) -> None:
    """Add ``logs`` and ``shell``."""
    help = "logs of all containers of all pods, or of those of one target"
    logs = commands.add_parser("logs", help=help, description=help, allow_abbrev=False)
    logs.add_argument("name", metavar="NAME")
    logs.add_argument("target", metavar="TARGET", nargs="?", default="", help="pod/x, deploy/x, job/x … ; default: all")
    logs.add_argument("-f", "--follow", action="store_true", help="go on, also with pods that come later, until Ctrl-C")
    logs.add_argument("--previous", action="store_true", help="of the containers before their last restart")
    logs.add_argument("--tail", type=int, default=None, metavar="LINES", help="of each container the last lines only")
    add_duration(logs, "--since", help="only what is newer")
    logs.set_defaults(handler=_logs)
    help = "a shell in the pod that matters: one in trouble that still runs, else any that runs, else a pod for it"
    shell = commands.add_parser(
        "shell",
        help=help,
        description=help,
        usage="ephemeral-ns shell [options] NAME [-- COMMAND ...]",
        epilog="COMMAND: default is bash, else sh. The exit code is its own.",
        allow_abbrev=False,
    )
    shell.add_argument("name", metavar="NAME")
    shell.add_argument("--pod", default="", help="this one")
    shell.add_argument("-c", "--container", default="", help="default: its first")
    shell.add_argument("--debug", action="store_true", help="make a pod for it, and remove it afterwards")
    shell.add_argument("--image", default=DEBUG_IMAGE, help=f"of that pod; default: {DEBUG_IMAGE}")
    shell.set_defaults(handler=_shell)
    for parser in (logs, shell):
        add_target(parser)


def _logs(arguments: argparse.Namespace) -> int:
    with open_api(arguments) as api:
        api.get(f"/api/v1/namespaces/{arguments.name}")  # so that a wrong name is not "no pods"
        if arguments.follow:
            return _follow(api, arguments)
        any_pod = False
        for target in [arguments.target] if arguments.target else _every_pod(api, arguments.name):
            any_pod = True
            _print_logs(api, arguments, target)
        if not any_pod:
            note(f"namespace {arguments.name} has no pod")
    return OK


def _every_pod(api: Api, namespace: str) -> list[str]:
    return [f"pod/{pod['metadata']['name']}" for pod in api.list(f"/api/v1/namespaces/{namespace}/pods")]


def _print_logs(api: Api, arguments: argparse.Namespace, target: str) -> None:
    from pytest_ephemeral_ns.kube.logs import all_logs

    options = {"previous": arguments.previous, "tail": arguments.tail, "since": arguments.since}
    for log in all_logs(api, arguments.name, target, **options):
        if log.error:
            note(f"[{log.pod}/{log.container}] {log.error}")
        for line in log.text.splitlines():
            sys.stdout.write(f"[{log.pod}/{log.container}] {line}\n")


def _follow(api: Api, arguments: argparse.Namespace) -> int:
    """Follow each container in a thread of its own, from the moment it runs, until Ctrl-C."""
    from pytest_ephemeral_ns.kube.target import pods_of
    from pytest_ephemeral_ns.kube.watch import Watcher

    if arguments.previous:
        raise EphemeralNsError("--previous and --follow exclude each other: what has ended does not go on")
    namespace, followed = arguments.name, _Followed(api, arguments)
    with Watcher(api) as watcher:
        store = watcher.follow(f"/api/v1/namespaces/{namespace}/pods")
        seen = 0
        try:
            while True:
                if store.error:
                    raise store.error
                pods = list(store.snapshot().values())
                if arguments.target:
                    wanted = {pod["metadata"]["uid"] for pod in pods_of(api, namespace, arguments.target)}
                    pods = [pod for pod in pods if pod["metadata"]["uid"] in wanted]
                followed.add(pods)
                seen = watcher.changed(seen, _LOOK)
        finally:
            followed.close()


class _Followed:
    """The containers that are being followed; lines of different ones are never mixed within a line."""

    def __init__(self, api: Api, arguments: argparse.Namespace) -> None:
        self._api = api
        self._arguments = arguments
        self._known: set[tuple[str, str, str]] = set()
        self._streams: list[Any] = []
        self._print = threading.Lock()

    def add(self, pods: Sequence[Object]) -> None:
        """Begin with every container that has started and is not followed yet; one that restarts begins again."""
        for pod in pods:
            status = pod.get("status") or {}
            for one in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
                key = (pod["metadata"]["uid"], one["name"], str(one.get("containerID") or ""))
                if key[2] and key not in self._known:
                    self._known.add(key)
                    arguments = (pod["metadata"]["name"], one["name"])
                    threading.Thread(target=self._copy, args=arguments, daemon=True).start()

    def _copy(self, pod: str, container: str) -> None:
        from pytest_ephemeral_ns.kube.logs import follow_logs

        wish = self._arguments
        options = {"container": container, "tail": wish.tail, "since": wish.since}
        try:
            stream = follow_logs(self._api, wish.name, f"pod/{pod}", **options)
            self._streams.append(stream)
            with stream as lines:
                for line in lines:
                    with self._print:
                        sys.stdout.write(f"[{pod}/{container}] {line.decode('utf-8', 'replace')}\n")
                        sys.stdout.flush()
        except EphemeralNsError as error:
            note(f"[{pod}/{container}] {error.summary}")

    def close(self) -> None:
        """End all of them."""
        for stream in self._streams:
            stream.close()


def _shell(arguments: argparse.Namespace) -> int:
    from pytest_ephemeral_ns.kube.terminal import SHELL, attach_terminal

    with open_api(arguments) as api:
        namespace = our_namespace(api, arguments.name).name
        command = arguments.command or SHELL
        pod = "" if arguments.debug else arguments.pod or _that_matters(api, namespace)
        if pod:
            note(f"in pod {pod}" + (f", container {arguments.container}" if arguments.container else ""))
            return attach_terminal(api, namespace, pod, command, container=arguments.container)
        with _debug_pod(api, namespace, arguments.image) as made:
            note(f"in pod {made}, which is removed afterwards")
            return attach_terminal(api, namespace, made, command)


def _that_matters(api: Api, namespace: str) -> str:
    """Return the pod that runs and has most trouble; empty if none runs."""
    running = [pod for pod in api.list(f"/api/v1/namespaces/{namespace}/pods") if _runs(pod)]
    return max(running, key=_trouble)["metadata"]["name"] if running else ""


def _runs(pod: Object) -> bool:
    statuses = (pod.get("status") or {}).get("containerStatuses") or []
    return any("running" in (one.get("state") or {}) for one in statuses) and not pod["metadata"].get(
        "deletionTimestamp"
    )


def _trouble(pod: Object) -> tuple[bool, int]:
    statuses = pod["status"]["containerStatuses"]
    return not all(one.get("ready") for one in statuses), sum(int(one.get("restartCount") or 0) for one in statuses)


@contextmanager
def _debug_pod(api: Api, namespace: str, image: str) -> Iterator[str]:
    name = f"ephemeral-ns-shell-{secrets.token_hex(3)}"
    path = f"/api/v1/namespaces/{namespace}/pods"
    container = {"name": "shell", "image": image, "command": ["sleep", "86400"]}
    spec = {"containers": [container], "restartPolicy": "Never", "terminationGracePeriodSeconds": 0}
    api.create(path, {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})
    try:
        _wait_running(api, namespace, name)
        yield name
    finally:
        api.delete(f"{path}/{name}", grace_period=0)


def _wait_running(api: Api, namespace: str, name: str) -> None:
    from pytest_ephemeral_ns.deadline import Deadline
    from pytest_ephemeral_ns.kube.target import pod_state
    from pytest_ephemeral_ns.kube.watch import Watcher

    deadline = Deadline.after(_START)
    with Watcher(api) as watcher:
        store = watcher.follow(f"/api/v1/namespaces/{namespace}/pods", field_selector=f"metadata.name={name}")
        seen = 0
        while True:
            pod = store.get(namespace, name) or {}
            if pod and _runs(pod):
                return
            state = pod_state(pod) if pod else f"Pod/{name} is not there yet"
            ended = bool(pod) and pod["status"].get("phase") in ("Failed", "Succeeded")
            if ended or any(reason in state for reason in _HOPELESS):
                raise NotReady(f"the pod for the shell will not run: {state}")
            if deadline.expired:
                raise WaitTimeout(f"the pod for the shell does not run after {deadline.budget:.0f} s: {state}")
            seen = watcher.changed(seen, deadline.remaining())
