"""One cluster that can be used, as a value for other processes too; this module must never start or reach one.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_ephemeral_ns.connection import Connection


@dataclass(frozen=True)
class Cluster:
    """A cluster that answered, how it is reached, and whether this call started it.

    Args:
        provider: ``"current"`` (a kubeconfig context or in-cluster), ``"kind"`` or ``"embedded"``.
        name: the context's name, or the name of the kind or embedded cluster.
        connection: server and credentials, resolved.
        kubeconfig: a file for kubectl, Helm and other programs that holds the same connection; mode 0600.
        nodes: ``"real"``, ``"simulated"``, ``"none"``, or ``"external"`` when the nodes are not ours to know.
        started: whether this call started it; whoever started it stops it.
        version: the server's version, for example ``"v1.35.4"``; empty if unknown.

    Example:
        >>> shop = Cluster("kind", "shop", Connection("https://127.0.0.1:6443"), Path("/tmp/kubeconfig"))
        >>> Cluster.from_dict(shop.to_dict()) == shop
        True
    """

    provider: str
    name: str
    connection: Connection
    kubeconfig: Path
    nodes: str = "external"
    started: bool = False
    version: str = ""

    @property
    def access(self) -> str:
        """What kubectl needs to reach it: ``--context NAME`` or ``--kubeconfig FILE``."""
        if self.provider == "current" and self.connection.context:
            return f"--context {self.connection.context}"
        return f"--kubeconfig {self.kubeconfig}"

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-able values. Holds credentials: write it only to files with mode 0600."""
        return {
            "provider": self.provider,
            "name": self.name,
            "connection": self.connection.to_dict(),
            "kubeconfig": str(self.kubeconfig),
            "nodes": self.nodes,
            "started": self.started,
            "version": self.version,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Cluster:
        """Return what :meth:`to_dict` gave; unknown keys are ignored."""
        return cls(
            provider=data["provider"],
            name=data["name"],
            connection=Connection.from_dict(data["connection"]),
            kubeconfig=Path(data["kubeconfig"]),
            nodes=data.get("nodes", "external"),
            started=bool(data.get("started", False)),
            version=data.get("version", ""),
        )
