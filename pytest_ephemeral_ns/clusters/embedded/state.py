"""What is on disk about one cluster: what was asked for, how far it is; this module must never start anything.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from pytest_ephemeral_ns import paths
from pytest_ephemeral_ns.clusters.embedded import layouts
from pytest_ephemeral_ns.clusters.embedded.certificates import write_private
from pytest_ephemeral_ns.clusters.embedded.processes import ProcessId
from pytest_ephemeral_ns.errors import UsageError

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?")

STARTING, READY, STOPPING, FAILED = "starting", "ready", "stopping", "failed"
UNREADABLE = "unreadable"


@dataclass(frozen=True)
class Home:
    """The folder of one cluster, mode 0700.

    Args:
        path: absolute.

    Example:
        >>> Home(Path("/run/x")).kubeconfig.name
        'kubeconfig'
    """

    path: Path

    @classmethod
    def of(cls, name: str) -> Home:
        """Return the folder of the cluster of this name; whether it exists is another question.

        Raises:
            UsageError: the name can't be used for folders, contexts and interfaces.
        """
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"cluster name {name!r} is not usable",
                evidence=["allowed: 1 to 40 lower-case letters, digits and dashes, no dash at the ends"],
            )
        return cls(paths.state_dir() / name)

    @property
    def name(self) -> str:
        """The cluster's name."""
        return self.path.name

    @property
    def context(self) -> str:
        """The name of the context in the cluster's kubeconfig."""
        return f"ephemeral-ns-{self.name}"

    @property
    def lock(self) -> Path:
        """The file that is locked while the cluster is started or stopped. It outlives the folder."""
        return self.path.parent / f".{self.name}.lock"

    @property
    def stay(self) -> Path:
        """The file whose presence says that the cluster outlives its owner."""
        return self.path / "stay"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.path / "kubeconfig"

    @property
    def pki(self) -> Path:
        """Keys and certificates."""
        return self.path / "pki"

    @property
    def logs(self) -> Path:
        """One log file for each component."""
        return self.path / "logs"

    def log(self, component: str) -> Path:
        """Return a component's log file."""
        return self.logs / f"{component}.log"

    def prepare(self) -> None:
        """Make the folder, empty."""
        self.remove()
        self.path.mkdir(mode=0o700, parents=True)
        self.logs.mkdir(mode=0o700)

    def keep_node_logs(self) -> tuple[Path, Path]:
        """Copy a node's logs, which end with the node, to where the others are; return both folders."""
        there, kept = self.path / "node" / "logs", self.logs / "node"
        if there.is_dir():
            shutil.copytree(there, kept, symlinks=True, dirs_exist_ok=True)
        return there, kept

    def remove(self, *, keep_logs: bool = False) -> None:
        """Remove the folder; with ``keep_logs``, all but the logs and what the cluster's end was."""
        if not keep_logs:
            shutil.rmtree(self.path, ignore_errors=True)
            return
        for entry in self.path.iterdir():
            if entry in (self.logs, self.path / "status.json"):
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)


@dataclass(frozen=True)
class Spec:
    """What was asked for; written once, before the supervisor starts.

    Args:
        nodes: ``"real"``, ``"simulated"`` or ``"none"``; never ``"auto"``.
        bin_dir: where the programs are.
        owner: the process whose end is the cluster's end; ``None`` for one that runs until it is taken down.
        timeout: seconds in which it has to be usable.
        images: archives that a real node imports at its start.
        egress: whether a real node may reach what this machine reaches.
    """

    nodes: str
    bin_dir: str
    owner: ProcessId | None = None
    timeout: float = 120.0
    images: tuple[str, ...] = ()
    egress: bool = False

    def write(self, home: Home) -> None:
        """Write it into the cluster's folder."""
        write_private(home.path / "spec.json", json.dumps(asdict(self)).encode())

    @classmethod
    def read(cls, home: Home) -> Spec:
        """Read what :meth:`write` wrote."""
        data = layouts.load(home.path / "spec.json") or {}
        told = {**data, "owner": layouts.process(data.get("owner")), "images": tuple(data.get("images") or ())}
        return cls(**layouts.known(cls, told, nodes="none", bin_dir=""))


@dataclass(frozen=True)
class Status:
    """How far a cluster is; only its supervisor writes it.

    Args:
        phase: ``"starting"``, ``"ready"``, ``"stopping"`` or ``"failed"``; ``"unreadable"`` for a file of a version
            of this package that this one does not understand, with the processes that were found instead.
        message: what it is doing now, for people.
        supervisor: the process that everything else of the cluster ends with.
        processes: the components; all of them are named for the case that they outlive the supervisor.
        port: where the API server listens on this machine; nothing else does.
        server: ``https://host:port`` of the API server; empty as long as that is open.
        nodes: ``"real"``, ``"simulated"`` or ``"none"``.
        network: index of the cluster's address ranges; ``None`` without a real node.
        containment: ``"pid namespace"``, or ``"process list"`` where the system has nothing better.
        restarts: how often a component had to be started again.
        version: what the API server says that it is.
        error: why it failed: ``summary``, ``evidence``, ``command``.
    """

    phase: str
    message: str = ""
    supervisor: ProcessId | None = None
    processes: Mapping[str, ProcessId] = field(default_factory=dict)
    port: int = 0
    server: str = ""
    nodes: str = "none"
    network: int | None = None
    containment: str = ""
    restarts: Mapping[str, int] = field(default_factory=dict)
    version: str = ""
    error: Mapping[str, Any] = field(default_factory=dict)

    @property
    def alive(self) -> bool:
        """Whether the supervisor runs."""
        return self.supervisor is not None and self.supervisor.alive()

    def with_(self, **changes: Any) -> Status:
        """Return a copy with changes."""
        return replace(self, **changes)

    def write(self, home: Home) -> None:
        """Replace the status in the cluster's folder; a reader sees the old one or the new one."""
        write_private(home.path / "status.json", json.dumps(asdict(self)).encode())

    def write_first(self, home: Home) -> None:
        """Write it if there is none yet."""
        candidate = home.path / ".first-status.json"
        write_private(candidate, json.dumps(asdict(self)).encode())
        with contextlib.suppress(FileExistsError):
            os.link(candidate, home.path / "status.json")
        candidate.unlink()

    @classmethod
    def read(cls, home: Home) -> Status | None:
        """Read it, also one of another version of this package; ``None`` when there is none."""
        try:
            data = layouts.load(home.path / "status.json")
        except (FileNotFoundError, NotADirectoryError):
            return None
        if data is None or "supervisor" not in data:
            return cls(UNREADABLE, processes={str(one.pid): one for one in layouts.found_running(home.path)})
        named = data.get("processes") if isinstance(data.get("processes"), dict) else {}
        processes = {name: one for name, told in (named or {}).items() if (one := layouts.process(told))}
        told = {**data, "supervisor": layouts.process(data["supervisor"]), "processes": processes}
        return cls(**layouts.known(cls, told, phase=UNREADABLE))
