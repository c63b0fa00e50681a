"""--ephemeral-ns-report: the run as a timeline, however it ends; and what the end of the terminal says of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.plugin.conftest import NEIGHBOURS_PYTHON
from tests.plugin.test_neighbours import EVERYBODY
from tests.plugin.test_reports import BROKEN, CANARY

pytestmark = pytest.mark.cluster

WANTED = ["--ephemeral-ns-report=out/report.html", "--ephemeral-ns-report=report.json"]
SUITE = f"""
import pytest
@pytest.mark.parametrize("n", ["</script><b>", "token=abcdefgh1234"])
def test_good(ephemeral_ns, n):
    ephemeral_ns.apply({{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {{"name": "a"}}}})
    ephemeral_ns.wait_ready()
    ephemeral_ns.wait_for_contract(lambda: 1, until=bool, timeout=5)
def test_bad(ephemeral_ns):
    ephemeral_ns.apply("app.yaml")
    raise ValueError("it is {CANARY} that is wrong")
def test_factory(ephemeral_ns_factory):
    with ephemeral_ns_factory(deploy=["app.yaml"]): pass
@pytest.mark.skip
def test_skipped(): pass
"""


def report_of(folder: Path) -> dict:
    data = json.loads((folder / "report.json").read_text())
    assert (data["format"], data["version"]) == ("pytest-ephemeral-ns/report", 1)
    assert list(folder.rglob("*.part")) == []
    return data


@pytest.fixture
def suite(pytester):
    pytester.makefile(".yaml", app=BROKEN)
    pytester.makepyfile(SUITE)


def test_the_same_data_in_every_mode(pytester, run_pytest, witness, suite, mode):
    result = run_pytest(*WANTED, *mode)
    result.assert_outcomes(passed=2, failed=2, skipped=1)
    result.stdout.fnmatch_lines(["report: */out/report.html", "report: */report.json"])
    data = report_of(pytester.path)
    page = (pytester.path / "out" / "report.html").read_text()
    assert (data["run"]["outcome"], data["run"]["exit_code"]) == ("failed", 1)
    assert data["counts"] == {"passed": 2, "failed": 2, "skipped": 1}
    assert data["workers"] == (["gw0", "gw1"] if "2" in mode else ["main"])
    assert data["cluster"]["version"].startswith("v1.")

    [bad] = [test for test in data["tests"] if test["id"].endswith("::test_bad")]
    [name] = bad["namespaces"]
    [story] = bad["problems"][0]["stories"]
    assert bad["problems"][0]["message"] == "ValueError: it is *** that is wrong"
    assert story["namespace"] == name
    assert story["text"] in result.stdout.str()
    assert "why Pod/api is not ready:" in page

    [made] = [test for test in data["tests"] if test["id"].endswith("::test_factory")]
    spaces = {space["name"]: space for space in data["namespaces"]}
    [failed] = [spaces[name] for name in made["namespaces"] if spaces[name]["error"]]
    assert "Unschedulable" in failed["error"]
    assert failed["ready"] is None
    states = {item["name"]: item["states"][-1]["state"] for item in failed["objects"]}
    assert (states["Pod/api"], states["Secret/db"]) == ("failed", "ready")
    whats = [step["what"] for step in spaces[name]["steps"]]
    assert whats[:3] == ["create", "guard rails", "usable"]
    assert {"deploy", "diagnosis", "release"} <= set(whats)
    assert {space["fate"] for space in data["namespaces"]} == {"deleted"}
    everything = [step for space in data["namespaces"] for step in space["steps"]]
    assert {"infrastructure", "contract"} <= {step["what"] for step in everything}
    assert all(step["ended"] >= step["began"] >= 0 for step in everything)

    assert "&lt;/script&gt;&lt;b&gt;" in page
    assert "</script><b>" not in page
    for text in (result.stdout.str(), page, json.dumps(data)):
        assert CANARY not in text
    assert "abcdefgh1234" not in page + json.dumps(data)
    assert witness.namespaces() == {}


def test_the_first_failure_ends_it(pytester, run_pytest, suite, mode):
    run_pytest("-x", *WANTED, *mode, "-k", "bad or skipped")
    assert report_of(pytester.path)["counts"]["failed"] == 1


def test_a_crashed_worker(pytester, run_pytest, witness):
    pytester.makepyfile(
        """
        import os
        def test_a(ephemeral_ns): pass
        def test_crash(ephemeral_ns): os._exit(1)
        def test_b(ephemeral_ns): pass
        """
    )
    result = run_pytest("-n", "1", "--dist=load", *WANTED)
    result.stdout.fnmatch_lines(["swept: *-gw0 *"])
    data = report_of(pytester.path)
    outcomes = {test["id"].rpartition(":")[2]: (test["outcome"], test["worker"]) for test in data["tests"]}
    assert outcomes == {"test_a": ("passed", "gw0"), "test_crash": ("failed", "gw0"), "test_b": ("passed", "gw1")}
    [crash] = [test for test in data["tests"] if test["outcome"] == "failed"]
    assert crash["problems"][0]["when"] == "crash"
    assert "crashed while running" in crash["problems"][0]["message"]
    assert [story["namespace"] for story in crash["problems"][0]["stories"]] == crash["namespaces"]
    assert [space["fate"] for space in data["namespaces"]] == ["swept", "deleted"]


@pytest.mark.skipif(not NEIGHBOURS_PYTHON.exists(), reason="make neighbours installs them")
@pytest.mark.parametrize("args", [["-p", "no:xdist"], ["-n", "1"]], ids=["plain", "n1"])
def test_reruns_are_attempts(pytester, run_pytest, args):
    pytester.makepyfile(
        """
        import pathlib
        def test_it(ephemeral_ns):
            first = not pathlib.Path("seen").exists()
            pathlib.Path("seen").touch()
            assert not first
        """
    )
    off = [f"-pno:{name}" for name in sorted(EVERYBODY - {"rerunfailures"})]
    run_pytest(*off, *args, "--reruns=2", *WANTED, python=NEIGHBOURS_PYTHON)
    found = [(test["attempt"], test["outcome"]) for test in report_of(pytester.path)["tests"]]
    assert found == [(1, "rerun"), (2, "passed")]


@pytest.mark.parametrize("args", [["-p", "no:xdist"], ["-n", "2"]], ids=["plain", "n2"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_an_interrupt(pytester, control_plane, monkeypatch, args, number):
    monkeypatch.setenv("KUBECONFIG", str(control_plane.kubeconfig))
    pytester.makepyfile(
        """
        import pathlib, time
        def test_slow(ephemeral_ns):
            pathlib.Path("started").touch()
            time.sleep(100)
        """
    )
    command = [sys.executable, "-m", "pytest", "-pno:cacheprovider", "--ephemeral-ns", "--ephemeral-ns-cluster=current"]
    process = subprocess.Popen(
        [*command, *WANTED, *args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    try:
        while not (pytester.path / "started").exists():
            assert process.poll() is None, process.stdout.read()
            time.sleep(0.1)
        os.kill(process.pid, number)
        output, _ = process.communicate(timeout=120)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    data = report_of(pytester.path)
    assert data["run"]["outcome"] == "interrupted", output
    assert [test["outcome"] for test in data["tests"]] == ["interrupted"]
    assert "the run was interrupted while it ran" in (pytester.path / "out" / "report.html").read_text()


def test_a_run_without_a_namespace_and_one_that_only_collects(pytester, run_pytest, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", "/nowhere")
    pytester.makepyfile("def test_it(): pass")
    run_pytest(*WANTED, "--collect-only")
    assert not (pytester.path / "report.json").exists()
    run_pytest(*WANTED).assert_outcomes(passed=1)
    data = report_of(pytester.path)
    assert (data["cluster"], data["namespaces"], data["counts"]) == (None, [], {"passed": 1})


def test_no_cluster(pytester, run_pytest, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", "/nowhere")
    pytester.makepyfile("def test_it(ephemeral_ns): pass")
    run_pytest(*WANTED).assert_outcomes(errors=1)
    data = report_of(pytester.path)
    assert data["cluster"]["error"]
    assert data["tests"][0]["outcome"] == "error"


def test_a_report_that_cannot_be_written_is_a_warning(pytester, run_pytest):
    pytester.makepyfile("def test_it(): pass")
    (pytester.path / "taken").write_text("a file")
    result = run_pytest("--ephemeral-ns-report=taken/report.html", "--ephemeral-ns-report=report.json")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["warning: */taken/report.html was not written: *", "report: */report.json"])


def test_the_slowest_are_named_with_the_layer_that_took_the_time(pytester, run_pytest, mode):
    pytester.makeconftest(
        """
        import time, pytest
        import pytest_ephemeral_ns.rules.timeline as timeline
        timeline.SLOW = 0.5
        @pytest.fixture(scope="session")
        def ephemeral_ns_deploy():
            waits = iter([0.0, 0.0, 0.9])
            def look():
                time.sleep(next(waits))
                return True
            return lambda ns: [ns.wait_for(look, timeout=60) for _ in range(3)]
        """
    )
    pytester.makepyfile("def test_it(ephemeral_ns): pass")
    result = run_pytest("--ephemeral-ns-scope=module", *mode)
    result.stdout.fnmatch_lines(["slow: * was ready after *s, application took *s"])
    assert "report:" not in result.stdout.str()


def test_the_namespace_that_all_share_was_not_left_behind(pytester, run_pytest, witness, mode):
    pytester.makepyfile("def test_a(ephemeral_ns): pass\ndef test_b(ephemeral_ns): pass")
    result = run_pytest("--ephemeral-ns-scope=run", "--ephemeral-ns-report=report.json", *mode)
    result.assert_outcomes(passed=2)
    assert "swept:" not in result.stdout.str()
    data = report_of(pytester.path)
    [space] = data["namespaces"]
    assert (space["worker"], space["fate"], data["ending"]["swept"]) == ("shared", "deleted", [])
    assert all(test["namespaces"] == [space["name"]] for test in data["tests"])
