"""A real node as a part of a cluster: its ranges, credentials, start, add-ons; this module must never hold a thread.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Sequence
from pathlib import Path

from pytest_ephemeral_ns.clusters.embedded import certificates, node, ranges
from pytest_ephemeral_ns.clusters.embedded.addons import addons
from pytest_ephemeral_ns.clusters.embedded.control_plane import DNS_SERVICE, SERVICE_RANGE
from pytest_ephemeral_ns.clusters.embedded.node_spec import NodeSpec
from pytest_ephemeral_ns.clusters.embedded.probe import Probe
from pytest_ephemeral_ns.clusters.embedded.processes import last_lines
from pytest_ephemeral_ns.clusters.embedded.state import Home
from pytest_ephemeral_ns.errors import ClusterError

_DNS = "/apis/apps/v1/namespaces/kube-system/deployments/coredns"


class RealNode:
    """The node of one cluster.

    Args:
        home: the cluster's folder.
        bin_dir: where kubelet and kube-proxy are.
        images: archives that it imports at its start: what pods are made from, and CoreDNS.
        egress: whether pods may reach what this machine reaches.
    """

    def __init__(self, home: Home, bin_dir: Path, images: Sequence[str], *, egress: bool) -> None:
        self.home = home
        self.process: node.NodeProcess | None = None
        self.ranges = ranges.Ranges(0)
        self._furnished = False
        self.spec = NodeSpec(
            directory=home.path / "node",
            name=f"{home.name}-node",
            bin_dir=bin_dir,
            server="",
            kubelet_kubeconfig=home.pki / "kubelet.kubeconfig",
            proxy_kubeconfig=home.pki / "kube-proxy.kubeconfig",
            ca_file=home.pki / "ca.crt",
            kubelet_cert=home.pki / "kubelet.crt",
            kubelet_key=home.pki / "kubelet.key",
            pod_range="",
            service_range=SERVICE_RANGE,
            dns_ip=DNS_SERVICE,
            host_ip="",
            node_ip="",
            index=0,
            images=tuple(Path(image) for image in images),
            egress=egress,
        )

    def claim(self) -> ranges.Ranges:
        """Take address ranges, and make this machine's end of the link, on which the API server will listen."""

        def take(found: ranges.Ranges) -> None:
            self.spec = dataclasses.replace(
                self.spec, pod_range=found.pods, host_ip=found.host_ip, node_ip=found.node_ip, index=found.index
            )
            node.prepare_network(self.spec)

        self.ranges = ranges.claim(take)
        return self.ranges

    def start(self, server: str) -> None:
        """Start the node, or start it again."""
        self.spec = dataclasses.replace(self.spec, server=server)
        for client, path in (("kubelet", self.spec.kubelet_kubeconfig), ("kube-proxy", self.spec.proxy_kubeconfig)):
            certificates.write_kubeconfig(
                path, pki=self.home.pki, client=client, server=server, context=self.home.context
            )
        self.process = node.start_node(self.spec)

    def ready(self, probe: Probe) -> bool:
        """Whether pods can run and find each other by name; on the way there, give the cluster DNS and storage.

        Not before the node is there: the scheduler looks again only after seconds at a pod that it could not place.
        """
        if not self._furnished:
            if not probe.has_condition(f"/api/v1/nodes/{self.spec.name}", "Ready"):
                return False
            for manifest in addons(self.spec):
                probe.apply(manifest)
            self._furnished = True
        return probe.has_condition(_DNS, "Available")

    def obstacles(self, probe: Probe) -> list[str]:
        """Return what the cluster itself says about why the node or its DNS is not ready, and where the logs are."""
        said = []
        status, found = probe.request("GET", f"/api/v1/nodes/{self.spec.name}")
        if status != 200:
            said.append(f"node {self.spec.name} has not registered itself")
        else:
            ready = [one for one in found["status"].get("conditions") or [] if one["type"] == "Ready"]
            said += [f"node {self.spec.name}: Ready={one['status']}: {one.get('message', '')}" for one in ready]
        _, found = probe.request("GET", "/api/v1/namespaces/kube-system/events?limit=200")
        events = found.get("items", []) if isinstance(found, dict) else []
        warnings = [one for one in events if one.get("type") == "Warning"]
        said += [f"{one['involvedObject'].get('name')}: {one['reason']}: {one['message']}" for one in warnings[-5:]]
        return [*said, f"logs: {self.spec.logs}"]

    def ended(self) -> bool:
        """Whether it was started and has ended by itself."""
        return self.process is not None and self.process.unshare.poll() is not None

    def refuse_ended(self) -> None:
        """Raise if it has ended by itself.

        Raises:
            ClusterError: it has; the last words of the component that ended first are there.
        """
        try:
            if self.process is not None:
                self.process.check()
        except ClusterError as error:
            named = re.search(r"see (\S+\.log)", "\n".join(error.evidence))
            said = last_lines(self.spec.logs / named[1]) if named else []
            raise ClusterError(error.summary, evidence=[*error.evidence, *said], command=error.command) from error

    def clean_up(self) -> None:
        """End it and remove everything of it."""
        if self.process is not None:
            self.process.stop()
            self.process = None
        node.clean_up(self.spec)


def recorded(home: Home) -> NodeSpec | None:
    """Return what a cluster's node was made from; ``None`` if the cluster has no node."""
    return node.recorded(home.path / "node")


def clean_up(home: Home) -> None:
    """Remove what a killed supervisor left of its node; does nothing when there was none."""
    if spec := recorded(home):
        node.clean_up(spec)
        _wait_for_link_to_vanish(spec)


def _wait_for_link_to_vanish(spec: NodeSpec) -> None:
    """The kernel takes a sandbox's links away some time after its last process ended."""
    end = time.monotonic() + 5
    while Path("/sys/class/net", spec.host_link).exists() and time.monotonic() < end:
        time.sleep(0.02)
