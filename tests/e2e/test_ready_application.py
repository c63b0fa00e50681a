"""Waits above the objects, on a real node: logs, Jobs, answers through the Service, gates as text."""

from __future__ import annotations

import secrets
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from pytest_ephemeral_ns.deadline import Deadline
from pytest_ephemeral_ns.errors import UsageError, WaitFailed, WaitTimeout
from pytest_ephemeral_ns.kube.api import Api
from pytest_ephemeral_ns.kube.discovery import Discovery
from pytest_ephemeral_ns.kube.watch import Watcher
from pytest_ephemeral_ns.ready import (
    wait_for_gates,
    wait_for_http,
    wait_for_job,
    wait_for_log,
    wait_for_tcp,
    wait_ready,
)
from pytest_ephemeral_ns.rules.graces import Graces
from pytest_ephemeral_ns.rules.objects import Ref

pytestmark = [pytest.mark.node, pytest.mark.cluster]

WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      initContainers: [{name: first, image: "busybox:1.36", command: [echo, prepared the ground]}]
      containers:
        - name: app
          image: busybox:1.36
          command: [sh, -c, "echo ok > /tmp/index.html; echo listening on 8080; exec httpd -f -p 8080 -h /tmp"]
          ports: [{name: http, containerPort: 8080}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: web, port: 80, targetPort: http}, {name: dead, port: 81, targetPort: 9}]}
"""


def job(script: str, name: str = "migrate", **spec: Any) -> str:
    container = {"name": "app", "image": "busybox:1.36", "command": ["sh", "-c", script]}
    pod = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 0, "containers": [container]}
    obj = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"backoffLimit": 0, "template": {"spec": pod}, **spec},
    }
    return str(yaml.safe_dump(obj))


@dataclass
class Place:
    api: Api
    watcher: Watcher
    discovery: Discovery
    name: str

    def apply(self, text: str) -> list[Ref]:
        refs = []
        for document in yaml.safe_load_all(text):
            resource = self.discovery.find(document["apiVersion"], document["kind"])
            path = resource.path(namespace=self.name, name=document["metadata"]["name"])
            refs.append(Ref.of(self.api.apply(path, document)))
        return refs

    def log(self, target: str, pattern: str, timeout: float = 60, **how: Any) -> str:
        return wait_for_log(self.api, self.name, target, pattern, deadline=Deadline.after(timeout), **how)

    def gates(self, *gates: str, timeout: float = 60, **how: Any) -> None:
        wait_for_gates(self.api, self.watcher, self.name, gates, deadline=Deadline.after(timeout), **how)


@pytest.fixture
def place(node_cluster: Any) -> Iterator[Place]:
    name = f"layers-{secrets.token_hex(4)}"
    with Api(node_cluster.connection) as api, Watcher(api) as watcher:
        api.create("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        try:
            wait_ready(api, watcher, name, [Ref("v1", "ServiceAccount", "default")], deadline=Deadline.after(30))
            yield Place(api, watcher, Discovery(api), name)
        finally:
            api.delete(f"/api/v1/namespaces/{name}")


def test_lines_of_a_log_before_and_after_they_are_written(place: Place) -> None:
    place.apply(WEB)
    assert place.log("deploy/web", "listening on [0-9]+") == "listening on 8080"
    assert place.log("deploy/web", "prepared") == "prepared the ground"
    with pytest.raises(WaitTimeout, match="no line matches 'prepared'") as caught:
        place.log("deploy/web", "prepared", timeout=1, container="app")
    assert caught.value.layer == "application"
    assert caught.value.command == f"kubectl -n {place.name} logs deploy/web --all-containers"


def test_the_log_of_a_job_that_ends_without_the_line(place: Place) -> None:
    place.apply(job("echo one; sleep 1; echo two"))
    assert place.log("job/migrate", "two") == "two"
    with pytest.raises(WaitFailed, match="no line matches 'three', and it is complete"):
        place.log("job/migrate", "three")


def test_the_log_of_a_pod_that_can_never_run(place: Place) -> None:
    pod = {"restartPolicy": "Never", "containers": [{"name": "app", "image": "absent:1", "imagePullPolicy": "Never"}]}
    place.apply(yaml.safe_dump({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": pod}))
    with pytest.raises(WaitFailed, match="ErrImageNeverPull"):
        place.log("pod/p", "anything")


def test_a_log_of_what_does_not_exist_yet(place: Place) -> None:
    with pytest.raises(WaitTimeout, match="there is no pod yet"):
        place.log("deploy/later", "anything", timeout=0.5)


def test_a_job_by_its_name(place: Place) -> None:
    place.apply(job("echo broken; exit 3", name="bad"))
    with pytest.raises(WaitFailed, match="BackoffLimitExceeded") as caught:
        wait_for_job(place.api, place.watcher, place.name, "bad", deadline=Deadline.after(60))
    assert caught.value.layer == "application"
    assert "    | broken" in caught.value.evidence


def test_a_suspended_job_has_not_done_its_work(place: Place) -> None:
    (ref,) = place.apply(job("true", suspend=True))
    report = wait_ready(place.api, place.watcher, place.name, [ref], deadline=Deadline.after(30))
    assert report.objects[ref].reason == "Suspended"
    with pytest.raises(WaitTimeout, match="Suspended"):
        wait_for_job(place.api, place.watcher, place.name, "migrate", deadline=Deadline.after(1))


def test_answers_through_the_service(place: Place) -> None:
    place.apply(WEB)
    for port in ("web", 80):
        assert wait_for_http(place.api, place.name, "web", port, deadline=Deadline.after(60)) == "ok\n"
    with pytest.raises(WaitTimeout, match="404 Not Found"):
        wait_for_http(place.api, place.name, "web", 80, "/nowhere", deadline=Deadline.after(1))
    with pytest.raises(WaitTimeout, match="connection refused"):
        wait_for_http(place.api, place.name, "web", "dead", deadline=Deadline.after(4))
    wait_for_tcp(place.api, place.name, "web", 80, deadline=Deadline.after(60))
    with pytest.raises(WaitTimeout, match="connection refused"):
        wait_for_tcp(place.api, place.name, "web", 81, deadline=Deadline.after(4))


def test_gates(place: Place) -> None:
    place.apply(WEB + "---\n" + job("sleep 1"))
    told: list[str] = []
    gates = ("job/migrate", "http://svc/web:80/index.html", "tcp://svc/web:web", "log/deploy/web:listening")
    place.gates(*gates, on_progress=told.append)
    assert [line for line in told if line in {f"gate {n}/4 {gate}" for n, gate in enumerate(gates, 1)}] == [
        f"gate {n}/4 {gate}" for n, gate in enumerate(gates, 1)
    ]
    with pytest.raises(UsageError, match="is not understood"):
        place.gates("job/migrate", "web is up")


def test_a_gate_that_does_not_open_tells_how_the_objects_are(place: Place) -> None:
    refs = place.apply(WEB)
    wait_ready(place.api, place.watcher, place.name, refs, deadline=Deadline.after(60))
    with pytest.raises(WaitTimeout, match=r"did not hold within 2s; last: .*404 Not Found") as caught:
        place.gates("http://svc/web:web/nowhere", timeout=2, below=refs)
    assert caught.value.layer == "application"
    assert caught.value.evidence[:2] == (
        "waited for: gate 1/1 http://svc/web:web/nowhere",
        "layer below: infrastructure, 2/2 ready",
    )
    raw = f"/api/v1/namespaces/{place.name}/services/web:web/proxy/nowhere"
    assert caught.value.command == f"kubectl get --raw {raw}"


@pytest.mark.parametrize("gate", ["http://svc/web:web/", "tcp://svc/web:web", "job/migrate"])
def test_what_fails_below_a_gate_ends_it(place: Place, gate: str) -> None:
    """Ready without a probe, and dead a few seconds later: no answer will ever come."""
    web = WEB.replace("exec httpd -f -p 8080 -h /tmp", "sleep 4; echo out of luck; exit 3").replace("on 8080", "soon")
    refs = place.apply(f"{web}---\n{job('sleep 3600')}")[:2]
    wait_ready(place.api, place.watcher, place.name, refs[:1], deadline=Deadline.after(60))
    with pytest.raises(WaitFailed, match=r"Deployment .*/web failed: CrashLoopBackOff") as caught:
        place.gates(gate, timeout=120, below=refs, graces=Graces(crash_loop_restarts=1))
    assert caught.value.layer == "application"
    assert f"waited for: gate 1/1 {gate}" in caught.value.evidence
    assert "    | out of luck" in caught.value.evidence


INI = """
[pytest]
ephemeral_ns_deploy = web.yaml
ephemeral_ns_gate =
    job/migrate
    http://svc/web:80/index.html
    log/deploy/web:listening on
