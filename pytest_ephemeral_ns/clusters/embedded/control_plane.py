"""The programs of a control plane and how each is called; this module must never start one.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path

from pytest_ephemeral_ns.clusters.embedded.state import Home

SERVICE_RANGE = "10.96.0.0/16"
FIRST_SERVICE = "10.96.0.1"
DNS_SERVICE = "10.96.0.10"
_SIMULATED_PODS = "10.64.0.0/10"
# Sockets, by their names in the working directory: a path of any length would not fit into an address of 107 bytes.
# etcd wants a port in every address, also of a socket, where it is a part of the name.
_STORE, _STORE_PEER = "unix://etcd:0", "unix://etcd-peer:0"
_NOWHERE = (
    "192.0.2.1"  # TEST-NET-1 (RFC 5737): an address must be given, or a machine without a default route can't start
)
_THROTTLE = ("--kube-api-qps=1000", "--kube-api-burst=2000")  # by default they slow themselves down, see CLUSTER.md


@dataclass(frozen=True)
class Component:
    """One program.

    Args:
        name: also the name of its log file.
        argv: program and arguments.
    """

    name: str
    argv: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """Where the parts of one cluster listen, and which address ranges it has.

    Args:
        home: its folder.
        bin_dir: where the programs are.
        nodes: ``"real"``, ``"simulated"`` or ``"none"``.
        address: where the API server listens; the node's side of the machine if there is a node, else loopback.
        port: where the API server listens.
        pod_range: addresses of pods, with a real node.
        network: index of the address ranges, with a real node.
    """

    home: Home
    bin_dir: Path
    nodes: str
    address: str
    port: int
    pod_range: str = ""
    network: int | None = None

    @property
    def server(self) -> str:
        """The API server's URL."""
        return f"https://{self.address}:{self.port}"

    @property
    def server_names(self) -> tuple[str, ...]:
        """What the API server is called, for its certificate: on the machine, and inside the cluster."""
        service = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local")
        return tuple(dict.fromkeys(("127.0.0.1", self.address, FIRST_SERVICE, "localhost", *service)))


def free_port(address: str) -> int:
    """Return a port of ``address`` that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind((address, 0))
        return int(listener.getsockname()[1])


def etcd(plan: Plan) -> Component:
    """Return the store. It listens on sockets in the cluster's folder, which nobody else can enter.

    Whoever reaches it is above every permission, so it has no port; and encryption would cost 0.5 s of processor time
    at each start.
    """
    return Component(
        "etcd",
        (
            f"{plan.bin_dir}/etcd",
            f"--data-dir={plan.home.path}/etcd",
            f"--listen-client-urls={_STORE}",
            f"--advertise-client-urls={_STORE}",
            f"--listen-peer-urls={_STORE_PEER}",
            f"--initial-advertise-peer-urls={_STORE_PEER}",
            f"--initial-cluster=default={_STORE_PEER}",
            "--unsafe-no-fsync",  # the data ends with the cluster
            # Its only voter is itself, and it would wait 0.5 s before it asks.
            "--heartbeat-interval=10",
            "--election-timeout=100",
            "--quota-backend-bytes=4294967296",
            "--log-level=warn",
        ),
    )


def api_server(plan: Plan) -> Component:
    """Return the API server, with aggregation and webhooks that reach pods by their own addresses."""
    pki = plan.home.pki
    # Only pods look the API server up as a Service; without them nobody needs its endpoints.
    endpoints = "lease" if plan.nodes == "real" else "none"
    advertised = plan.address if plan.nodes == "real" else _NOWHERE
    return Component(
        "kube-apiserver",
        (
            f"{plan.bin_dir}/kube-apiserver",
            f"--bind-address={plan.address}",
            f"--secure-port={plan.port}",
            f"--advertise-address={advertised}",
            f"--endpoint-reconciler-type={endpoints}",
            f"--service-cluster-ip-range={SERVICE_RANGE}",
            f"--etcd-servers={_STORE}",
            f"--tls-cert-file={pki}/apiserver.crt",
            f"--tls-private-key-file={pki}/apiserver.key",
            f"--client-ca-file={pki}/ca.crt",
            "--authorization-mode=Node,RBAC",
            "--allow-privileged=true",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--service-account-key-file={pki}/service-account.pub",
            f"--service-account-signing-key-file={pki}/service-account.key",
            f"--requestheader-client-ca-file={pki}/ca.crt",
            # The authority is shared with clients, so it must be this name and no other (an empty list would be any).
            "--requestheader-allowed-names=front-proxy-client",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            f"--proxy-client-cert-file={pki}/front-proxy.crt",
            f"--proxy-client-key-file={pki}/front-proxy.key",
            # No kube-proxy runs on this side: aggregated APIs and webhooks are reached at their pods.
            "--enable-aggregator-routing=true",
            f"--kubelet-client-certificate={pki}/kubelet-client.crt",
            f"--kubelet-client-key={pki}/kubelet-client.key",
            *((f"--kubelet-certificate-authority={pki}/ca.crt",) if plan.nodes == "real" else ()),
            "--kubelet-preferred-address-types=InternalIP",  # a node's name means nothing to this machine's DNS
            "--profiling=false",
            f"--cert-dir={plan.home.path}",
        ),
    )


def controller_manager(plan: Plan) -> Component:
    """Return the controllers, all with one identity: a ServiceAccount each costs 5 s at the start."""
    pki = plan.home.pki
    ranges = {"real": plan.pod_range, "simulated": _SIMULATED_PODS}.get(plan.nodes)
    size = 22 if plan.nodes == "real" else 20
    pods = (f"--cluster-cidr={ranges}", f"--node-cidr-mask-size={size}") if ranges else ()
    return Component(
        "kube-controller-manager",
        (
            f"{plan.bin_dir}/kube-controller-manager",
            f"--kubeconfig={pki}/controller-manager.kubeconfig",
            "--use-service-account-credentials=false",
            "--leader-elect=false",
            "--secure-port=0",
            f"--root-ca-file={pki}/ca.crt",
            f"--service-account-private-key-file={pki}/service-account.key",
            f"--cluster-signing-cert-file={pki}/ca.crt",
            f"--cluster-signing-key-file={pki}/ca.key",
            f"--service-cluster-ip-range={SERVICE_RANGE}",
            f"--allocate-node-cidrs={'true' if pods else 'false'}",
            *pods,
            "--concurrent-namespace-syncs=50",
            "--concurrent-deployment-syncs=20",
            "--concurrent-replicaset-syncs=20",
            *_THROTTLE,
        ),
    )


def scheduler(plan: Plan) -> Component:
    """Return the scheduler."""
    return Component(
        "kube-scheduler",
        (
            f"{plan.bin_dir}/kube-scheduler",
            f"--kubeconfig={plan.home.pki}/scheduler.kubeconfig",
            "--leader-elect=false",
            "--secure-port=0",
            *_THROTTLE,
        ),
    )
