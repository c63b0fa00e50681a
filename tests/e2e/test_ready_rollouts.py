"""Rollouts of every sort on a real node: never "ready" too early, never "failed" for what recovers.

What the wait says is compared with what the API server says at that moment, read by other means.
"""

from __future__ import annotations

import random
import secrets
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from pytest_ephemeral_ns.deadline import Deadline
from pytest_ephemeral_ns.kube.api import Api
from pytest_ephemeral_ns.kube.discovery import Discovery
from pytest_ephemeral_ns.kube.watch import Watcher
from pytest_ephemeral_ns.ready import wait_ready
from pytest_ephemeral_ns.rules.objects import Object, Ref

pytestmark = [pytest.mark.node, pytest.mark.cluster]

STRATEGIES: list[Object] = [
    {"type": "Recreate"},
    *(
        {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}
        for surge, unavailable in [(1, 0), (0, 1), ("25%", "25%"), ("100%", 0), (0, "100%"), (2, 1)]
    ),
]


class Rollout:
    """One workload that starts slowly, crashes and recovers, or is paused, as a seed says."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.kind = self.random.choice(["Deployment", "Deployment", "Deployment", "StatefulSet"])
        self.name = f"r{seed}"
        self.paused = self.kind == "Deployment" and self.random.random() < 0.15

    def manifest(self, number: int, *, paused: bool = False) -> Object:
        replicas = self.random.choice([0, 1, 1, 1, 2, 3])
        labels = {"app": self.name}
        spec: Object = {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": self.pod(number)},
        }
        if self.kind == "Deployment":
            spec |= {"strategy": self.random.choice(STRATEGIES), "paused": paused}
        else:
            partition = self.random.choice([0, 0, 1])
            spec |= {
                "serviceName": self.name,
                "podManagementPolicy": "Parallel" if int(self.name[1:]) % 2 else "OrderedReady",
                "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": partition}},
            }
        spec["minReadySeconds"] = self.random.choice([0, 0, 0, 1])
        return {"apiVersion": "apps/v1", "kind": self.kind, "metadata": {"name": self.name}, "spec": spec}

    def pod(self, number: int) -> Object:
        crashes = self.random.choice([0] * 8 + [1, 2])
        delay = self.random.choice([0, 0, 0.3, 1, 2])
        script = (
            f"n=$(cat /tmp/n 2>/dev/null || echo 0); if [ $n -lt {crashes} ]; then echo $((n+1)) >/tmp/n; exit 1; fi; "
            f"sleep {delay}; touch /tmp/up; exec sleep 3600"
        )
        container: Object = {
            "name": "app",
            "image": "busybox:1.36",
            "command": ["sh", "-c", script],
            "env": [{"name": "ROLLOUT", "value": str(number)}],
            "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
        }
        if self.random.random() < 0.7:
            container["readinessProbe"] = {"exec": {"command": ["test", "-e", "/tmp/up"]}, "periodSeconds": 1}
        found: Object = {
            "terminationGracePeriodSeconds": 0,
            "containers": [container],
            "volumes": [{"name": "tmp", "emptyDir": {}}],
        }
        if self.random.random() < 0.3:
            wait = {"name": "first", "image": "busybox:1.36", "command": ["sleep", self.random.choice(["0", "0.5"])]}
            found["initContainers"] = [wait]
        return found


class Place:
    """A namespace in which many rollouts run at once, with one watcher for all."""

    def __init__(self, api: Api, watcher: Watcher, name: str) -> None:
        self.api, self.watcher, self.name, self.discovery = api, watcher, name, Discovery(api)

    def path(self, kind: str, name: str) -> str:
        return self.discovery.find("apps/v1", kind).path(namespace=self.name, name=name)

    def run(self, rollout: Rollout) -> None:
        for number in range(2):
            paused = rollout.paused and number == 1
            applied = self.api.apply(self.path(rollout.kind, rollout.name), rollout.manifest(number, paused=paused))
            resume = threading.Timer(2.0, self.resume, [rollout])
            if paused:
                resume.start()
            try:
                wait_ready(
                    self.api,
                    self.watcher,
                    self.name,
                    [Ref.of(applied)],
                    deadline=Deadline.after(180),
                    discovery=self.discovery,
                )
            finally:
                if paused:
                    resume.join()
            self.check(rollout, applied, paused)
        self.api.delete(self.path(rollout.kind, rollout.name), grace_period=0)

    def resume(self, rollout: Rollout) -> None:
        self.api.patch(self.path(rollout.kind, rollout.name), {"spec": {"paused": False}})

    def check(self, rollout: Rollout, applied: Object, paused: bool) -> None:
        found = self.api.get(self.path(rollout.kind, rollout.name))
        wanted, status = found["spec"]["replicas"], found["status"]
        told = f"{rollout.kind} {rollout.name} was called ready: {status}"
        assert status["observedGeneration"] >= applied["metadata"]["generation"], told
        assert status.get("readyReplicas", 0) == status.get("availableReplicas", 0) == wanted, told
        partition = found["spec"].get("updateStrategy", {}).get("rollingUpdate", {}).get("partition", 0)
        assert status.get("updatedReplicas", 0) >= max(0, wanted - partition), told
        assert status.get("replicas", 0) == wanted, told
        if paused:
            assert not found["spec"].get("paused"), told


@pytest.fixture
def place(node_cluster: Any) -> Iterator[Place]:
    name = f"rollouts-{secrets.token_hex(4)}"
    with Api(node_cluster.connection) as api, Watcher(api) as watcher:
        api.create("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        try:
            wait_ready(api, watcher, name, [Ref("v1", "ServiceAccount", "default")], deadline=Deadline.after(30))
            yield Place(api, watcher, name)
        finally:
            api.delete(f"/api/v1/namespaces/{name}")


@pytest.mark.timeout(3600)  # on a busy machine a rollout takes half a minute
@pytest.mark.parametrize(
    "seeds", [range(10), pytest.param(range(1000, 1100), marks=pytest.mark.soak)], ids=["20", "200"]
)
def test_no_false_ready_and_no_false_failed(place: Place, seeds: range) -> None:
    """Every seed is two rollouts: a first one, and one over it."""
    with ThreadPoolExecutor(5) as pool:
        for done in [pool.submit(place.run, Rollout(seed)) for seed in seeds]:
            done.result()
