"""Which processes use a shared cluster, told apart even when an id is used again; this module must never signal one.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import os
from pathlib import Path

User = tuple[int, str]


def this_process(pid: int | None = None) -> User:
    """Return how a process is written down: its id, and when it started (Linux; elsewhere empty).

    Args:
        pid: ours if ``None``.

    Example:
        >>> alive(this_process())
        True
    """
    pid = os.getpid() if pid is None else pid
    return pid, _started(pid)


def alive(user: User) -> bool:
    """Return whether a process that was written down still runs.

    Args:
        user: from :func:`this_process`, perhaps in another process.
    """
    pid, started = user
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it runs, as another user
        return _started(pid) == started
    return _started(pid) == started


def _started(pid: int) -> str:
    """Return the process's start, in clock ticks since boot: field 22 of ``/proc/PID/stat`` (proc(5))."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""
