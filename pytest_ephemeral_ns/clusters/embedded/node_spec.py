"""What a node is made from, as a value that survives a trip through a file; this module must never start anything.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from pytest_ephemeral_ns.clusters.embedded import layouts

PROVISIONER = "pytest-ephemeral-ns/host-path"  # in the default StorageClass


@dataclass(frozen=True)
class NodeSpec:
    """One node of an embedded cluster.

    Args:
        directory: everything of the node lives here: state, configuration, logs, volumes. Made and removed by us.
        name: the Node object's name, and the host name that its pods see with ``hostNetwork``.
        bin_dir: where kubelet and kube-proxy are.
        server: URL of the API server as the node sees it, for example ``https://10.97.0.1:6443``.
        kubelet_kubeconfig: the credential of ``system:node:NAME``; certificates are in it, not beside it.
        proxy_kubeconfig: the credential of ``system:kube-proxy``, also used by the volume provisioner.
        ca_file: the authority whose client certificates the kubelet accepts.
        pod_range: addresses of pods, for example ``10.244.0.0/16``; the cluster's ``--cluster-cidr``.
        service_range: addresses of Services, for example ``10.96.0.0/16``.
        dns_ip: the address of Service ``kube-dns``.
        host_ip: this machine's end of the link, for example ``10.97.0.1`` (the net is a /30).
        node_ip: the node's end of the link, for example ``10.97.0.2``.
        index: a number that no other cluster of this machine uses; names the link.
        kubelet_cert: the kubelet's serving certificate for ``node_ip``; it makes one itself if there is none.
        kubelet_key: the key to it.
        images: image archives that the node imports when it starts.
        egress: whether the node and its pods may reach what this machine reaches. Needed to pull images; costs one
            masquerade rule in a table of our own, and IP forwarding.
    """

    directory: Path
    name: str
    bin_dir: Path
    server: str
    kubelet_kubeconfig: Path
    proxy_kubeconfig: Path
    ca_file: Path
    pod_range: str
    service_range: str
    dns_ip: str
    host_ip: str
    node_ip: str
    index: int
    kubelet_cert: Path | None = None
    kubelet_key: Path | None = None
    images: tuple[Path, ...] = ()
    egress: bool = False

    @property
    def identity(self) -> str:
        """A name that no other node of this machine has: it marks the cgroups and the link as ours."""
        return f"pytest-ephemeral-ns-{hashlib.sha256(str(self.directory).encode()).hexdigest()[:10]}"

    @property
    def host_link(self) -> str:
        """The name of this machine's end of the veth pair, at most 15 characters."""
        return f"epns{self.index}h"

    @property
    def node_link(self) -> str:
        """The name of the node's end of the veth pair until it is in the sandbox, where it is ``eth0``."""
        return f"epns{self.index}n"

    @property
    def logs(self) -> Path:
        """One file per component: ``node.log`` ``containerd.log`` ``kubelet.log`` ``kube-proxy.log`` and others."""
        return self.directory / "logs"

    @property
    def config(self) -> Path:
        """What the components read."""
        return self.directory / "config"

    @property
    def file(self) -> Path:
        """Where :meth:`write` puts the value."""
        return self.directory / "spec.json"

    def write(self) -> None:
        """Write the value as JSON, so that another process can read it; makes the directory."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        partial = self.file.with_suffix(".partial")
        partial.write_text(json.dumps(asdict(self), default=str, indent=1))
        partial.replace(self.file)

    @classmethod
    def read(cls, path: Path) -> NodeSpec:
        """Read what :meth:`write` wrote.

        Raises:
            OSError: there is nothing.
            ValueError: it was not written to its end.
        """
        values: dict[str, Any] = layouts.known(cls, json.loads(path.read_text()))
        for field in fields(cls):
            if "Path" in str(field.type) and isinstance(values.get(field.name), str):
                values[field.name] = Path(values[field.name])
        values["images"] = tuple(Path(image) for image in values.get("images") or ())
        return cls(**values)
