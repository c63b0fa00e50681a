"""Claim: a pass of the janitor needs 2 requests per expired namespace, and no more memory for 1 000 than for 10.

Beside it: ``kubectl delete namespace -l``, which people type today. It asks nobody whether the run is alive, and leaves
no trace. 200 namespaces with two simulated pods each; 1 000 with ``python -m benchmarks --full reaping``.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from typing import Any

from benchmarks.measure import Sample, full
from pytest_ephemeral_ns.clusters import embedded
from pytest_ephemeral_ns.clusters.cluster import Cluster
from pytest_ephemeral_ns.kube.api import METADATA_LIST, Api
from pytest_ephemeral_ns.kube.tools import find
from pytest_ephemeral_ns.rules import naming
from pytest_ephemeral_ns.rules.identity import Identity

NAMESPACES = "/api/v1/namespaces"
FEW, SOME, MANY = 10, 200, 1000
PODS = 2
RUN_ID = "bench"
# The janitor judges as at a moment in two hours: what was made just now is protected by its age.
PASS = """
import json, resource, sys, time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from pytest_ephemeral_ns.clusters.current import connect, load_config
from pytest_ephemeral_ns.janitor import clean
from pytest_ephemeral_ns.kube.api import Api
with Api(connect(load_config(Path(sys.argv[1])))) as api:
    said, began = [], time.perf_counter()
    now = datetime.now(timezone.utc) + timedelta(hours=2)
    done = clean(api, say=said.append, run=sys.argv[2], now=now, namespaces_only=True)
    seconds = time.perf_counter() - began
    assert not done.failed and not done.notes, (done.failed, done.notes)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"deleted": len(done.deleted), "seconds": seconds, "requests": api.requests, "peak": peak}))
"""


def run() -> list[Sample]:
    """Give each contestant a cluster of its own with the same namespaces, so that none finds the other's rest."""
    count = MANY if full() else SOME
    few, ours, theirs = _on_a_cluster(_ours, FEW), _on_a_cluster(_ours, count), _on_a_cluster(_theirs, count)
    figures = (
        ("seconds", "until the last DELETE is accepted", "s", 1),
        ("requests", "requests per namespace", "", count),
        ("peak", "peak memory", "MiB", 1),
    )
    samples = [
        Sample(f"{count} namespaces, {what}, {who}", (found[key] / per,), unit)
        for key, what, unit, per in figures
        for who, found in (("reap", ours), ("kubectl delete -l", theirs))
    ]
    return [
        *samples,
        Sample(f"peak memory of reap, {count} namespaces", (ours["peak"],), "MiB"),
        Sample(f"peak memory of reap, {FEW} namespaces", (few["peak"],), "MiB"),
    ]


def _on_a_cluster(contestant: Callable[[Cluster, Api, int], dict[str, float]], count: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        os.environ["EPHEMERAL_NS_STATE_DIR"] = folder
        cluster = embedded.up("bench", nodes="simulated", owner_pid=os.getpid(), progress=lambda line: None)
        try:
            with Api(cluster.connection) as api:
                _make(api, count)
                return contestant(cluster, api, count)
        finally:
            embedded.down("bench")
            del os.environ["EPHEMERAL_NS_STATE_DIR"]


def _ours(cluster: Cluster, api: Api, count: int) -> dict[str, float]:
    command = [sys.executable, "-c", PASS, str(cluster.kubeconfig), RUN_ID]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False)
    assert done.returncode == 0, done.stderr
    told: dict[str, float] = json.loads(done.stdout)
    assert told["deleted"] == count, told
    assert _left(api) == 0
    return told


def _theirs(cluster: Cluster, api: Api, count: int) -> dict[str, float]:
    command = [str(find("kubectl")), "--kubeconfig", str(cluster.kubeconfig), "-v=6", "delete", "namespace"]
    command += ["-l", f"{naming.RUN}={RUN_ID}", "--wait=false"]
    with tempfile.TemporaryFile() as said:
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - began
        said.seek(0)
        text = said.read().decode(errors="replace")
    assert process.returncode == 0, text[-2000:]
    assert _left(api) == 0
    requests = len(re.findall(r"""verb="[A-Z]+"|\b(?:GET|DELETE|POST) https""", text))
    assert requests >= count, text[-2000:]
    return {"seconds": seconds, "requests": requests, "peak": usage.ru_maxrss / 1024}


def _left(api: Api) -> int:
    """Count those that nobody asked to go."""
    found = api.list(NAMESPACES, label_selector=f"{naming.RUN}={RUN_ID}", accept=METADATA_LIST)
    return sum(not one["metadata"].get("deletionTimestamp") for one in found)


def _make(api: Api, count: int) -> None:
    """Make namespaces that have expired, each with pods that run."""
    identity = Identity("bench", "main")
    labels = naming.labels_of(identity, run_id=RUN_ID, worker_id="gw0", scope="run", owner="bench")
    expires = datetime.now(timezone.utc) + timedelta(minutes=30)
    annotations = naming.annotations_of(identity, expires=expires, created_by="bench:1")
    # Bare pods on a named node: a thousand Deployments would take the controllers longer than all else.
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "own"}}
    spec = {"serviceAccountName": "own", "automountServiceAccountToken": False, "terminationGracePeriodSeconds": 0}
    spec |= {"containers": [{"name": "x", "image": "x:1"}], "tolerations": [{"operator": "Exists"}]}
    nodes = [node["metadata"]["name"] for node in api.list("/api/v1/nodes")]

    def one(number: int) -> None:
        name = f"bench-{number}"
        metadata = {"name": name, "labels": labels, "annotations": annotations}
        api.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        api.create(f"{NAMESPACES}/{name}/serviceaccounts", account)
        for pod in range(PODS):
            placed = {**spec, "nodeName": nodes[(number + pod) % len(nodes)]}
            body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"x-{pod}"}, "spec": placed}
            api.create(f"{NAMESPACES}/{name}/pods", body)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(count)))
    ends = time.monotonic() + 1800
    while (ready := _running(api)) < count * PODS:
        assert time.monotonic() < ends, f"{ready} of {count * PODS} pods run"
        time.sleep(1)


def _running(api: Api) -> int:
    pods: Any = api.list("/api/v1/pods", field_selector="status.phase=Running", accept=METADATA_LIST)
    return sum(pod["metadata"]["namespace"].startswith("bench-") for pod in pods)
