"""The cgroup that holds a node's pods; this module must never touch a cgroup of another name.

On version 1 there is one hierarchy per controller and the cgroup is made in each; on version 2 there is one hierarchy,
whose controllers have to be switched on from the top. Both are known from what is mounted.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

from pytest_ephemeral_ns.deadline import Deadline
from pytest_ephemeral_ns.errors import ClusterError

ROOT = Path("/sys/fs/cgroup")


def hierarchies(root: Path = ROOT) -> list[Path]:
    """Return where cgroup hierarchies are mounted: ``[root]`` for version 2, one per controller for version 1."""
    if (root / "cgroup.controllers").exists():
        return [root]
    # cgroup.procs is in every cgroup; links such as cpuacct → cpu,cpuacct would name a hierarchy twice.
    return sorted(path for path in root.iterdir() if not path.is_symlink() and (path / "cgroup.procs").exists())


def create(name: str, root: Path = ROOT) -> None:
    """Make the cgroup ``name`` at the top of every hierarchy."""
    if (root / "cgroup.controllers").exists():
        _switch_on_controllers(root)
    for hierarchy in hierarchies(root):
        (hierarchy / name).mkdir(exist_ok=True)


def _switch_on_controllers(root: Path) -> None:
    """Hand every controller of version 2 down to child cgroups, one by one, as some cannot be."""
    on = (root / "cgroup.subtree_control").read_text().split()
    for controller in set((root / "cgroup.controllers").read_text().split()) - set(on):
        # Busy in a container that is no cgroup namespace's top; the kubelet names the controllers that it misses.
        with contextlib.suppress(OSError):
            (root / "cgroup.subtree_control").write_text(f"+{controller}")


def remove(name: str, root: Path = ROOT, timeout: float = 15.0) -> None:
    """Remove the cgroup ``name`` and everything below it from every hierarchy; end what still runs in it.

    Raises:
        ClusterError: one is still busy after ``timeout`` seconds.
    """
    deadline = Deadline.after(timeout)
    for hierarchy in hierarchies(root):
        for folder, _, _ in os.walk(hierarchy / name, topdown=False):
            while not _removed(Path(folder)):
                if deadline.expired:
                    raise ClusterError(
                        f"cgroup {folder} cannot be removed: it is still busy",
                        evidence=[f"processes in it: {', '.join(_processes(Path(folder))) or 'none'}"],
                        command=f"rmdir {folder}",
                    )
                time.sleep(0.02)


def _removed(folder: Path) -> bool:
    """Try to remove one cgroup; it is busy while a process is in it, and for some milliseconds after."""
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        _end_processes(folder)
        return False
    return True


def _processes(folder: Path) -> list[str]:
    try:
        return (folder / "cgroup.procs").read_text().split()
    except OSError:
        return []


def _end_processes(folder: Path) -> None:
    for pid in _processes(folder):
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
