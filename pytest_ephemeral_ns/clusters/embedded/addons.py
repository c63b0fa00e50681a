"""What a cluster with a real node needs inside: DNS and storage, as objects to apply; it must never apply them itself.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_ephemeral_ns.clusters.embedded.images import COREDNS
from pytest_ephemeral_ns.clusters.embedded.node_config import name_servers
from pytest_ephemeral_ns.clusters.embedded.node_spec import PROVISIONER

if TYPE_CHECKING:
    from pytest_ephemeral_ns.clusters.embedded.node_spec import NodeSpec

SYSTEM = "kube-system"
LABELS = {"k8s-app": "kube-dns"}


def addons(spec: NodeSpec) -> list[dict[str, Any]]:
    """Return CoreDNS behind Service ``kube-dns``, and a default StorageClass whose volumes are folders of the node.

    Example:
        >>> [f"{item['kind']}/{item['metadata']['name']}" for item in addons(spec)][:2]  # doctest: +SKIP
        ['ServiceAccount/coredns', 'ClusterRole/system:coredns']
    """
    return [*_access(), _corefile(spec), _deployment(), _service(spec), _storage_class(), *_provisioner_access()]


def _access() -> list[dict[str, Any]]:
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "system:coredns"},
        "rules": [
            {"apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": ["list", "watch"]},
            {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
        ],
    }
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "coredns", "namespace": SYSTEM}}
    subject = {"kind": "ServiceAccount", "name": "coredns", "namespace": SYSTEM}
    return [account, role, _binding("system:coredns", subject)]


def _binding(role: str, subject: dict[str, str]) -> dict[str, Any]:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": role},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [subject],
    }


def _corefile(spec: NodeSpec) -> dict[str, Any]:
    # Without a way out, every other name does not exist, at once: a forward would make each look-up wait.
    # It takes a block of its own, as the template plugin comes before the kubernetes plugin within a block.
    if servers := name_servers(spec):
        corefile = _block(".:53", ["health", "ready", *_cluster_zone("fallthrough"), f"forward . {' '.join(servers)}"])
    else:
        zones = "cluster.local:53 in-addr.arpa:53 ip6.arpa:53"
        corefile = _block(zones, ["health", "ready", *_cluster_zone()])
        corefile += _block(".:53", ["template ANY ANY . {", "    rcode NXDOMAIN", "}"])
    metadata = {"name": "coredns", "namespace": SYSTEM}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"Corefile": corefile}}


def _block(zones: str, lines: list[str]) -> str:
    return "\n".join([f"{zones} {{", "    errors", *(f"    {line}" for line in lines), "}", ""])


def _cluster_zone(*more: str) -> list[str]:
    options = ["pods insecure", "ttl 5", *more]
    return ["kubernetes cluster.local in-addr.arpa ip6.arpa {", *(f"    {option}" for option in options), "}"]


def _deployment() -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "coredns", "namespace": SYSTEM, "labels": LABELS},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": LABELS},
            "template": {
                "metadata": {"labels": LABELS},
                "spec": {
                    "serviceAccountName": "coredns",
                    "priorityClassName": "system-cluster-critical",
                    "tolerations": [{"operator": "Exists"}],
                    "dnsPolicy": "Default",
                    "containers": [_container()],
                    "volumes": [{"name": "config", "configMap": {"name": "coredns"}}],
                },
            },
        },
    }


def _container() -> dict[str, Any]:
    return {
        "name": "coredns",
        "image": COREDNS,
        "imagePullPolicy": "IfNotPresent",
        "args": ["-conf", "/etc/coredns/Corefile"],
        "ports": [
            {"name": "dns", "containerPort": 53, "protocol": "UDP"},
            {"name": "dns-tcp", "containerPort": 53, "protocol": "TCP"},
        ],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8181}, "periodSeconds": 1, "failureThreshold": 10},
        "livenessProbe": {"httpGet": {"path": "/health", "port": 8080}, "failureThreshold": 5, "timeoutSeconds": 5},
        "resources": {"requests": {"cpu": "50m", "memory": "32Mi"}, "limits": {"memory": "170Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"add": ["NET_BIND_SERVICE"], "drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": [{"name": "config", "mountPath": "/etc/coredns", "readOnly": True}],
    }


def _service(spec: NodeSpec) -> dict[str, Any]:
    ports = [
        {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 53},
        {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": 53},
    ]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "kube-dns", "namespace": SYSTEM, "labels": LABELS},
        "spec": {"clusterIP": spec.dns_ip, "selector": LABELS, "ports": ports},
    }


def _storage_class() -> dict[str, Any]:
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": "standard",
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": PROVISIONER,
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "Immediate",
    }


def _provisioner_access() -> list[dict[str, Any]]:
    """Return the rights of the volume provisioner, which runs beside kube-proxy with the same credential."""
    name = "pytest-ephemeral-ns:host-path"
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": name},
        "rules": [
            {"apiGroups": [""], "resources": ["persistentvolumeclaims"], "verbs": ["list", "watch"]},
            {
                "apiGroups": [""],
                "resources": ["persistentvolumes"],
                "verbs": ["list", "watch", "create", "delete"],
            },
            {"apiGroups": ["storage.k8s.io"], "resources": ["storageclasses"], "verbs": ["get"]},
        ],
    }
    subject = {"kind": "User", "name": "system:kube-proxy", "apiGroup": "rbac.authorization.k8s.io"}
    return [role, _binding(name, subject)]
