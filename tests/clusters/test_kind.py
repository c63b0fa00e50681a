"""The real kind: created once, used again, given back by the last one; nothing half-made stays."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_ephemeral_ns.clusters import kind
from pytest_ephemeral_ns.clusters import kind_program as program
from pytest_ephemeral_ns.clusters.choose import close_cluster, open_cluster
from pytest_ephemeral_ns.clusters.cluster import Cluster
from pytest_ephemeral_ns.clusters.kind_ready import wait_ready
from pytest_ephemeral_ns.clusters.probe import Answer
from pytest_ephemeral_ns.connection import Connection
from pytest_ephemeral_ns.deadline import Deadline
from pytest_ephemeral_ns.errors import ClusterError, ToolError, UsageError
from pytest_ephemeral_ns.kube.api import Api
from tests.clusters.kubeconfigs import kubeconfig, write
from tests.kind_lab import KindHost, state_of

# Whose a cluster is: everything but kind itself, which is a list of names here.


class Engine:
    """What kind would know."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.broken: set[str] = set()
        self.created: list[tuple[str, str, str]] = []
        self.deleted: list[str] = []
        self.create_fails: BaseException | None = None
        self.missing: list[str] = []

    def create(self, name: str, path: Path, *, image: str, config: str, timeout: float) -> None:
        self.names.append(name)
        self.created.append((name, image, config))
        if self.create_fails:
            raise self.create_fails
        self.export(name, path)

    def export(self, name: str, path: Path) -> None:
        if name in self.broken:
            raise ClusterError(f"kind cluster {name} exists and is not running")
        write(path, kubeconfig(f"kind-{name}"))

    def delete(self, name: str, path: Path) -> None:
        self.deleted.append(name)
        self.names = [other for other in self.names if other != name]
        self.broken.discard(name)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Engine:
    fake = Engine()
    monkeypatch.setenv("EPHEMERAL_NS_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setattr(kind, "docker_answers", lambda: (True, "28"))
    monkeypatch.setattr(kind, "names", lambda: list(fake.names))
    monkeypatch.setattr(kind, "_BETWEEN_LOOKS", 0.0)
    monkeypatch.setattr(kind, "wait_ready", lambda *_: fake.missing)
    monkeypatch.setattr(program, "create", fake.create)
    monkeypatch.setattr(program, "export_kubeconfig", fake.export)
    monkeypatch.setattr(program, "delete", fake.delete)
    monkeypatch.setattr("pytest_ephemeral_ns.clusters.probe.answers", lambda _: Answer(True, True, version="v1.35.4"))
    return fake


@pytest.fixture
def stranger() -> Iterator[int]:
    """Another process that lives."""
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process.pid
        process.kill()


def dead() -> int:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    return process.pid


def test_a_new_cluster_is_ours_and_goes_with_us(engine: Engine) -> None:
    cluster = kind.up("shop", image="node:1", config="", owner_pid=os.getpid())
    assert (cluster.provider, cluster.name, cluster.started, cluster.version) == ("kind", "shop", True, "v1.35.4")
    assert engine.created == [("shop", "node:1", "")]
    assert stat.S_IMODE(cluster.kubeconfig.parent.stat().st_mode) == 0o700
    close_cluster(cluster)
    assert (engine.deleted, cluster.kubeconfig.exists()) == (["shop"], False)


def test_a_cluster_of_somebody_else_is_used_and_stays(engine: Engine) -> None:
    engine.names = ["shop"]
    cluster = kind.up("shop", owner_pid=os.getpid())
    assert (cluster.started, engine.created) == (False, [])
    close_cluster(cluster)
    assert engine.deleted == []


def test_one_that_was_meant_to_stay_stays(engine: Engine) -> None:
    assert kind.up("shop").started
    assert not kind.up("shop", owner_pid=os.getpid()).started
    assert kind.down("shop")
    assert not kind.down("shop")


def test_it_stays_while_another_run_uses_it_and_the_next_one_takes_it_over(engine: Engine, stranger: int) -> None:
    first = kind.up("shop", owner_pid=os.getpid())
    assert not kind.up("shop", owner_pid=stranger).started
    close_cluster(first)
    assert engine.names == ["shop"]
    assert not kind.up("shop", owner_pid=os.getpid()).started  # the stranger is still there
    os.kill(stranger, signal.SIGKILL)
    os.waitpid(stranger, 0)
    kind.release("shop")
    assert engine.names == []


def test_one_whose_owner_was_killed_is_taken_over(engine: Engine) -> None:
    kind.up("shop", owner_pid=dead())
    cluster = kind.up("shop", owner_pid=os.getpid())
    assert (cluster.started, len(engine.created)) == (True, 1)
    close_cluster(cluster)
    assert engine.names == []


def test_one_whose_owner_was_killed_and_that_is_broken_is_made_anew(engine: Engine) -> None:
    kind.up("shop", owner_pid=dead())
    engine.broken = {"shop"}
    assert kind.up("shop", owner_pid=os.getpid()).started
    assert (set(engine.deleted), len(engine.created)) == ({"shop"}, 2)


def test_a_broken_one_of_somebody_else_is_left_alone(engine: Engine) -> None:
    engine.names, engine.broken = ["shop"], {"shop"}
    with pytest.raises(ClusterError, match="exists and is not running"):
        kind.up("shop", owner_pid=os.getpid())
    assert engine.deleted == []


@pytest.mark.parametrize("error", [ClusterError("no image"), KeyboardInterrupt()])
def test_nothing_half_made_stays(engine: Engine, error: BaseException) -> None:
    engine.create_fails = error
    with pytest.raises(type(error)):
        kind.up("shop", owner_pid=os.getpid())
    assert (engine.names, set(engine.deleted)) == ([], {"shop"})


def test_what_the_engine_finishes_late_is_deleted_too(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.create_fails = KeyboardInterrupt()
    looks = iter([[], [], [], ["shop"], ["shop"]])  # before, and then the container that was still on its way
    monkeypatch.setattr(kind, "names", lambda: next(looks, []))
    with pytest.raises(KeyboardInterrupt):
        kind.up("shop", owner_pid=os.getpid())
    assert engine.deleted.count("shop") == 4


def test_a_new_one_that_does_not_get_ready_is_deleted(engine: Engine) -> None:
    engine.missing = ["no CoreDNS pod is ready"]
    with pytest.raises(ClusterError, match="kind cluster shop is not ready") as caught:
        kind.up("shop", owner_pid=os.getpid())
    assert "no CoreDNS pod is ready" in str(caught.value)
    assert engine.names == []


def test_an_old_one_that_does_not_get_ready_is_not_deleted(engine: Engine) -> None:
    engine.names, engine.missing = ["shop"], ["there is no node yet"]
    with pytest.raises(ClusterError, match="is not ready"):
        kind.up("shop", owner_pid=os.getpid())
    assert engine.names == ["shop"]


def test_a_configuration_that_does_not_exist(engine: Engine) -> None:
    with pytest.raises(UsageError, match=r"kind configuration /nowhere/kind\.yaml does not exist"):
        kind.up("shop", config="/nowhere/kind.yaml")


# Without Docker, without kind.


def test_without_docker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EPHEMERAL_NS_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ClusterError, match="kind needs docker, which does not answer") as caught:
        kind.up("shop")
    assert "docker is not installed" in str(caught.value)
    assert "--ephemeral-ns-cluster=embedded" in str(caught.value)


DAEMONS: dict[str, tuple[str, tuple[bool, str]]] = {
    "answers": ("echo '\"28.2.2\"'", (True, "28.2.2")),
    "does not": (
        "echo '\"\"'; echo 'Cannot connect to the Docker daemon.' >&2; exit 1",
        (False, "Cannot connect to the Docker daemon."),
    ),
    "does not, and ends with 0": ("echo '\"\"'; echo 'permission denied' >&2", (False, "permission denied")),
}


@pytest.mark.parametrize("case", DAEMONS)
def test_what_docker_says(case: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script, said = DAEMONS[case]
    _program(tmp_path / "docker", script)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert kind.docker_answers() == said


def test_a_docker_that_hangs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _program(tmp_path / "docker", "exec sleep 600")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert program.engine_answers(timeout=0.3) == (False, "docker info did not end within 0.3 s")


def test_without_kind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _program(tmp_path / "bin" / "docker", "echo '\"28\"'")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin")
    monkeypatch.setenv("EPHEMERAL_NS_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("EPHEMERAL_NS_CACHE_DIR", str(tmp_path))
    with pytest.raises(ToolError, match="kind is not installed"):
        kind.up("shop")


def _program(path: Path, script: str) -> None:
    write(path, f"#!/bin/sh\n{script}\n").chmod(0o755)


# The real one.


@pytest.fixture
def own(kind_host: KindHost) -> Iterator[KindHost]:
    """The host, with the state folder that the run's cluster is known in."""
    with state_of(kind_host):
        yield kind_host


@pytest.mark.kind
def test_the_cluster_is_used_again(kind_cluster: Cluster, own: KindHost) -> None:
    said: list[str] = []
    again = kind.up(kind_cluster.name, owner_pid=os.getpid(), progress=said.append)
    assert again.connection == kind_cluster.connection
    assert said[0] == f"kind: using cluster {kind_cluster.name}, which exists"
    assert kind.exists(kind_cluster.name)
    assert kind_cluster.nodes == "real"
    assert kind_cluster.version.startswith("v1.")


@pytest.mark.kind
def test_naming_its_context_uses_it(kind_cluster: Cluster, own: KindHost) -> None:
    cluster = open_cluster("current", context=f"kind-{kind_cluster.name}", kubeconfig=kind_cluster.kubeconfig)
    assert cluster.version == kind_cluster.version
    close_cluster(cluster)


@pytest.mark.kind
def test_the_users_kubeconfig_is_left_alone(
    kind_cluster: Cluster, own: KindHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    kind.up(kind_cluster.name, owner_pid=os.getpid())
    assert not (tmp_path / "config").exists()
    assert stat.S_IMODE(kind_cluster.kubeconfig.stat().st_mode) == 0o600
    assert own.state in kind_cluster.kubeconfig.parents


@pytest.mark.kind
def test_pods_run_and_find_each_other_at_once(kind_cluster: Cluster) -> None:
    assert wait_ready(kind_cluster.connection, Deadline.after(5)) == []
    pod = {
        "metadata": {"generateName": "dns-"},
        "spec": {
            "restartPolicy": "Never",
            "containers": [
                {"name": "c", "image": "busybox:1.36", "command": ["nslookup", "kubernetes.default.svc.cluster.local"]}
            ],
        },
    }
    with Api(kind_cluster.connection) as api:
        name = api.create("/api/v1/namespaces/default/pods", pod)["metadata"]["name"]
        path = f"/api/v1/namespaces/default/pods/{name}"
        ends = time.monotonic() + 60
        while (phase := api.get(path)["status"].get("phase")) not in (
            "Succeeded",
            "Failed",
        ) and time.monotonic() < ends:
            time.sleep(0.2)
        assert phase == "Succeeded", api.text(f"{path}/log")
        assert "10.96.0.1" in api.text(f"{path}/log")
        api.delete(path)


@pytest.mark.kind
def test_an_archive_that_is_none_and_an_image_that_is_not_there(
    kind_cluster: Cluster, own: KindHost, tmp_path: Path
) -> None:
    broken = str(write(tmp_path / "broken.tar", "no archive"))
    with pytest.raises(ClusterError, match=r"broken\.tar could not be loaded"):
        kind.load(kind_cluster.name, [broken])
    with pytest.raises(UsageError, match="image nowhere/api:1 is neither an archive nor an image that docker has"):
        kind.load(kind_cluster.name, ["nowhere/api:1"])


@pytest.mark.kind
def test_a_node_image_that_is_not_to_be_had(own: KindHost) -> None:
    name, image = f"{own.cluster}-noimage", "registry.invalid/kindest/node:v1"
    with pytest.raises(ClusterError, match=f"its node image {image} is not to be had") as caught:
        kind.up(name, image=image, owner_pid=os.getpid())
    assert "node images on this machine: " in str(caught.value)
    assert f"docker pull {image}" in str(caught.value)
    assert not kind.exists(name)


@pytest.mark.kind
@pytest.mark.slow
def test_a_creation_that_is_interrupted_leaves_nothing(own: KindHost) -> None:
    name = f"{own.cluster}-int"
    process = _creating(name, own)
    process.send_signal(signal.SIGINT)
    assert process.wait(120) != 0
    for _ in range(8):  # the engine may be late, too
        assert not kind.exists(name)
        time.sleep(0.25)


@pytest.mark.kind
@pytest.mark.slow
def test_a_creation_that_was_killed_is_cleaned_up_by_the_next(own: KindHost) -> None:
    name = f"{own.cluster}-kill"
    process = _creating(name, own)
    process.kill()
    process.wait()
    assert kind.exists(name)  # the kind program, its child, is still at it
    said: list[str] = []
    with pytest.raises(ClusterError, match="is not to be had"):
        kind.up(name, image="registry.invalid/kindest/node:v1", owner_pid=os.getpid(), progress=said.append)
    assert said[0] == f"kind: deleting cluster {name}, which was left half-made or broken"
    assert not kind.exists(name)


def _creating(name: str, host: KindHost) -> subprocess.Popen[bytes]:
    """Start a process that creates a cluster; return when the node's container is there."""
    code = (
        "from pytest_ephemeral_ns.clusters import kind\nimport os\n"
        f"kind.up({name!r}, image={host.image!r}, owner_pid=os.getpid())"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    ends = time.monotonic() + 60
    while not kind.exists(name):
        assert process.poll() is None
        assert time.monotonic() < ends
        time.sleep(0.2)
    return process


def test_what_is_missing_is_said() -> None:
    from pytest_ephemeral_ns.clusters import kind_ready

    def api(nodes: list[dict[str, Any]], **system: dict[str, Any]) -> Callable[..., Any]:
        class Fake:
            def list(self, _: str) -> list[dict[str, Any]]:
                return nodes

            def find(self, path: str) -> dict[str, Any] | None:
                return system.get(path.rpartition("/")[2].replace("-", "_"))

        return Fake

    def node(status: str) -> dict[str, Any]:
        condition = {"type": "Ready", "status": status, "reason": "KubeletNotReady", "message": "cni"}
        return {"metadata": {"name": "n"}, "status": {"conditions": [condition]}}

    proxy = {"status": {"numberReady": 0, "desiredNumberScheduled": 1}}
    look = kind_ready._missing
    assert look(api([])()) == ["there is no node yet"]
    assert look(api([{"metadata": {"name": "n"}}])()) == ["node n has not reported yet"]
    assert look(api([node("False")])()) == ["node n is not ready: KubeletNotReady: cni"]
    assert look(api([node("True")], kube_proxy=proxy)()) == ["kube-proxy runs on 0 of 1 nodes"]
    assert look(api([node("True")], coredns={})()) == ["no CoreDNS pod is ready"]
    assert look(api([node("True")])()) == []  # made without either
    assert wait_ready(Connection("https://127.0.0.1:1"), Deadline.after(0.1))[0].startswith("list nodes: no answer")
