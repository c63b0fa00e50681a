"""Processes told apart for certain, by id and start time; this module must never signal one that it did not check.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

_POLL = 0.02  # seconds between two looks at a process that is ending


@dataclass(frozen=True)
class ProcessId:
    """A process that cannot be taken for another one that got the same number later.

    Args:
        pid: its number, as seen from this process.
        start: when it started, in the words of this system, with the boot that it belongs to.

    Example:
        >>> ProcessId.of(os.getpid()).alive()
        True
    """

    pid: int
    start: str

    @classmethod
    def of(cls, pid: int) -> ProcessId:
        """Return the identity of a process that runs now; of one that does not, an identity that is never alive."""
        return cls(pid, start_time(pid))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any] | None) -> ProcessId | None:
        """Return what :meth:`to_dict` gave."""
        return cls(int(data["pid"]), str(data["start"])) if data else None

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-able values."""
        return {"pid": self.pid, "start": self.start}

    def alive(self) -> bool:
        """Whether this very process still runs; a zombie does not."""
        return bool(self.start) and start_time(self.pid) == self.start

    def signal(self, number: int) -> None:
        """Send a signal, if this very process still runs."""
        if self.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def wait(self, timeout: float) -> bool:
        """Return whether it ended within ``timeout`` seconds. It need not be a child of ours."""
        end = time.monotonic() + timeout
        while self.alive():
            if time.monotonic() >= end:
                return False
            time.sleep(_POLL)
        return True

    def end(self, grace: float) -> None:
        """Ask it to end, and end it when it has not done so after ``grace`` seconds."""
        self.signal(signal.SIGTERM)
        if not self.wait(grace):
            self.signal(signal.SIGKILL)
            self.wait(grace)


def start_time(pid: int) -> str:
    """Return when a process started, as an opaque text; empty when it does not run or is a zombie."""
    if sys.platform == "linux":
        try:
            fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        except OSError:
            return ""
        return "" if fields[0] in b"ZX" else f"{_boot()}:{fields[19].decode()}"
    listed = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, timeout=10, check=False
    )
    state, _, started = listed.stdout.strip().partition(" ")
    return "" if state.startswith("Z") else started.strip()


@cache
def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()[:8]


class Watch:
    """Tells when a process is gone, by a file descriptor where the system has one for that.

    Args:
        process: whom to watch; it need not be a child of ours.
    """

    def __init__(self, process: ProcessId) -> None:
        self._process = process
        self.descriptor: int | None = None
        if sys.platform == "linux":
            with contextlib.suppress(OSError):
                self.descriptor = os.pidfd_open(process.pid)

    def gone(self) -> bool:
        """Whether it has ended."""
        if self.descriptor is not None and select.select([self.descriptor], [], [], 0)[0]:
            return True
        return not self._process.alive()

    def close(self) -> None:
        """Let go of the descriptor."""
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None


def environment(home: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return what a program of the cluster gets as its environment: nothing that the user may hold secret in theirs.

    Proxies are left out too: the API server would ask one for webhooks and aggregated APIs.
    """
    kept = ("PATH", "TMPDIR", "LANG", "SSL_CERT_FILE", "SSL_CERT_DIR", "GOTRACEBACK")
    return {**{key: os.environ[key] for key in kept if key in os.environ}, "HOME": str(home), **(extra or {})}


def last_lines(log: Path, count: int = 8, start: int = 0) -> list[str]:
    """Return the last lines of a log file after ``start`` bytes, each at most 300 characters."""
    try:
        with log.open("rb") as file:
            file.seek(max(start, log.stat().st_size - 16384))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    return [line[:300] for line in text.splitlines() if line.strip()][-count:]


def describe_exit(code: int) -> str:
    """Return how a process ended, in words: ``"exit code 1"`` or ``"killed by SIGKILL"``."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


def spawn(
    argv: Sequence[str], *, log: Path, cwd: Path, env: Mapping[str, str], component: bool = True
) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own, its output appended to ``log``.

    Args:
        argv: program and arguments; never a secret.
        log: where stdout and stderr go; mode 0600.
        cwd: its working directory.
        env: all of its environment.
        component: whether it belongs to this process: what it makes on disk is private, and on Linux the kernel ends
            it when this process ends, in whatever way.

    Raises:
        OSError: it could not be started.
    """
    from pytest_ephemeral_ns.clusters.embedded import containment

    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        return subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            cwd=cwd,
            env=dict(env),
            start_new_session=True,
            preexec_fn=containment.die_with_parent if component else None,
            umask=0o077 if component else -1,
        )
    finally:
        os.close(descriptor)