"""
TESTS = """
def test_what_stands_behind_the_gates(ephemeral_ns):
    assert ephemeral_ns.get("job/migrate")["status"]["succeeded"] == 1
    ephemeral_ns.wait_for_gates("tcp://svc/web:web", timeout=30)
"""


def run_pytest(folder: Path, cluster: Any, *more: str) -> subprocess.CompletedProcess[str]:
    context = [f"--ephemeral-ns-kubeconfig={cluster.kubeconfig}", "--ephemeral-ns-cluster=current"]
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--ephemeral-ns", *context, *more]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=200)


def test_gates_and_graces_in_an_ini_file(node_cluster: Any, tmp_path: Path) -> None:
    (tmp_path / "web.yaml").write_text(WEB + "---\n" + job("sleep 1"))
    (tmp_path / "pytest.ini").write_text(INI)
    (tmp_path / "test_web.py").write_text(TESTS)
    done = run_pytest(tmp_path, node_cluster)
    assert done.returncode == 0, done.stdout + done.stderr

    done = run_pytest(tmp_path, node_cluster, "--ephemeral-ns-gate=log/job/migrate:never written")
    assert done.returncode == 1
    assert "no line matches 'never written', and it is complete" in done.stdout
    assert "waited for: gate 1/1 log/job/migrate:never written" in done.stdout
    assert "layer: application" in done.stdout

    (tmp_path / "web.yaml").write_text(WEB.replace("terminationGracePeriodSeconds: 0", "nodeSelector: {disk: fast}"))
    done = run_pytest(tmp_path, node_cluster, "--ephemeral-ns-grace=unschedulable=1s", "--ephemeral-ns-timeout=90s")
    assert done.returncode == 1
    assert "Deployment" in done.stdout
    assert "failed: Unschedulable" in done.stdout
