"""A start that fails says which component, how it ended, what it said last, and where the rest is; nothing stays."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_ephemeral_ns.clusters.embedded import assets
from pytest_ephemeral_ns.clusters.embedded.cluster import down, names, status, up
from pytest_ephemeral_ns.errors import ClusterError
from tests.clusters.embedded_world import COMMAND, eventually, processes_of, usable_namespace

pytestmark = pytest.mark.cluster
PLANE = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("EPHEMERAL_NS_STATE_DIR", str(tmp_path / "state"))
    yield tmp_path / "state"
    for name in names():
        down(name)
    assert processes_of(tmp_path) == {}


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with links to the real programs, to put something else in one's place."""
    real = assets.ensure(["control-plane"])
    folder = tmp_path / "programs"
    folder.mkdir()
    for name in PLANE:
        (folder / name).symlink_to(real / name)
    monkeypatch.setenv("EPHEMERAL_NS_ASSETS", str(folder))
    return folder


def replace(program: Path, script: str) -> None:
    program.unlink()
    program.write_text(script)
    program.chmod(0o755)


@pytest.mark.parametrize("component", PLANE[:3])
def test_a_component_that_ends_is_named_with_its_log(state: Path, programs: Path, component: str) -> None:
    replace(programs / component, "#!/bin/sh\necho 'flux capacitor missing' >&2\nexit 7\n")
    with pytest.raises(ClusterError) as caught:
        up("one", nodes="none")
    text = str(caught.value)
    log = state / "one" / "logs" / f"{component}.log"
    assert text.startswith(f"embedded cluster 'one' did not start: {component} ended")
    assert "exit code 7" in text
    assert "flux capacitor missing" in text
    assert f"less {log}" in text
    assert "flux capacitor" in log.read_text()
    assert processes_of(state) == {}
    assert not (state / "one" / "pki").exists()
    assert status("one")["phase"] == "failed"


def test_a_program_that_is_none(state: Path, programs: Path) -> None:
    replace(programs / "etcd", "\x7fELF and nothing else")
    with pytest.raises(ClusterError, match="etcd cannot be started: Exec format error") as caught:
        up("one", nodes="none")
    assert str(programs / "etcd") in str(caught.value)


def test_a_component_that_never_gets_ready(state: Path, programs: Path) -> None:
    replace(programs / "kube-apiserver", "#!/bin/sh\necho waiting for Godot\nexec sleep 600\n")
    with pytest.raises(ClusterError, match=r"kube-apiserver is not ready after 2 s") as caught:
        up("one", nodes="none", timeout=2)
    assert "waiting for Godot" in str(caught.value)


def test_a_port_that_was_taken_in_between_is_another_port(state: Path, programs: Path) -> None:
    """The program fails like a real one whose port is taken, the first time only."""
    real = (programs / "etcd").resolve()
    mark = programs / "tried"
    says = "listen tcp 127.0.0.1:1: bind: address already in use"
    replace(programs / "etcd", f'#!/bin/sh\n[ -e {mark} ] && exec {real} "$@"\ntouch {mark}\necho {says}\nexit 1\n')
    usable_namespace(up("one", nodes="none"), "shop")


def test_interrupted_while_it_starts(state: Path, programs: Path) -> None:
    replace(programs / "kube-apiserver", "#!/bin/sh\nexec sleep 600\n")
    with subprocess.Popen([*COMMAND, "up", "--name", "one", "--nodes", "none"], stderr=subprocess.PIPE) as process:
        eventually(lambda: any("sleep 600" in argv for argv in _all_commands()))
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
        assert process.returncode != 0
    assert processes_of(state) == {}
    assert not (state / "one").exists()


def test_the_starter_killed_while_it_starts(state: Path, programs: Path) -> None:
    script = (programs / "kube-apiserver").resolve()
    replace(programs / "kube-apiserver", f'#!/bin/sh\nsleep 1\nexec {script} "$@"\n')
    with subprocess.Popen([*COMMAND, "up", "--name", "one", "--nodes", "none"], stderr=subprocess.DEVNULL) as process:
        eventually(lambda: processes_of(state / "one") and status("one")["phase"] == "starting")
        process.send_signal(signal.SIGKILL)
    cluster = up("one", nodes="none")  # waits for the one that goes on starting
    assert not cluster.started
    usable_namespace(cluster, "shop")


def test_an_unreadable_state_folder_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EPHEMERAL_NS_STATE_DIR", str(tmp_path / "file" / "state"))
    with pytest.raises(ClusterError, match="state folder"):
        up("one", nodes="none")


def _all_commands() -> list[str]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        if entry.parent.name != str(os.getpid()):
            try:
                found.append(entry.read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue
    return found
