"""Every story is told twice: on the embedded cluster with a real node, and on the real kind."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from pytest_ephemeral_ns import Namespace, ephemeral
from pytest_ephemeral_ns.clusters.cluster import Cluster
from pytest_ephemeral_ns.paths import bin_dir

ROOT = Path(__file__).parents[2]
KUBECTL = bin_dir() / "kubectl"


@pytest.fixture(
    scope="session",
    params=[
        pytest.param("node_cluster", marks=pytest.mark.node, id="embedded"),
        pytest.param("kind_cluster", marks=pytest.mark.kind, id="kind"),
    ],
)
def cluster(request: pytest.FixtureRequest) -> Cluster:
    """A real cluster with a node that has busybox and podinfo."""
    found: Cluster = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="session")
def witness(cluster: Cluster) -> Callable[..., Any]:
    """A kubectl that knows nothing of us: ``witness("get", "pods")`` is decoded JSON."""

    def ask(*args: str) -> Any:
        command = [str(KUBECTL), "--kubeconfig", str(cluster.kubeconfig), *args, "-o", "json"]
        return json.loads(subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout)

    return ask


@pytest.fixture(scope="session")
def make(cluster: Cluster) -> Callable[..., AbstractContextManager[Namespace]]:
    """Make a namespace of the caller's own on the cluster, without pytest's fixtures."""

    def namespace(*deploy: str | Path, **options: Any) -> AbstractContextManager[Namespace]:
        return ephemeral(*deploy, cluster="current", kubeconfig=str(cluster.kubeconfig), **options)

    return namespace


@pytest.fixture(scope="module")
def podinfo(make: Callable[..., AbstractContextManager[Namespace]]) -> Iterator[Namespace]:
    """A namespace with the quickstart's chart, ready."""
    with make(ROOT / "examples" / "quickstart" / "chart") as namespace:
        yield namespace
