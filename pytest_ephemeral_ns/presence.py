"""Which processes of a run are still here: a lock that the system takes back from a dead one; must never wait for long.

Every process holds it shared, from its first to its last moment. Whoever gets it alone is the last one, and cleans up:
after a SIGKILL of the controller that is a worker, and after one of everybody the next run on this machine.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: the process that began the run is its last one
    fcntl = None  # type: ignore[assignment]

from pytest_ephemeral_ns.deadline import Deadline
from pytest_ephemeral_ns.errors import EphemeralNsError

__tracebackhide__ = True
PREFIX = "ephemeral-ns-run-"
FILE = "present.lock"
TURN = "leaving.lock"
LOOK_EVERY = 0.05  # seconds
YOUNG = 60.0  # seconds in which a folder may be without a holder, because it is just being made


class Presence:
    """Says that this process belongs to a run, until it leaves or dies.

    Args:
        directory: the folder that all processes of the run share.
        first: whether this process began the run; only matters where the system has no such locks.

    Raises:
        EphemeralNsError: the run is over.

    Example:
        >>> presence = Presence(Path(tempfile.mkdtemp()), first=True)
        >>> presence.leave()
        True
    """

    def __init__(self, directory: Path, *, first: bool) -> None:
        self._directory = directory
        self._first = first
        self._file = -1
        try:
            self._file = os.open(directory / FILE, os.O_RDWR | os.O_CREAT, 0o600)
            if not self._lock("LOCK_SH"):
                raise FileNotFoundError
        except FileNotFoundError:
            raise EphemeralNsError(f"the run is over: its folder {directory} is gone or going") from None

    def _lock(self, how: str) -> bool:
        if fcntl is None:
            return how == "LOCK_SH" or self._first
        try:
            fcntl.flock(self._file, getattr(fcntl, how) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def wait_alone(self, deadline: Deadline) -> bool:
        """Wait until all others have left or died; return whether they have."""
        look = threading.Event()
        while not self._lock("LOCK_EX"):
            self._lock("LOCK_SH")  # what failed may have cost us the lock that we had
            if deadline.expired:
                return False
            look.wait(LOOK_EVERY)
        return True

    def leave(self) -> bool:
        """Leave; return whether this was the last process, which then removes the folder."""
        turn = os.open(self._directory / TURN, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if fcntl is not None:  # one at a time: two that leave at once must not take each other for staying
                fcntl.flock(turn, fcntl.LOCK_EX)
            last = self._lock("LOCK_EX")
            if not last:
                os.close(self._file)
            return last
        finally:
            os.close(turn)


def clear_dead() -> None:
    """Remove the folders of runs of which no process is left; they hold credentials. Another user's stay."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*") if fcntl is not None else ():
        with suppress(OSError):
            if _is_dead(folder / FILE):
                shutil.rmtree(folder, ignore_errors=True)


def _is_dead(file: Path) -> bool:
    if time.time() - file.stat().st_mtime < YOUNG:
        return False
    descriptor = os.open(file, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True
