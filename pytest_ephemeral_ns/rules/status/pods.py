"""Pods: phase, scheduling, volumes, containers; this module must never know what owns them.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from datetime import datetime

from pytest_ephemeral_ns.rules.graces import Graces
from pytest_ephemeral_ns.rules.objects import Object, Ref
from pytest_ephemeral_ns.rules.status import fields, storage
from pytest_ephemeral_ns.rules.status.answers import Cause, Verdict, not_ready, ready
from pytest_ephemeral_ns.rules.status.containers import Container, container_cause, containers, unsteady
from pytest_ephemeral_ns.rules.status.missing import missing_grace
from pytest_ephemeral_ns.rules.status.related import Related, first_seen, last_seen

REPLACED = frozenset({"Evicted", "Preempting", "Preempted", "NodeLost", "NodeShutdown", "Shutdown", "Terminated"})
_SCALE_UP = ("TriggeredScaleUp", "Nominated", "NominatedNode")
_NOT_READY_NODES = re.compile(
    r"node\.kubernetes\.io/(not-ready|unreachable|network-unavailable)|node\(s\) were not ready"
)
# All that keeps the pod from every node is what the nodes are, and no pod that ends changes that.
_FIXED = re.compile(
    r"0/(?P<all>\d+) nodes are available: (?P<reasons>.*?)\.( no new claims to deallocate,)? preemption: "
    r"0/(?P=all) nodes are available: (?P=all) Preemption is not helpful for scheduling"
)
_FIXED_REASON = re.compile(
    r"\d+ (Insufficient \S+|node\(s\) (didn't match Pod's node affinity(/selector)?"
    r"|had untolerated taint\(?s?\)? ?\{(?!node\.)[^}]*\}))"
)
_KEY = re.compile(r"references non-existent (config|secret) key")
_NOISE = re.compile(r"not registered|failed to sync (configmap|secret) cache|kube-root-ca\.crt")


def pod_verdict(pod: Object, related: Related, now: datetime, graces: Graces) -> Verdict:
    """Return the verdict for a pod that stands alone.

    Ready is Running with ``Ready=True``, or Succeeded for one that is meant to end. Failed pods are failed: other
    tools count "Failed" as "reached its final state", which is of no use to a test.

    Args:
        pod: the pod.
        related: its events and claims, and what was seen first.
        now: the time, on the API server's clock.
        graces: how long each cause may last.
    """
    phase = fields.dig(pod, "status", "phase", default="Pending")
    if phase == "Succeeded":
        return ready("Succeeded")
    if phase == "Running" and fields.is_true(pod, "Ready"):
        doubts = doubts_about(pod, related, graces, now)
        return not_ready("JustStarted", _progress(pod), doubts, now) if doubts else ready("Ready")
    return not_ready(f"Pod{phase}", _progress(pod), pod_causes(pod, related, now, graces), now, related.seen)


def doubts_about(pod: Object, related: Related, graces: Graces, now: datetime) -> list[Cause]:
    """Return why a pod that is ready may not be trusted yet.

    Args:
        pod: the pod.
        related: what was seen first.
        graces: ``unprobed`` and ``steady`` are how long a container without a readiness probe must run.
        now: the time, on the API server's clock.
    """
    found = containers(pod, fields.ref_of(pod, "v1", "Pod"))
    return [cause for container in found if (cause := unsteady(container, related, graces, now))]


def _progress(pod: Object) -> str:
    found = [item for item in containers(pod, fields.ref_of(pod, "v1", "Pod")) if item.role == "main"]
    return f"Ready: {sum(item.up for item in found)}/{len(found)}"


def pod_causes(pod: Object, related: Related, now: datetime, graces: Graces) -> list[Cause]:
    """Return why a pod is not ready, the most telling first; empty when it only needs time.

    Args:
        pod: the pod.
        related: its events and claims, and what was seen first.
        now: the time, on the API server's clock.
        graces: how long each cause may last.
    """
    ref = fields.ref_of(pod, "v1", "Pod")
    phase = fields.dig(pod, "status", "phase", default="Pending")
    if phase == "Failed":
        return [_ended(pod, ref, now)]
    if phase == "Succeeded":
        return [Cause(ref, "PodSucceeded", "it ended, and it is not started again", now, graces.gone, log="current")]
    if not fields.dig(pod, "spec", "nodeName"):
        return _unscheduled(pod, ref, related, now, graces)
    return (
        _of_containers(pod, ref, related, now, graces)
        or _of_sandbox(pod, ref, related, now, graces)
        or _of_gates(pod, ref, now)
    )


def _ended(pod: Object, ref: Ref, now: datetime) -> Cause:
    reason = fields.dig(pod, "status", "reason", default="")
    told = fields.one_line(fields.dig(pod, "status", "message", default=""))
    for container in containers(pod, ref):
        terminated = fields.dig(container.status, "state", "terminated", default={})
        if terminated.get("exitCode"):
            cause = container_cause(replace(container, restarts=False), Related({}), Graces(), now)
            if cause:
                return replace(
                    cause, reason=reason or cause.reason, message=f"{told}; {cause.message}" if told else cause.message
                )
    return Cause(ref, reason or "PodFailed", told or "its phase is Failed", now, 0.0)


def _unscheduled(pod: Object, ref: Ref, related: Related, now: datetime, graces: Graces) -> list[Cause]:
    found = fields.condition(pod, "PodScheduled")
    message = fields.one_line(found.get("message"))
    since = fields.when(found.get("lastTransitionTime"), now)
    if found.get("reason") == "SchedulingGated":
        return [Cause(ref, "SchedulingGated", message, since)]
    if found.get("status") != "False":
        name = fields.dig(pod, "spec", "schedulerName", default="default-scheduler")
        told = f"the scheduler {name!r} has not looked at it yet"
        return [Cause(ref, "NotScheduled", told, fields.created(pod), topic="schedule")]
    if nominated := fields.dig(pod, "status", "nominatedNodeName"):
        return [Cause(ref, "Preempting", f"{message}; makes room on {nominated}", since, graces.node_not_ready)]
    grace = _schedule_grace(pod, message, related, graces)
    cause = Cause(ref, str(found.get("reason") or "Unschedulable"), message, since, grace, topic="schedule")
    claims = (
        storage.claims_of(pod, related, now, graces)
        if "PersistentVolumeClaim" in message or "persistentvolumeclaim" in message
        else []
    )
    return [*claims, cause]


def _schedule_grace(pod: Object, message: str, related: Related, graces: Graces) -> float:
    if related.events(pod, *_SCALE_UP):
        return graces.scale_up
    if "no nodes available" in message:
        return graces.no_nodes
    if _NOT_READY_NODES.search(message):
        return max(graces.node_not_ready, graces.unschedulable)
    if "persistentvolumeclaim" in message.lower():
        return max(graces.provisioning, graces.unschedulable)
    return min(graces.never_fits, graces.unschedulable) if _never_fits(message) else graces.unschedulable


def _never_fits(message: str) -> bool:
    """Whether every node is of the wrong sort or too small: the scheduler says that no pod's end would help."""
    match = _FIXED.search(message)
    return match is not None and all(_FIXED_REASON.fullmatch(reason) for reason in match["reasons"].split(", "))


