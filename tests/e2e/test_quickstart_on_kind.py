"""The quickstart, as its reader runs it, on the real kind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pytest_ephemeral_ns.clusters.cluster import Cluster
from pytest_ephemeral_ns.kube.api import Api

ROOT = Path(__file__).parents[2]


@pytest.mark.kind
@pytest.mark.slow
@pytest.mark.parametrize("workers", ["0", "2"])
def test_the_quickstart(workers: str, kind_cluster: Cluster) -> None:
    options = [
        f"--ephemeral-ns-kubeconfig={kind_cluster.kubeconfig}",
        f"--ephemeral-ns-context=kind-{kind_cluster.name}",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--ephemeral-ns", *options, "-n", workers, "examples/quickstart"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
    assert " skipped" not in done.stdout
    with Api(kind_cluster.connection) as api:
        ours = list(api.list("/api/v1/namespaces", label_selector="app.kubernetes.io/managed-by=pytest-ephemeral-ns"))
    # The worker sends the DELETE and goes: what is still listed is on its way out.
    assert all(namespace["status"]["phase"] == "Terminating" for namespace in ours)
