"""A small Unix for images, out of Debian's static busybox; this module must never need root.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from pytest_ephemeral_ns import paths
from pytest_ephemeral_ns.clusters.embedded.image_archive import File
from pytest_ephemeral_ns.errors import ToolError

ELF_INTERPRETER = 3  # program header PT_INTERP: there is one in every program that is linked dynamically
SYSTEM_PLACES = (Path("/bin/busybox"), Path("/usr/bin/busybox"))


def is_static(program: Path) -> bool:
    """Whether an ELF program runs without a dynamic loader, and so in an empty image."""
    with program.open("rb") as file:
        header = file.read(64)
        if header[:5] != b"\x7fELF\x02" or header[5] != 1:
            return False
        offset, size, count = (int.from_bytes(header[a:b], "little") for a, b in ((32, 40), (54, 56), (56, 58)))
        file.seek(offset)
        table = file.read(size * count)
    return all(int.from_bytes(table[i * size : i * size + 4], "little") != ELF_INTERPRETER for i in range(count))


def find_busybox() -> Path:
    """Return a static busybox: this machine's, or the one of Debian's package, unpacked into the cache without root.

    Raises:
        ToolError: there is none and the package cannot be had.
    """
    cached = paths.cache_dir() / "busybox-static" / "busybox"
    for place in (cached, *SYSTEM_PLACES):
        if place.is_file() and os.access(place, os.X_OK) and is_static(place):
            return place
    _unpack_package(cached)
    return cached


def _unpack_package(target: Path) -> None:
    missing = ToolError("busybox-static is not installed", command="apt-get install busybox-static")
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        raise missing
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        try:
            _quietly(["apt-get", "-qq", "download", "busybox-static"], scratch)
            package = next(Path(scratch).glob("busybox-static_*.deb"))
            _quietly(["dpkg", "-x", str(package), scratch], scratch)
            program = next(place for place in Path(scratch).glob("**/bin/busybox") if is_static(place))
        except (subprocess.SubprocessError, StopIteration) as error:
            raise missing from error
        os.replace(program, target)


def _quietly(command: list[str], folder: str) -> None:
    subprocess.run(command, cwd=folder, capture_output=True, timeout=120, check=True)


def applets(busybox: Path) -> list[str]:
    """Return the names of a busybox's commands, sorted: ``["[", "ar", "ash", …]``."""
    done = subprocess.run([str(busybox), "--list"], capture_output=True, text=True, timeout=30, check=True)
    return sorted(set(done.stdout.split()) - {"busybox"})


def busybox_files(users: Mapping[str, tuple[int, int]] | None = None) -> list[File]:
    """Return a small Unix: busybox, its commands as links in ``/bin``, accounts, and the usual folders.

    Args:
        users: more accounts, each a name with its user and group number; they live in ``/home/NAME``.

    Example:
        >>> [file.path for file in busybox_files() if file.path == "bin/sh"]  # doctest: +SKIP
        ['bin/sh']
    """
    busybox = find_busybox()
    accounts = [("root", 0, 0, "/root", "/bin/sh"), ("daemon", 1, 1, "/usr/sbin", "/bin/false")]
    accounts += [(name, user, group, f"/home/{name}", "/bin/false") for name, (user, group) in (users or {}).items()]
    accounts.append(("nobody", 65534, 65534, "/home", "/bin/false"))
    passwd = "".join(f"{name}:x:{user}:{group}:{name}:{home}:{shell}\n" for name, user, group, home, shell in accounts)
    groups = "".join(f"{name}:x:{group}:\n" for name, _, group, _, _ in accounts)
    folders = {"tmp": 0o1777, "var/tmp": 0o1777, "root": 0o700, "home": 0o755, "var/www": 0o755, "usr/bin": 0o755}
    return [
        File("bin/busybox", source=busybox),
        *(File(f"bin/{applet}", link="busybox") for applet in applets(busybox)),
        File("usr/bin/env", link="../../bin/busybox"),
        File("etc/passwd", data=passwd.encode(), mode=0o644),
        File("etc/group", data=groups.encode(), mode=0o644),
        File("etc/nsswitch.conf", data=b"hosts: files dns\n", mode=0o644),
        *(File(path, directory=True, mode=mode) for path, mode in folders.items()),
    ]
