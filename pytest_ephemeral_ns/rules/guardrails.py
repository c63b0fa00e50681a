"""The objects that bound and isolate a namespace; this module must never create one.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pytest_ephemeral_ns.errors import UsageError
from pytest_ephemeral_ns.knobs import BY_NAME
from pytest_ephemeral_ns.rules.objects import Object

NONE = "none"
STANDARD = "standard"
ISOLATED = "isolated"
POLICIES = (NONE, STANDARD, ISOLATED)

POD_SECURITY = ("privileged", "baseline", "restricted")
NAME = "ephemeral-ns"
NAME_LABEL = "kubernetes.io/metadata.name"
# NodeLocal DNSCache answers pods on this link-local address of their node.
LOCAL_DNS = "169.254.20.10/32"


@dataclass(frozen=True)
class Limits:
    """What a namespace may use, as Kubernetes quantities; ``"none"`` sets no limit.

    Each is the option of the same name, and their defaults are the same.

    Args:
        quota_pods: how many at once.
        quota_requests_cpu: of all pods together.
        quota_requests_memory: of all pods together.
        quota_limits_cpu: of all pods together.
        quota_limits_memory: of all pods together.
        quota_requests_storage: of all claims together.
        quota_persistentvolumeclaims: how many.
        quota_services_loadbalancers: how many Services of type LoadBalancer.
        quota_services_nodeports: how many node ports.
        container_requests_cpu: of a container that says nothing.
        container_requests_memory: of a container that says nothing.
        container_limits_cpu: of a container that says nothing.
        container_limits_memory: of a container that says nothing.

    Example:
        >>> Limits(quota_pods="5").quota_limits_cpu
        'none'
    """

    quota_pods: str = BY_NAME["quota_pods"].default
    quota_requests_cpu: str = BY_NAME["quota_requests_cpu"].default
    quota_requests_memory: str = BY_NAME["quota_requests_memory"].default
    quota_limits_cpu: str = BY_NAME["quota_limits_cpu"].default
    quota_limits_memory: str = BY_NAME["quota_limits_memory"].default
    quota_requests_storage: str = BY_NAME["quota_requests_storage"].default
    quota_persistentvolumeclaims: str = BY_NAME["quota_persistentvolumeclaims"].default
    quota_services_loadbalancers: str = BY_NAME["quota_services_loadbalancers"].default
    quota_services_nodeports: str = BY_NAME["quota_services_nodeports"].default
    container_requests_cpu: str = BY_NAME["container_requests_cpu"].default
    container_requests_memory: str = BY_NAME["container_requests_memory"].default
    container_limits_cpu: str = BY_NAME["container_limits_cpu"].default
    container_limits_memory: str = BY_NAME["container_limits_memory"].default


@dataclass(frozen=True)
class Reach:
    """What an isolated namespace may reach, and who may reach it, besides itself and DNS.

    Args:
        shared: namespaces whose pods it may reach.
        ingress: namespaces whose pods may reach it: those of ingress controllers.
        dns: namespaces of the cluster's DNS.
        api_servers: ``(address, port)`` of the API server as pods reach it after address translation; empty closes it.
    """

    shared: Sequence[str] = ()
    ingress: Sequence[str] = ()
    dns: Sequence[str] = ("kube-system",)
    api_servers: Sequence[tuple[str, int]] = field(default_factory=tuple)


def guard_rails(policy: str, *, limits: Limits | None = None, reach: Reach | None = None) -> list[Object]:
    """Return the objects of a policy, without a namespace: whoever applies them gives it.

    Quota and LimitRange come together: a quota alone refuses every pod that says nothing about resources.

    Args:
        policy: ``"none"``, ``"standard"`` (quota and defaults) or ``"isolated"`` (and the network closed).
        limits: for quota and defaults.
        reach: for the network.

    Raises:
        UsageError: there is no such policy.

    Example:
        >>> [obj["kind"] for obj in guard_rails("standard")]
        ['LimitRange', 'ResourceQuota']
    """
    if policy not in POLICIES:
        raise UsageError(f"policy {policy!r} does not exist", evidence=[f"there are {', '.join(POLICIES)}"])
    if policy == NONE:
        return []
    limits = limits or Limits()
    bounds = [obj for obj in (_limit_range(limits), _quota(limits)) if obj]
    return bounds if policy == STANDARD else [*bounds, *network_policies(reach or Reach())]


def _limit_range(limits: Limits) -> Object | None:
    default = _filled({"cpu": limits.container_limits_cpu, "memory": limits.container_limits_memory})
    request = _filled({"cpu": limits.container_requests_cpu, "memory": limits.container_requests_memory})
    item = _filled({"default": default, "defaultRequest": request})
    return _object("v1", "LimitRange", {"limits": [{"type": "Container", **item}]}) if item else None


def _quota(limits: Limits) -> Object | None:
    hard = _filled(
        {
            "pods": limits.quota_pods,
            "requests.cpu": limits.quota_requests_cpu,
            "requests.memory": limits.quota_requests_memory,
            "limits.cpu": limits.quota_limits_cpu,
            "limits.memory": limits.quota_limits_memory,
            "requests.storage": limits.quota_requests_storage,
            "persistentvolumeclaims": limits.quota_persistentvolumeclaims,
            "services.loadbalancers": limits.quota_services_loadbalancers,
            "services.nodeports": limits.quota_services_nodeports,
        }
    )
    return _object("v1", "ResourceQuota", {"hard": hard}) if hard else None


def network_policies(reach: Reach) -> list[Object]:
    """Return the policies of an isolated namespace: everything is denied, then what may be is allowed, one by one.

    Args:
        reach: what may be.

    Example:
        >>> [obj["metadata"]["name"] for obj in network_policies(Reach())]
        ['ephemeral-ns-default-deny', 'ephemeral-ns-same-namespace', 'ephemeral-ns-dns']
    """
    everybody: Object = {"podSelector": {}}
    dns_ports = [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]
    dns = [*map(_namespace, reach.dns), {"ipBlock": {"cidr": LOCAL_DNS}}]
    found = [
        _policy("default-deny", policyTypes=["Ingress", "Egress"]),
        _policy("same-namespace", ingress=[{"from": [everybody]}], egress=[{"to": [everybody]}]),
        _policy("dns", egress=[{"to": dns, "ports": dns_ports}]),
    ]
    if reach.shared:
        found.append(_policy("shared-services", egress=[{"to": [*map(_namespace, reach.shared)]}]))
    if reach.ingress:
        found.append(_policy("ingress-controllers", ingress=[{"from": [*map(_namespace, reach.ingress)]}]))
    if reach.api_servers:
        rules = [
            {"to": [{"ipBlock": {"cidr": _cidr(address)}}], "ports": [{"protocol": "TCP", "port": port}]}
            for address, port in reach.api_servers
        ]
        found.append(_policy("api-server", egress=rules))
    return found


def pod_security_labels(level: str) -> dict[str, str]:
    """Return the namespace labels of a Pod Security level.

    The rules are https://kubernetes.io/docs/concepts/security/pod-security-admission/.

    Args:
        level: ``"privileged"``, ``"baseline"``, ``"restricted"``, or ``"none"`` for the cluster's own default.

    Raises:
        UsageError: there is no such level.

    Example:
        >>> pod_security_labels("baseline")["pod-security.kubernetes.io/enforce"]
        'baseline'
    """
    if level == NONE:
        return {}
    if level not in POD_SECURITY:
        raise UsageError(
            f"Pod Security level {level!r} does not exist", evidence=[f"there are {', '.join(POD_SECURITY)}"]
        )
    return {f"pod-security.kubernetes.io/{mode}": level for mode in ("enforce", "warn")}


def _policy(name: str, **spec: Any) -> Object:
    # Without types a policy that has egress rules would deny all ingress, too: say only what it is about.
    types = [kind for kind in ("Ingress", "Egress") if kind.lower() in spec]
    return _object(
        "networking.k8s.io/v1", "NetworkPolicy", {"podSelector": {}, "policyTypes": types, **spec}, f"-{name}"
    )


def _namespace(name: str) -> Object:
    return {"namespaceSelector": {"matchLabels": {NAME_LABEL: name}}}


def _cidr(address: str) -> str:
    return f"{address}/{128 if ':' in address else 32}"


def _object(api_version: str, kind: str, spec: Object, suffix: str = "") -> Object:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": f"{NAME}{suffix}"}, "spec": spec}


def _filled(values: Mapping[str, Any]) -> Object:
    return {key: value for key, value in values.items() if value and value != NONE}
