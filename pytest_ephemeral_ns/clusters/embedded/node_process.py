"""The process of a running node, found again by other processes; this module must never end a process that is not it.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_ephemeral_ns.errors import ClusterError

if TYPE_CHECKING:
    from pytest_ephemeral_ns.clusters.embedded.node_spec import NodeSpec


@dataclass
class NodeProcess:
    """A node that this process started; it ends when this process does.

    Args:
        spec: what it was made from.
        pid: its process 1, as this machine counts.
        unshare: the program that made the sandbox; its standard input is the node's lifeline.
    """

    spec: NodeSpec
    pid: int
    unshare: subprocess.Popen[bytes]

    def check(self) -> None:
        """Raise if the node has ended.

        Raises:
            ClusterError: it has; the evidence is the end of its log and the names of the others.
        """
        if self.unshare.poll() is not None:
            raise failure(self.spec, f"node {self.spec.name} ended")

    def stop(self) -> None:
        """End the node and everything in it at once; what it left on the disk stays for :func:`node.clean_up`."""
        end(self.spec)
        for stream in (self.unshare.stdin, self.unshare.stdout):
            if stream:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        self.unshare.wait(timeout=30)


def failure(spec: NodeSpec, summary: str) -> ClusterError:
    """Return the error for a node that did not start or ended: the end of its log, and of the log that this names."""
    said = _last_lines(spec.logs / "node.log", 15)
    named = re.search(r"see (\S+\.log)$", said[-1]) if said else None
    more = [f"{named[1]}: {line}" for line in _last_lines(spec.logs / named[1], 8)] if named else []
    return ClusterError(summary, evidence=[*said, *more, f"logs: {spec.logs}"], command=f"tail -n 50 {spec.logs}/*.log")


def _last_lines(log: Path, count: int) -> list[str]:
    try:
        return [line[:300] for line in log.read_text(errors="replace").splitlines() if line.strip()][-count:]
    except OSError:
        return []


def record(spec: NodeSpec, pid: int) -> None:
    """Keep the identity of a node's process 1 for :func:`running_pid`."""
    started = start_time(pid)
    (spec.directory / "process.json").write_text(json.dumps({"pid": pid, "started": started}))


def running_pid(spec: NodeSpec) -> int | None:
    """Return the node's process 1, as this machine counts; ``None`` when it does not run."""
    try:
        known = json.loads((spec.directory / "process.json").read_text())
    except (OSError, ValueError):
        return None
    pid = int(known["pid"])
    return pid if start_time(pid) == known["started"] is not None else None


def start_time(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot; ``None`` when it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def end(spec: NodeSpec, timeout: float = 30.0) -> None:
    """Kill a node's process 1, with which the kernel kills everything inside, and wait until it is gone."""
    pid = running_pid(spec)
    if pid is None:
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    until = time.monotonic() + timeout
    while running_pid(spec) is not None:
        if time.monotonic() > until:
            raise ClusterError(f"process {pid} of node {spec.name} does not end", evidence=["it was sent SIGKILL"])
        time.sleep(0.01)


def child_of(pid: int) -> int | None:
    """Return the first child of a process."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, IndexError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                return int(stat.parent.name)
    return None
