"""Runs pytest in a subprocess against the real control plane, with a real kubectl as the independent witness."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from pytest_ephemeral_ns.paths import bin_dir

MODES = {"plain": ["-p", "no:xdist"], "n0": ["-n", "0"], "n2": ["-n", "2"]}
NEIGHBOURS_PYTHON = Path(__file__).parents[2] / ".venv-neighbours" / "bin" / "python"


@dataclass
class Witness:
    """A kubectl that knows nothing of the plugin."""

    kubeconfig: Path

    def kubectl(self, *args: str) -> str:
        command = [str(bin_dir() / "kubectl"), "--kubeconfig", str(self.kubeconfig), *args]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, f"kubectl {args[0]} exited with {done.returncode}: {done.stderr}"
        return done.stdout

    def namespaces(self, *, terminating: bool = False) -> dict[str, dict[str, object]]:
        """Return our namespaces by name; those on their way out only when asked for."""
        found = json.loads(
            self.kubectl("get", "ns", "-o", "json", "-l", "app.kubernetes.io/managed-by=pytest-ephemeral-ns")
        )
        return {
            item["metadata"]["name"]: item
            for item in found["items"]
            if terminating or not item["metadata"].get("deletionTimestamp")
        }


@pytest.fixture
def witness(control_plane) -> Witness:
    return Witness(control_plane.kubeconfig)


@pytest.fixture
def run_pytest(
    pytester: pytest.Pytester, control_plane, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., pytest.RunResult]:
    """Run pytest in a subprocess on the control plane, warnings as errors."""
    monkeypatch.setenv("KUBECONFIG", str(control_plane.kubeconfig))
    monkeypatch.delenv("EPHEMERAL_NS", raising=False)
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)

    def run(*args: str, enabled: bool = True, python: str | Path = sys.executable) -> pytest.RunResult:
        ours = ["--ephemeral-ns", "--ephemeral-ns-cluster=current"] if enabled else []
        command = [python, "-m", "pytest", "-pno:cacheprovider", "-Werror", *ours, *args]
        return pytester.run(*command, timeout=120)

    return run


@pytest.fixture(params=list(MODES), ids=list(MODES))
def mode(request: pytest.FixtureRequest) -> list[str]:
    """The ways to run: without xdist, xdist idle, xdist with two workers."""
    return MODES[request.param]
