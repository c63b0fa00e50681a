"""--ephemeral-ns-cluster=embedded: started once, by one process, used by every worker, stopped by the run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.cluster

SUITE = """
import json, pathlib, pytest
@pytest.mark.parametrize("n", range(4))
def test_it(ephemeral_ns, ephemeral_ns_cluster, n):
    told = [ephemeral_ns_cluster.name, ephemeral_ns_cluster.connection.server, ephemeral_ns.name]
    pathlib.Path(f"seen-{n}.json").write_text(json.dumps(told))
"""
EMBEDDED = ["--ephemeral-ns", "--ephemeral-ns-cluster=embedded", "--ephemeral-ns-nodes=none"]


@pytest.fixture
def state(pytester, monkeypatch):
    folder = pytester.mkdir("state")
    monkeypatch.setenv("EPHEMERAL_NS_STATE_DIR", str(folder))
    return folder


def processes_of(state) -> list[str]:
    done = subprocess.run(["pgrep", "-f", str(state)], capture_output=True, text=True)
    return done.stdout.split()


def run(pytester, *args: str) -> pytest.RunResult:
    command = [sys.executable, "-m", "pytest", "-pno:cacheprovider", "-Werror", *EMBEDDED, *args]
    return pytester.run(*command, timeout=180)


def test_one_cluster_for_all_workers_stopped_at_the_end(pytester, state, mode):
    pytester.makepyfile(SUITE)
    result = run(pytester, *mode)
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(["ephemeral-ns: starting etcd*"])
    seen = [json.loads(file.read_text()) for file in pytester.path.glob("seen-*.json")]
    assert len({server for _, server, _ in seen}) == 1
    assert processes_of(state) == []
    assert [entry.name for entry in state.iterdir() if entry.is_dir()] == []


def test_a_cluster_that_stays_is_used_and_left_alone(pytester, state):
    command = [sys.executable, "-m", "pytest_ephemeral_ns"]
    subprocess.run([*command, "cluster", "up", "--nodes", "none"], check=True, timeout=120)
    try:
        pytester.makepyfile(SUITE)
        run(pytester, "-n", "2").assert_outcomes(passed=4)
        assert json.loads((pytester.path / "seen-0.json").read_text())[0] == "default"
        done = subprocess.run([*command, "cluster", "status", "-o", "json"], capture_output=True, text=True, timeout=60)
        assert "ready" in done.stdout
    finally:
        subprocess.run([*command, "cluster", "down"], check=True, timeout=120)
    assert processes_of(state) == []


def test_what_was_kept_keeps_its_cluster(pytester, state):
    pytester.makepyfile("def test_it(ephemeral_ns): assert False")
    result = run(pytester, "--keep-on-failure")
    result.assert_outcomes(failed=1)
    told = ["kept: *", "*ephemeral-ns describe *--kubeconfig=*", "*ephemeral-ns cluster down --name run-*"]
    result.stdout.fnmatch_lines(told)
    [name] = [entry.name for entry in state.iterdir() if entry.is_dir()]
    command = [sys.executable, "-m", "pytest_ephemeral_ns", "cluster"]
    try:
        done = subprocess.run([*command, "status", "--name", name], capture_output=True, text=True, timeout=60)
        assert "ready" in done.stdout
    finally:
        subprocess.run([*command, "down", "--name", name], check=True, timeout=120)
    assert processes_of(state) == []


def test_the_cluster_ends_with_a_run_that_is_killed(pytester, state):
    pytester.makepyfile("import pathlib, time\ndef test_it(ephemeral_ns): pathlib.Path('on').touch(); time.sleep(60)")
    command = [sys.executable, "-m", "pytest", "-pno:cacheprovider", *EMBEDDED]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    for _ in range(600):
        if (pytester.path / "on").exists():
            break
        time.sleep(0.1)
    assert processes_of(state) != []
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=30)
    for _ in range(300):
        if not processes_of(state):
            return
        time.sleep(0.1)
    raise AssertionError(processes_of(state))
