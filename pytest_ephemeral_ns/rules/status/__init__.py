"""Is it ready? One object and what surrounds it → ready, waiting or failed; this package must never fetch or wait.

Three answers, not two. What counts as ready for which kind follows the readers of others (kstatus, Helm, krane,
kubectl) where they are right, and differs where tests need the truth: a failed pod is failed, a running Job is not
done, no ``maxUnavailable`` makes zero pods ready, and what can't get better is said at once, with its cause.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from pytest_ephemeral_ns.rules.graces import Graces
from pytest_ephemeral_ns.rules.objects import Object, Ref
from pytest_ephemeral_ns.rules.status import fields
from pytest_ephemeral_ns.rules.status.answers import Cause, Verdict, not_ready
from pytest_ephemeral_ns.rules.status.containers import Container, runs_on
from pytest_ephemeral_ns.rules.status.custom import READY_WHEN, custom_verdict
from pytest_ephemeral_ns.rules.status.jobs import cron_job_verdict, job_gone, job_verdict
from pytest_ephemeral_ns.rules.status.missing import missing_kind
from pytest_ephemeral_ns.rules.status.platform import (
    api_service_verdict,
    autoscaler_verdict,
    budget_verdict,
    crd_verdict,
    exists,
    namespace_verdict,
    quota_verdict,
)
from pytest_ephemeral_ns.rules.status.pods import pod_verdict
from pytest_ephemeral_ns.rules.status.related import Related, remember
from pytest_ephemeral_ns.rules.status.services import WORKLOADS, ingress_verdict, service_verdict
from pytest_ephemeral_ns.rules.status.storage import claim_verdict
from pytest_ephemeral_ns.rules.status.workloads import (
    daemon_set_verdict,
    deployment_verdict,
    has_probes,
    replica_set_verdict,
    stateful_set_verdict,
    unproven,
)

__all__ = [
    "Cause",
    "Container",
    "Related",
    "Verdict",
    "gone_verdict",
    "is_stored_only",
    "may_write",
    "missing_verdict",
    "needs",
    "proof",
    "remember",
    "runs_on",
    "unproven",
    "verdict",
]

Rule = Callable[[Object, Related, datetime, Graces], Verdict]

_RULES: dict[tuple[str, str], Rule] = {
    ("apps", "Deployment"): deployment_verdict,
    ("apps", "ReplicaSet"): replica_set_verdict,
    ("", "ReplicationController"): replica_set_verdict,
    ("apps", "StatefulSet"): stateful_set_verdict,
    ("apps", "DaemonSet"): daemon_set_verdict,
    ("", "Pod"): pod_verdict,
    ("batch", "Job"): job_verdict,
    ("batch", "CronJob"): cron_job_verdict,
    ("", "Service"): service_verdict,
    ("networking.k8s.io", "Ingress"): ingress_verdict,
    ("", "PersistentVolumeClaim"): claim_verdict,
    ("", "Namespace"): namespace_verdict,
    ("", "ResourceQuota"): quota_verdict,
    ("policy", "PodDisruptionBudget"): budget_verdict,
    ("autoscaling", "HorizontalPodAutoscaler"): autoscaler_verdict,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): crd_verdict,
    ("apiregistration.k8s.io", "APIService"): api_service_verdict,
}
# Kinds whose status has observedGeneration: without it, nobody has looked at the object yet.
_OBSERVED = {"Deployment", "ReplicaSet", "ReplicationController", "StatefulSet", "DaemonSet", "PodDisruptionBudget"}
# Kinds of Kubernetes itself that are complete as soon as they are stored.
_STORED_GROUPS = {
    "rbac.authorization.k8s.io", "admissionregistration.k8s.io", "scheduling.k8s.io", "storage.k8s.io", "node.k8s.io",
    "discovery.k8s.io", "coordination.k8s.io", "events.k8s.io", "networking.k8s.io", "autoscaling", "policy", "batch",
    "apps", "", "flowcontrol.apiserver.k8s.io", "certificates.k8s.io", "resource.k8s.io",
}  # fmt: skip
_WALK: dict[str, tuple[str, ...]] = {
    "Deployment": ("ReplicaSet", "Pod", "Event"),
    "ReplicaSet": ("Pod", "Event"),
    "ReplicationController": ("Pod", "Event"),
    "StatefulSet": ("Pod", "Event"),
    "DaemonSet": ("Pod", "Event"),
    "Pod": ("Event",),
    "Job": ("Pod", "Event"),
    "Service": ("EndpointSlice", "Pod"),
    "Ingress": ("IngressClass",),
    "PersistentVolumeClaim": ("StorageClass", "Event"),
}
# What may make ConfigMaps and Secrets, by itself or because it is what others act on: a certificate for an Ingress.
_WRITERS = {"Job", "CronJob", "RoleBinding", "ClusterRoleBinding", "Ingress", "CustomResourceDefinition", "APIService"}
_CLAIMS = ("PersistentVolumeClaim", "StorageClass")


def verdict(obj: Object, related: Related, now: datetime, graces: Graces) -> Verdict:
    """Return whether one object is ready.

    Args:
        obj: the object; ``apiVersion`` and ``kind`` are set.
        related: what surrounds it (:func:`needs` says which kinds), and what was seen before.
        now: the time, on the API server's clock.
        graces: how long each cause may last before it counts as failed.

    Returns:
        Ready, waiting or failed, with a reason and a message.

    Example:
        >>> from datetime import datetime
        >>> config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}}
        >>> verdict(config, Related({}), datetime(2026, 1, 1), Graces()).state
        'ready'
    """
    group, kind = _group(str(obj.get("apiVersion", ""))), str(obj.get("kind", ""))
    if (deleting := fields.deleting_since(obj)) and kind != "Namespace":
        ref = fields.ref_of(obj, "", "")
        message = "it is being deleted"
        held = fields.dig(obj, "metadata", "finalizers", default=())
        message += f"; held by {', '.join(map(str, held))}" if held else ""
        return not_ready(
            "Terminating", "", [Cause(ref, "Terminating", message, deleting, graces.gone)], now, related.seen
        )
    if stale := _stale(obj, kind):
        return not_ready("LatestGenerationNotObserved", stale, [], now, related.seen)
    rule = _RULES.get((group, kind))
    if rule is not None and not fields.dig(obj, "metadata", "annotations", READY_WHEN):
        return rule(obj, related, now, graces)
    return (exists if is_stored_only(str(obj.get("apiVersion", "")), kind) else custom_verdict)(
        obj, related, now, graces
    )


def _stale(obj: Object, kind: str) -> str:
    generation = fields.dig(obj, "metadata", "generation")
    observed = fields.dig(obj, "status", "observedGeneration")
    if observed is None:
        return "its controller has not looked at it yet" if kind in _OBSERVED else ""
    if generation is None or observed == generation:
        return ""
    return f"its generation is {generation}, but its controller has looked at {observed}"


def missing_verdict(ref: Ref) -> Verdict:
    """Return the verdict for an object that has not been seen: it may come yet.

    Args:
        ref: which object.
    """
    return Verdict("waiting", "NotFound", "it does not exist yet")


def gone_verdict(last: Object, related: Related, now: datetime, graces: Graces) -> Verdict:
    """Return the verdict for an object that was seen, and is gone.

    Args:
        last: the object as it was seen last.
        related: its events, and what was seen before.
        now: the time, on the API server's clock.
        graces: ``gone`` is how long it may stay away.
    """
    if last.get("kind") == "Job":
        return job_gone(last, related, now, graces)
    cause = Cause(fields.ref_of(last, "", ""), "Gone", "it existed, and was deleted", now, graces.gone, topic="gone")
    return not_ready("Gone", "", [cause], now, related.seen)


def needs(kind: str, found: Verdict) -> tuple[str, ...]:
    """Return the kinds that explain why an object of this kind is not ready; each one costs a list and a watch.

    Args:
        kind: for example ``"Deployment"``.
        found: its verdict so far: what it says decides how far one has to look.

    Example:
        >>> needs("Deployment", Verdict("waiting", "Progressing"))
        ('ReplicaSet', 'Pod', 'Event')
    """
    wanted = _WALK.get(kind, ())
    if kind == "Service":
        if any(cause.reason == "SelectsNothing" for cause in found.causes):
            wanted += WORKLOADS
        if any(cause.topic == "balancer" for cause in found.causes):
            wanted += ("Event",)
    elif any(cause.reason == "QuotaExceeded" for cause in found.causes):
        wanted += ("ResourceQuota",)
    elif missing := {name for cause in found.causes if (name := missing_kind(cause.message))}:
        wanted += tuple(sorted(missing))
    elif any("persistentvolumeclaim" in cause.message.lower() for cause in found.causes):
        wanted += _CLAIMS
    return wanted


def proof(obj: Object) -> tuple[str, ...]:
    """Return the kinds that must be looked at before "ready" is believed; none for most objects.

    Args:
        obj: an object that looks ready.
    """
    kinds = ("Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "ReplicationController")
    if obj.get("kind") in kinds and not has_probes(obj):
        return ("Pod",)
    return ()


def is_stored_only(api_version: str, kind: str) -> bool:
    """Whether objects of this kind are ready as soon as they are stored.

    Args:
        api_version: for example ``"v1"``.
        kind: for example ``"ConfigMap"``.

    Example:
        >>> is_stored_only("v1", "Secret"), is_stored_only("apps/v1", "Deployment"), is_stored_only("a.test/v1", "Db")
        (True, False, False)
    """
    group = _group(api_version)
    return group in _STORED_GROUPS and (group, kind) not in _RULES


def may_write(api_version: str, kind: str) -> bool:
    """Whether an object of this kind may have to do with a ConfigMap or Secret that is written later.

    Args:
        api_version: for example ``"v1"``.
        kind: for example ``"RoleBinding"``.

    Example:
        >>> may_write("v1", "Service"), may_write("batch/v1", "Job"), may_write("cert-manager.io/v1", "Certificate")
        (False, True, True)
    """
    group = _group(api_version)
    return kind in _WRITERS or (group not in _STORED_GROUPS and (group, kind) not in _RULES)


def _group(api_version: str) -> str:
    return api_version.rpartition("/")[0]
