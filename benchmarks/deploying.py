"""Claim: kube-prometheus with its definitions in one call takes at most the time of kubectl's two calls."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.measure import Sample, take_turns, wall_of
from pytest_ephemeral_ns.clusters import embedded
from pytest_ephemeral_ns.clusters.cluster import Cluster
from pytest_ephemeral_ns.deadline import Deadline
from pytest_ephemeral_ns.deploy import Deployed, deploy, remove_cluster_scoped
from pytest_ephemeral_ns.kube.api import METADATA_LIST, Api
from pytest_ephemeral_ns.kube.tools import find
from pytest_ephemeral_ns.rules.naming import RUN
from pytest_ephemeral_ns.rules.yaml_dialect import read_documents

ROUNDS = 3
READINGS = 5
SHARED = Path(os.environ.get("EPHEMERAL_NS_TEST_MANIFESTS") or Path(__file__).parents[2] / "shared" / "manifests")
MANIFESTS = SHARED / "kube-prometheus" / "manifests"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def run() -> list[Sample]:
    """Deploy in turn by our own way and with kubectl; then read the same files with us and with PyYAML."""
    if not MANIFESTS.is_dir():
        return []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["EPHEMERAL_NS_STATE_DIR"] = folder
        cluster = embedded.up("bench", nodes="none", owner_pid=os.getpid(), progress=lambda line: None)
        try:
            return [*_compare(cluster), *_read()]
        finally:
            embedded.down("bench")
            del os.environ["EPHEMERAL_NS_STATE_DIR"]


def _compare(cluster: Cluster) -> list[Sample]:
    number = itertools.count()
    with Api(cluster.connection) as api:

        def ours() -> float:
            name = f"bench-{next(number)}"
            api.create("/api/v1/namespaces", {"metadata": {"name": name, "labels": {RUN: name}}})
            done: list[Deployed] = []
            seconds = wall_of(lambda: done.append(_deploy(api, name)))
            remove_cluster_scoped(api, done[0].tracked, name)
            api.delete(f"/api/v1/namespaces/{name}")
            _wait_clean(api, name)
            return seconds

        def theirs() -> float:
            setup = MANIFESTS / "setup"
            seconds = _kubectl(cluster, "apply", "--server-side", "-f", setup)
            # Not part of the time: without it the second call fails.
            _kubectl(cluster, "wait", "--for=condition=Established", "crd", "--all", "--timeout=5m")
            seconds += _kubectl(cluster, "apply", "--server-side", "-f", MANIFESTS)
            _kubectl(cluster, "delete", "--wait=false", "--ignore-not-found", "-f", MANIFESTS, "-f", setup)
            _wait_clean(api, "monitoring")
            return seconds

        return take_turns({"kube-prometheus, ours": ours, "kube-prometheus, kubectl's two calls": theirs}, ROUNDS)


def _deploy(api: Api, namespace: str) -> Deployed:
    def no_helm() -> Path:
        raise AssertionError("there is no chart")

    return deploy(
        api,
        namespace,
        [MANIFESTS / "setup", MANIFESTS],
        deadline=Deadline.after(600),
        kubeconfig=no_helm,
        labels={RUN: namespace},
        cluster_scoped="own",
        namespaces={"monitoring": None},
    )


def _kubectl(cluster: Cluster, *arguments: str | Path) -> float:
    command = [str(find("kubectl")), "--kubeconfig", str(cluster.kubeconfig), *map(str, arguments)]
    return wall_of(lambda: subprocess.run(command, check=True, capture_output=True, timeout=600))


def _wait_clean(api: Api, namespace: str) -> None:
    """Wait until the next contestant finds what the first one found."""
    while [*api.list(DEFINITIONS, accept=METADATA_LIST)] or api.find(f"/api/v1/namespaces/{namespace}"):
        time.sleep(0.5)
    time.sleep(2)  # the server still builds its schema without the definitions


def _read() -> list[Sample]:
    import yaml

    # CSafeLoader cannot read all of it: the plain scalar `=` has a type of its own in YAML 1.1.
    everything = [path.read_text() for path in sorted(MANIFESTS.rglob("*.yaml"))]
    texts = [text for text in everything if not re.search(r"^\s*- =$", text, re.MULTILINE)]
    size = f"reading {sum(map(len, texts)) / 1e6:.1f} MB of its YAML"

    def reading(read: Callable[[str], object]) -> Callable[[], float]:
        return lambda: wall_of(lambda: [read(text) for text in texts])

    contestants = {
        f"{size}, ours": reading(lambda text: read_documents(text, "x.yaml")),
        f"{size}, CSafeLoader": reading(lambda text: [*yaml.load_all(text, yaml.CSafeLoader)]),
    }
    return take_turns(contestants, READINGS)
