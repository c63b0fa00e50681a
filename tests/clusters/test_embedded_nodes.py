"""Clusters with nodes: simulated ones anywhere, real ones as root; two side by side; nothing of either stays."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_ephemeral_ns.clusters.cluster import Cluster
from pytest_ephemeral_ns.clusters.embedded import real_node
from pytest_ephemeral_ns.clusters.embedded.cluster import down, load, names, status, up
from pytest_ephemeral_ns.clusters.embedded.node import missing
from pytest_ephemeral_ns.clusters.embedded.state import Home
from tests.clusters.embedded_world import eventually, exists, get, processes_of, usable_namespace

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


needs_node = [
    pytest.mark.cluster,
    pytest.mark.node,
    pytest.mark.skipif(bool(missing()), reason=f"no real node here: {'; '.join(missing())}"),
]


def left_on_the_machine(name: str) -> list[str]:
    """Return what a cluster's node still has outside of its folder: links, routes, cgroups, mounts."""
    spec = real_node.recorded(Home.of(name))
    assert spec
    routes = subprocess.run(["ip", "route"], capture_output=True, text=True, check=True).stdout.splitlines()
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    return [
        *(str(p) for p in Path("/sys/class/net").glob(spec.host_link)),
        *(line for line in routes if spec.pod_range in line or f"{spec.host_ip.rpartition('.')[0]}." in line),
        *(str(p) for root in Path("/sys/fs/cgroup").glob("*") for p in root.glob(spec.identity)),
        *(line for line in mounts if str(spec.directory) in line),
    ]


class TestRealNode:
    pytestmark = needs_node

    def test_two_side_by_side_run_pods_that_find_services_by_name(self, state: Path) -> None:
        from pytest_ephemeral_ns.clusters.embedded.images import ensure_images

        archives = ensure_images([BUSYBOX])
        clusters = [up(name, nodes="real", owner_pid=os.getpid()) for name in ("one", "two")]
        ranges = {real_node.recorded(Home.of(cluster.name)).pod_range for cluster in clusters}  # type: ignore[union-attr]
        assert len(ranges) == 2
        for cluster in clusters:
            assert cluster.nodes == "real"
            assert load(cluster.name, archives) == ["docker.io/library/busybox:1.36"]
            usable_namespace(cluster, "shop")
            look_up = "nslookup kubernetes.default.svc.cluster.local && echo found"
            get(cluster, "/api/v1/namespaces/shop/pods", "POST", pod("asks", "sh", "-c", look_up))
        for cluster in clusters:
            eventually(lambda cluster=cluster: phase(cluster, "asks") == "Succeeded", 60)
            log = get(cluster, "/api/v1/namespaces/shop/pods/asks/log")
            assert "10.96.0.1" in log
            assert log.endswith("found\n")

        spec = real_node.recorded(Home.of("one"))
        assert spec
        assert left_on_the_machine("one")
        before, down_spec = left_on_the_machine, spec
        assert down("one")
        assert not Path("/sys/class/net", down_spec.host_link).exists()
        assert not [p for root in Path("/sys/fs/cgroup").glob("*") for p in root.glob(down_spec.identity)]
        assert processes_of(state / "one") == {}
        assert before("two")
        assert phase(clusters[1], "asks") == "Succeeded"

    def test_a_killed_supervisor_leaves_what_down_removes(self, state: Path) -> None:
        cluster = up("one", nodes="real")
        usable_namespace(cluster, "shop")
        os.kill(status("one")["pid"], signal.SIGKILL)
        eventually(lambda: processes_of(state / "one") == {})
        spec = real_node.recorded(Home.of("one"))
        assert spec
        assert down("one")
        assert not (state / "one").exists()
        assert not Path("/sys/class/net", spec.host_link).exists()
        assert not [p for root in Path("/sys/fs/cgroup").glob("*") for p in root.glob(spec.identity)]
        assert str(spec.directory) not in Path("/proc/self/mounts").read_text()

    def test_a_node_that_dies_comes_back(self, state: Path) -> None:
        cluster = up("one", nodes="real")
        [sandbox] = [
            pid for pid, argv in processes_of(state / "one").items() if ".sandbox " in argv and "unshare" in argv
        ]
        os.kill(sandbox, signal.SIGKILL)
        eventually(lambda: status("one")["restarts"].get("node") == 1)

        def dns() -> bool:
            found = get(cluster, "/apis/apps/v1/namespaces/kube-system/deployments/coredns")
            node = get(cluster, "/api/v1/nodes/one-node")["status"]["conditions"]
            ready = [c for c in node if c["type"] == "Ready" and c["status"] == "True"]
            return bool(ready and found["status"].get("availableReplicas") == 1)

        eventually(dns, 60)
