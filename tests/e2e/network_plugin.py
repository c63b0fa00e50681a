"""A network plugin for one node, with nftables: it carries out default-deny policies, and what comes with them.

The embedded node's own plugin is the CNI bridge, which ignores policies. Packets between two pods of a node never leave
the bridge, so the rules are in the bridge family; those to and from Services and the outside are routed.
"""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from pytest_ephemeral_ns.clusters.cluster import Cluster
from pytest_ephemeral_ns.clusters.embedded import node_process, real_node
from pytest_ephemeral_ns.clusters.embedded.state import Home
from pytest_ephemeral_ns.kube.api import Api

TABLES = "table bridge isolation\ndelete table bridge isolation\ntable ip isolation\ndelete table ip isolation\n"


@contextmanager
def network_plugin(cluster: Cluster, *, directions: tuple[str, ...] = ("in", "out")) -> Iterator[None]:
    """Enforce policies in the node's network namespace for the length of a block; ``directions`` for half a plugin."""
    over = threading.Event()
    spec = real_node.recorded(Home.of(cluster.name))
    assert spec is not None
    inside = ["nsenter", "--target", str(node_process.running_pid(spec)), "--net", "--", "nft", "-f", "-"]

    def nft(rules: str) -> None:
        subprocess.run(inside, input=TABLES + rules, text=True, timeout=30, check=True)

    def work() -> None:
        seen = ""
        with Api(cluster.connection) as api:
            while not over.wait(0.2):
                rules = _rules(api, directions)
                if rules != seen:
                    nft(rules)
                    seen = rules

    thread = threading.Thread(target=work, name="network-plugin")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(60)
        nft("")


def _rules(api: Api, directions: tuple[str, ...]) -> str:
    policies = [*api.list("/apis/networking.k8s.io/v1/networkpolicies")]
    closed = sorted({p["metadata"]["namespace"] for p in policies if p["metadata"]["name"].endswith("default-deny")})
    where: dict[str, list[str]] = {}
    for pod in api.list("/api/v1/pods"):
        if pod["status"].get("podIP"):
            where.setdefault(pod["metadata"]["namespace"], []).append(pod["status"]["podIP"])
    servers = [
        block["ipBlock"]["cidr"].removesuffix("/32")
        for policy in policies
        if policy["metadata"]["name"] == "ephemeral-ns-api-server"
        for rule in policy["spec"]["egress"]
        for block in rule["to"]
    ]
    lines: list[str] = []
    for namespace in closed:
        own = where.get(namespace, [])
        if own:
            allowed = ", ".join(sorted({*own, *where.get("kube-system", []), *servers}))
            mine = ", ".join(sorted(own))
            ways = {"out": f"ip saddr {{ {mine} }} ip daddr", "in": f"ip daddr {{ {mine} }} ip saddr"}
            for way in directions:
                # A bridge tracks no connections: what begins one is dropped, and all that is not TCP.
                lines.append(f"{ways[way]} != {{ {allowed} }} tcp flags & (syn | ack) == syn drop")
                lines.append(f"{ways[way]} != {{ {allowed} }} ip protocol != tcp drop")
    body = "\n".join(lines)
    hooks = ("bridge", "forward"), ("bridge", "output"), ("ip", "forward")
    return "".join(
        f"table {family} isolation {{\nchain {hook} {{\ntype filter hook {hook} priority 0;\n{body}\n}}\n}}\n"
        for family, hook in hooks
    )