def _of_containers(pod: Object, ref: Ref, related: Related, now: datetime, graces: Graces) -> list[Cause]:
    causes: list[Cause] = []
    for container in _started(containers(pod, ref)):
        cause = container_cause(container, related, graces, now)
        if cause:
            causes.append(cause)
    return sorted(causes, key=lambda cause: math.isinf(cause.grace))


def _started(found: list[Container]) -> list[Container]:
    """The containers that the kubelet has come to: those after an init container that isn't done only wait for it."""
    for position, container in enumerate(found):
        if container.role == "init" and not container.done:
            return found[: position + 1]
        if container.role == "sidecar" and not container.up:
            return found[: position + 1]
    return found


def _of_sandbox(pod: Object, ref: Ref, related: Related, now: datetime, graces: Graces) -> list[Cause]:
    if fields.is_true(pod, "PodReadyToStartContainers"):
        return _pulling(pod, ref, related)
    events = related.events(
        pod, "FailedMount", "FailedAttachVolume", "FailedMapVolume", "FailedCreatePodSandBox", "NetworkNotReady"
    )
    later = max(
        (last_seen(event) for event in related.events(pod, "Pulling", "Pulled", "Created")), default=fields.EPOCH
    )
    causes: dict[str, Cause] = {}
    for event in events:
        if last_seen(event) < later:
            continue
        reason, message = str(event["reason"]), fields.one_line(event.get("message"))
        grace = (
            graces.sandbox
            if reason in ("FailedCreatePodSandBox", "NetworkNotReady")
            else _mount_grace(message, related, graces)
        )
        since = min(
            (
                first_seen(item)
                for item in events
                if item.get("reason") == reason and item.get("message") == event.get("message")
            ),
            default=now,
        )
        causes[f"{reason} {message}"] = Cause(ref, reason, message, since, grace)
    return sorted(causes.values(), key=lambda cause: cause.grace)


def _mount_grace(message: str, related: Related, graces: Graces) -> float:
    if _NOISE.search(message):
        return math.inf
    if (grace := missing_grace(message, related, graces)) is not None:
        return grace
    return graces.config_key if _KEY.search(message) else graces.mount


def _of_gates(pod: Object, ref: Ref, now: datetime) -> list[Cause]:
    """A readiness gate is somebody else's word, for example a load balancer's that has not registered the pod yet."""
    found = fields.condition(pod, "Ready")
    if found.get("reason") != "ReadinessGatesNotReady":
        return []
    since = fields.when(found.get("lastTransitionTime"), now)
    return [Cause(ref, "ReadinessGatesNotReady", fields.one_line(found.get("message")), since)]


def _pulling(pod: Object, ref: Ref, related: Related) -> list[Cause]:
    last = related.events(pod, "Pulling", "Pulled", "Created", "Started", "Failed")
    if last and last[-1].get("reason") == "Pulling":
        message = fields.one_line(last[-1].get("message"))
        return [Cause(ref, "PullingImage", message, last_seen(last[-1]), topic="pulling")]
    return []
