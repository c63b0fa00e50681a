"""Services and Ingresses: an address and somebody behind it; this module must never count pods where slices tell.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime

from pytest_ephemeral_ns.rules.graces import Graces
from pytest_ephemeral_ns.rules.objects import Object
from pytest_ephemeral_ns.rules.status import fields
from pytest_ephemeral_ns.rules.status.answers import Cause, Verdict, not_ready, ready
from pytest_ephemeral_ns.rules.status.fields import dig
from pytest_ephemeral_ns.rules.status.related import Related

OWNER_LABEL = "kubernetes.io/service-name"
WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet")
DEFAULT_CLASS = "ingressclass.kubernetes.io/is-default-class"


def service_verdict(service: Object, related: Related, now: datetime, graces: Graces) -> Verdict:
    """Return the verdict for a Service: it has its address, and at least one ready endpoint for each of its ports.

    Without a selector, or as ExternalName, it only has to exist. ``ready`` of an endpoint that is not set means true
    (the EndpointSlice API says so).

    Args:
        service: the Service.
        related: EndpointSlices, pods, workloads and events.
        now: the time, on the API server's clock.
        graces: how long each cause may last.
    """
    kind = dig(service, "spec", "type", default="ClusterIP")
    if kind == "ExternalName":
        return ready("ExternalName", str(dig(service, "spec", "externalName", default="")))
    if not dig(service, "spec", "clusterIP"):
        return not_ready("NoClusterIP", "ClusterIP not set", [], now, related.seen)
    balancer = _balancer_cause(service, related, graces) if kind == "LoadBalancer" else None
    selector = dig(service, "spec", "selector", default={})
    if not selector:
        return (
            not_ready("", "", [balancer], now, related.seen)
            if balancer
            else ready("NoSelector", "its endpoints are made by hand")
        )
    slices = _slices(service, related)
    count = len(_addresses(slices))
    if not count and _nobody_wanted(selector, related):
        return ready("NoBackendsWanted", "its workloads want 0 replicas")
    progress = f"Ready endpoints: {count}"
    causes = [balancer] if balancer else []
    if not count:
        return not_ready(
            "NoEndpoints", progress, [*causes, *_no_endpoints(service, selector, related, graces)], now, related.seen
        )
    causes += _ports(service, slices, now, graces)
    return not_ready("NoAddress", progress, causes, now, related.seen) if causes else ready("Endpoints", progress)


def _slices(service: Object, related: Related) -> list[Object]:
    wanted = fields.name(service)
    return [item for item in related.all("EndpointSlice") if dig(item, "metadata", "labels", OWNER_LABEL) == wanted]


def _addresses(slices: Sequence[Object]) -> set[str]:
    found: set[str] = set()
    for item in slices:
        for endpoint in item.get("endpoints") or ():
            if dig(endpoint, "conditions", "ready", default=True) is True:
                # A pod has one address in each family, and one slice for each: count it once.
                target = dig(endpoint, "targetRef", "uid") or next(iter(endpoint.get("addresses") or ()), "")
                found.add(str(target))
    return found


def _no_endpoints(service: Object, selector: Mapping[str, str], related: Related, graces: Graces) -> list[Cause]:
    ref = fields.ref_of(service, "v1", "Service")
    pods = related.selected(selector, "Pod")
    shown = ",".join(f"{key}={value}" for key, value in sorted(selector.items()))
    command = f"kubectl -n {ref.namespace} get pods -l {shown} -o wide"
    if pods:
        ready_ones = sum(fields.is_true(pod, "Ready") for pod in pods)
        message = f"selects {len(pods)} pods ({shown}), {ready_ones} of them ready"
        return [Cause(ref, "NoReadyEndpoints", message, fields.created(service), math.inf, topic="endpoints")]
    if any(_template_fits(selector, item) for kind in WORKLOADS for item in related.all(kind)):
        message = f"its workload has made no pod yet ({shown})"
        return [Cause(ref, "NoPodsYet", message, fields.created(service), math.inf, topic="endpoints")]
    message = f"selects no pod and no workload: {shown}{_nearest(selector, related)}"
    readable = related.knows("Pod") and all(related.knows(kind) for kind in WORKLOADS)
    grace = graces.wiring if readable else math.inf
    since = max((fields.created(item) for item in related.all("Pod")), default=fields.EPOCH)
    since = max(since, fields.created(service))
    return [Cause(ref, "SelectsNothing", message, since, grace, topic="endpoints", command=command)]


def _nearest(selector: Mapping[str, str], related: Related) -> str:
    """The labels of the workload or pod that shares most keys: what was meant, as a rule."""
    found: list[tuple[int, str, str]] = []
    for kind in (*WORKLOADS, "Pod"):
        for item in related.all(kind):
            labels = _labels(item, kind)
            near = {key: labels[key] for key in selector if key in labels}
            if near:
                told = ",".join(f"{key}={value}" for key, value in sorted(near.items()))
                found.append((len(near), f"{kind}/{fields.name(item)}", told))
    if not found:
        return ""
    _, where, told = max(found, key=lambda item: item[0])
    return f"; {where} has {told}"


def _labels(item: Object, kind: str) -> Mapping[str, str]:
    path = ("metadata", "labels") if kind == "Pod" else ("spec", "template", "metadata", "labels")
    return dig(item, *path, default={})  # type: ignore[no-any-return]


def _template_fits(selector: Mapping[str, str], workload: Object) -> bool:
    return selector.items() <= _labels(workload, "").items()


def _nobody_wanted(selector: Mapping[str, str], related: Related) -> bool:
    fitting = [item for kind in WORKLOADS for item in related.all(kind) if _template_fits(selector, item)]
    return bool(fitting) and all(_wanted(item) == 0 for item in fitting)


def _wanted(workload: Object) -> int:
    if dig(workload, "status", "desiredNumberScheduled") is not None:
        return fields.number(workload, "status", "desiredNumberScheduled")
    return fields.number(workload, "spec", "replicas", default=1)


def _ports(service: Object, slices: Sequence[Object], now: datetime, graces: Graces) -> list[Cause]:
    """A named target port that no container has leaves the slice without that port: connections are refused."""
    served: set[str] = set()
    for item in slices:
        if _addresses([item]):
            served |= {str(port.get("name") or "") for port in item.get("ports") or ()}
    missing = [port for port in dig(service, "spec", "ports", default=()) if str(port.get("name") or "") not in served]
    if not missing:
        return []
    ref = fields.ref_of(service, "v1", "Service")
    told = ", ".join(f"{port.get('port')} → {port.get('targetPort')}" for port in missing)
    message = f"no ready pod has the target port: {told}"
    return [Cause(ref, "PortNotFound", message, now, graces.wiring, topic="ports")]


def _balancer_cause(service: Object, related: Related, graces: Graces) -> Cause | None:
    if dig(service, "status", "loadBalancer", "ingress") or dig(service, "spec", "externalIPs"):
        return None
    ref = fields.ref_of(service, "v1", "Service")
    made = fields.created(service)
    told = related.events(service)
    if told:
        message = fields.one_line(told[-1].get("message"))
        return Cause(ref, str(told[-1].get("reason", "NoLoadBalancerAddress")), message, made, topic="balancer")
    silent = graces.load_balancer if related.knows("Event") else math.inf
    message = "it has no address, and nothing on this cluster hands addresses out to Services of type LoadBalancer"
    return Cause(ref, "NoLoadBalancer", message, made, silent, topic="balancer")


def ingress_verdict(ingress: Object, related: Related, now: datetime, graces: Graces) -> Verdict:
    """Return the verdict for an Ingress: an address, or no controller that would give it one.

    Many controllers never publish an address, so a missing one only delays.

    Args:
        ingress: the Ingress.
        related: IngressClasses, if they may be read.
        now: the time, on the API server's clock.
        graces: ``ingress_address`` is how long it is waited for.
    """
    if dig(ingress, "status", "loadBalancer", "ingress"):
        return ready("Address")
    if related.knows("IngressClass") and _ingress_class(ingress, related) is None:
        return ready("NoController", "it has no address: no IngressClass of this cluster serves it")
    ref = fields.ref_of(ingress, "networking.k8s.io/v1", "Ingress")
    cause = Cause(
        ref, "NoAddress", "its controller has not given it an address", fields.created(ingress), graces.ingress_address
    )
    if cause.over(now):
        return ready("NoAddress", "its controller gives it no address")
    return not_ready("NoAddress", "", [cause], now, related.seen)


def _ingress_class(ingress: Object, related: Related) -> Object | None:
    named = dig(ingress, "spec", "ingressClassName") or dig(
        ingress, "metadata", "annotations", "kubernetes.io/ingress.class"
    )
    if named:
        return related.named("IngressClass", str(named))
    marked = (
        item for item in related.all("IngressClass") if dig(item, "metadata", "annotations", DEFAULT_CLASS) == "true"
    )
    return next(marked, None)
