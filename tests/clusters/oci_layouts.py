"""Image archives as other programs write them, made from one small image."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

from pytest_ephemeral_ns.clusters.embedded.image_archive import architecture

FULL, SHORT = "io.containerd.image.name", "org.opencontainers.image.ref.name"


def layer(files: dict[str, bytes]) -> bytes:
    """Return a layer with some files in it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o755
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def layout(annotations: dict[str, str], *, content: bytes | None = None, machine: str = "") -> dict[str, bytes]:
    """Return the files of an OCI layout with one image whose descriptor has these annotations."""
    blobs: dict[str, bytes] = {}

    def add(data: bytes, media_type: str) -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        blobs[f"blobs/sha256/{digest}"] = data
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    body = layer({"hello": b"hello\n"}) if content is None else content
    config = {
        "architecture": machine or architecture(),
        "os": "linux",
        "config": {"Cmd": ["/hello"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(body).hexdigest()}"]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": add(json.dumps(config).encode(), "application/vnd.oci.image.config.v1+json"),
        "layers": [add(body, "application/vnd.oci.image.layer.v1.tar")],
    }
    descriptor = add(json.dumps(manifest).encode(), str(manifest["mediaType"]))
    index = {"schemaVersion": 2, "manifests": [{**descriptor, "annotations": annotations}]}
    version = {"imageLayoutVersion": "1.0.0"}
    return {"oci-layout": json.dumps(version).encode(), "index.json": json.dumps(index).encode(), **blobs}


def docker(names: list[str] | None, *, machine: str = "") -> dict[str, bytes]:
    """Return the files of a ``docker save`` archive."""
    body = layer({"hello": b"hello\n"})
    config = {
        "architecture": machine or architecture(),
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(body).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": names, "Layers": ["layer.tar"]}]
    return {
        "config.json": json.dumps(config).encode(),
        "layer.tar": body,
        "manifest.json": json.dumps(manifest).encode(),
    }


def as_tar(path: Path, files: dict[str, bytes], mode: str = "w", prefix: str = "") -> Path:
    """Write files into a tar file; ``mode`` as for :func:`tarfile.open`."""
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, data in files.items():
            info = tarfile.TarInfo(prefix + name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def as_directory(path: Path, files: dict[str, bytes]) -> Path:
    """Write files into a directory."""
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path
