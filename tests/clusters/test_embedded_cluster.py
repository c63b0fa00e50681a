"""The real control plane: usable after up, complete at the end, however the end comes."""

from __future__ import annotations

import os
import signal
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_ephemeral_ns.clusters.cluster import Cluster
from pytest_ephemeral_ns.clusters.embedded.cluster import down, load, names, status, up
from pytest_ephemeral_ns.errors import ClusterError, UsageError
from tests.clusters.embedded_world import (
    eventually,
    get,
    is_open,
    processes_of,
    sleeper,
    usable_namespace,
    wait_until_gone,
)

pytestmark = pytest.mark.cluster


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A state folder of the test's own; nothing of it runs afterwards."""
    monkeypatch.setenv("EPHEMERAL_NS_STATE_DIR", str(tmp_path / "state"))
    yield tmp_path / "state"
    for name in names():
        down(name)
    assert processes_of(tmp_path) == {}


def started(name: str = "one", **options: object) -> Cluster:
    return up(name, nodes="none", **options)  # type: ignore[arg-type]


def test_it_is_usable_idempotent_private_and_stops_completely(state: Path) -> None:
    said: list[str] = []
    cluster = started(owner_pid=os.getpid(), progress=said.append)

    assert (cluster.provider, cluster.name, cluster.nodes, cluster.started) == ("embedded", "one", "none", True)
    assert get(cluster, "/version")["gitVersion"] == cluster.version
    usable_namespace(cluster, "shop")
    assert any("kube-apiserver" in line for line in said)

    again = started()
    assert not again.started
    with pytest.raises(ClusterError, match="runs already, with nodes: none, not simulated"):
        up("one", nodes="simulated")
    assert again.connection == cluster.connection

    seen = status("one")
    assert (seen["phase"], seen["kubeconfig"]) == ("ready", str(cluster.kubeconfig))
    assert names() == ["one"]
    for path in (state / "one").rglob("*"):
        assert not path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO), f"{path} is open to others"
    port = seen["port"]
    assert is_open(port)

    assert down("one")
    assert processes_of(state) == {}
    assert not is_open(port)
    assert not (state / "one").exists()
    assert names() == []
    assert status("one") == {"name": "one", "phase": "absent"}
    assert not down("one")


def test_two_live_side_by_side_and_one_ends_with_its_owner(state: Path) -> None:
    with sleeper() as owner:
        first = started("first", owner_pid=owner.pid)
        second = started("second")
        usable_namespace(first, "shop")
        usable_namespace(second, "shop")
        owner.send_signal(signal.SIGKILL)
        owner.wait()
        wait_until_gone(state / "first")
    assert not (state / "first").exists()
    assert names() == ["second"]
    assert get(second, "/api/v1/namespaces/shop")["status"]["phase"] == "Active"


def test_nothing_outlives_a_supervisor_that_was_killed(state: Path) -> None:
    started()
    before = status("one")
    os.kill(before["pid"], signal.SIGKILL)
    if before["containment"] == "pid namespace":
        wait_until_gone(state / "one")
    assert status("one")["phase"] == "lost"

    cluster = started()
    assert cluster.started
    usable_namespace(cluster, "shop")

    os.kill(status("one")["pid"], signal.SIGKILL)
    assert down("one")
    assert not (state / "one").exists()


def test_a_component_that_dies_is_started_again_and_keeps_its_data(state: Path) -> None:
    cluster = started()
    usable_namespace(cluster, "shop")
    for component in ("etcd", "kube-apiserver", "kube-controller-manager"):
        [pid] = [pid for pid, argv in processes_of(state / "one").items() if f"/{component} " in argv]
        os.kill(pid, signal.SIGKILL)
        eventually(lambda component=component: status("one")["restarts"].get(component) == 1)

    def answers() -> bool:
        try:
            return bool(get(cluster, "/api/v1/namespaces/shop")["metadata"]["name"] == "shop")
        except OSError:
            return False

    eventually(answers)
    usable_namespace(cluster, "after")


def test_many_starts_at_once_give_one_cluster(state: Path) -> None:
    found: list[Cluster] = []
    threads = [threading.Thread(target=lambda: found.append(started())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(cluster.started for cluster in found) == [False, False, True]
    assert len({cluster.connection.server for cluster in found}) == 1


def test_images_need_a_node(state: Path) -> None:
    with pytest.raises(ClusterError, match="'one' is not running"):
        load("one", [])
    started()
    with pytest.raises(ClusterError, match="no real node") as caught:
        load("one", [])
    assert "--nodes real" in str(caught.value)


def test_a_name_that_cannot_be_one_is_refused(state: Path) -> None:
    for name in ("", "Shop", "a/b", "..", "-a", "x" * 41):
        with pytest.raises(UsageError, match="is not usable"):
            up(name)
    assert not state.exists()


def test_an_owner_that_is_gone_already_leaves_nothing(state: Path) -> None:
    with sleeper() as owner:
        owner.kill()
        owner.wait()
    with pytest.raises(ClusterError, match="did not start"):
        started(owner_pid=owner.pid)
    assert processes_of(state) == {}
    assert not (state / "one").exists()


@pytest.mark.parametrize("text", ['{"pid": 1, "state": "up"}', "not json"])
def test_a_cluster_of_another_version_is_refused_and_stopped_completely(state: Path, text: str, tmp_path: Path) -> None:
    cluster = started()
    assert processes_of(tmp_path)
    (state / "one" / "status.json").write_text(text)
    assert status("one")["phase"] == "unreadable"
    with pytest.raises(ClusterError, match="was started by another version") as caught:
        started()
    assert "ephemeral-ns cluster down --name one" in str(caught.value)
    assert down("one")
    wait_until_gone(tmp_path)
    assert not is_open(int(cluster.connection.server.rpartition(":")[2]))
    assert names() == []
