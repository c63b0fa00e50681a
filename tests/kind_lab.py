"""The real kind for tests: Docker as it is, or the lab's own daemon where there is none; nothing of it stays running.

``kind_cluster`` is one cluster for the whole run, shared by its xdist workers, with busybox and podinfo in its node.
Where neither Docker nor the lab can be had, its tests are skipped with that reason.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_ephemeral_ns.clusters.users import alive, this_process
from pytest_ephemeral_ns.paths import bin_dir, cache_dir

if TYPE_CHECKING:
    from pytest_ephemeral_ns.clusters.cluster import Cluster

SCRIPT = Path(__file__).parents[2] / "shared" / "kind" / "lab.sh"
LAB_IMAGE = "kindest/node:v1.35.4-local"
IMAGES = ("busybox:1.36", "ghcr.io/stefanprodan/podinfo:6.9.2")
PREFIX = "tests-"
LAB_TIMEOUT = 900.0  # seconds; the node image takes 90 s, and programs that have to be built more


@dataclass(frozen=True)
class KindHost:
    """A machine on which kind works.

    Args:
        image: node image to use; kind's own if empty.
        state: state folder, the same for all workers of the run.
        cluster: name of the run's own cluster.
    """

    image: str
    state: Path
    cluster: str


@pytest.fixture(scope="session")
def kind_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KindHost]:
    """A machine with Docker, kind and a node image; Docker is stopped again if it was started for the tests."""
    base = tmp_path_factory.getbasetemp()
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", "")
    state = (base.parent if run else base) / "kind-state"
    host = KindHost("", state, f"{PREFIX}{run[:8] or os.getpid()}")
    with _locked():
        if reason := _prepare():
            pytest.skip(reason)
        users = _users()
        _write([*users, (host.cluster, *this_process())])
        _delete_orphans({name for name, *_ in users})
        image = LAB_IMAGE if _has_lab_image() else ""
    try:
        yield KindHost(image, state, host.cluster)
    finally:
        _leave(host)


@pytest.fixture(scope="session")
def kind_cluster(kind_host: KindHost) -> Cluster:
    """A kind cluster of this run's own, with busybox and podinfo; every worker gets the same."""
    from pytest_ephemeral_ns.clusters import kind
    from pytest_ephemeral_ns.clusters.embedded.images import ensure_images

    with state_of(kind_host), _locked():
        new = not kind.exists(kind_host.cluster)
        cluster = kind.up(kind_host.cluster, image=kind_host.image, owner_pid=os.getpid(), progress=_say)
        if new:
            kind.load(cluster.name, ensure_images(IMAGES, _say))
    return cluster


@contextmanager
def state_of(host: KindHost) -> Iterator[None]:
    """Let kind keep its files where all workers of the run look, for the time of the block."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EPHEMERAL_NS_STATE_DIR", str(host.state))
        yield


def _leave(host: KindHost) -> None:
    from pytest_ephemeral_ns.clusters import kind

    with _locked():
        users = [user for user in _users() if user[1:] != this_process()]
        if host.cluster not in {name for name, *_ in users}:
            with state_of(host):
                kind.down(host.cluster)
        _write(users)
        if not users and _daemon():
            _stop_daemon()


def _prepare() -> str:
    """Make Docker, kind and a node image ready; return why that is impossible."""
    from pytest_ephemeral_ns.clusters.kind import docker_answers
    from pytest_ephemeral_ns.errors import ToolError
    from pytest_ephemeral_ns.kube.tools import find

    if docker_answers()[0] and not _daemon():
        try:
            find("kind")
        except ToolError as error:
            return error.summary
        return ""
    if not SCRIPT.is_file():
        return "Docker does not answer, and there is no lab to start one"
    if sys.platform != "linux" or os.geteuid() != 0 or not shutil.which("apt-get"):
        return "Docker does not answer, and the lab needs root on Debian"
    _lab("docker")
    if not _has_lab_image():
        _lab("image")
    return ""


def _lab(command: str) -> None:
    _say(f"kind lab: {command}")
    environ = {**os.environ, "LAB": str(cache_dir() / "kind-lab"), "BIN": str(bin_dir())}
    # Its daemon inherits what it is given: a file, because a pipe would never end.
    log = cache_dir() / "kind-lab.log"
    with log.open("w") as file:
        done = subprocess.run(
            ["bash", SCRIPT, command],
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            timeout=LAB_TIMEOUT,
        )
    if done.returncode:
        pytest.fail(f"kind lab: {command} failed:\n" + "\n".join(log.read_text(errors="replace").splitlines()[-20:]))


def _has_lab_image() -> bool:
    from pytest_ephemeral_ns.clusters.kind_program import has_image

    return has_image(LAB_IMAGE)


def _daemon() -> int:
    """Return the process id of the lab's Docker daemon; 0 if it does not run."""
    try:
        pid = int((cache_dir() / "kind-lab" / "docker" / "pid").read_text())
        return pid if b"dockerd" in Path(f"/proc/{pid}/cmdline").read_bytes() else 0
    except (OSError, ValueError):
        return 0


def _stop_daemon() -> None:
    _lab("stop")
    ends = time.monotonic() + 30
    while _daemon() and time.monotonic() < ends:
        time.sleep(0.1)


def _delete_orphans(known: set[str]) -> None:
    """Delete the clusters of runs that were killed."""
    from pytest_ephemeral_ns.clusters import kind

    for name in kind.names():
        if name.startswith(PREFIX) and name not in known:
            kind.down(name)


# Who uses the lab, written down for runs side by side and for those after one that was killed.


@contextmanager
def _locked() -> Iterator[None]:
    import filelock

    cache_dir().mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(cache_dir() / "kind-lab.lock", timeout=LAB_TIMEOUT):
        yield


def _users() -> list[tuple[str, int, str]]:
    try:
        listed = json.loads((cache_dir() / "kind-lab.users").read_text())
    except (OSError, ValueError):
        return []
    return [(name, pid, started) for name, pid, started in listed if alive((pid, started))]


def _write(users: list[tuple[str, int, str]]) -> None:
    (cache_dir() / "kind-lab.users").write_text(json.dumps(users))


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
