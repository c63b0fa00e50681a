"""Deployments, ReplicaSets, StatefulSets and DaemonSets, down to their pods; this module must never trust counts alone.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from pytest_ephemeral_ns.rules.graces import Graces
from pytest_ephemeral_ns.rules.objects import Object
from pytest_ephemeral_ns.rules.status import fields
from pytest_ephemeral_ns.rules.status.answers import Cause, Verdict, not_ready, ready
from pytest_ephemeral_ns.rules.status.containers import Container, containers, is_unproven
from pytest_ephemeral_ns.rules.status.fields import dig, number
from pytest_ephemeral_ns.rules.status.pods import doubts_about, pod_causes
from pytest_ephemeral_ns.rules.status.refusals import last_progress, refusals
from pytest_ephemeral_ns.rules.status.related import Related

REVISION = "deployment.kubernetes.io/revision"
_HASH = "pod-template-hash"
_GENERATION = "deprecated.daemonset.template.generation"
TOO_MANY_ENDED = 3


def deployment_verdict(deployment: Object, related: Related, now: datetime, graces: Graces) -> Verdict:
    """Return the verdict for a Deployment: every replica is new, ready and available, and no old one is left.

    ``maxUnavailable`` is of no interest here: it says how a rollout may go, not when it is over. (Helm 3 subtracts it,
    and calls a Deployment of one replica ready that has none.)

    Args:
        deployment: the Deployment; its status is of its present generation.
        related: ReplicaSets, pods and events.
        now: the time, on the API server's clock.
        graces: how long each cause may last.
    """
    wanted = number(deployment, "spec", "replicas", default=1)
    updated = number(deployment, "status", "updatedReplicas")
    total = number(deployment, "status", "replicas")
    counts = {
        "Updated": (updated, wanted),
        "Ready": (number(deployment, "status", "readyReplicas"), wanted),
        "Available": (number(deployment, "status", "availableReplicas"), wanted),
    }
    missing = _first_missing(counts)
    if missing is None and total <= wanted:
        return _available(deployment, counts, related, now, graces)
    newest = newest_replica_set(deployment, related)
    causes = _deployment_causes(deployment, newest, related, now, graces) if missing else []
    progress = missing or f"Pending termination: {total - wanted}"
    return not_ready("Progressing" if missing else "OldReplicasTerminating", progress, causes, now, related.seen)


def _available(
    workload: Object,
    counts: Mapping[str, tuple[int, int]],
    related: Related,
    now: datetime,
    graces: Graces,
    more: str = "",
) -> Verdict:
    """Return the verdict when all counts are as they should be.

    They are made from what the pods say, so they are older than that; and pods in the pause of a crash loop count.
    """
    ready_ones, wanted = counts["Ready"]
    told = f"Ready: {ready_ones}/{wanted}{more}"
    if has_probes(workload) or not related.knows("Pod"):
        return ready("Available", told)
    pods = [pod for pod in _selected(workload, related) if not fields.deleting_since(pod)]
    steady = [pod for pod in pods if fields.is_true(pod, "Ready")]
    if len(steady) < wanted:
        causes = causes_of(pods, related, now, graces)
        return not_ready("PodsNotReady", f"Ready: {len(steady)}/{wanted}", causes, now, related.seen)
    doubts = [cause for pod in steady for cause in doubts_about(pod, related, graces, now)]
    return not_ready("JustStarted", told, doubts, now) if doubts else ready("Available", told)


def unproven(obj: Object, related: Related, now: datetime) -> list[Container]:
    """Return the containers of an object that looks ready whose life is only hearsay; see :func:`is_unproven`.

    Args:
        obj: a pod, or a workload; nothing else has any.
        related: pods.
        now: the time, on the API server's clock.
    """
    if obj.get("kind") == "Pod":
        pods = [obj]
    elif obj.get("kind") in ("Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "ReplicationController"):
        pods = _selected(obj, related)
    else:
        return []
    found = [
        item
        for pod in pods
        if not fields.deleting_since(pod)
        for item in containers(pod, fields.ref_of(pod, "v1", "Pod"))
    ]
    return [item for item in found if is_unproven(item, now)]


def _selected(workload: Object, related: Related) -> list[Object]:
    # A selector may be made of expressions alone; what the template says fits it in any case.
    labels = dig(workload, "spec", "selector", "matchLabels") or dig(workload, "spec", "template", "metadata", "labels")
    return related.selected(labels, "Pod") if labels else []


def has_probes(workload: Object) -> bool:
    """Whether every container of a workload has a readiness probe, so that "ready" is the application's own word.

    Args:
        workload: Deployment, ReplicaSet, StatefulSet or DaemonSet.
    """
    spec = dig(workload, "spec", "template", "spec", default={})
    sidecars = [item for item in spec.get("initContainers") or () if item.get("restartPolicy") == "Always"]
    return all(item.get("readinessProbe") is not None for item in [*(spec.get("containers") or ()), *sidecars])


def _deployment_causes(
    deployment: Object, newest: Object | None, related: Related, now: datetime, graces: Graces
) -> list[Cause]:
    ref = fields.ref_of(deployment, "apps/v1", "Deployment")
    causes = _replica_set_causes(newest, related, now, graces) if newest else []
    failure = fields.condition(deployment, "ReplicaFailure")
    if not newest and failure.get("status") == "True":
        causes += refusals(deployment, ref, (), related, graces)
    progressing = fields.condition(deployment, "Progressing")
    if progressing.get("reason") == "ProgressDeadlineExceeded":
        since = fields.when(progressing.get("lastTransitionTime"), now)
        causes.append(Cause(ref, "ProgressDeadlineExceeded", fields.one_line(progressing.get("message")), since, 0.0))
    if dig(deployment, "spec", "paused") is True:
        since = fields.when(progressing.get("lastTransitionTime"), fields.created(deployment))
        message = "its rollout is paused and does not go on by itself"
        command = f"kubectl -n {ref.namespace} rollout resume deployment/{ref.name}"
        causes.append(Cause(ref, "Paused", message, since, graces.paused, command=command))
    return causes


def newest_replica_set(deployment: Object, related: Related) -> Object | None:
    """Return the ReplicaSet of the Deployment's present template, or ``None`` while it is not to be seen.

    The newest by revision among those that this Deployment owns (by UID), and its template must be the Deployment's:
    the two arrive on different watches, and an old ReplicaSet's pods say nothing about the new template.

    Args:
        deployment: the Deployment.
        related: ReplicaSets.
    """
    owned = related.owned_by(fields.uid(deployment), "ReplicaSet")
    newest = max(owned, key=lambda item: (_revision(item), fields.created(item)), default=None)
    if newest is None or not _same_template(newest, deployment):
        return None
    return newest


def _revision(obj: Object) -> int:
    text = str(dig(obj, "metadata", "annotations", REVISION, default="0"))
    return int(text) if text.isdigit() else 0


def _same_template(replica_set: Object, deployment: Object) -> bool:
    ours, wanted = dig(replica_set, "spec", "template", default={}), dig(deployment, "spec", "template", default={})
    labels = {key: value for key, value in dig(ours, "metadata", "labels", default={}).items() if key != _HASH}
    if labels != dig(wanted, "metadata", "labels", default={}):
        return False
    return bool(ours.get("spec") == wanted.get("spec"))


def replica_set_verdict(replica_set: Object, related: Related, now: datetime, graces: Graces) -> Verdict:
    """Return the verdict for a ReplicaSet or ReplicationController that stands alone.

    Args:
        replica_set: the ReplicaSet; its status is of its present generation.
        related: pods and events.
        now: the time, on the API server's clock.
        graces: how long each cause may last.
    """
    wanted = number(replica_set, "spec", "replicas", default=1)
    total = number(replica_set, "status", "replicas")
    counts = {
        "Labelled": (number(replica_set, "status", "fullyLabeledReplicas"), wanted),
        "Ready": (number(replica_set, "status", "readyReplicas"), wanted),
        "Available": (number(replica_set, "status", "availableReplicas"), wanted),
    }
    missing = _first_missing(counts)
    if missing is None and total <= wanted:
        return _available(replica_set, counts, related, now, graces)
    if missing is None:
        return not_ready("SurplusTerminating", f"Pending termination: {total - wanted}", [], now, related.seen)
    return not_ready("Progressing", missing, _replica_set_causes(replica_set, related, now, graces), now, related.seen)


def _replica_set_causes(replica_set: Object, related: Related, now: datetime, graces: Graces) -> list[Cause]:
    pods = related.owned_by(fields.uid(replica_set), "Pod")
    refused = refusals(replica_set, fields.ref_of(replica_set, "apps/v1", "ReplicaSet"), pods, related, graces)
    return refused + causes_of(pods, related, now, graces)


def stateful_set_verdict(stateful_set: Object, related: Related, now: datetime, graces: Graces) -> Verdict:
    """Return the verdict for a StatefulSet: all ready, those above the partition updated, revisions equal without one.

    Args:
        stateful_set: the StatefulSet; its status is of its present generation.
        related: pods and events.
        now: the time, on the API server's clock.
        graces: how long each cause may last.
    """
    wanted = number(stateful_set, "spec", "replicas", default=1)
    partition = number(stateful_set, "spec", "updateStrategy", "rollingUpdate", "partition")
    rolls = dig(stateful_set, "spec", "updateStrategy", "type", default="RollingUpdate") != "OnDelete"
    counts = {"Ready": (number(stateful_set, "status", "readyReplicas"), wanted)}
    if number(stateful_set, "spec", "minReadySeconds"):
        counts["Available"] = (number(stateful_set, "status", "availableReplicas"), wanted)
    if rolls:
        counts["Updated"] = (number(stateful_set, "status", "updatedReplicas"), max(0, wanted - partition))
    missing = _first_missing(counts)
    current, update = (dig(stateful_set, "status", key, default="") for key in ("currentRevision", "updateRevision"))
    if missing is None and rolls and wanted and not partition and current != update:
        missing = f"Ready: {wanted}/{wanted}, revision {current} is not {update} yet"
    surplus = number(stateful_set, "status", "replicas") - wanted
    if missing is None and surplus <= 0:
        return _available(stateful_set, counts, related, now, graces)
    causes = _stateful_set_causes(stateful_set, update, rolls, related, now, graces) if missing else []
    return not_ready("Progressing", missing or f"Pending termination: {surplus}", causes, now, related.seen)


def _stateful_set_causes(
    stateful_set: Object, update: str, rolls: bool, related: Related, now: datetime, graces: Graces
) -> list[Cause]:
    """One broken pod of an ordered StatefulSet keeps back all that come after it, in either revision."""
    ref = fields.ref_of(stateful_set, "apps/v1", "StatefulSet")
    pods = related.owned_by(fields.uid(stateful_set), "Pod")
    new = [
        pod for pod in pods if not rolls or dig(pod, "metadata", "labels", "controller-revision-hash") in (update, None)
    ]
    causes = refusals(stateful_set, ref, pods, related, graces) + causes_of(new, related, now, graces)
    if dig(stateful_set, "spec", "podManagementPolicy") == "Parallel":
        return causes
    for cause in causes_of([pod for pod in pods if pod not in new], related, now, graces):
        message = f"{cause.message}; it is of the old revision, and the StatefulSet does not replace it by itself"
        command = f"kubectl -n {ref.namespace} delete pod {cause.ref.name}"
        grace = max(cause.grace, graces.stuck_update)
        causes.append(replace(cause, message=message, command=command, grace=grace))
    return causes


def daemon_set_verdict(daemon_set: Object, related: Related, now: datetime, graces: Graces) -> Verdict:
    """Return the verdict for a DaemonSet: on every node that it wants, a pod of the new template is available.

    Args:
        daemon_set: the DaemonSet; its status is of its present generation.
        related: pods and events.
        now: the time, on the API server's clock.
        graces: how long each cause may last.
    """
    wanted = dig(daemon_set, "status", "desiredNumberScheduled")
    if wanted is None:
        return not_ready("NotObserved", "its controller has not looked at it yet", [], now, related.seen)
    rolls = dig(daemon_set, "spec", "updateStrategy", "type", default="RollingUpdate") != "OnDelete"
    counts = {
        "Scheduled": (number(daemon_set, "status", "currentNumberScheduled"), wanted),
        "Ready": (number(daemon_set, "status", "numberReady"), wanted),
        "Available": (number(daemon_set, "status", "numberAvailable"), wanted),
    }
    if rolls:
        counts["Updated"] = (number(daemon_set, "status", "updatedNumberScheduled"), wanted)
    missing = _first_missing(counts)
    if missing is None:
        return _available(daemon_set, counts, related, now, graces, "" if wanted else "; no node matches it")
    pods = related.owned_by(fields.uid(daemon_set), "Pod")
    template = dig(daemon_set, "metadata", "annotations", _GENERATION)
    new = [pod for pod in pods if not rolls or _generation(pod) in (template, None)]
    refused = refusals(daemon_set, fields.ref_of(daemon_set, "apps/v1", "DaemonSet"), pods, related, graces)
    return not_ready("Progressing", missing, refused + causes_of(new, related, now, graces), now, related.seen)


def _generation(pod: Object) -> str | None:
    found = dig(pod, "metadata", "labels", "pod-template-generation")
    return None if found is None else str(found)


def causes_of(pods: Iterable[Object], related: Related, now: datetime, graces: Graces) -> list[Cause]:
    """Return what is wrong with a controller's pods; a pod that is going, or is replaced, says nothing about the rest.

    Args:
        pods: the controller's pods of the template that counts.
        related: events, claims, and what was seen first.
        now: the time, on the API server's clock.
        graces: how long each cause may last.
    """
    going = [pod for pod in sorted(pods, key=fields.name) if not fields.deleting_since(pod)]
    ended = [pod for pod in going if dig(pod, "status", "phase") in ("Failed", "Succeeded")]
    causes = _replaced(ended, related, now, graces)
    for pod in going:
        if pod not in ended and not fields.is_true(pod, "Ready"):
            causes.extend(pod_causes(pod, related, now, graces))
    return sorted(causes, key=lambda cause: (not cause.over(now), cause.grace))


def _replaced(ended: Sequence[Object], related: Related, now: datetime, graces: Graces) -> list[Cause]:
    """The controller makes another pod for one that ended as a whole; only when these keep ending, it does not help."""
    if not ended:
        return []
    newest = max(ended, key=fields.created)
    again = len(ended) >= TOO_MANY_ENDED and (now - fields.created(newest)).total_seconds() < graces.replaced
    since = min(last_progress(pod) for pod in ended)
    grace = graces.replaced if again else math.inf
    found = pod_causes(newest, related, now, graces)
    return [replace(cause, since=since, grace=grace, topic="replaced", others=len(ended) - 1) for cause in found]


def _first_missing(counts: dict[str, tuple[int, int]]) -> str | None:
    """The ratio to show: "Ready" if it is short (what people look for), else the first that is short."""
    short = {name: pair for name, pair in counts.items() if pair[0] < pair[1]}
    if not short:
        return None
    name = "Ready" if "Ready" in short else next(iter(short))
    return f"{name}: {short[name][0]}/{short[name][1]}"
