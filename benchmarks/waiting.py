"""Claim: ready is said ≤ 50 ms after it is so, a failure ≤ 2 s after it shows, where others wait on or say success.

Helm installs a chart with ``--wait``; everybody else watches the same objects at the same time. "Shows" is the moment
at which a plain watch of our own sees the words in question. The Python client is the loop over ``Watch().stream`` that
people write with ``kubernetes``.
"""

from __future__ import annotations

import itertools
import json
import os
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.measure import Sample
from benchmarks.waiting_cases import FAILURES, SLOW, deployment
from benchmarks.waiting_others import CLIENT_PROGRAM, helm, kubectl
from benchmarks.waiting_requests import requests
from pytest_ephemeral_ns.clusters import embedded
from pytest_ephemeral_ns.clusters.cluster import Cluster
from pytest_ephemeral_ns.clusters.embedded.images import ensure_images
from pytest_ephemeral_ns.clusters.embedded.node import missing
from pytest_ephemeral_ns.deadline import Deadline
from pytest_ephemeral_ns.errors import ApiError, NotReady
from pytest_ephemeral_ns.kube.api import Api
from pytest_ephemeral_ns.kube.stream import Stream
from pytest_ephemeral_ns.kube.watch import Watcher
from pytest_ephemeral_ns.ready import wait_ready
from pytest_ephemeral_ns.rules.graces import Graces
from pytest_ephemeral_ns.rules.objects import Ref

LIMIT = 25.0  # longer than our longest grace of these cases
ROUNDS = 6
AT_ONCE = 4
OURS, HELM, ROLLOUT, WAIT, CLIENT = (
    "ours",
    "helm --wait",
    "kubectl rollout status",
    "kubectl wait",
    "kubernetes (Python)",
)
_number = itertools.count()


@dataclass
class End:
    """How one contestant's wait ended."""

    at: float
    ready: bool
    told: str = ""


@dataclass
class Race:
    """One set of objects, everybody's end, and when the words first showed."""

    shown: float = 0.0
    ends: dict[str, End] = field(default_factory=dict)

    def after(self, name: str) -> float:
        """Return the seconds from the first sight to this contestant's end."""
        return max(0.0, self.ends[name].at - self.shown)


def run() -> list[Sample]:
    """Let everybody wait for the same objects."""
    if missing():
        return []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["EPHEMERAL_NS_STATE_DIR"] = folder
        cluster = embedded.up("waiting", nodes="real", owner_pid=os.getpid(), progress=lambda line: None)
        try:
            embedded.load("waiting", ensure_images(("busybox:1.36",)))
            return compare(cluster, Path(folder))
        finally:
            embedded.down("waiting")
            del os.environ["EPHEMERAL_NS_STATE_DIR"]


