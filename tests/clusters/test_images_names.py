from __future__ import annotations

from pathlib import Path

import pytest

from pytest_ephemeral_ns.clusters.embedded.image_names import normalise, read_archive
from pytest_ephemeral_ns.errors import UsageError
from tests.clusters.oci_layouts import FULL, SHORT, as_directory, as_tar, docker, layout


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("busybox", "docker.io/library/busybox:latest"),
        ("busybox:1.36", "docker.io/library/busybox:1.36"),
        ("me/app:2", "docker.io/me/app:2"),
        ("docker.io/busybox:1", "docker.io/library/busybox:1"),
        ("index.docker.io/me/app:1", "docker.io/me/app:1"),
        ("ghcr.io/stefanprodan/podinfo:6.9.2", "ghcr.io/stefanprodan/podinfo:6.9.2"),
        ("localhost/app", "localhost/app:latest"),
        ("localhost:5000/app:2", "localhost:5000/app:2"),
        ("registry:5000/team/app", "registry:5000/team/app:latest"),
        ("quay.io/a/b@sha256:abc", "quay.io/a/b@sha256:abc"),
    ],
)
def test_names_get_the_form_that_the_runtime_knows(name: str, full: str) -> None:
    assert normalise(name) == full


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_docker_save_is_read_compressed_or_not(tmp_path: Path, mode: str) -> None:
    path = as_tar(tmp_path / "a.tar", docker(["busybox:1.36", "me/app:1"]), mode)
    found = read_archive(path)
    assert (found.layout, found.names) == ("docker", ("docker.io/library/busybox:1.36", "docker.io/me/app:1"))


@pytest.mark.parametrize(
    "annotations",
    [
        {FULL: "docker.io/me/app:1", SHORT: "1"},  # docker buildx, and docker save since version 25
        {SHORT: "me/app:1"},  # skopeo, podman save
        {SHORT: "docker.io/me/app:1"},  # ko, crane
    ],
)
@pytest.mark.parametrize("prefix", ["", "./"])
def test_an_oci_layout_is_read_from_a_tar_file(tmp_path: Path, annotations: dict[str, str], prefix: str) -> None:
    found = read_archive(as_tar(tmp_path / "a.tar", layout(annotations), prefix=prefix))
    assert (found.layout, found.names) == ("oci", ("docker.io/me/app:1",))
    assert b'"io.containerd.image.name": "docker.io/me/app:1"' in found.index


def test_an_oci_layout_is_read_from_a_directory(tmp_path: Path) -> None:
    found = read_archive(as_directory(tmp_path / "layout", layout({SHORT: "busybox:1.36"})))
    assert (found.layout, found.names) == ("oci", ("docker.io/library/busybox:1.36",))


def test_an_archive_in_both_formats_is_read_as_an_oci_layout(tmp_path: Path) -> None:
    both = {**docker(["me/app:1"]), **layout({FULL: "docker.io/me/app:1"})}
    assert read_archive(as_tar(tmp_path / "a.tar", both)).layout == "oci"


def test_a_path_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        read_archive(tmp_path / "no-such.tar")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "cannot be read as a tar file"),
        (b"hello, I am a text file\n" * 100, "cannot be read as a tar file"),
        (b"\x1f\x8b\x08" + b"broken" * 20, "cannot be read as a tar file"),
    ],
)
def test_a_file_of_another_kind_is_refused_with_the_reason(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"notes.txt is not an image archive") as caught:
        read_archive(path)
    assert why in str(caught.value)


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({"etc/passwd": b"root"}, "neither manifest.json"),
        ({"index.json": b"{}"}, "neither manifest.json"),
        ({"manifest.json": b"{oops"}, "manifest.json is not JSON"),
        ({"manifest.json": b"{}"}, "manifest.json is not a list"),
        ({"oci-layout": b"{}", "index.json": b"oops"}, "index.json is not JSON"),
    ],
)
def test_a_tar_file_without_an_image_is_refused_with_the_reason(
    tmp_path: Path, files: dict[str, bytes], why: str
) -> None:
    with pytest.raises(UsageError) as caught:
        read_archive(as_tar(tmp_path / "a.tar", files))
    assert why in str(caught.value)


@pytest.mark.parametrize(
    "files", [docker(None), docker([]), layout({}), layout({SHORT: "1.36"})], ids=["null", "empty", "none", "tag only"]
)
def test_an_image_without_a_name_is_refused(tmp_path: Path, files: dict[str, bytes]) -> None:
    with pytest.raises(UsageError, match="has no name") as caught:
        read_archive(as_tar(tmp_path / "a.tar", files))
    assert "→ " in str(caught.value)


@pytest.mark.parametrize("files", [docker(["a:1"], machine="s390x"), layout({SHORT: "a:1"}, machine="s390x")])
def test_an_image_for_another_machine_is_refused(tmp_path: Path, files: dict[str, bytes]) -> None:
    with pytest.raises(UsageError, match="is for s390x"):
        read_archive(as_tar(tmp_path / "a.tar", files))


def test_a_truncated_archive_is_refused(tmp_path: Path) -> None:
    path = as_tar(tmp_path / "a.tar.gz", docker(["a:1"]), "w:gz")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UsageError, match="is not an image archive"):
        read_archive(path)
