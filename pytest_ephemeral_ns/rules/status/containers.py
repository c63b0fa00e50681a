"""One container's state → why it is not ready; this module must never look at another object than its pod.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from pytest_ephemeral_ns.rules.graces import NEVER, Graces
from pytest_ephemeral_ns.rules.objects import Object, Ref
from pytest_ephemeral_ns.rules.status import fields, images
from pytest_ephemeral_ns.rules.status.answers import Cause
from pytest_ephemeral_ns.rules.status.missing import missing_grace
from pytest_ephemeral_ns.rules.status.related import Related, first_seen, times

YOUNG = timedelta(seconds=20)
Role = Literal["init", "sidecar", "main"]
SIGNALS = {
    1: "SIGHUP", 2: "SIGINT", 4: "SIGILL", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE",
    9: "SIGKILL", 11: "SIGSEGV", 13: "SIGPIPE", 15: "SIGTERM",
}  # fmt: skip
_START_REASONS = {"CreateContainerError", "RunContainerError", "StartError", "ContainerCannotRun", "PreStartHookError"}
_HOPELESS_START = re.compile(
    r"executable file not found|no such file or directory|permission denied|exec format error|no command specified"
    r"|is a directory|not a directory|invalid argument",
    re.I,
)
_TRANSIENT = re.compile(r"failed to sync (configmap|secret) cache|not registered|timed out waiting", re.I)
_PROBES, _KILLERS = re.compile(""), re.compile("(Liveness|Startup) probe", re.I)
_KEY = re.compile(r"couldn't find key|references non-existent (config|secret) key", re.I)


@dataclass(frozen=True, eq=False)
class Container:
    """One container of a pod: what was asked for, and what is.

    Args:
        pod: its pod.
        ref: the pod's reference.
        name: its name.
        role: ``"init"``, ``"sidecar"`` (an init container that goes on) or ``"main"``.
        restarts: whether the kubelet starts it again after it ended with an error.
        spec: its entry in the pod's spec.
        status: its entry in the pod's status; empty before the kubelet wrote one.
    """

    pod: Object
    ref: Ref
    name: str
    role: Role
    restarts: bool
    spec: Mapping[str, Any]
    status: Mapping[str, Any]

    @property
    def id(self) -> str:
        """What its runtime calls this start of it; empty if no runtime knows it."""
        return str(self.status.get("containerID") or "")

    @property
    def done(self) -> bool:
        """Whether it ended as it should."""
        return self.role == "init" and fields.dig(self.status, "state", "terminated", "exitCode") == 0

    @property
    def up(self) -> bool:
        """Whether the containers after it may start: a sidecar has started, a main container is ready."""
        return self.status.get("started" if self.role == "sidecar" else "ready") is True


def containers(pod: Object, ref: Ref) -> list[Container]:
    """Return the pod's containers in the order in which they start; ephemeral ones never decide anything.

    Args:
        pod: the pod.
        ref: its reference.
    """
    found: list[Container] = []
    policy = fields.dig(pod, "spec", "restartPolicy", default="Always")
    for group, key in (("initContainers", "initContainerStatuses"), ("containers", "containerStatuses")):
        status = {item.get("name"): item for item in fields.dig(pod, "status", key, default=())}
        specs = fields.dig(pod, "spec", group, default=()) or [{"name": name} for name in status]
        for spec in specs:
            always = spec.get("restartPolicy") == "Always"
            role: Role = "main" if group == "containers" else "sidecar" if always else "init"
            again = spec.get("restartPolicy", policy) != "Never"
            name = str(spec.get("name", ""))
            found.append(Container(pod, ref, name, role, again, spec, status.get(name, {})))
    return found


def container_cause(container: Container, related: Related, graces: Graces, now: datetime) -> Cause | None:
    """Return what is in this container's way; ``None`` if nothing is, or nothing is known yet.

    Args:
        container: the container.
        related: for its pod's events and for what was seen first.
        graces: how long each cause may last.
        now: the time, on the API server's clock.
    """
    state = fields.dig(container.status, "state", default={})
    if waiting := state.get("waiting"):
        return _waiting(container, waiting, related, graces, now)
    if terminated := state.get("terminated"):
        return _terminated(container, terminated, related, graces, now)
    if "running" in state and not container.up:
        return _not_ready(container, related, now)
    return None


def _waiting(
    container: Container, waiting: Mapping[str, Any], related: Related, graces: Graces, now: datetime
) -> Cause | None:
    reason = str(waiting.get("reason", ""))
    message = fields.one_line(waiting.get("message"))
    if reason in images.PULL_REASONS:
        return images.pull_cause(container.pod, container.ref, container.name, waiting, related, graces, now)
    if reason == "CrashLoopBackOff":
        return _crash(
            container, fields.dig(container.status, "lastState", "terminated", default={}), related, graces, now
        )
    cause = Cause(container.ref, reason, message, now, container=container.name)
    if reason == "CreateContainerConfigError":
        grace = graces.mount if _TRANSIENT.search(message) else _config_grace(message, related, graces)
        return replace(cause, grace=grace, topic="config")
    if reason in _START_REASONS:
        grace = graces.refused if _HOPELESS_START.search(message) else graces.start_error
        return replace(cause, grace=grace, topic="start")
    if reason == "PostStartHookError":
        return _crash(
            container, fields.dig(container.status, "lastState", "terminated", default={}), related, graces, now
        )
    if fields.dig(container.status, "lastState", "terminated"):
        return _restarted(container, now)
    return None


def _config_grace(message: str, related: Related, graces: Graces) -> float:
    missing = missing_grace(message, related, graces)
    return graces.config_key if missing is None else missing


def _terminated(
    container: Container, ended: Mapping[str, Any], related: Related, graces: Graces, now: datetime
) -> Cause | None:
    if ended.get("exitCode") == 0 and (container.role == "init" or not _restarts_always(container)):
        return None
    if container.restarts:
        return _crash(container, ended, related, graces, now)
    reason = "InitContainerFailed" if container.role == "init" else "ContainerFailed"
    message = f"{ending(container, ended)}; it is never restarted"
    since = fields.when(ended.get("finishedAt"), now)
    return Cause(container.ref, _own_reason(ended) or reason, message, since, 0.0, container.name, "current")


def _crash(container: Container, ended: Mapping[str, Any], related: Related, graces: Graces, now: datetime) -> Cause:
    restarts = fields.number(container.status, "restartCount")
    current = "terminated" in fields.dig(container.status, "state", default={})
    parts = [ending(container, ended), f"restarted {restarts} times" if restarts != 1 else "restarted once"]
    if killed := related.events(container.pod, "Killing"):
        told = str(killed[-1].get("message", ""))
        if f"ontainer {container.name} failed" in told:
            parts.append(f"killed because its probe failed: {_probe_answer(container, related, _KILLERS)}")
    reason = _own_reason(ended) or ("InitCrashLoop" if container.role == "init" else "CrashLoopBackOff")
    log: Literal["current", "previous"] = "current" if current else "previous"
    cause = Cause(container.ref, reason, "; ".join(parts), now, graces.crash_loop, container.name, log, "crash")
    told = str(ended.get("message", ""))
    if ended.get("reason") in _START_REASONS and _HOPELESS_START.search(told):
        return replace(cause, grace=graces.refused, reason=str(ended["reason"]), log="")
    if related.calm_since and fields.when(ended.get("startedAt"), now) < related.calm_since:
        return replace(cause, grace=max(graces.crash_loop, graces.crash_loop_patience))
    return replace(cause, grace=0.0) if restarts >= graces.crash_loop_restarts else cause


def _restarted(container: Container, now: datetime) -> Cause:
    ended = fields.dig(container.status, "lastState", "terminated", default={})
    message = f"{ending(container, ended)}; starting again"
    return Cause(container.ref, "Restarting", message, now, NEVER, container.name, "previous", "crash")


def _not_ready(container: Container, related: Related, now: datetime) -> Cause:
    """A probe that fails never fails the wait by itself: it is what a start looks like."""
    answer = _probe_answer(container, related)
    what = "startup" if container.status.get("started") is False else "readiness"
    message = answer or f"running, its {what} probe has not passed yet"
    if restarts := fields.number(container.status, "restartCount"):
        ended = fields.dig(container.status, "lastState", "terminated", default={})
        message += f"; restarted {restarts} times, last: {ending(container, ended)}"
    reason = "ProbeFailing" if answer else "NotReadyYet"
    since = fields.when(fields.dig(container.status, "state", "running", "startedAt"), now)
    topic = "restarted" if restarts else "probe"
    return Cause(container.ref, reason, message, since, NEVER, container.name, "current", topic)


def _probe_answer(container: Container, related: Related, probes: re.Pattern[str] = _PROBES) -> str:
    started = fields.when(fields.dig(container.status, "state", "running", "startedAt"))
    field = f"{{{container.name}}}"
    for event in reversed(related.events(container.pod, "Unhealthy", "ProbeWarning")):
        path = str(fields.dig(event, "involvedObject", "fieldPath", default=""))
        if (path and field not in path) or not probes.match(str(event.get("message", ""))):
            continue
        if first_seen(event) < started and times(event) == 1 and "running" not in container.status.get("state", {}):
            continue
        count = times(event)
        return (
            f"{fields.one_line(event.get('message'), 300)} ({count} times)"
            if count > 1
            else str(fields.one_line(event.get("message"), 300))
        )
    return ""


def unsteady(container: Container, related: Related, graces: Graces, now: datetime) -> Cause | None:
    """Return why a container that counts as ready may not be trusted yet: nothing probes it.

    The kubelet calls a container without a readiness probe ready as soon as it runs: for the moment before it ends at
    its first start, and in each pause of a crash loop. It looks once a second, so that what was seen running once and
    is still said to run a little more than a second later was seen running twice.

    Args:
        container: the container.
        related: for when it was seen running first.
        graces: ``unprobed`` and ``steady`` are how long it must run.
        now: the time, on the API server's clock.
    """
    running = fields.dig(container.status, "state", "running", "startedAt")
    if not running or container.role == "init" or container.spec.get("readinessProbe") is not None:
        return None
    started = fields.when(running)
    ended = fields.dig(container.status, "lastState", "terminated", default={})
    if ended:
        lasted = fields.when(ended.get("finishedAt")) - fields.when(ended.get("startedAt"))
        # Both times are cut to whole seconds, and the kubelet looks once a second.
        until = started + timedelta(seconds=min(lasted.total_seconds() + 1, graces.steady) + 1 + graces.unprobed)
        message = f"it crashed and has no readiness probe, so it must run a while; {ending(container, ended)}"
        cause = Cause(container.ref, "JustRestarted", message, started, NEVER, container.name, "previous", until=until)
        return cause if now < until else None
    # startedAt is cut to whole seconds, so that it alone can't tell how much time has passed.
    if now - started >= timedelta(seconds=2 * graces.unprobed):
        return None
    cause = Cause(
        container.ref, "JustStarted", "it has no readiness probe", now, NEVER, container.name, topic="unprobed"
    )
    known = related.first(cause) or cause
    until = known.since + timedelta(seconds=graces.unprobed)
    return replace(cause, since=known.since, until=until) if now < until else None


def is_unproven(container: Container, now: datetime) -> bool:
    """Whether only its kubelet's last look says that a container runs: nothing probes it, and it is young.

    A kubelet looks once a second, on a busy node after several. Without an id, no runtime knows it (simulated nodes).

    Args:
        container: the container.
        now: the time, on the API server's clock.
    """
    running = fields.dig(container.status, "state", "running", "startedAt")
    if not running or container.role == "init" or container.spec.get("readinessProbe") is not None:
        return False
    return bool(container.id) and now - fields.when(running) < YOUNG


def runs_on(container: Container, pod: Object | None) -> bool:
    """Whether a later look at its pod shows the same start of a container, still running.

    Args:
        container: the container as it was seen before.
        pod: its pod as it is now; ``None`` if it is gone.
    """
    now = next((item for item in containers(pod or {}, container.ref) if item.name == container.name), None)
    return now is not None and now.id == container.id and "running" in fields.dig(now.status, "state", default={})


def _restarts_always(container: Container) -> bool:
    policy = fields.dig(container.pod, "spec", "restartPolicy", default="Always")
    return bool(container.spec.get("restartPolicy", policy) == "Always")


def _own_reason(ended: Mapping[str, Any]) -> str:
    return "OOMKilled" if ended.get("reason") == "OOMKilled" else ""


def ending(container: Container, ended: Mapping[str, Any]) -> str:
    """Return how a container ended: exit code, signal, memory, its own last words.

    Args:
        container: the container.
        ended: its ``state.terminated`` or ``lastState.terminated``.
    """
    if not ended:
        return "ended, the kubelet does not say how"
    code = fields.number(ended, "exitCode")
    signal = fields.number(ended, "signal") or (code - 128 if code > 128 else 0)
    told = f"exit code {code}" + (f" ({SIGNALS[signal]})" if signal in SIGNALS else "")
    if ended.get("reason") == "OOMKilled":
        limit = fields.dig(container.spec, "resources", "limits", "memory", default="")
        told = f"out of memory{f' (limit {limit})' if limit else ''}, {told}"
    elif code == 0:
        told = "ended with exit code 0, but it should go on"
    elif ended.get("reason") not in ("Error", "Completed", None):
        told = f"{ended['reason']}, {told}"
    words = fields.one_line(ended.get("message"), 300)
    return f"{told}: {words}" if words else told
