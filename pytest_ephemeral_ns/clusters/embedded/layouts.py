"""State files of other versions of this package: what can be used of them; this module must never guess a process.

After an upgrade a cluster of before may still run. Fields that are new have their defaults then, fields that are gone
are left out, and what cannot be read at all is told from a cluster that was never there.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

from pytest_ephemeral_ns.clusters.embedded.processes import ProcessId

PROGRAMS = frozenset(
    {
        "etcd",
        "kube-apiserver",
        "kube-controller-manager",
        "kube-scheduler",
        "kwok",
        "containerd",
        "kubelet",
        "kube-proxy",
    }
)
_SUPERVISOR = "pytest_ephemeral_ns.clusters.embedded."


def load(path: Path) -> dict[str, Any] | None:
    """Return what a state file says; ``None`` if it cannot be read as an object.

    Raises:
        OSError: there is no such file, or it may not be read.
    """
    try:
        found = json.loads(path.read_bytes())
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def known(cls: Any, data: Mapping[str, Any], **defaults: Any) -> dict[str, Any]:
    """Return the arguments for a dataclass that a state file of any version gives.

    Args:
        cls: the dataclass.
        data: what the file says.
        defaults: for fields that the class itself has no default for.

    Returns:
        Arguments for ``cls``; fields that this version does not know are left out.

    Example:
        >>> known(ProcessId, {"pid": 1, "host": "x"}, start="")
        {'pid': 1, 'start': ''}
    """
    found = {}
    for item in fields(cls):
        if item.name in data:
            found[item.name] = data[item.name]
        elif item.name in defaults and _needed(item):
            found[item.name] = defaults[item.name]
    return found


def _needed(item: Field[Any]) -> bool:
    return item.default is MISSING and item.default_factory is MISSING


def process(data: Any) -> ProcessId | None:
    """Return the process that a state file names; ``None`` if it does not say number and start.

    An empty start is said too: it is that of a process which was gone already, and is never alive.
    """
    if not isinstance(data, Mapping) or not data.get("pid") or data.get("start") is None:
        return None
    return ProcessId(int(data["pid"]), str(data["start"]))


def found_running(folder: Path) -> list[ProcessId]:
    """Return the processes of a cluster whose state file tells nothing: by what they are and by their folder.

    A process counts when it is one of our supervisors or one of the programs that they start, and works in the folder
    or was given it. Somebody's ``tail -f`` on a log in it does not. Only where there is ``/proc``.

    Args:
        folder: the cluster's folder.

    Returns:
        Supervisors last: whoever ends them in reverse order ends the others with them.
    """
    ours = [pid for pid in _pids() if _belongs(pid, folder)]
    found = [ProcessId.of(pid) for pid in sorted(ours, key=lambda pid: (_supervises(_words(pid)), pid))]
    return [one for one in found if one.alive()]


def _pids() -> Iterator[int]:
    proc = Path("/proc")
    yield from (int(entry.name) for entry in proc.iterdir() if entry.name.isdigit()) if proc.is_dir() else ()


def _belongs(pid: int, folder: Path) -> bool:
    words = _words(pid)
    if not words or not (_supervises(words) or Path(words[0]).name in PROGRAMS):
        return False
    return _works_in(pid) == str(folder) or any(_names(word, str(folder)) for word in words[1:])


def _names(word: str, folder: str) -> bool:
    value = word.partition("=")[2] or word
    return value == folder or value.startswith(f"{folder}/")


def _supervises(words: list[str]) -> bool:
    return any(word.startswith(_SUPERVISOR) for word in words)


def _words(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    except OSError:  # it has ended
        return []


def _works_in(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/cwd")
    except OSError:  # it has ended, or is another user's
        return ""
