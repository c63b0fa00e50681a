from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytest_ephemeral_ns.clusters.embedded import image_busybox, images
from pytest_ephemeral_ns.errors import ToolError, UsageError


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of programs that are not real, and a cache of this test's own."""
    monkeypatch.setenv("EPHEMERAL_NS_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(images, "_podinfo_ui", lambda: [])
    busybox = tmp_path / "bin" / "busybox"
    busybox.parent.mkdir()
    busybox.write_text("#!/bin/sh\nprintf 'sh\\nls\\nbusybox\\n'\n")
    busybox.chmod(0o755)
    monkeypatch.setattr(images, "find_busybox", lambda: busybox)
    monkeypatch.setattr(image_busybox, "find_busybox", lambda: busybox)
    for name in ("podinfo", "podcli", "coredns"):
        (busybox.parent / name).write_bytes(name.encode())
    return busybox.parent


def test_every_image_is_made_once(programs: Path) -> None:
    said: list[str] = []
    first = images.ensure_images(progress=said.append, bin_dir=programs)
    assert [path.name for path in first] == [
        "localhost_pytest-ephemeral-ns_pause-1.tar",
        "registry.k8s.io_coredns_coredns-v1.13.1.tar",
        "busybox-1.36.tar",
        "ghcr.io_stefanprodan_podinfo-6.9.2.tar",
    ]
    assert len(said) == 4
    assert images.ensure_images(progress=said.append, bin_dir=programs) == first
    assert len(said) == 4


def test_an_image_is_made_again_when_its_program_changed(programs: Path) -> None:
    (archive,) = images.ensure_images([images.COREDNS], bin_dir=programs)
    before = archive.read_bytes()
    (programs / "coredns").write_bytes(b"another release")
    images.ensure_images([images.COREDNS], bin_dir=programs)
    assert archive.read_bytes() != before


def test_an_image_is_made_again_when_the_archive_was_removed(programs: Path) -> None:
    (archive,) = images.ensure_images([images.BUSYBOX], bin_dir=programs)
    archive.unlink()
    images.ensure_images([images.BUSYBOX], bin_dir=programs)
    assert archive.exists()


def test_podinfo_has_what_its_chart_relies_on(programs: Path) -> None:
    recipe = images.RECIPES[images.PODINFO]
    files = {file.path: file for file in recipe.files(programs)}
    assert {"home/app/podinfo", "usr/local/bin/podcli", "bin/sh", "home/app/ui", "tmp"} <= set(files)
    assert files["home/app/podinfo"].owner == (100, 101)
    assert "app:x:100:101:" in files["etc/passwd"].data.decode()
    assert recipe.config == {"Cmd": ["./podinfo"], "WorkingDir": "/home/app", "User": "100"}


def test_an_unknown_image_is_refused_with_the_known_ones(programs: Path) -> None:
    with pytest.raises(UsageError, match="no recipe makes the image nginx:1") as caught:
        images.ensure_images(["nginx:1"], bin_dir=programs)
    assert "busybox:1.36" in str(caught.value)


def test_a_missing_program_is_named(programs: Path) -> None:
    (programs / "coredns").unlink()
    with pytest.raises(ToolError, match="coredns") as caught:
        images.ensure_images([images.COREDNS], bin_dir=programs)
    assert f"file: {programs / 'coredns'}" in str(caught.value)


def test_without_a_static_busybox_the_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EPHEMERAL_NS_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(image_busybox, "SYSTEM_PLACES", ())
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolError, match="busybox-static is not installed") as caught:
        image_busybox.find_busybox()
    assert caught.value.command == "apt-get install busybox-static"


def elf(tmp_path: Path, *header_types: int) -> Path:
    header = bytearray(64)
    header[:6] = b"\x7fELF\x02\x01"
    header[32:40], header[54:56] = (64).to_bytes(8, "little"), (56).to_bytes(2, "little")
    header[56:58] = len(header_types).to_bytes(2, "little")
    path = tmp_path / "program"
    path.write_bytes(bytes(header) + b"".join(kind.to_bytes(4, "little") + bytes(52) for kind in header_types))
    return path


@pytest.mark.parametrize(("kinds", "static"), [((1, 1), True), ((6, 3, 1), False), ((), True)])
def test_a_program_with_an_interpreter_is_not_static(tmp_path: Path, kinds: tuple[int, ...], static: bool) -> None:
    assert image_busybox.is_static(elf(tmp_path, *kinds)) is static


def test_a_script_is_not_static(tmp_path: Path) -> None:
    path = tmp_path / "script"
    path.write_text("#!/bin/sh\n")
    assert not image_busybox.is_static(path)


@pytest.mark.skipif(os.name != "posix", reason="needs /bin/sh")
def test_applets_are_listed_without_busybox_itself(programs: Path) -> None:
    assert image_busybox.applets(programs / "busybox") == ["ls", "sh"]
