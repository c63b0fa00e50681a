"""What a cluster offers to others: CRDs, APIServices, namespaces, autoscalers, budgets; one short rule each.

This module must never look at a workload; a rule that needs one belongs elsewhere.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pytest_ephemeral_ns.rules.graces import Graces
from pytest_ephemeral_ns.rules.objects import Object
from pytest_ephemeral_ns.rules.status import fields
from pytest_ephemeral_ns.rules.status.answers import Cause, Verdict, not_ready, ready
from pytest_ephemeral_ns.rules.status.fields import dig, is_false, is_true
from pytest_ephemeral_ns.rules.status.related import Related

_METRICS = (
    "FailedGetResourceMetric", "FailedGetPodsMetric", "FailedGetObjectMetric",
    "FailedGetExternalMetric", "FailedGetContainerResourceMetric",
)  # fmt: skip


def crd_verdict(crd: Object, related: Related, now: datetime, graces: Graces) -> Verdict:
    """Return the verdict for a CustomResourceDefinition: Established, and its names accepted.

    Names that are refused never become free by waiting.

    Args:
        crd: the CustomResourceDefinition.
        related: unused.
        now: the time, on the API server's clock.
        graces: unused.
    """
    if is_false(crd, "NamesAccepted"):
        return not_ready(
            "", "", [_from_condition(crd, "NamesAccepted", 0.0, now, "apiextensions.k8s.io/v1")], now, related.seen
        )
    established = fields.condition(crd, "Established")
    if established.get("status") == "True":
        return ready("Established")
    if established.get("status") == "False" and established.get("reason") not in ("Installing", "NotAccepted"):
        return not_ready(
            "", "", [_from_condition(crd, "Established", 0.0, now, "apiextensions.k8s.io/v1")], now, related.seen
        )
    return not_ready("Installing", "Install in progress", [], now, related.seen)


def api_service_verdict(api_service: Object, related: Related, now: datetime, graces: Graces) -> Verdict:
    """Return the verdict for an APIService: Available; one without a backend keeps every namespace from being deleted.

    Args:
        api_service: the APIService.
        related: unused.
        now: the time, on the API server's clock.
        graces: ``api_service`` is how long it may be without a backend.
    """
    if is_true(api_service, "Available"):
        return ready("Available")
    if not fields.condition(api_service, "Available"):
        return not_ready("NotObserved", "its controller has not looked at it yet", [], now, related.seen)
    cause = _from_condition(api_service, "Available", graces.api_service, now, "apiregistration.k8s.io/v1")
    return not_ready("Unavailable", "", [cause], now, related.seen)


def namespace_verdict(namespace: Object, related: Related, now: datetime, graces: Graces) -> Verdict:
    """Return the verdict for a Namespace: Active; one that is being deleted takes everything in it along.

    Args:
        namespace: the Namespace.
        related: unused.
        now: the time, on the API server's clock.
        graces: ``namespace`` is how long it may be terminating.
    """
    if dig(namespace, "status", "phase") != "Terminating" and not fields.deleting_since(namespace):
        return ready("Active")
    told = [
        f"{item.get('reason')}: {fields.one_line(item.get('message'))}"
        for item in dig(namespace, "status", "conditions", default=())
        if item.get("status") == "True"
    ]
    ref = fields.ref_of(namespace, "v1", "Namespace")
    message = "it is being deleted" + (f" ({'; '.join(told)})" if told else "")
    since = fields.deleting_since(namespace) or now
    cause = Cause(
        ref,
        "NamespaceTerminating",
        message,
        since,
        graces.namespace,
        command=f"kubectl get namespace {ref.name} -o yaml",
    )
    return not_ready("Terminating", "", [cause], now, related.seen)


def autoscaler_verdict(autoscaler: Object, related: Related, now: datetime, graces: Graces) -> Verdict:
    """Return the verdict for a HorizontalPodAutoscaler: it can scale, or is switched off.

    Metrics that are not there yet may come later, but what it scales runs without them: nobody must wait for ever where
    a cluster has none. A target that can't be found, or a wrong selector, does not come.

    Args:
        autoscaler: the HorizontalPodAutoscaler.
        related: unused.
        now: the time, on the API server's clock.
        graces: ``scale_target`` is how long its target may be missing, ``metrics`` how long its metrics are waited for.
    """
    version = "autoscaling/v2"
    if is_false(autoscaler, "AbleToScale"):
        return not_ready(
            "", "", [_from_condition(autoscaler, "AbleToScale", graces.scale_target, now, version)], now, related.seen
        )
    active = fields.condition(autoscaler, "ScalingActive")
    if active.get("status") == "True" or active.get("reason") == "ScalingDisabled":
        return ready(str(active.get("reason") or "ScalingActive"))
    if not active:
        return not_ready("NotObserved", "its controller has not looked at it yet", [], now, related.seen)
    without = active.get("reason") in _METRICS
    grace = graces.metrics if without else graces.scale_target
    cause = _from_condition(autoscaler, "ScalingActive", grace, now, version)
    if without and cause.over(now):
        return ready("NoMetrics", "it cannot scale: this cluster gives it no metrics")
    return not_ready("", "", [cause], now, related.seen)


def budget_verdict(budget: Object, related: Related, now: datetime, graces: Graces) -> Verdict:
    """Return the verdict for a PodDisruptionBudget: it has been computed for its present generation.

    Args:
        budget: the PodDisruptionBudget; its status is of its present generation.
        related: unused.
        now: unused.
        graces: unused.
    """
    return ready("Computed", f"Allowed disruptions: {fields.number(budget, 'status', 'disruptionsAllowed')}")


def quota_verdict(quota: Object, related: Related, now: datetime, graces: Graces) -> Verdict:
    """Return the verdict for a ResourceQuota: its limits are counted; before that, pods are refused.

    Args:
        quota: the ResourceQuota.
        related: unused.
        now: the time, on the API server's clock.
        graces: unused.
    """
    if dig(quota, "spec", "hard", default={}) == dig(quota, "status", "hard", default={}):
        return ready("Counted")
    return not_ready("NotCounted", "its controller has not counted it yet", [], now, related.seen)


def exists(obj: Object, related: Related, now: datetime, graces: Graces) -> Verdict:
    """Return "ready": for kinds that are complete as soon as they are stored.

    Args:
        obj: any object.
        related: unused.
        now: unused.
        graces: unused.
    """
    return ready("Exists")


def _from_condition(obj: Mapping[str, Any], kind: str, grace: float, now: datetime, version: str) -> Cause:
    found = fields.condition(obj, kind)
    since = fields.when(found.get("lastTransitionTime"), now)
    ref = fields.ref_of(dict(obj), version, str(obj.get("kind", "")))
    return Cause(ref, str(found.get("reason") or f"Not{kind}"), fields.one_line(found.get("message")), since, grace)
