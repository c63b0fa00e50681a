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


def remove(name: str, root: Path = ROOT) -> None:
    """Remove the cgroup ``name`` and everything below it from every hierarchy; end what still runs in it."""
    for hierarchy in hierarchies(root):
        top = hierarchy / name
        if top.is_dir():
            _remove_tree(top)


def _remove_tree(top: Path) -> None:
    folders = [Path(folder) for folder, _, _ in os.walk(top, topdown=False)]
    for folder in folders:
        for _ in range(50):
            try:
                folder.rmdir()
            except FileNotFoundError:
                break
            except OSError:  # busy: a process that is ending still counts for some milliseconds
                _end_processes(folder)
                time.sleep(0.02)
            else:
                break


def _end_processes(folder: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        for pid in (folder / "cgroup.procs").read_text().split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
