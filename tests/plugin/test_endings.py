"""Every ending cleans up: what exists afterwards is what an independent kubectl sees."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

pytestmark = pytest.mark.cluster

ONE = """
def test_it(ephemeral_ns):
    assert ephemeral_ns.get("ns", ephemeral_ns.name)
"""
FAILS = """
def test_it(ephemeral_ns):
    assert False
def test_two(ephemeral_ns):
    pass
"""
SLOW = """
import pathlib, time, pytest
@pytest.mark.parametrize("n", range(2))
def test_it(ephemeral_ns, n):
    pathlib.Path(f"started-{n}").touch()
    time.sleep(60)
"""
CRASH = """
import os, pathlib, pytest
@pytest.mark.parametrize("n", range(4))
def test_it(ephemeral_ns, n):
    if not pathlib.Path("crashed").exists():
        pathlib.Path("crashed").touch()
        os._exit(1)
"""


@pytest.mark.parametrize(
    ("suite", "args", "outcome"),
    [
        (ONE, [], {"passed": 1}),
        (FAILS, [], {"failed": 1, "passed": 1}),
        (FAILS, ["-x"], {"failed": 1}),
        (FAILS, ["--maxfail=1"], {"failed": 1}),
    ],
    ids=["pass", "fail", "x", "maxfail"],
)
def test_an_ordinary_ending(pytester, run_pytest, witness, mode, suite, args, outcome):
    pytester.makepyfile(suite)
    found = run_pytest(*args, *mode).parseoutcomes()
    assert found.get("failed", 0) == outcome.get("failed", 0)
    assert witness.namespaces() == {}


def test_a_crashed_worker_is_swept_and_replaced(pytester, run_pytest, witness):
    pytester.makepyfile(CRASH)
    result = run_pytest("-n", "2")
    assert result.parseoutcomes() == {"passed": 3, "failed": 1}
    result.stdout.fnmatch_lines(["*ephemeral-ns*", "swept: *gw*its process did not release it*"])
    assert witness.namespaces() == {}


def test_pytest_exit_in_a_test(pytester, run_pytest, witness):
    pytester.makepyfile(
        """
        import pytest
        def test_it(ephemeral_ns):
            pytest.exit("enough")
        """
    )
    run_pytest("-p", "no:xdist")
    assert witness.namespaces() == {}


def test_an_internal_error_of_another_plugin(pytester, run_pytest, witness):
    pytester.makeconftest(
        """
        def pytest_runtest_logreport(report):
            if report.when == "call":
                raise RuntimeError("broken plugin")
        """
    )
    pytester.makepyfile(ONE)
    assert run_pytest("-p", "no:xdist").ret == 3
    assert witness.namespaces() == {}


@pytest.mark.parametrize("args", [["--collect-only"], ["--fixtures"], ["--help"], ["--version"]], ids=lambda a: a[0])
def test_no_cluster_is_touched(pytester, run_pytest, monkeypatch, args):
    pytester.makepyfile(ONE)
    monkeypatch.setenv("KUBECONFIG", "/nowhere")
    assert run_pytest(*args).ret == 0


def test_a_collection_error_touches_no_cluster(pytester, run_pytest, monkeypatch):
    pytester.makepyfile("import nothing_of_that_name")
    monkeypatch.setenv("KUBECONFIG", "/nowhere")
    result = run_pytest()
    assert result.ret == 2
    assert "nothing_of_that_name" in result.stdout.str()
    assert "/nowhere" not in result.stdout.str()


@pytest.fixture
def start(pytester, control_plane, monkeypatch) -> Callable[..., subprocess.Popen[str]]:
    """Start pytest in a process group of its own and return when every test that can run is running."""
    monkeypatch.setenv("KUBECONFIG", str(control_plane.kubeconfig))
    pytester.makepyfile(SLOW)
    started: list[subprocess.Popen[str]] = []

    def run(*args: str, running: int) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "pytest", "-pno:cacheprovider"]
        command += ["--ephemeral-ns", "--ephemeral-ns-cluster=current", *args]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )
        started.append(process)
        for _ in range(300):
            if len(list(pytester.path.glob("started-*"))) >= running:
                return process
            assert process.poll() is None, process.stdout.read()
            time.sleep(0.1)
        raise AssertionError("the tests did not start")

    yield run
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=30)


ENDINGS = [
    ("group", signal.SIGINT),
    ("group", signal.SIGTERM),
    ("group", signal.SIGHUP),
    ("controller", signal.SIGINT),
    ("controller", signal.SIGTERM),
]


@pytest.mark.parametrize("args", [["-p", "no:xdist"], ["-n", "2"]], ids=["plain", "n2"])
@pytest.mark.parametrize(("whom", "number"), ENDINGS, ids=[f"{whom}-{number.name}" for whom, number in ENDINGS])
def test_a_signal(start, witness, args, whom, number):
    process = start(*args, running=2 if "-n" in args else 1)
    assert witness.namespaces() != {}
    (os.killpg if whom == "group" else os.kill)(process.pid, number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 2, output
    assert witness.namespaces() == {}, output


def test_the_controllers_sigkill_leaves_the_clean_up_to_the_workers(start, witness):
    process = start("-n", "2", running=2)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(timeout=30)
    for _ in range(200):
        if not witness.namespaces():
            return
        time.sleep(0.1)
    raise AssertionError(witness.namespaces())


def test_sigkill_of_everything_leaves_namespaces_that_say_when_they_expire(start, witness):
    process = start("-n", "2", running=2)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=30)
    left = witness.namespaces()
    assert len(left) == 2
    for item in left.values():
        assert item["metadata"]["annotations"]["janitor/expires"]
        assert item["metadata"]["labels"]["pytest-ephemeral-ns/run"]
    witness.kubectl("delete", "ns", *left, "--wait=false")
