"""The way out of a node, for those who asked for it; this module must never change a rule outside a table of our own.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_ephemeral_ns.clusters.embedded.node_programs import run
from pytest_ephemeral_ns.errors import UsageError

if TYPE_CHECKING:
    from pytest_ephemeral_ns.clusters.embedded.node_spec import NodeSpec

VARIABLE = "EPHEMERAL_NS_EMBEDDED_EGRESS"
FORWARD = Path("/proc/sys/net/ipv4/ip_forward")


def wanted() -> bool:
    """Whether the user lets nodes out, by ``EPHEMERAL_NS_EMBEDDED_EGRESS``.

    Raises:
        UsageError: it says neither yes nor no.
    """
    answers = {"": False, "0": False, "false": False, "no": False, "1": True, "true": True, "yes": True}
    said = os.environ.get(VARIABLE, "")
    if said.lower() not in answers:
        raise UsageError(f"{VARIABLE}={said!r} is neither yes nor no", evidence=["allowed: 1, true, yes, 0, false, no"])
    return answers[said.lower()]


def allow(spec: NodeSpec) -> None:
    """Translate what the node and its pods send to the outside, and let this machine forward it."""
    rules = [
        f"table ip {_table(spec)} {{",
        "  chain out {",
        "    type nat hook postrouting priority srcnat; policy accept;",
        f'    ip saddr {{ {spec.pod_range}, {spec.node_ip} }} oifname != "{spec.host_link}" masquerade',
        "  }",
        "}",
    ]
    run("nft", "-f", "-", stdin="\n".join(rules))
    before = FORWARD.read_text().strip()
    if before == "0":
        _note(spec).write_text(before)
        FORWARD.write_text("1")


def forbid(spec: NodeSpec) -> None:
    """Take the table away, and put forwarding back to what it was before the first node that needed it."""
    if not spec.egress:
        return
    tables = run("nft", "list", "tables", "ip").split()
    if _table(spec) in tables:
        run("nft", "delete", "table", "ip", _table(spec))
    others = [name for name in tables if name.startswith("pytest-ephemeral-ns-") and name != _table(spec)]
    if _note(spec).exists():
        if not others:
            FORWARD.write_text(_note(spec).read_text())
        _note(spec).unlink()


def _table(spec: NodeSpec) -> str:
    return spec.identity


def _note(spec: NodeSpec) -> Path:
    return spec.directory / "ip_forward.before"
