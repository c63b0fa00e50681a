from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path

import pytest

from pytest_ephemeral_ns.clusters.embedded.image_archive import File, write_archive
from pytest_ephemeral_ns.clusters.embedded.image_names import read_archive


@pytest.fixture
def files(tmp_path: Path) -> list[File]:
    program = tmp_path / "program"
    program.write_bytes(b"#!/bin/sh\n")
    return [
        File("home/app/program", source=program, owner=(100, 101)),
        File("bin/sh", link="busybox"),
        File("etc/passwd", data=b"root:x:0:0::/:\n", mode=0o644),
        File("tmp", directory=True, mode=0o1777),
    ]


def members(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        return {member.name: (tar.extractfile(member) or open("/dev/null", "rb")).read() for member in tar}


def test_the_archive_says_what_is_in_it(tmp_path: Path, files: list[File]) -> None:
    path = tmp_path / "a.tar"
    image = write_archive(path, "app:1", files, {"Cmd": ["./program"], "User": "100"})
    found = members(path)
    (manifest,) = json.loads(found["manifest.json"])
    config = json.loads(found[manifest["Config"]])
    layer = found[manifest["Layers"][0]]
    assert manifest["RepoTags"] == ["app:1"]
    assert image == f"sha256:{hashlib.sha256(found[manifest['Config']]).hexdigest()}"
    assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(layer).hexdigest()}"]
    assert (config["config"]["User"], config["config"]["Cmd"]) == ("100", ["./program"])
    assert config["config"]["Env"][0].startswith("PATH=")
    assert read_archive(path).names == ("docker.io/library/app:1",)


def test_the_layer_has_owners_modes_links_and_parents(tmp_path: Path, files: list[File]) -> None:
    write_archive(tmp_path / "a.tar", "app:1", files, {})
    with tarfile.open(tmp_path / "a.tar") as outer:
        (name,) = [name for name in outer.getnames() if name.endswith(".tar")]
        with tarfile.open(fileobj=outer.extractfile(name)) as layer:
            entries = {member.name: member for member in layer}
    assert list(entries) == sorted(entries)
    assert {"home", "home/app", "bin", "etc", "tmp"} <= {name for name, entry in entries.items() if entry.isdir()}
    program = entries["home/app/program"]
    assert (program.uid, program.gid, program.mode, program.mtime) == (100, 101, 0o755, 0)
    assert (entries["bin/sh"].issym(), entries["bin/sh"].linkname) == (True, "busybox")
    assert entries["tmp"].mode == 0o1777


def test_the_same_input_gives_the_same_bytes(tmp_path: Path, files: list[File]) -> None:
    first, second = tmp_path / "1.tar", tmp_path / "2.tar"
    write_archive(first, "app:1", files, {"Cmd": ["a"], "User": "1"})
    write_archive(second, "app:1", reversed(files), {"User": "1", "Cmd": ["a"]})
    assert first.read_bytes() == second.read_bytes()


def test_nothing_half_made_stays_when_a_source_is_missing(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    with pytest.raises(FileNotFoundError):
        write_archive(folder / "a.tar", "app:1", [File("x", source=tmp_path / "gone")], {})
    assert list(folder.iterdir()) == []
