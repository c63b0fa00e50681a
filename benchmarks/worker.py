"""Claim: from fixture request to first byte a worker costs at most 0.3 s of CPU; `kubernetes` is not imported."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.measure import Sample, installed
from pytest_ephemeral_ns.clusters import embedded

ROUNDS = 9
PROBE = """
import sys, time, pytest

@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup(fixturedef, request):
    if fixturedef.argname == "_ephemeral_ns_enabled":
        request.config.began = time.process_time()

@pytest.fixture(autouse=True, scope="session")
def first_byte(pytestconfig):
    import socket
    send = socket.socket.connect
    def connect(self, address):
        if not hasattr(pytestconfig, "spent"):
            pytestconfig.spent = time.process_time() - pytestconfig.began
        return send(self, address)
    socket.socket.connect = connect
    yield
    socket.socket.connect = send

def pytest_unconfigure(config):
    if hasattr(config, "spent"):
        print(f"SPENT {config.spent:.4f} {int('kubernetes' in sys.modules)}", file=sys.__stderr__)
"""


def run() -> list[Sample]:
    """Run one test in a fresh process several times and read what it spent."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["EPHEMERAL_NS_STATE_DIR"] = str(Path(folder, "state"))
        cluster = embedded.up("bench", nodes="none", owner_pid=os.getpid(), progress=lambda line: None)
        try:
            Path(folder, "conftest.py").write_text(PROBE)
            Path(folder, "test_it.py").write_text("def test_it(ephemeral_ns): pass\n")
            _once(folder, str(cluster.kubeconfig))  # keeps the bytecode
            spent = [_once(folder, str(cluster.kubeconfig)) for _ in range(ROUNDS)]
        finally:
            embedded.down("bench")
            del os.environ["EPHEMERAL_NS_STATE_DIR"]
    return [
        Sample("fixture request → first connection (CPU)", tuple(seconds for seconds, _ in spent)),
        Sample("runs that imported kubernetes", tuple(float(count) for _, count in spent), "count"),
    ]


def _once(folder: str, kubeconfig: str) -> tuple[float, int]:
    command = [sys.executable, "-m", "pytest", "-q", "-pno:cacheprovider", "-pno:playwright", "--ephemeral-ns"]
    command += ["--ephemeral-ns-cluster=current", f"--ephemeral-ns-kubeconfig={kubeconfig}"]
    done = subprocess.run(
        command, cwd=folder, env=installed(os.environ), capture_output=True, text=True, timeout=120, check=True
    )
    words = next(line for line in done.stderr.splitlines() if line.startswith("SPENT")).split()
    return float(words[1]), int(words[2])
