"""KEEP: whether a namespace stays as evidence, marked with why and until when; this module must never delete.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from pytest_ephemeral_ns.provision import NAMESPACES, Record
from pytest_ephemeral_ns.rules.naming import format_time
from pytest_ephemeral_ns.rules.retention import decide_keep, keep_patch

if TYPE_CHECKING:
    from pytest_ephemeral_ns.clusters.cluster import Cluster
    from pytest_ephemeral_ns.run import Run

__tracebackhide__ = True


@dataclass(frozen=True)
class Kept:
    """A namespace that stays.

    Args:
        name: its name.
        reason: why, for example the first test that failed in it.
        until: when the reaper may take it, ``2026-11-24T09:00:00Z``.
        access: how it is reached: ``"context"`` or ``"kubeconfig"``, and which; empty where it is found by itself.
        cluster: the command that ends the cluster, where the run started it; else empty.
    """

    name: str
    reason: str
    until: str
    access: tuple[str, str]
    cluster: str = ""

    def commands(self) -> dict[str, str]:
        """Return what to type to look at it, to go on with it and to end it."""
        way, which = self.access
        ours, again = (f" --{way}={which}", f" --ephemeral-ns-{way}={which}") if way else ("", "")
        return {
            "look": f"ephemeral-ns describe {self.name}{ours}",
            "enter": f"ephemeral-ns shell {self.name}{ours}",
            "rerun": f"pytest --ephemeral-ns{again} --ephemeral-ns-reuse={self.name}",
            "delete": f"ephemeral-ns delete {self.name}{ours}",
        }

    def lines(self) -> list[str]:
        """Return what a person needs to know: that it stays, and the commands to look at it and to end it."""
        commands = [f"  {name + ':':<7} {command}" for name, command in self.commands().items()]
        found = [f"kept: {self.name} until {self.until} ({self.reason})", *commands]
        return [*found, f"  or with its whole cluster: {self.cluster}"] if self.cluster else found


def keep_if_wanted(run: Run, record: Record, failure: str) -> bool:
    """Mark a namespace as kept, where the settings and what failed in it say so.

    Args:
        run: the run.
        record: which namespace.
        failure: the first test that failed in it; empty if nothing did.

    Returns:
        Whether it stays.

    Raises:
        EphemeralNsError: it should stay, but could not be marked; the caller must not delete it.
    """
    settings = run.settings
    if settings.keep == "never":
        return False
    with run.lock("kept"):
        count = len(run.read_all("kept"))
        decision = decide_keep(settings.keep, failure=failure, kept=count, keep_max=settings.keep_max)
        if not decision.keep:
            if failure:
                run.warn(f"namespace {record.name}: {decision.reason}")
            return False
        expires = datetime.now(timezone.utc) + timedelta(seconds=settings.keep_ttl)
        patch = keep_patch(expires, decision.reason)
        patch["metadata"]["uid"] = record.uid  # a namesake is refused with a conflict
        run.api.patch(f"{NAMESPACES}/{record.name}", patch)
        told = {"reason": decision.reason, "until": format_time(expires), "access": _access(run.cluster)}
        told["cluster"] = _end_of(run.cluster)
        run.write(f"kept/{record.name}", {"name": record.name, **told})
    return True


def _access(cluster: Cluster) -> tuple[str, str]:
    if cluster.provider == "current":  # its kubeconfig goes with the run; without a context it is found as it was
        return ("context", cluster.connection.context) if cluster.connection.context else ("", "")
    return "kubeconfig", str(cluster.kubeconfig)


def _end_of(cluster: Cluster) -> str:
    if not cluster.started:
        return ""
    by_kind = f"kind delete cluster --name {cluster.name}"
    return by_kind if cluster.provider == "kind" else f"ephemeral-ns cluster down --name {cluster.name}"


def kept(run: Run) -> list[Kept]:
    """Return every namespace that any process of the run kept."""
    return [Kept(**{**told, "access": tuple(told["access"])}) for told in run.read_all("kept")]
