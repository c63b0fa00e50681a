"""The objects that bound and isolate a namespace; this module must never create one.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from pytest_ephemeral_ns.errors import UsageError
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
    """What a namespace may use, as Kubernetes quantities. An empty value sets no limit.

    There is no limit on CPU by default: throttling makes tests slow by chance. Every pod gets a memory limit, because
    a pod without one could take the node.

    Args:
        pods: how many at once.
        cpu_requests: of all pods together.
        memory_requests: of all pods together.
        cpu_limits: of all pods together.
        memory_limits: of all pods together.
        storage: of all claims together.
        claims: how many PersistentVolumeClaims.
        load_balancers: how many Services of type LoadBalancer.
        node_ports: how many node ports.
        container_cpu_request: of a container that says nothing.
        container_memory_request: of a container that says nothing.
        container_cpu_limit: of a container that says nothing.
        container_memory_limit: of a container that says nothing.

    Example:
        >>> Limits().pods
        '50'
    """

    pods: str = "50"
    cpu_requests: str = "8"
    memory_requests: str = "16Gi"
    cpu_limits: str = ""
    memory_limits: str = "32Gi"
    storage: str = "50Gi"
    claims: str = "20"
    load_balancers: str = "2"
    node_ports: str = "10"
    container_cpu_request: str = "10m"
    container_memory_request: str = "32Mi"
    container_cpu_limit: str = ""
    container_memory_limit: str = "1Gi"

    @classmethod
    def of(cls, values: Mapping[str, str]) -> Limits:
        """Return limits with some values of one's own.

        Raises:
            UsageError: a name that does not exist.
        """
        known = {f.name for f in fields(cls)}
        if unknown := sorted(set(values) - known):
            raise UsageError(f"unknown limit {unknown[0]}", evidence=[f"known: {', '.join(sorted(known))}"])
        return cls(**{name: str(value) for name, value in values.items()})


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
    default = _filled({"cpu": limits.container_cpu_limit, "memory": limits.container_memory_limit})
    request = _filled({"cpu": limits.container_cpu_request, "memory": limits.container_memory_request})
    item = _filled({"default": default, "defaultRequest": request})
    return _object("v1", "LimitRange", {"limits": [{"type": "Container", **item}]}) if item else None


def _quota(limits: Limits) -> Object | None:
    hard = {
        "pods": limits.pods,
        "requests.cpu": limits.cpu_requests,
        "requests.memory": limits.memory_requests,
        "limits.cpu": limits.cpu_limits,
        "limits.memory": limits.memory_limits,
        "requests.storage": limits.storage,
        "persistentvolumeclaims": limits.claims,
        "services.loadbalancers": limits.load_balancers,
        "services.nodeports": limits.node_ports,
    }
    return _object("v1", "ResourceQuota", {"hard": _filled(hard)}) if _filled(hard) else None


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
    """Return the namespace labels of a Pod Security level; none for an empty one.

    The rules are https://kubernetes.io/docs/concepts/security/pod-security-admission/.

    Args:
        level: ``"privileged"``, ``"baseline"``, ``"restricted"``, or empty for the cluster's own default.

    Raises:
        UsageError: there is no such level.

    Example:
        >>> pod_security_labels("baseline")["pod-security.kubernetes.io/enforce"]
        'baseline'
    """
    if not level:
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
    return {key: value for key, value in values.items() if value}
