"""What is applied before what; this module must never look at more than group and kind.

Helm and kapp have a list of kinds for the same purpose (``releaseutil/kind_sorter.go``); ours is in stages, because the
objects of one stage are applied at the same time.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections.abc import Iterable

from pytest_ephemeral_ns.rules.manifests import Manifest, group_of

ADMISSION = "admissionregistration.k8s.io"
RBAC = "rbac.authorization.k8s.io"

DEFINITIONS = "definitions"
GUARD_RAILS = "guard rails"
IDENTITIES = "identities"
CONFIGURATION = "configuration"
STORAGE = "storage"
SERVICES = "services"
WORKLOADS = "workloads"
SCALING_AND_ROUTES = "scaling and routes"
WEBHOOKS = "webhooks"

STAGES = (
    DEFINITIONS,
    GUARD_RAILS,
    IDENTITIES,
    CONFIGURATION,
    STORAGE,
    SERVICES,
    WORKLOADS,
    SCALING_AND_ROUTES,
    WEBHOOKS,
)

_STAGE_OF = {
    ("apiextensions.k8s.io", "CustomResourceDefinition"): DEFINITIONS,
    ("", "Namespace"): DEFINITIONS,
    ("scheduling.k8s.io", "PriorityClass"): DEFINITIONS,
    ("node.k8s.io", "RuntimeClass"): DEFINITIONS,
    ("storage.k8s.io", "StorageClass"): DEFINITIONS,
    ("networking.k8s.io", "IngressClass"): DEFINITIONS,
    ("gateway.networking.k8s.io", "GatewayClass"): DEFINITIONS,
    ("", "ResourceQuota"): GUARD_RAILS,
    ("", "LimitRange"): GUARD_RAILS,
    ("networking.k8s.io", "NetworkPolicy"): GUARD_RAILS,
    ("", "ServiceAccount"): IDENTITIES,
    (RBAC, "Role"): IDENTITIES,
    (RBAC, "RoleBinding"): IDENTITIES,
    (RBAC, "ClusterRole"): IDENTITIES,
    (RBAC, "ClusterRoleBinding"): IDENTITIES,
    ("", "ConfigMap"): CONFIGURATION,
    ("", "Secret"): CONFIGURATION,
    ("", "PersistentVolume"): STORAGE,
    ("", "PersistentVolumeClaim"): STORAGE,
    ("", "Service"): SERVICES,
    ("", "Endpoints"): SERVICES,
    ("discovery.k8s.io", "EndpointSlice"): SERVICES,
    ("autoscaling", "HorizontalPodAutoscaler"): SCALING_AND_ROUTES,
    ("policy", "PodDisruptionBudget"): SCALING_AND_ROUTES,
    ("networking.k8s.io", "Ingress"): SCALING_AND_ROUTES,
    ("apiregistration.k8s.io", "APIService"): SCALING_AND_ROUTES,
    (ADMISSION, "ValidatingWebhookConfiguration"): WEBHOOKS,
    (ADMISSION, "MutatingWebhookConfiguration"): WEBHOOKS,
    (ADMISSION, "ValidatingAdmissionPolicy"): WEBHOOKS,
    (ADMISSION, "ValidatingAdmissionPolicyBinding"): WEBHOOKS,
    (ADMISSION, "MutatingAdmissionPolicy"): WEBHOOKS,
    (ADMISSION, "MutatingAdmissionPolicyBinding"): WEBHOOKS,
}


def stage_of(api_version: str, kind: str) -> str:
    """Return the stage in which objects of this kind are applied; kinds that nobody listed go with the workloads.

    Example:
        >>> stage_of("apps/v1", "Deployment")
        'workloads'
    """
    group = group_of(api_version)
    if group == "gateway.networking.k8s.io":
        return _STAGE_OF.get((group, kind), SCALING_AND_ROUTES)
    return _STAGE_OF.get((group, kind), WORKLOADS)


def in_stages(manifests: Iterable[Manifest]) -> list[tuple[str, list[Manifest]]]:
    """Return the stages that are not empty, in order, each with its objects in the order they came in.

    Example:
        >>> in_stages([])
        []
    """
    stages: dict[str, list[Manifest]] = {stage: [] for stage in STAGES}
    for manifest in manifests:
        stages[stage_of(manifest.ref.api_version, manifest.ref.kind)].append(manifest)
    return [(stage, found) for stage, found in stages.items() if found]
