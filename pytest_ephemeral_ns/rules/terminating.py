"""Why a namespace does not go away, in words and commands; this module must never ask a server.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pytest_ephemeral_ns.rules.durations import format_duration
from pytest_ephemeral_ns.rules.objects import Object
from pytest_ephemeral_ns.rules.retention import parse_time

_SHOWN = 10  # objects of one kind
_WEBHOOK = re.compile(r'failed calling webhook "([^"]+)"')

# Who has to remove a finalizer, where that is known: https://kubernetes.io/docs/reference/labels-annotations-taints/
# and the projects' own pages.
FINALIZERS: Mapping[str, str] = {
    "kubernetes.io/pvc-protection": "it goes when no pod uses the claim",
    "kubernetes.io/pv-protection": "it goes when no claim is bound to the volume",
    "foregroundDeletion": "the garbage collector of kube-controller-manager deletes its dependents first",
    "orphan": "the garbage collector of kube-controller-manager lets its dependents go first",
    "batch.kubernetes.io/job-tracking": "the Job controller of kube-controller-manager removes it",
    "service.kubernetes.io/load-balancer-cleanup": "the cloud's load balancer controller removes it",
    "external-attacher/": "the CSI driver's attacher removes it",
    "external-provisioner.volume.kubernetes.io/finalizer": "the CSI driver's provisioner removes it",
    "resources-finalizer.argocd.argoproj.io": "Argo CD removes it",
    "finalizers.fluxcd.io": "Flux removes it",
    "uninstall-helm-release": "the Helm controller removes it",
}


@dataclass(frozen=True)
class Remains:
    """What is left of one kind.

    Args:
        resource: as kubectl takes it: ``"widgets.example.com"``.
        objects: the objects; of pods whole, of other kinds at least their metadata.
    """

    resource: str
    objects: Sequence[Object]


@dataclass(frozen=True)
class Evidence:
    """What was found out about a namespace that does not go.

    Args:
        namespace: the object.
        remains: what is left in it, kind by kind.
        dead_apis: name of an APIService that is not available → why.
        dead_nodes: names of nodes that are not ready or not there.
        webhooks: name of a webhook → the kind and name of its configuration.
        notes: what could not be looked at.
    """

    namespace: Object
    remains: Sequence[Remains] = ()
    dead_apis: Mapping[str, str] = field(default_factory=dict)
    dead_nodes: frozenset[str] = frozenset()
    webhooks: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()


def explain(evidence: Evidence, *, now: datetime) -> list[str]:
    """Return why the namespace is still there, each reason with the command that helps.

    Args:
        evidence: what was found out.
        now: the moment.

    Returns:
        Lines; those with a command begin with an arrow.

    Example:
        >>> explain(Evidence({"metadata": {"name": "shop"}}), now=datetime.now())
        ['namespace shop is not being deleted']
    """
    metadata = evidence.namespace["metadata"]
    name = str(metadata["name"])
    since = parse_time(metadata.get("deletionTimestamp"))
    if since is None:
        return [f"namespace {name} is not being deleted"]
    reasons = [
        *_of_apis(evidence),
        *_of_webhooks(evidence),
        *(line for remains in evidence.remains for line in _of_kind(remains, name, evidence)),
        *_not_begun(evidence.remains),
        *_of_namespace(evidence.namespace),
    ]
    if not reasons:
        reasons = ["nothing is left in it: the namespace controller (kube-controller-manager) has to finish it"]
    said = [f"{c.get('type')}: {c.get('message')}" for c in _true_conditions(evidence.namespace)]
    waited = format_duration(max(0.0, round((now - since).total_seconds())))
    return [f"namespace {name} is being deleted since {waited}", *said, *reasons, *evidence.notes]


def _true_conditions(namespace: Object) -> list[dict[str, Any]]:
    conditions = (namespace.get("status") or {}).get("conditions") or []
    return [condition for condition in conditions if condition.get("status") == "True"]


def _of_apis(evidence: Evidence) -> Iterator[str]:
    for name, why in sorted(evidence.dead_apis.items()):
        yield f"API {name} does not answer, and deletion waits for every registered API: {why}"
        yield f"→ bring its server back, or: kubectl delete apiservice {name}"


def _of_webhooks(evidence: Evidence) -> Iterator[str]:
    said = " ".join(str(condition.get("message")) for condition in _true_conditions(evidence.namespace))
    for webhook in dict.fromkeys(_WEBHOOK.findall(said)):
        yield f"webhook {webhook} does not answer and refuses what it cannot judge"
        yield f"→ bring its server back, or: kubectl delete {evidence.webhooks.get(webhook, '(its configuration)')}"


def _of_namespace(namespace: Object) -> Iterator[str]:
    finalizers = [name for name in (namespace.get("spec") or {}).get("finalizers") or [] if name != "kubernetes"]
    finalizers += namespace["metadata"].get("finalizers") or []
    for finalizer in finalizers:
        yield f"the namespace itself waits for finalizer {finalizer}: {who_removes(finalizer)}"


def _going(obj: Object) -> bool:
    return bool(obj["metadata"].get("deletionTimestamp"))


def _of_kind(remains: Remains, namespace: str, evidence: Evidence) -> Iterator[str]:
    going = [obj for obj in remains.objects if _going(obj)]
    for obj in going[:_SHOWN]:
        yield from _of_object(remains.resource, obj, namespace, evidence)
    if len(going) > _SHOWN:
        yield f"{remains.resource}: and {len(going) - _SHOWN} more"


def _not_begun(remains: Sequence[Remains]) -> Iterator[str]:
    """Since Kubernetes 1.33 a namespace's pods go first, and the rest waits for them."""
    left = {kind.resource: sum(not _going(obj) for obj in kind.objects) for kind in remains}
    counts = [f"{count} {resource}" for resource, count in left.items() if count]
    if counts:
        why = (
            " (pods go first)" if any(_going(obj) for k in remains if k.resource == "pods" for obj in k.objects) else ""
        )
        yield f"still there, deletion not begun{why}: {', '.join(counts)}"


