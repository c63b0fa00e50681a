"""Waits above the objects, on a real node: logs, Jobs, answers through the Service, gates as text."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from pytest_ephemeral_ns.deadline import Deadline
from pytest_ephemeral_ns.errors import UsageError, WaitFailed, WaitTimeout
from pytest_ephemeral_ns.kube.api import Api
from pytest_ephemeral_ns.kube.discovery import Discovery
from pytest_ephemeral_ns.kube.watch import Watcher
from pytest_ephemeral_ns.ready import (
    wait_for_gate,
    wait_for_http,
    wait_for_job,
    wait_for_log,
    wait_for_tcp,
    wait_ready,
)
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

    def gate(self, text: str, timeout: float = 60) -> None:
        wait_for_gate(self.api, self.watcher, self.name, text, deadline=Deadline.after(timeout))


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
    for gate in ("job/migrate", "http://svc/web:80/index.html", "tcp://svc/web:web", "log:deploy/web:listening"):
        place.gate(gate)
    with pytest.raises(UsageError, match="is not understood"):
        place.gate("web is up")
