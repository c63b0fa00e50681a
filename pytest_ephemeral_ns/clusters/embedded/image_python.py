"""This package as an image: this machine's Python, this environment's packages; this module must never use a registry.

Where there is a registry, ``FROM python:3.13-slim`` and ``RUN pip install pytest-ephemeral-ns`` make the same.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from pytest_ephemeral_ns.clusters.embedded.image_archive import PATH_VARIABLE, File
from pytest_ephemeral_ns.errors import ToolError

PACKAGE = "pytest-ephemeral-ns"
PACKAGES = "opt/packages"  # in the image
ENVIRONMENT = [PATH_VARIABLE, f"PYTHONPATH=/{PACKAGES}"]
# Of the standard library: what nothing in the image asks for.
_LEFT_OUT = {"__pycache__", "site-packages", "dist-packages", "test", "idlelib", "tkinter", "turtledemo", "ensurepip"}
_LIBRARY = re.compile(r"(?:=> )?(/\S+) \(0x")


def python_files() -> list[File]:
    """Return an image's files: the interpreter where it is here, its libraries, this package and what it needs.

    Raises:
        ToolError: the shared libraries cannot be found out.

    Example:
        >>> [file.link for file in python_files() if file.path == "usr/local/bin/python"]  # doctest: +SKIP
        ['/usr/bin/python3.11']
    """
    interpreter = Path(sys.executable).resolve()
    standard = Path(sysconfig.get_path("stdlib"))
    own = [*_tree(standard, str(standard).lstrip("/"), _LEFT_OUT), *_packages()]
    programs = [interpreter, *(file.source for file in own if file.source and ".so" in file.source.name)]
    return [
        File("usr/local/bin/python", link=str(interpreter)),
        File(str(interpreter).lstrip("/"), source=interpreter),
        *own,
        *(File(str(library).lstrip("/"), source=library.resolve()) for library in _libraries(programs)),
        File("etc/passwd", data=b"root:x:0:0:root:/:\njanitor:x:65532:65532:janitor:/:\n", mode=0o644),
        File("etc/nsswitch.conf", data=b"hosts: files dns\n", mode=0o644),
        File("tmp", directory=True, mode=0o1777),
    ]


def _tree(folder: Path, place: str, left_out: set[str]) -> Iterator[File]:
    for path in sorted(folder.rglob("*")):
        inner = path.relative_to(folder)
        if path.is_file() and not left_out.intersection(inner.parts) and path.suffix not in (".a", ".pyc"):
            yield File(f"{place}/{inner}", source=path.resolve(), mode=0o755 if ".so" in path.name else 0o644)


def _packages() -> Iterator[File]:
    """Yield the files of this package and of everything that it requires, as they are installed here."""
    here = Path(__file__).parents[2]
    yield from _tree(here, f"{PACKAGES}/{here.name}", {"__pycache__"})
    for found in _required(PACKAGE):
        for entry in found.files or ():
            path = Path(str(found.locate_file(entry))).resolve()
            outside = entry.parts[0] == ".." or entry.suffix in (".pth", ".pyc")
            if path.is_file() and not outside and here.name != entry.parts[0]:
                yield File(f"{PACKAGES}/{entry.as_posix()}", source=path, mode=0o644)


def _required(name: str) -> list[Distribution]:
    found: dict[str, Distribution] = {}
    todo = [name]
    while todo:
        key = re.sub(r"[-_.]+", "-", todo.pop()).lower()
        if key in found:
            continue
        try:
            found[key] = distribution(key)
        except PackageNotFoundError:  # of another platform or version of Python
            continue
        wanted = [line for line in found[key].requires or () if "extra ==" not in line]
        todo += [hit[0] for line in wanted if (hit := re.match(r"[A-Za-z0-9._-]+", line))]
    return [found[key] for key in sorted(found)]


def _libraries(programs: Iterable[Path]) -> list[Path]:
    """Return the shared libraries of some programs, by the names under which the loader looks for them."""
    command = ["ldd", *dict.fromkeys(map(str, programs))]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False).stdout
    except (OSError, subprocess.SubprocessError) as error:
        what = f"the libraries of Python cannot be found out: {error}"
        raise ToolError(what, command="apt-get install libc-bin") from error
    return [Path(found) for found in dict.fromkeys(_LIBRARY.findall(said))]
