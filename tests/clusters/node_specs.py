"""Specifications of nodes that never run as a whole: what a test does not name is beside the point."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pytest_ephemeral_ns.clusters.embedded.node_spec import NodeSpec


def node_spec(folder: Path, name: str, index: int, pod_range: str, **more: Any) -> NodeSpec:
    """Return a specification whose addresses are those of an index, and whose files need not exist."""
    told: dict[str, Any] = {
        "bin_dir": folder / "bin",
        "server": f"https://10.97.{index}.1:6443",
        "kubelet_kubeconfig": folder / "kubelet.kubeconfig",
        "proxy_kubeconfig": folder / "proxy.kubeconfig",
        "ca_file": folder / "ca.crt",
        "service_range": "10.96.0.0/16",
        "dns_ip": "10.96.0.10",
        "host_ip": f"10.97.{index}.1",
        "node_ip": f"10.97.{index}.2",
        **more,
    }
    return NodeSpec(directory=folder / "node", name=name, index=index, pod_range=pod_range, **told)
