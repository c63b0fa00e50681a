"""A node's link to this machine; this module must never change a link, route or rule that is not ours.

One veth pair, its host end with an address of a /30 net, and one route for the pods. Inside the sandbox: the other end,
a link that takes the Services' addresses, and nothing else, so no packet can leave the machine.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_ephemeral_ns.clusters.embedded import network_egress
from pytest_ephemeral_ns.clusters.embedded.node_programs import run
from pytest_ephemeral_ns.errors import ClusterError

if TYPE_CHECKING:
    from pytest_ephemeral_ns.clusters.embedded.node_spec import NodeSpec

# The kernel removes the link when the sandbox ends, and packets for the node or a pod would then leave by the default
# route. Routes that say "unreachable" stand behind; their metric tells them from everyone else's.
LAST_RESORT = 97_097


def prepare(spec: NodeSpec) -> None:
    """Make the veth pair, its host end's address and the routes; does nothing when they are there.

    Raises:
        ClusterError: the link's name or an address range is in use by something else.
    """
    if is_ours(spec) and _exists(spec.node_link):
        return
    _remove_link(spec)
    _refuse_conflicts(spec)
    commands = [
        f"link add {spec.host_link} type veth peer name {spec.node_link}",
        f"link set {spec.host_link} alias {spec.identity} addrgenmode none up",
        f"link set {spec.node_link} addrgenmode none",
        f"addr add {spec.host_ip}/30 dev {spec.host_link}",
        # The API server listens on this address, and it must stay when the link goes with the sandbox.
        f"addr replace {spec.host_ip}/32 dev lo label {_label(spec)}",
        # The node's end is not up yet, so the kernel has to be told that the next hop is on this link.
        f"route add {spec.pod_range} via {spec.node_ip} dev {spec.host_link} onlink",
        *(f"route replace unreachable {net} metric {LAST_RESORT}" for net in _nets(spec)),
    ]
    batch(commands)
    if spec.egress:
        network_egress.allow(spec)


def hand_over(spec: NodeSpec, pid: int) -> None:
    """Move the node's end into the network namespace of a process."""
    # By path, not by number: the program may run in a PID namespace where the number means another process, or none.
    batch([f"link set {spec.node_link} netns /proc/{pid}/ns/net name eth0"])


def set_up_inside(spec: NodeSpec) -> None:
    """Give the sandbox its addresses and routes; to be called inside of it, after :func:`hand_over`."""
    commands = [
        "link set lo up",
        "link set eth0 addrgenmode none up",
        f"addr add {spec.node_ip}/30 dev eth0",
        # Without it, what the node itself sends to a Service would have no route before kube-proxy can translate it.
        # A link whose packets arrive nowhere; the kind "dummy" would say it better, but not every kernel has it.
        "link add services type veth peer name nowhere",
        "link set nowhere addrgenmode none up",
        "link set services addrgenmode none arp off up",
        f"route add {spec.service_range} dev services src {spec.node_ip}",
    ]
    if spec.egress:
        commands.append(f"route add default via {spec.host_ip}")
    batch(commands)
    for name, value in {"net/ipv4/ip_forward": "1", "net/ipv4/conf/all/rp_filter": "0"}.items():
        Path("/proc/sys", name).write_text(value)


def remove(spec: NodeSpec) -> None:
    """Remove everything that :func:`prepare` made, and nothing that another node has got in the meantime."""
    network_egress.forbid(spec)
    if _exists(spec.host_link) and not is_ours(spec):
        return  # the index was free once the kernel had removed our link, and belongs to somebody else now
    _remove_link(spec)
    run("ip", "addr", "delete", f"{spec.host_ip}/32", "dev", "lo", "label", _label(spec), check=False)
    for net in _nets(spec):
        run("ip", "route", "delete", "unreachable", net, "metric", str(LAST_RESORT), check=False)


def _remove_link(spec: NodeSpec) -> None:
    if is_ours(spec):
        # It may vanish in between: the kernel removes it some time after the sandbox is gone.
        run("ip", "link", "delete", spec.host_link, check=False)


def _label(spec: NodeSpec) -> str:
    return f"lo:{spec.host_link}"


def _nets(spec: NodeSpec) -> list[str]:
    return [str(ipaddress.ip_network(f"{spec.host_ip}/30", strict=False)), spec.pod_range]


def is_ours(spec: NodeSpec) -> bool:
    """Whether the host's end exists and carries our mark."""
    try:
        return Path("/sys/class/net", spec.host_link, "ifalias").read_text().strip() == spec.identity
    except OSError:
        return False


def batch(commands: list[str]) -> None:
    """Run several ``ip`` commands in one process."""
    run("ip", "-batch", "-", stdin="\n".join(commands))


def _exists(link: str) -> bool:
    return Path("/sys/class/net", link).exists()


def _refuse_conflicts(spec: NodeSpec) -> None:
    for link in (spec.host_link, spec.node_link):
        if _exists(link):
            raise ClusterError(
                f"network link {link} exists and is not this cluster's",
                command=f"ip -details link show {link}",
            )
    marked = _label(spec) in run("ip", "-4", "address", "show", "dev", "lo").split()
    if conflict := in_use([f"{spec.host_ip}/30", spec.pod_range], but=spec.host_ip if marked else ""):
        raise ClusterError(
            f"address range {conflict[0]} is in use on this machine",
            evidence=[f"route: {conflict[1]}"],
            command="ip route show table all",
        )


def in_use(ranges: list[str], *, but: str = "") -> tuple[str, str] | None:
    """Return the first of some address ranges that overlaps a route of this machine, and that route.

    Args:
        ranges: for example ``["10.244.0.0/16"]``.
        but: an address that does not count.

    Example:
        >>> in_use(["127.0.0.0/24"])  # doctest: +SKIP
        ('127.0.0.0/24', '127.0.0.0/8 dev lo')
    """
    wanted = [ipaddress.ip_network(text, strict=False) for text in ranges]
    routes: list[dict[str, Any]] = json.loads(run("ip", "-4", "-json", "route", "show", "table", "all") or "[]")
    for route in routes:
        if route["dst"] in ("default", but) or route.get("metric") == LAST_RESORT:
            continue
        taken = ipaddress.ip_network(route["dst"], strict=False)
        for net in wanted:
            if net.overlaps(taken):
                return str(net), f"{route['dst']} dev {route.get('dev', '?')}"
    return None
