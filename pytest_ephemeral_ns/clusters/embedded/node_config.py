"""What kubelet and kube-proxy are told; this module must never start one.

Field names are those of kubelet.config.k8s.io/v1beta1 and kubeproxy.config.k8s.io/v1alpha1.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_ephemeral_ns.clusters.embedded.containerd import SOCKET

if TYPE_CHECKING:
    from pytest_ephemeral_ns.clusters.embedded.node_spec import NodeSpec

RESOLVERS = (Path("/run/systemd/resolve/resolv.conf"), Path("/etc/resolv.conf"))

# Whose size the kubelet can tell; on another file system it would not start if it had to.
MEASURED = ("ext", "xfs", "btrfs", "zfs", "overlay", "tmpfs", "nfs")


def write_config(spec: NodeSpec) -> None:
    """Write the configuration files of kubelet and kube-proxy, and the pods' name servers."""
    spec.config.mkdir(parents=True, exist_ok=True)
    (spec.config / "kubelet.json").write_text(json.dumps(_kubelet(spec), indent=1))
    (spec.config / "kube-proxy.json").write_text(json.dumps(_kube_proxy(spec), indent=1))
    (spec.config / "resolv.conf").write_text("".join(f"nameserver {server}\n" for server in name_servers(spec)))


def name_servers(spec: NodeSpec) -> list[str]:
    """Return this machine's name servers that a node can reach: none without egress, and none on loopback."""
    if not spec.egress:
        return []
    for path in RESOLVERS:
        if path.exists():
            lines = [line.split() for line in path.read_text().splitlines()]
            servers = [words[1] for words in lines if len(words) > 1 and words[0] == "nameserver"]
            if reachable := [server for server in servers if not _is_loopback(server)]:
                return reachable
    return []


def _is_loopback(server: str) -> bool:
    try:
        return ipaddress.ip_address(server.partition("%")[0]).is_loopback
    except ValueError:
        return True


def file_system(directory: Path) -> str:
    """Return the type of the file system that a directory is on, for example ``"ext4"``."""
    best, kind = Path("/"), ""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        point = Path(before.split()[4])
        if point in (directory, *directory.parents) and len(point.parts) >= len(best.parts):
            best, kind = point, after.split()[0]
    return kind


def kubelet_command(spec: NodeSpec) -> list[str]:
    """Return the command that starts the kubelet."""
    return [
        str(spec.bin_dir / "kubelet"),
        f"--config={spec.config / 'kubelet.json'}",
        f"--kubeconfig={spec.kubelet_kubeconfig}",
        f"--hostname-override={spec.name}",
        f"--node-ip={spec.node_ip}",
        "--root-dir=/var/lib/kubelet",
        "--cert-dir=/var/lib/kubelet/pki",
    ]


def kube_proxy_command(spec: NodeSpec) -> list[str]:
    """Return the command that starts kube-proxy."""
    return [str(spec.bin_dir / "kube-proxy"), f"--config={spec.config / 'kube-proxy.json'}"]


def _kubelet(spec: NodeSpec) -> dict[str, Any]:
    pair = {"tlsCertFile": str(spec.kubelet_cert), "tlsPrivateKeyFile": str(spec.kubelet_key)}
    return {
        **(pair if spec.kubelet_cert and spec.kubelet_key else {}),
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": spec.node_ip,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(spec.ca_file)},
        },
        "authorization": {"mode": "Webhook"},
        "readOnlyPort": 0,
        "containerRuntimeEndpoint": f"unix://{SOCKET}",
        "clusterDomain": "cluster.local",
        "clusterDNS": [spec.dns_ip],
        "resolvConf": str(spec.config / "resolv.conf"),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{spec.identity}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "enforceNodeAllocatable": [],
        "localStorageCapacityIsolation": file_system(spec.directory).startswith(MEASURED),
        "oomScoreAdj": 0,
        # A test machine's disk may be nearly full; that is no reason to evict a test's pods or to lose its images.
        "evictionHard": {"memory.available": "64Mi", "nodefs.available": "0%", "nodefs.inodesFree": "0%"},
        "imageGCHighThresholdPercent": 100,
        "maxPods": 500,
        "serializeImagePulls": False,
        "registryPullQPS": 0,
        "eventRecordQPS": 0,
        "kubeAPIQPS": 200,
        "kubeAPIBurst": 400,
        "volumePluginDir": "/var/lib/kubelet/volume-plugins",
    }


def _kube_proxy(spec: NodeSpec) -> dict[str, Any]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": str(spec.proxy_kubeconfig)},
        "mode": "nftables",
        "clusterCIDR": spec.pod_range,
        "hostnameOverride": spec.name,
        "oomScoreAdj": 0,
        "conntrack": {"maxPerCore": 0, "min": 0},  # the table's size belongs to the whole machine
        "nftables": {"minSyncPeriod": "100ms", "syncPeriod": "30s"},
    }
