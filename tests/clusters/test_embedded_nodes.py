"""Clusters with nodes: simulated ones anywhere, real ones as root; nothing of either stays."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_ephemeral_ns.clusters.cluster import Cluster
from pytest_ephemeral_ns.clusters.embedded import real_node
from pytest_ephemeral_ns.clusters.embedded.cluster import down, names, up
from pytest_ephemeral_ns.clusters.embedded.node import missing
from pytest_ephemeral_ns.clusters.embedded.state import Home
from tests.clusters.embedded_world import (
    eventually,
    exists,
    get,
    processes_of,
    sleeper,
    usable_namespace,
    wait_until_gone,
)

BUSYBOX = "busybox:1.36"


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("EPHEMERAL_NS_STATE_DIR", str(tmp_path / "state"))
    yield tmp_path / "state"
    for name in names():
        down(name)
    assert processes_of(tmp_path) == {}


def pod(name: str, *command: str, labels: dict[str, str] | None = None) -> dict[str, Any]:
    container = {"name": "main", "image": BUSYBOX, "command": list(command)}
    spec = {"containers": [container], "restartPolicy": "Never", "terminationGracePeriodSeconds": 0}
    return {"metadata": {"name": name, "labels": labels or {}}, "spec": spec}


def phase(cluster: Cluster, name: str) -> str:
    return str(get(cluster, f"/api/v1/namespaces/shop/pods/{name}")["status"].get("phase"))


@pytest.mark.cluster
def test_simulated_nodes_run_pods_as_stages_say(state: Path) -> None:
    cluster = up("one", nodes="simulated")
    assert cluster.nodes == "simulated"
    assert len(get(cluster, "/api/v1/nodes")["items"]) == 5
    usable_namespace(cluster, "shop")
    stage = {
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "Stage",
        "metadata": {"name": "crash"},
        "spec": {
            "resourceRef": {"apiGroup": "v1", "kind": "Pod"},
            "selector": {
                "matchLabels": {"fate": "crash"},
                "matchExpressions": [{"key": ".status.podIP", "operator": "DoesNotExist"}],
            },
            "weight": 100000,
            "next": {"statusTemplate": "phase: Failed\nreason: Unlucky\npodIP: 10.0.0.9\n"},
        },
    }
    get(cluster, "/apis/kwok.x-k8s.io/v1alpha1/stages", "POST", stage)
    get(cluster, "/api/v1/namespaces/shop/pods", "POST", pod("good"))
    get(cluster, "/api/v1/namespaces/shop/pods", "POST", pod("bad", labels={"fate": "crash"}))
    job = {"metadata": {"name": "once"}, "spec": {"template": {"spec": pod("x")["spec"]}}}
    get(cluster, "/apis/batch/v1/namespaces/shop/jobs", "POST", job)
    eventually(lambda: phase(cluster, "good") == "Running")
    eventually(lambda: phase(cluster, "bad") == "Failed")
    eventually(lambda: get(cluster, "/apis/batch/v1/namespaces/shop/jobs/once")["status"].get("succeeded") == 1)
    get(cluster, "/api/v1/namespaces/shop/pods/good", "DELETE")
    eventually(lambda: not exists(cluster, "/api/v1/namespaces/shop/pods/good"))


@pytest.mark.cluster
@pytest.mark.node
@pytest.mark.skipif(bool(missing()), reason=f"no real node here: {'; '.join(missing())}")
def test_a_real_node_goes_with_its_owner_in_whatever_way_that_ends(state: Path) -> None:
    """What else a real node does, and that nothing of it stays, is in test_node_life.py."""
    with sleeper() as owner:
        cluster = up("one", nodes="auto", owner_pid=owner.pid)
        assert cluster.nodes == "real"
        assert not cluster.connection.server.startswith(("https://0.0.0.0", "https://127."))
        usable_namespace(cluster, "shop")
        spec = real_node.recorded(Home.of("one"))
        assert spec
        assert Path("/sys/class/net", spec.host_link).exists()
        owner.send_signal(signal.SIGKILL)
        owner.wait()
        wait_until_gone(state / "one")
    assert not (state / "one").exists()
    assert not Path("/sys/class/net", spec.host_link).exists()
    assert not [folder for root in Path("/sys/fs/cgroup").glob("*") for folder in root.glob(spec.identity)]
    assert str(spec.directory) not in Path("/proc/self/mounts").read_text()
