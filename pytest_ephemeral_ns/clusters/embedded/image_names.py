"""Which images an archive holds, and under which full names; this module must never change an archive.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from pytest_ephemeral_ns.clusters.embedded.image_archive import architecture
from pytest_ephemeral_ns.errors import UsageError

FULL_NAME = "io.containerd.image.name"
LARGEST_DOCUMENT = 1 << 18  # bytes; manifests and configurations are smaller, layers are not looked into
SHORT_NAME = "org.opencontainers.image.ref.name"


@dataclass(frozen=True)
class Archive:
    """What an archive is and holds.

    Args:
        path: the file, or the directory of an OCI layout.
        names: the images' full names, for example ``docker.io/library/busybox:1.36``.
        layout: ``docker`` (``docker save``) or ``oci`` (OCI image layout).
        index: an OCI layout's ``index.json`` with the full names written into it.
    """

    path: Path
    names: tuple[str, ...]
    layout: str
    index: bytes = b""


def normalise(name: str) -> str:
    """Return the full form of an image name, as the container runtime knows it.

    Example:
        >>> normalise("busybox:1.36"), normalise("me/app"), normalise("localhost:5000/app:2")
        ('docker.io/library/busybox:1.36', 'docker.io/me/app:latest', 'localhost:5000/app:2')

    The rule is that of github.com/distribution/reference (ParseNormalizedNamed, TagNameOnly).
    """
    first, slash, rest = name.partition("/")
    if not slash or not ("." in first or ":" in first or first == "localhost"):
        first, rest = "docker.io", name
    if first in ("docker.io", "index.docker.io"):
        first = "docker.io"
        rest = rest if "/" in rest else f"library/{rest}"
    if "@" not in rest and ":" not in rest:
        rest += ":latest"
    return f"{first}/{rest}"


def read_archive(path: Path) -> Archive:
    """Say what is in an archive of ``docker save`` or an OCI layout (a tar file, compressed or not, or a directory).

    Raises:
        UsageError: it is not there, not an image archive, has no name, or is made for another machine.

    Example:
        >>> read_archive(Path("busybox.tar")).names  # doctest: +SKIP
        ('docker.io/library/busybox:1.36',)
    """
    if not path.exists():
        raise UsageError(f"image archive {path} does not exist")
    found = _read_directory(path) if path.is_dir() else _read_tar(path)
    if "index.json" in found and "oci-layout" in found:
        return _oci(path, found)
    if "manifest.json" in found:
        return _docker(path, found)
    raise not_an_archive(path, "it has neither manifest.json (docker save) nor index.json and oci-layout (OCI layout)")


def not_an_archive(path: Path, why: str) -> UsageError:
    """Return the error for something that is not an image archive."""
    return UsageError(
        f"{path} is not an image archive",
        evidence=[why],
        command=f"docker save NAME:TAG -o {path.name}",
    )


@contextmanager
def open_tar(path: Path) -> Iterator[tarfile.TarFile]:
    """Open a tar file, compressed or not; what is not one is a :class:`UsageError`."""
    try:
        with tarfile.open(path, "r:*") as tar:
            yield tar
    except (tarfile.TarError, EOFError) as error:
        raise not_an_archive(path, f"it cannot be read as a tar file: {error}") from error


def _read_directory(path: Path) -> dict[str, bytes]:
    files = [file for file in path.rglob("*") if file.is_file() and file.stat().st_size <= LARGEST_DOCUMENT]
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in files}


def _read_tar(path: Path) -> dict[str, bytes]:
    found = {}
    with open_tar(path) as tar:
        for member in tar:
            if member.isfile() and member.size <= LARGEST_DOCUMENT:
                body: IO[bytes] | None = tar.extractfile(member)
                found[member.name.removeprefix("./")] = body.read() if body else b""
    return found


def _decode(path: Path, name: str, body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError as error:
        raise not_an_archive(path, f"its {name} is not JSON: {error}") from error


def _docker(path: Path, found: dict[str, bytes]) -> Archive:
    manifest = _decode(path, "manifest.json", found["manifest.json"])
    if not isinstance(manifest, list):
        raise not_an_archive(path, "its manifest.json is not a list")
    names = [normalise(name) for image in manifest for name in image.get("RepoTags") or ()]
    if not names:
        raise _nameless(path, "docker save NAME:TAG (a name, not an image id)")
    if path.is_dir():
        raise not_an_archive(path, "it is the folder of an unpacked docker save; give the tar file")
    for image in manifest:
        _check_machine(path, _architectures(found, image.get("Config", "")))
    return Archive(path, tuple(names), "docker")


def _oci(path: Path, found: dict[str, bytes]) -> Archive:
    index = _decode(path, "index.json", found["index.json"])
    names = []
    for descriptor in index.get("manifests", ()):
        _check_machine(path, _architectures(found, _blob(descriptor)))
        notes = descriptor.setdefault("annotations", {})
        short = notes.get(SHORT_NAME, "")
        # A reference that is a tag alone names no image; with a slash or colon it is taken for a whole name.
        name = notes.get(FULL_NAME) or (short if set(short) & {"/", ":"} else "")
        if name:
            notes[FULL_NAME] = normalise(name)
            names.append(notes[FULL_NAME])
    if not names:
        raise _nameless(path, "skopeo copy docker-daemon:NAME:TAG oci-archive:FILE:NAME:TAG")
    return Archive(path, tuple(names), "oci", json.dumps(index).encode())


def _blob(descriptor: dict[str, Any]) -> str:
    return f"blobs/{descriptor.get('digest', '').replace(':', '/')}"


def _architectures(found: dict[str, bytes], name: str) -> set[str]:
    """Return the kinds of machine that an index, a manifest or a configuration is for, as far as the archive says."""
    try:
        document = json.loads(found.get(name, b"{}"))
    except ValueError:
        return set()
    inner = [*document.get("manifests", ()), *([document["config"]] if "digest" in document.get("config", {}) else [])]
    below = {kind for descriptor in inner for kind in _architectures(found, _blob(descriptor))}
    return below | ({document["architecture"]} if "architecture" in document else set())


def _check_machine(path: Path, kinds: set[str]) -> None:
    if (real := kinds - {"unknown"}) and architecture() not in real:
        raise UsageError(
            f"the image in {path} is for {', '.join(sorted(real))}", evidence=[f"this machine is {architecture()}"]
        )


def _nameless(path: Path, command: str) -> UsageError:
    return UsageError(f"the image in {path} has no name", evidence=["no pod could refer to it"], command=command)