def compare(cluster: Cluster, folder: Path) -> list[Sample]:
    """Return all figures of this cluster."""
    # It takes some seconds, so that everybody watches before it is ready.
    good = [race(cluster, folder, deployment(SLOW), '"status": "True", "type": "Available"') for _ in range(ROUNDS)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        bad = list(pool.map(lambda case: race(cluster, folder, case.manifest, case.shows), FAILURES))
    return [*_reactions(good), *_verdicts(bad), *requests(cluster, folder)]


def _reactions(races: list[Race]) -> list[Sample]:
    """Who was not there yet when it showed, or gave up, is left out of a race."""
    samples: list[Sample] = []
    for other in (HELM, ROLLOUT, WAIT, CLIENT):
        found = [each for each in races if each.shown and each.ends[other].ready and each.ends[OURS].ready]
        if found:
            samples.append(Sample("ready → told, ours", tuple(each.after(OURS) for each in found)))
            samples.append(Sample(f"ready → told, {other}", tuple(each.after(other) for each in found)))
    return samples


def _verdicts(races: list[Race]) -> list[Sample]:
    """Who says "ready" of what can never be ready gets the whole limit, and is counted."""
    found = [each for each in races if each.shown]
    samples: list[Sample] = []
    for other in (HELM, ROLLOUT, WAIT, CLIENT):
        for name in (OURS, other):
            wrong = sum(each.ends[name].ready for each in found)
            values = tuple(LIMIT if each.ends[name].ready else each.after(name) for each in found)
            samples.append(Sample(f"failure → told, {name} ({wrong} of {len(found)} called ready)", values))
    # Kind by kind, beside whoever of the others was first.
    for case, each in zip(FAILURES, races, strict=True):
        if each.shown:
            others = [LIMIT if each.ends[name].ready else each.after(name) for name in (HELM, ROLLOUT, WAIT, CLIENT)]
            samples.append(Sample(f"{case.name}, ours", (each.after(OURS),)))
            samples.append(Sample(f"{case.name}, best of the others", (min(others),)))
    return samples


def race(cluster: Cluster, folder: Path, manifest: str, shows: str) -> Race:
    """Let Helm install one manifest, and everybody wait for it; return how it went."""
    name = f"race-{next(_number)}-{secrets.token_hex(2)}"
    chart = _chart(folder / name, manifest)
    found = Race()
    with (
        Api(cluster.connection) as api,
        Watcher(api) as watcher,
        _namespace(api, name),
        _sight(api, name, shows, found),
    ):
        threads = [threading.Thread(target=_program, args=(found, HELM, helm(cluster.kubeconfig, name, chart, LIMIT)))]
        threads[0].start()
        _appear(api, name)
        commands = {
            ROLLOUT: kubectl(cluster.kubeconfig, name, "rollout", "status", "deployment/api", limit=LIMIT),
            WAIT: kubectl(cluster.kubeconfig, name, "wait", "--for=condition=Available", "deployment/api", limit=LIMIT),
            CLIENT: [sys.executable, "-c", CLIENT_PROGRAM, str(cluster.kubeconfig), name, str(LIMIT), "api"],
        }
        threads += [threading.Thread(target=_program, args=(found, *item)) for item in commands.items()]
        for thread in threads[1:]:
            thread.start()
        _ours(api, watcher, name, found)
        for thread in threads:
            thread.join()
    return found


def _ours(api: Api, watcher: Watcher, namespace: str, found: Race) -> None:
    try:
        ref = Ref("apps/v1", "Deployment", "api")
        graces = Graces().with_fixed_nodes()  # as a namespace on this cluster has them
        wait_ready(api, watcher, namespace, [ref], deadline=Deadline.after(LIMIT), graces=graces)
        found.ends[OURS] = End(time.monotonic(), ready=True)
    except NotReady as error:
        found.ends[OURS] = End(time.monotonic(), ready=False, told=error.summary)


def _program(found: Race, name: str, command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LIMIT * 3)
    found.ends[name] = End(time.monotonic(), done.returncode == 0, done.stderr[-200:])


def _chart(folder: Path, manifest: str) -> Path:
    (folder / "templates").mkdir(parents=True)
    (folder / "Chart.yaml").write_text("apiVersion: v2\nname: race\nversion: 0.1.0\n")
    (folder / "templates" / "all.yaml").write_text(manifest)
    return folder


@contextmanager
def _namespace(api: Api, name: str) -> Iterator[None]:
    api.create("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    account = f"/api/v1/namespaces/{name}/serviceaccounts/default"
    while api.find(account) is None:
        time.sleep(0.01)
    try:
        yield
    finally:
        api.delete(f"/api/v1/namespaces/{name}")


def _appear(api: Api, name: str) -> None:
    path = f"/apis/apps/v1/namespaces/{name}/deployments/api"
    ends = time.monotonic() + LIMIT
    while api.find(path) is None:
        if time.monotonic() > ends:
            raise TimeoutError(f"Helm did not install what it should in {name}")
        time.sleep(0.005)


@contextmanager
def _sight(api: Api, namespace: str, shows: str, found: Race) -> Iterator[None]:
    """Note when the words are first seen in any object, as a plain watch hears of it."""
    base = f"/apis/apps/v1/namespaces/{namespace}", f"/api/v1/namespaces/{namespace}"
    paths = [f"{base[0]}/deployments", f"{base[0]}/replicasets", f"{base[1]}/pods", f"{base[1]}/events"]
    streams = [api.stream(path, params={"watch": True}) for path in paths]
    threads = [threading.Thread(target=_read, args=(stream, shows, found)) for stream in streams]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for stream in streams:
            stream.close()
        for thread in threads:
            thread.join()


def _read(stream: Stream, shows: str, found: Race) -> None:
    try:
        with stream as lines:
            for line in lines:
                at = time.monotonic()
                obj = json.loads(line)["object"]
                told = {key: value for key, value in obj.items() if key not in ("metadata", "spec")}
                if shows in json.dumps(told, sort_keys=True):
                    found.shown = min(found.shown or at, at)
    except ApiError:
        return  # closed
