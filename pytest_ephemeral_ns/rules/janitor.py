"""The janitor as a CronJob, with no right that it does not use; this module must never apply it.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from typing import Any

from pytest_ephemeral_ns.rules.naming import MANAGER
from pytest_ephemeral_ns.rules.objects import Object

NAME = f"{MANAGER}-janitor"
RULES: list[dict[str, Any]] = [
    # get: to tell "changed" from "gone" when a deletion is refused.
    {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get", "list", "delete"]},
    {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["list"]},
]
EVENT_RULES: list[dict[str, Any]] = [{"apiGroups": [""], "resources": ["events"], "verbs": ["create"]}]


def cronjob(*, image: str, namespace: str, schedule: str) -> list[Object]:
    """Return the manifests of a janitor that runs in the cluster.

    Args:
        image: an image that has this package installed.
        namespace: where it runs; created with it, and never reaped, because it carries no run's label.
        schedule: in the CronJob's syntax.

    Returns:
        Objects, in the order in which they are to be applied.

    Example:
        >>> [obj["kind"] for obj in cronjob(image="x", namespace="janitor", schedule="*/10 * * * *")][-1]
        'CronJob'
    """
    subject = {"kind": "ServiceAccount", "name": NAME, "namespace": namespace}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": NAME, "namespace": namespace}},
        _rbac("ClusterRole", "", {"rules": RULES}),
        _rbac("ClusterRoleBinding", "", {"roleRef": _ref("ClusterRole"), "subjects": [subject]}),
        # Events about namespaces are in default.
        _rbac("Role", "default", {"rules": EVENT_RULES}),
        _rbac("RoleBinding", "default", {"roleRef": _ref("Role"), "subjects": [subject]}),
        _job(image, namespace, schedule),
    ]


def _rbac(kind: str, namespace: str, rest: dict[str, Any]) -> Object:
    metadata = {"name": NAME, "namespace": namespace} if namespace else {"name": NAME}
    return {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": metadata, **rest}


def _ref(kind: str) -> dict[str, str]:
    return {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": NAME}


def _job(image: str, namespace: str, schedule: str) -> Object:
    container = {
        "name": "janitor",
        "image": image,
        "command": ["python", "-m", "pytest_ephemeral_ns"],
        "args": ["reap", "--once", "--cluster", "current"],
        "env": [{"name": "PYTHONDONTWRITEBYTECODE", "value": "1"}],
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    pod = {
        "serviceAccountName": NAME,
        "restartPolicy": "Never",
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
    }
    spec = {
        "schedule": schedule,
        # A pass that is still at work finds the same namespaces; the next one need not wait behind it.
        "concurrencyPolicy": "Forbid",
        "successfulJobsHistoryLimit": 1,
        "failedJobsHistoryLimit": 3,
        "jobTemplate": {"spec": {"backoffLimit": 0, "activeDeadlineSeconds": 600, "template": {"spec": pod}}},
    }
    metadata = {"name": NAME, "namespace": namespace}
    return {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": metadata, "spec": spec}
