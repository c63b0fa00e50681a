"""The main job as a newcomer runs it: the embedded cluster, two workers, a real application, nothing left."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_ephemeral_ns.clusters.embedded.node import missing

QUICKSTART = Path(__file__).parents[2] / "examples" / "quickstart"


def check_report(project: Path) -> None:
    """The report has both namespaces, the layers that took the time, and when each object was ready."""
    data = json.loads((project / "report.json").read_text())
    assert data["counts"] == {"passed": 6}
    assert data["cluster"]["started"]
    assert data["cluster"]["ended"] - data["cluster"]["began"] > 0
    for space in data["namespaces"]:
        whats = [step["what"] for step in space["steps"]]
        assert whats[:5] == ["create", "guard rails", "usable", "guard rails", "deploy"]
        assert space["seconds_to_ready"] > 0
        deployment = next(item for item in space["objects"] if item["name"] == "Deployment/quickstart")
        assert deployment["states"][-1]["state"] == "ready"
    assert "Deployment/quickstart" in (project / "report.html").read_text()


@pytest.mark.node
@pytest.mark.skipif(bool(missing()), reason=f"no real node here: {'; '.join(missing())}")
def test_two_workers_with_a_namespace_each(tmp_path):
    project = shutil.copytree(QUICKSTART, tmp_path / "quickstart")
    state = tmp_path / "state"
    command = [sys.executable, "-m", "pytest", "--ephemeral-ns", "--ephemeral-ns-cluster=embedded", "-n", "2", "-v"]
    command += ["--ephemeral-ns-report=report.json", "--ephemeral-ns-report=report.html"]
    done = subprocess.run(
        command,
        cwd=project,
        env={**os.environ, "EPHEMERAL_NS_STATE_DIR": str(state)},
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 passed" in done.stdout
    assert len(set(re.findall(r"quickstart-\S+-gw[01]", done.stdout))) == 2
    assert [entry for entry in state.iterdir() if entry.is_dir()] == []
    check_report(project)
    assert subprocess.run(["pgrep", "-f", str(state)], capture_output=True).returncode == 1


@pytest.mark.cluster
def test_the_part_that_needs_no_node(tmp_path):
    project = shutil.copytree(QUICKSTART, tmp_path / "quickstart")
    command = [sys.executable, "-m", "pytest", "--ephemeral-ns", "--ephemeral-ns-cluster=embedded", "-n", "2"]
    command += ["--ephemeral-ns-nodes=none", "--ephemeral-ns-deploy=config", "-m", "not node"]
    done = subprocess.run(
        command,
        cwd=project,
        env={**os.environ, "EPHEMERAL_NS_STATE_DIR": str(tmp_path / "state")},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout
