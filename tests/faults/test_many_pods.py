"""The collector in a namespace of 500 pods on simulated nodes: all is bounded, and what is left out is named.

The proxy plays the logs, which simulated nodes do not have.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pytest_ephemeral_ns.clusters.cluster import Cluster
from pytest_ephemeral_ns.clusters.embedded import down, up
from pytest_ephemeral_ns.diagnose import Diagnosis, diagnose
from pytest_ephemeral_ns.diagnose.bundle import SIZE
from pytest_ephemeral_ns.kube.api import Api
from tests.faults.proxy import FaultProxy
from tests.kube.conftest import until

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
NAMESPACE = "many"
PAGE = 500
DEPLOYMENTS, REPLICAS = 6, 85  # together more than a page
PODS, RUNNING = DEPLOYMENTS * REPLICAS, (DEPLOYMENTS - 1) * REPLICAS
LOG = r"/log$"
LINE = "2026-01-01T00:00:00.5Z INFO handled a request for %d bytes of nothing at all, and said so in many words\n"
COLLECTION = rf"/namespaces/{NAMESPACE}/[a-z]+$"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EPHEMERAL_NS_STATE_DIR", str(tmp_path_factory.mktemp("many")))
        yield up("many", nodes="simulated", owner_pid=os.getpid())
        down("many")


@pytest.fixture(scope="module")
def crowd(cluster: Cluster) -> Iterator[FaultProxy]:
    """Five Deployments that run and one that no node takes, behind a proxy."""
    with Api(cluster.connection) as api:
        api.create("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
        until(lambda: api.find(f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/default"))
        for number in range(DEPLOYMENTS):
            api.create(f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments", deployment(number))
        until(lambda: counts(api) == {"replicas": PODS, "readyReplicas": RUNNING}, seconds=300)
    with FaultProxy(cluster.connection) as proxy:
        yield proxy


def deployment(number: int) -> dict[str, Any]:
    labels = {"app": f"d{number}"}
    spec = {"containers": [{"name": "app", "image": "shop:1"}], "nodeSelector": {} if number else {"disk": "fast"}}
    body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": f"d{number}"}}
    template = {"metadata": {"labels": labels}, "spec": spec}
    return {**body, "spec": {"replicas": REPLICAS, "selector": {"matchLabels": labels}, "template": template}}


def counts(api: Api) -> dict[str, int]:
    time.sleep(0.5)  # seconds between two looks: whoever asks all the time slows down what it waits for
    states = [item["status"] for item in api.list(f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments")]
    return {name: sum(state.get(name, 0) for state in states) for name in ("replicas", "readyReplicas")}


@pytest.fixture
def crowd_api(crowd: FaultProxy) -> Iterator[Api]:
    crowd.requests.clear()
    with Api(crowd.connection, timeout=60.0) as api:
        yield api


def bytes_of(found: Diagnosis) -> int:
    return sum(path.stat().st_size for path in Path(found.bundle).rglob("*") if path.is_file())


def logs_of(found: Diagnosis) -> list[Path]:
    return [*Path(found.bundle).glob("logs/*/app.log")]


def test_the_whole_is_bounded_and_the_rest_is_named(crowd, crowd_api, tmp_path):
    """Logs of 80 kB each are more than a bundle holds. The time is no limit here, however slow the machine is."""
    body = "".join(LINE % number for number in range(800)).encode()
    rule = crowd._add("fail", status=200, body=body, headers={"Content-Type": "text/plain"}, path=LOG, times=None)
    found = diagnose(crowd_api, NAMESPACE, directory=tmp_path / "run" / NAMESPACE, budget=240)[0]
    rule.remove()

    assert "Deployment/d0 " in found.headline
    assert len(found.text.encode()) <= 64 * 1024
    assert f"and {REPLICAS - 20} more" in found.text  # pods without a node
    assert bytes_of(found) <= SIZE

    # What is there and what is named is everything, and the naming takes a line.
    folder = Path(found.bundle)
    for kind, name, count in (("Pod", "pods", PODS), ("Deployment", "deployments.apps", DEPLOYMENTS)):
        documents = yaml.load_all((folder / f"objects/{name}.yaml").read_text(), yaml.CSafeLoader)
        assert [document["kind"] for document in documents] == [kind] * count
    [line] = found.missing
    left = re.fullmatch(r"logs of (\d+) containers: the room of the bundle was used up", line)
    assert left, line
    assert int(left[1]) > 0
    assert len(logs_of(found)) + int(left[1]) == RUNNING
    assert line in found.text
    assert json.loads((folder / "timeline.json").read_text())

    lists = [request for request in crowd.seen(method="GET") if re.search(COLLECTION, request.path)]
    assert {request.query.get("limit") for request in lists} == {str(PAGE)}
    pods = [request for request in lists if request.path.endswith("/pods")]
    assert [bool(request.query.get("continue")) for request in pods] == [False, True]


def test_what_the_time_does_not_allow_is_named(crowd, crowd_api, tmp_path):
    """A second for each log: the time is over before most of them are there."""
    rules = [
        crowd.delay(1.0, path=LOG, times=None),
        crowd._add("fail", status=200, body=b"x\n", path=LOG, times=None),
    ]
    found = diagnose(crowd_api, NAMESPACE, directory=tmp_path / "run" / NAMESPACE, budget=8)[0]
    for rule in rules:
        rule.remove()
    assert "Deployment/d0 " in found.headline
    [line] = [line for line in found.missing if re.fullmatch(r"logs of \d+ containers: the time was used up", line)]
    assert line in found.text
    reasons = [line.rpartition(": ")[2] for line in found.missing]  # what failed alike is one line, however slow it is
    assert len(reasons) == len(set(reasons)) <= 5
    assert len(logs_of(found)) < RUNNING
    assert (Path(found.bundle) / "objects" / "deployments.apps.yaml").exists()
