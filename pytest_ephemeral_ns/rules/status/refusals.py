"""Pods that a controller may not make, from what the API server answered it; this module must never look at a pod.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime

from pytest_ephemeral_ns.rules.graces import Graces
from pytest_ephemeral_ns.rules.objects import Object, Ref
from pytest_ephemeral_ns.rules.status import fields
from pytest_ephemeral_ns.rules.status.answers import Cause
from pytest_ephemeral_ns.rules.status.quotas import quota_grace
from pytest_ephemeral_ns.rules.status.related import Related, first_seen, last_seen

_KINDS: tuple[tuple[str, str, str], ...] = (
    # pattern, reason, name of the grace; the first that matches
    (r"being terminated|NamespaceTerminating", "NamespaceTerminating", "namespace"),
    (r"failed calling webhook|failed to call webhook", "WebhookUnavailable", "webhook"),
    (r"failed quota: .* must specify", "QuotaNeedsLimits", "refused"),
    (r"exceeded quota|insufficient quota|status unknown for quota", "QuotaExceeded", "quota"),
    (r"violates PodSecurity", "PodSecurityViolation", "refused"),
    (
        r"(maximum|minimum) (cpu|memory|ephemeral-storage|storage) usage|limit to request ratio",
        "LimitRangeViolation",
        "refused",
    ),
    (r"admission webhook .* denied the request|ValidatingAdmissionPolicy .* denied", "AdmissionDenied", "refused"),
    (r"serviceaccount \"[^\"]*\" not found|service account .* not found", "ServiceAccountNotFound", "service_account"),
    (r"no PriorityClass with name", "PriorityClassNotFound", "config_object"),
    (r"is invalid: ", "InvalidPod", "refused"),
)

_SERVICE = re.compile(r"https://(?P<name>[^./\s]+)\.(?P<namespace>[^./\s]+)\.svc\b")


def refusal(ref: Ref, message: str, since: datetime, graces: Graces, related: Related | None = None) -> Cause:
    """Return the cause for one refusal to make a pod.

    Args:
        ref: who was refused.
        message: the API server's answer, as the controller repeats it.
        since: when it began, or when a pod made progress last, whichever is later.
        graces: how long each class of refusal may last.
        related: the namespace's quotas and pods, if they are known.

    Example:
        >>> from datetime import datetime
        >>> refusal(Ref("v1", "Job", "a"), "forbidden: exceeded quota: q", datetime(2026, 1, 1), Graces()).reason
        'QuotaExceeded'
    """
    for pattern, reason, grace in _KINDS:
        if re.search(pattern, message, re.I):
            seconds = getattr(graces, grace)
            if grace == "quota" and related is not None:
                seconds = quota_grace(message, related, graces)
            command = _who_answers(message) if grace == "webhook" else ""
            return Cause(ref, reason, fields.one_line(message), since, seconds, topic="refused", command=command)
    return Cause(ref, "FailedCreate", fields.one_line(message), since, graces.quota, topic="refused")


def _who_answers(message: str) -> str:
    """What shows whether a webhook's Service exists, and has endpoints; empty if it is not in this cluster."""
    match = _SERVICE.search(message)
    return f"kubectl -n {match['namespace']} describe service {match['name']}" if match else ""


def refusals(owner: Object, ref: Ref, pods: Iterable[Object], related: Related, graces: Graces) -> list[Cause]:
    """Return why an owner could not make its pods; empty if it could, or has since.

    Args:
        owner: ReplicaSet, StatefulSet, DaemonSet or Job.
        ref: its reference.
        pods: its pods: each that made progress gives the rest more time.
        related: the owner's events.
        graces: how long each class of refusal may last.
    """
    progress = max((last_progress(pod) for pod in pods), default=fields.EPOCH)
    condition = fields.condition(owner, "ReplicaFailure")
    if condition.get("status") == "True":
        since = max(fields.when(condition.get("lastTransitionTime")), progress)
        return [refusal(ref, str(condition.get("message", "")), since, graces, related)]
    events = related.events(owner, "FailedCreate", "FailedCreatePod")
    made = max((last_seen(event) for event in related.events(owner, "SuccessfulCreate")), default=fields.EPOCH)
    newest = max((fields.created(pod) for pod in pods), default=fields.EPOCH)
    open_ones = [event for event in events if last_seen(event) >= max(made, newest)]
    if not open_ones:
        return []
    since = max(min(first_seen(event) for event in open_ones), progress)
    return [refusal(ref, str(open_ones[-1].get("message", "")), since, graces, related)]


def last_progress(pod: Object) -> datetime:
    """Return when a pod last went a step further.

    Args:
        pod: the pod.
    """
    moments = [fields.created(pod)]
    moments += [
        fields.when(item.get("lastTransitionTime")) for item in fields.dig(pod, "status", "conditions", default=())
    ]
    if deleting := fields.deleting_since(pod):
        moments.append(deleting)
    return max(moments)
