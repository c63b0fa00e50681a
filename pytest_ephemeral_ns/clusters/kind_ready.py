"""When a kind cluster can be used, which is later than kind says; this module must never change anything.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_ephemeral_ns.errors import EphemeralNsError

if TYPE_CHECKING:
    from pytest_ephemeral_ns.connection import Connection
    from pytest_ephemeral_ns.deadline import Deadline
    from pytest_ephemeral_ns.kube.api import Api

_LOOK_EVERY = 0.5  # seconds
_SYSTEM = "/apis/apps/v1/namespaces/kube-system"


def wait_ready(connection: Connection, deadline: Deadline) -> list[str]:
    """Wait until pods can run and find each other: nodes ready, kube-proxy on each, DNS there.

    A cluster that was configured without kube-proxy or CoreDNS is not expected to have them.

    Args:
        connection: to the cluster.
        deadline: when to stop waiting.

    Returns:
        What was missing at last, in words; empty when nothing is.

    Example:
        >>> wait_ready(connection, Deadline.after(60))  # doctest: +SKIP
        ['no CoreDNS pod is ready']
    """
    import tenacity

    from pytest_ephemeral_ns.kube.api import Api

    with Api(connection, timeout=5.0) as api:
        looking = tenacity.Retrying(
            retry=tenacity.retry_if_result(bool),
            stop=tenacity.stop_after_delay(deadline.remaining()),
            wait=tenacity.wait_fixed(_LOOK_EVERY),
            retry_error_callback=lambda state: state.outcome.result() if state.outcome else [],
        )
        found: list[str] = looking(_missing, api)
    return found


def _missing(api: Api) -> list[str]:
    try:
        nodes = list(api.list("/api/v1/nodes"))
        lines = [line for node in nodes for line in _node_trouble(node)] if nodes else ["there is no node yet"]
        proxy = api.find(f"{_SYSTEM}/daemonsets/kube-proxy")
        status = (proxy or {}).get("status", {})
        if proxy is not None and not status.get("numberReady", 0) >= status.get("desiredNumberScheduled", 0) > 0:
            lines.append(f"kube-proxy runs on {status.get('numberReady', 0)} of {len(nodes)} nodes")
        dns = api.find(f"{_SYSTEM}/deployments/coredns")
        if dns is not None and not dns.get("status", {}).get("readyReplicas", 0):
            lines.append("no CoreDNS pod is ready")
    except EphemeralNsError as error:
        return [error.summary]
    return lines


def _node_trouble(node: dict[str, Any]) -> list[str]:
    name = node["metadata"]["name"]
    for condition in node.get("status", {}).get("conditions", []):
        if condition.get("type") == "Ready":
            if condition.get("status") == "True":
                return []
            return [f"node {name} is not ready: {condition.get('reason')}: {condition.get('message')}"]
    return [f"node {name} has not reported yet"]
