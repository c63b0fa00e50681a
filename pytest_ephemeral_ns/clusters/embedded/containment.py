"""A PID namespace whose end is the end of everything in it; this module must never run with other threads alive.

Linux ends every process of a PID namespace when its first process ends. The supervisor makes one, puts a process that
does nothing but wait in it as the first, and asks the kernel to kill that one when the supervisor ends: then even
SIGKILL to the supervisor leaves nothing behind. An ordinary user may do the same inside a user namespace, where the
system allows them. Source: pid_namespaces(7), user_namespaces(7), PR_SET_PDEATHSIG in prctl(2).

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

_CLONE_NEWNS = 0x00020000
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWPID = 0x20000000
_PR_SET_PDEATHSIG = 1
_MS_REC = 0x4000
_MS_SLAVE = 0x80000

_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent ends; between fork and exec. Does nothing off Linux."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def contain() -> int | None:
    """Put all children that are started from now on into a PID namespace that dies with this process.

    This process itself stays where it is, so it still sees the pids that others see. It can't start threads any more.

    Returns:
        The pid of the namespace's first process, whose end ends all; ``None`` where the system does not allow any of
        this. Then only :func:`die_with_parent` and recorded pids are left.
    """
    for enter in _ways():
        if _works(enter):
            enter()
            first = os.fork()
            if first == 0:
                _be_first()
            return first
    return None


def _ways() -> list[Callable[[], None]]:
    if _libc is None:
        return []
    return [_enter_as_root, _enter_as_user] if os.geteuid() == 0 else [_enter_as_user]


def _works(enter: Callable[[], None]) -> bool:
    """Try it in a process that is thrown away: half a user namespace could not be left again."""
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            enter()
            grandchild = os.fork()
            if grandchild == 0:
                os._exit(0)
            os._exit(os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1]))
        os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _enter_as_root() -> None:
    _unshare(_CLONE_NEWPID | _CLONE_NEWNS)
    # Mounts that are made from here on stay unseen outside, and end with the last process that is in here.
    if _call("mount", b"none", b"/", None, _MS_REC | _MS_SLAVE, None):
        raise OSError(ctypes.get_errno(), "cannot keep mounts to ourselves")


def _enter_as_user() -> None:
    uid, gid = os.geteuid(), os.getegid()
    _unshare(_CLONE_NEWPID | _CLONE_NEWUSER)
    # One's own id stays what it is: files that are written still belong to the user. Groups can't be mapped otherwise.
    Path("/proc/self/setgroups").write_text("deny", "ascii")
    Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1", "ascii")
    Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1", "ascii")


def _unshare(flags: int) -> None:
    if _call("unshare", flags):
        raise OSError(ctypes.get_errno(), "cannot make a namespace")


def _call(name: str, *args: object) -> int:
    return int(getattr(_libc, name)(*args))


def _be_first() -> None:
    """Wait for ever, as the namespace's first process: children that lost their parent are reaped by the kernel."""
    die_with_parent()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.setsid()
    os.closerange(0, 256)
    while True:
        signal.pause()
