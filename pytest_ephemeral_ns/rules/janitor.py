"""The janitor as a CronJob, with no right that it does not use; this module must never apply it.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from pytest_ephemeral_ns.rules.naming import MANAGER
from pytest_ephemeral_ns.rules.objects import Object
from pytest_ephemeral_ns.rules.permissions import JANITOR_EVENTS, JANITOR_RIGHTS, OUTSIDE_RIGHTS, bound

NAME = f"{MANAGER}-janitor"


def cronjob(*, image: str, namespace: str, schedule: str, namespaces_only: bool = False) -> list[Object]:
    """Return the manifests of a janitor that runs in the cluster.

    Args:
        image: an image that has this package installed.
        namespace: where it runs; created with it, and never reaped, because it carries no run's label.
        schedule: in the CronJob's syntax.
        namespaces_only: whether it leaves alone what deploys made outside their namespaces, and needs no right to it.

    Returns:
        Objects, in the order in which they are to be applied.

    Example:
        >>> [obj["kind"] for obj in cronjob(image="x", namespace="janitor", schedule="*/10 * * * *")][-1]
        'CronJob'
    """
    rights = JANITOR_RIGHTS if namespaces_only else (*JANITOR_RIGHTS, *OUTSIDE_RIGHTS)
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": NAME, "namespace": namespace}},
        *bound(NAME, rights, [(NAME, namespace)]),
        # Events about namespaces are in default.
        *bound(NAME, [JANITOR_EVENTS], [(NAME, namespace)], namespace="default"),
        _job(image, namespace, schedule, namespaces_only),
    ]


def _job(image: str, namespace: str, schedule: str, namespaces_only: bool) -> Object:
    container = {
        "name": "janitor",
        "image": image,
        "command": ["python", "-m", "pytest_ephemeral_ns"],
        "args": ["reap", "--once", "--cluster", "current", *(["--namespaces-only"] if namespaces_only else [])],
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