def _of_object(resource: str, obj: Object, namespace: str, evidence: Evidence) -> Iterator[str]:
    name = obj["metadata"]["name"]
    finalizers = obj["metadata"].get("finalizers") or []
    node = (obj.get("spec") or {}).get("nodeName", "")
    if resource == "pods" and node in evidence.dead_nodes:
        yield f"pods {name} is on node {node}, which is gone or not ready: nobody there says that it has ended"
        yield f"→ kubectl delete pod {name} -n {namespace} --force --grace-period=0"
    for finalizer in finalizers:
        users = _users_of(name, evidence) if finalizer == "kubernetes.io/pvc-protection" else []
        who = f"used by pod {', '.join(users)}" if users else who_removes(finalizer)
        yield f"{resource} {name} waits for finalizer {finalizer}: {who}"
    if finalizers and not any(finalizer.startswith("kubernetes.io/pv") for finalizer in finalizers):
        patch = """--type=merge -p '{"metadata":{"finalizers":null}}'"""
        yield f"→ only if nobody ever will: kubectl patch {resource} {name} -n {namespace} {patch}"
    if not finalizers and not (resource == "pods" and node in evidence.dead_nodes):
        yield f"{resource} {name} is being deleted"


def _users_of(claim: str, evidence: Evidence) -> list[str]:
    pods = [pod for remains in evidence.remains if remains.resource == "pods" for pod in remains.objects]
    return [pod["metadata"]["name"] for pod in pods if claim in _claims(pod)]


def _claims(pod: Object) -> set[str]:
    volumes = (pod.get("spec") or {}).get("volumes") or []
    return {str((volume.get("persistentVolumeClaim") or {}).get("claimName")) for volume in volumes}


def who_removes(finalizer: str) -> str:
    """Return who has to remove a finalizer, as far as its name tells.

    Args:
        finalizer: as it is in ``metadata.finalizers``.

    Example:
        >>> who_removes("example.com/cleanup")
        'the controller of example.com removes it; does it run?'
    """
    for known, who in FINALIZERS.items():
        if finalizer == known or (known.endswith("/") and finalizer.startswith(known)):
            return who
    domain = finalizer.split("/")[0]
    return f"the controller of {domain} removes it; does it run?"
