"""mount(2), umount2(2) and pivot_root(2), which Python does not have; this module must never run on its own account.

The programs ``mount`` and ``pivot_root`` would do, at some milliseconds for each of thirty calls.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import ctypes
import os
import platform
from pathlib import Path

READ_ONLY, NO_SUID, NO_DEV, REMOUNT, BIND, RECURSIVE, PRIVATE, SHARED = (
    1, 2, 4, 32, 4096, 16384, 1 << 18, 1 << 20,
)  # fmt: skip
DETACH = 2
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}  # the number of the system call; the C library has no function for it


def mount(source: str, target: Path | str, kind: str = "", flags: int = 0, options: str = "") -> None:
    """Mount ``source`` on ``target``.

    Raises:
        OSError: the kernel refused; names the target.
    """
    result = _library().mount(
        source.encode(), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), options.encode()
    )
    _check(result, "mount", target)


def bind(source: Path, target: Path, *, read_only: bool = False, recursive: bool = True) -> None:
    """Let ``source``, and what is mounted below it, appear at ``target`` too, which must exist."""
    mount(str(source), target, flags=BIND | (RECURSIVE if recursive else 0))
    if read_only:
        mount("none", target, flags=BIND | REMOUNT | READ_ONLY | _kept_flags(target))


def _kept_flags(target: Path) -> int:
    """Return the flags that a mount has and that a remount must repeat, or a container's kernel refuses it."""
    have = os.statvfs(target).f_flag
    return have & (NO_SUID | NO_DEV)


def change_root(new: Path) -> None:
    """Make ``new``, which is a mount, the root of this mount namespace and let go of the old one."""
    old = new / ".old"
    old.mkdir()
    number = PIVOT_ROOT.get(platform.machine())
    if number is None:
        raise OSError(f"pivot_root: the machine type {platform.machine()} is not known")
    _check(_library().syscall(ctypes.c_long(number), os.fsencode(new), os.fsencode(old)), "pivot_root", new)
    os.chdir("/")
    _check(_library().umount2(b"/.old", DETACH), "umount", "/.old")
    os.rmdir("/.old")
    mount("none", "/", flags=RECURSIVE | SHARED)


def unmount(target: Path) -> None:
    """Take a mount away, also when it is busy."""
    _check(_library().umount2(os.fsencode(target), DETACH), "umount", target)


def mounts_below(folder: Path) -> list[Path]:
    """Return what is mounted below a folder in this mount namespace, deepest first."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = [Path(line.split()[4].encode().decode("unicode_escape")) for line in lines]
    return sorted((point for point in points if folder in point.parents), reverse=True)


def _library() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str, target: Path | str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}", str(target))
