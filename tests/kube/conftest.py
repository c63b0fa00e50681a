"""A real control plane with a namespace for each test, and a real node with a namespace in which something runs."""

from __future__ import annotations

import base64
import gc
import json
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pytest_ephemeral_ns.clusters.cluster import Cluster
from pytest_ephemeral_ns.connection import Connection
from pytest_ephemeral_ns.kube.api import Api
from pytest_ephemeral_ns.kube.execute import execute
from pytest_ephemeral_ns.kube.target import resolve_pod


@pytest.fixture(scope="session")
def api_server(request: pytest.FixtureRequest) -> Connection:
    """The run's control plane, or the one of EPHEMERAL_NS_TEST_KUBECONFIG (JSON, embedded certificates)."""
    if named := os.environ.get("EPHEMERAL_NS_TEST_KUBECONFIG"):
        config = json.loads(Path(named).read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        return Connection(
            cluster["server"],
            ca_data=base64.b64decode(cluster["certificate-authority-data"]).decode(),
            client_cert_data=base64.b64decode(user["client-certificate-data"]).decode(),
            client_key_data=base64.b64decode(user["client-key-data"]).decode(),
            context=config["current-context"],
        )
    connection: Connection = request.getfixturevalue("control_plane").connection
    return connection


@pytest.fixture(scope="session")
def server_api(api_server: Connection) -> Iterator[Api]:
    """The server without anything between."""
    with Api(api_server) as api:
        yield api


@pytest.fixture
def namespace(server_api: Api) -> Iterator[str]:
    name = f"kube-{uuid.uuid4().hex[:8]}"
    server_api.create("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    yield name
    server_api.delete(f"/api/v1/namespaces/{name}")


@dataclass(frozen=True)
class Box:
    """A Deployment on the real node: HTTP that tells its pod's name on 8080, echo on 9000 and 9001."""

    api: Api
    namespace: str

    @property
    def pod(self) -> str:
        return resolve_pod(self.api, self.namespace, "deploy/box")

    @property
    def path(self) -> str:
        return f"/api/v1/namespaces/{self.namespace}"

    def run(self, script: str) -> str:
        """Run a line of shell in it."""
        return execute(self.api, self.namespace, self.pod, ["sh", "-c", script], timeout=60).stdout.strip()

    def start(self, name: str, script: str, image: str = "busybox:1.36", **spec: Any) -> None:
        """Start a pod of one container named app."""
        container = {"name": "app", "image": image, "imagePullPolicy": "Never", "command": ["sh", "-c", script]}
        pod = {"containers": [container], "restartPolicy": "Never", "terminationGracePeriodSeconds": 0, **spec}
        self.api.create(
            f"{self.path}/pods", {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": pod}
        )

    def await_phase(self, name: str, phase: str) -> None:
        until(lambda: self.api.get(f"{self.path}/pods/{name}")["status"].get("phase") == phase)


def until(check: Callable[[], Any], seconds: float = 60) -> None:
    """Look again until it is so."""
    ends = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < ends
        time.sleep(0.05)


SERVER = """
mkdir -p /www && hostname > /www/index.html && httpd -p 8080 -h /www
for port in 9000 9001; do while :; do nc -l -p $port -e cat; done & done
trap 'exit 0' TERM
while :; do sleep 0.2; done
"""


@pytest.fixture(scope="session")
def box(node_cluster: Cluster) -> Iterator[Box]:
    name = f"box-{uuid.uuid4().hex[:8]}"
    app = {
        "name": "app",
        "image": "busybox:1.36",
        "command": ["sh", "-c", SERVER],
        "ports": [{"name": "web", "containerPort": 8080}],
        "readinessProbe": {"tcpSocket": {"port": "web"}, "periodSeconds": 1},
    }
    side = {"name": "side", "image": "busybox:1.36", "command": ["sh", "-c", "echo from the side; exec sleep 100000"]}
    template = {
        "metadata": {"labels": {"app": "box"}},
        "spec": {"containers": [app, side], "terminationGracePeriodSeconds": 1},
    }
    spec = {"replicas": 1, "selector": {"matchLabels": {"app": "box"}}, "template": template}
    ports = [{"name": "http", "port": 80, "targetPort": "web"}]
    with Api(node_cluster.connection) as api:
        api.create("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        until(lambda: api.find(f"/api/v1/namespaces/{name}/serviceaccounts/default"))
        api.create(
            f"/apis/apps/v1/namespaces/{name}/deployments",
            {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "box"}, "spec": spec},
        )
        api.create(
            f"/api/v1/namespaces/{name}/services",
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": "box"},
                "spec": {"selector": {"app": "box"}, "ports": ports},
            },
        )
        ready = f"/apis/apps/v1/namespaces/{name}/deployments/box"
        until(lambda: api.get(ready).get("status", {}).get("readyReplicas"))
        yield Box(api, name)
        api.delete(f"/api/v1/namespaces/{name}")


@pytest.fixture
def own_box(box: Box) -> Iterator[Box]:
    """The box through a client of the test's own; after it there is no thread and no open file more than before."""
    box.api.version()  # the connection that is kept for the next request is open before and after
    threads, files = set(threading.enumerate()), open_files()
    with Api(box.api.connection) as api:
        yield Box(api, box.namespace)
    until(lambda: set(threading.enumerate()) <= threads, 10)
    until(lambda: open_files() <= files, 10)


def open_files() -> int:
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir()))
