"""Image archives, written and read as plain tar files; this module must never talk to a registry or a runtime.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import tarfile
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

ARCHITECTURES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
PATH_VARIABLE = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class File:
    """One entry of an image's file system: a file, a symbolic link or a directory.

    Args:
        path: where it is in the image, without a leading slash.
        source: the file of this machine whose bytes it gets.
        data: the bytes, when there is no ``source``.
        link: where a symbolic link points to.
        directory: whether it is a directory.
        mode: permission bits.
        owner: user and group number.

    Example:
        >>> File("bin/sh", link="busybox").link
        'busybox'
    """

    path: str
    source: Path | None = None
    data: bytes = b""
    link: str = ""
    directory: bool = False
    mode: int = 0o755
    owner: tuple[int, int] = (0, 0)


def architecture() -> str:
    """Return this machine's architecture as image configurations name it: ``amd64`` or ``arm64``."""
    machine = platform.machine().lower()
    return ARCHITECTURES.get(machine, machine)


def write_archive(path: Path, name: str, files: Iterable[File], config: Mapping[str, Any]) -> str:
    """Write an image of one layer in the format of ``docker save``.

    The same input gives the same bytes: times are 0 and the order is that of the paths. ``ctr images import``,
    ``docker load`` and ``kind load image-archive`` read it. Parent directories need not be listed.

    Args:
        path: the archive; it appears whole or not at all.
        name: the image's name and tag, for example ``"busybox:1.36"``.
        files: what is in it.
        config: the ``config`` part of an image configuration, for example ``{"Cmd": ["sh"], "User": "100"}``.

    Returns:
        The image's identity, ``sha256:…`` of its configuration.

    Raises:
        OSError: a source cannot be read, or the disk is full; nothing half-made stays.

    Example:
        >>> shell = File("bin/busybox", source=Path("/bin/busybox"))
        >>> write_archive(Path("shell.tar"), "shell:1", [shell], {"Cmd": ["/bin/busybox", "sh"]})  # doctest: +SKIP
        'sha256:…'

    The format is that of Docker's image specification v1.2 (github.com/moby/docker-image-spec).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".making-") as scratch:
        layer = Path(scratch, "layer.tar")
        _write_layer(layer, files)
        layer_digest = _digest(layer)
        body = _configuration(config, layer_digest)
        image_id = hashlib.sha256(body).hexdigest()
        manifest = [{"Config": f"{image_id}.json", "RepoTags": [name], "Layers": [f"{layer_digest}.tar"]}]
        whole = Path(scratch, "image.tar")
        with tarfile.open(whole, "w", format=tarfile.GNU_FORMAT) as tar:
            _add_bytes(tar, f"{image_id}.json", body)
            with layer.open("rb") as source:
                tar.addfile(_info(f"{layer_digest}.tar", size=layer.stat().st_size), source)
            _add_bytes(tar, "manifest.json", json.dumps(manifest).encode())
        os.replace(whole, path)
    return f"sha256:{image_id}"


def _configuration(config: Mapping[str, Any], layer_digest: str) -> bytes:
    document = {
        "architecture": architecture(),
        "os": "linux",
        "config": {"Env": [PATH_VARIABLE], **config},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer_digest}"]},
        "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "pytest-ephemeral-ns"}],
    }
    return json.dumps(document, sort_keys=True).encode()


def _write_layer(path: Path, files: Iterable[File]) -> None:
    entries = {file.path.strip("/"): file for file in files}
    for name in list(entries):
        for parent in Path(name).parents:
            if str(parent) != ".":
                entries.setdefault(str(parent), File(str(parent), directory=True))
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        for name in sorted(entries):
            _add_file(tar, name, entries[name])


def _add_file(tar: tarfile.TarFile, name: str, file: File) -> None:
    info = _info(name, mode=file.mode, owner=file.owner)
    if file.directory:
        info.type = tarfile.DIRTYPE
        tar.addfile(info)
    elif file.link:
        info.type, info.linkname, info.mode = tarfile.SYMTYPE, file.link, 0o777
        tar.addfile(info)
    elif file.source:
        with file.source.open("rb") as source:
            info.size = os.fstat(source.fileno()).st_size
            tar.addfile(info, source)
    else:
        _add_bytes(tar, name, file.data, info)


def _info(name: str, *, size: int = 0, mode: int = 0o644, owner: tuple[int, int] = (0, 0)) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = size, mode, 0
    info.uid, info.gid = owner
    return info


def _add_bytes(tar: tarfile.TarFile, name: str, data: bytes, info: tarfile.TarInfo | None = None) -> None:
    info = info or _info(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as source:
        while block := source.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def copy(source: IO[bytes], target: IO[bytes]) -> None:
    """Copy everything from ``source`` to ``target`` in pieces of 1 MiB."""
    while block := source.read(1 << 20):
        target.write(block)
