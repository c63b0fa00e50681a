"""The kinds that every supported server has (1.25 and later), so that nobody has to ask; this module must never ask.

From ``kubectl api-resources`` of Kubernetes 1.35; kinds and versions that a supported server may lack are left out.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from pytest_ephemeral_ns.kube.resource import Resource, split_api_version

_VERBS = frozenset({"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"})

# api version: "Kind plural [short,names]", a kind that is not in a namespace has a "/" before its plural
_TABLE: dict[str, tuple[str, ...]] = {
    "v1": (
        "Pod pods po",
        "Service services svc",
        "ConfigMap configmaps cm",
        "Secret secrets",
        "ServiceAccount serviceaccounts sa",
        "Namespace /namespaces ns",
        "Node /nodes no",
        "PersistentVolumeClaim persistentvolumeclaims pvc",
        "PersistentVolume /persistentvolumes pv",
        "Event events ev",
        "Endpoints endpoints ep",
        "LimitRange limitranges limits",
        "ResourceQuota resourcequotas quota",
        "PodTemplate podtemplates",
        "ReplicationController replicationcontrollers rc",
    ),
    "apps/v1": (
        "Deployment deployments deploy",
        "StatefulSet statefulsets sts",
        "DaemonSet daemonsets ds",
        "ReplicaSet replicasets rs",
        "ControllerRevision controllerrevisions",
    ),
    "batch/v1": ("Job jobs", "CronJob cronjobs cj"),
    "networking.k8s.io/v1": (
        "Ingress ingresses ing",
        "NetworkPolicy networkpolicies netpol",
        "IngressClass /ingressclasses",
    ),
    "discovery.k8s.io/v1": ("EndpointSlice endpointslices",),
    "policy/v1": ("PodDisruptionBudget poddisruptionbudgets pdb",),
    "autoscaling/v2": ("HorizontalPodAutoscaler horizontalpodautoscalers hpa",),
    "rbac.authorization.k8s.io/v1": (
        "Role roles",
        "RoleBinding rolebindings",
        "ClusterRole /clusterroles",
        "ClusterRoleBinding /clusterrolebindings",
    ),
    "storage.k8s.io/v1": (
        "StorageClass /storageclasses sc",
        "CSIDriver /csidrivers",
        "CSINode /csinodes",
        "VolumeAttachment /volumeattachments",
        "CSIStorageCapacity csistoragecapacities",
    ),
    "apiextensions.k8s.io/v1": ("CustomResourceDefinition /customresourcedefinitions crd,crds",),
    "apiregistration.k8s.io/v1": ("APIService /apiservices",),
    "admissionregistration.k8s.io/v1": (
        "MutatingWebhookConfiguration /mutatingwebhookconfigurations",
        "ValidatingWebhookConfiguration /validatingwebhookconfigurations",
    ),
    "certificates.k8s.io/v1": ("CertificateSigningRequest /certificatesigningrequests csr",),
    "coordination.k8s.io/v1": ("Lease leases",),
    "events.k8s.io/v1": ("Event events ev",),
    "node.k8s.io/v1": ("RuntimeClass /runtimeclasses",),
    "scheduling.k8s.io/v1": ("PriorityClass /priorityclasses pc",),
}


def _resource(api_version: str, row: str) -> Resource:
    kind, plural, *short = row.split()
    names = tuple(short[0].split(",")) if short else ()
    return Resource(
        *split_api_version(api_version), kind, plural.removeprefix("/"), not plural.startswith("/"), _VERBS, names
    )


BUILTIN: tuple[Resource, ...] = tuple(_resource(version, row) for version, rows in _TABLE.items() for row in rows)
