"""What runs make outside their namespaces is gone afterwards, however the run ended; seen by an independent kubectl."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import threading
import time
import uuid

import pytest

pytestmark = pytest.mark.cluster

SUITE = """
import os, pathlib, pytest
GROUP = "{group}"
ROLE = {{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {{"name": "outside-test"}}}}
NAMES = {{"kind": "Widget", "listKind": "WidgetList", "plural": "widgets", "singular": "widget"}}
VERSIONS = [{{"name": "v1", "served": True, "storage": True, "schema": {{"openAPIV3Schema": {{"type": "object"}}}}}}]
CRD = {{
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {{"name": f"widgets.{{GROUP}}"}},
    "spec": {{"group": GROUP, "names": NAMES, "scope": "Namespaced", "versions": VERSIONS}},
}}
WIDGET = {{"apiVersion": f"{{GROUP}}/v1", "kind": "Widget", "metadata": {{"name": "w"}}}}

@pytest.fixture(scope="session")
def ephemeral_ns_deploy():
    def deploy(ns):
        deployed = ns.apply(ROLE, CRD, WIDGET, cluster_scoped="own")
        (crd,) = [ref for ref in deployed.refs if ref.kind == CRD["kind"]]
        pathlib.Path(f"crd-{{crd.uid}}").touch()
    return deploy

@pytest.mark.parametrize("n", range({count}))
def test_it(ephemeral_ns, n):
    assert ephemeral_ns.get(f"widgets.{{GROUP}}", "w")
    {more}
"""


@pytest.fixture
def suite(pytester, witness):
    """A suite whose definition is nobody else's; returns what is left of it, its namespaces' roles included."""
    group = f"g{uuid.uuid4().hex[:8]}.example.com"

    def left():
        kinds = "clusterroles,customresourcedefinitions"
        found = json.loads(witness.kubectl("get", kinds, "-o", "json", "-l", "pytest-ephemeral-ns/run"))["items"]
        names = [item["metadata"]["name"] for item in found if not item["metadata"].get("deletionTimestamp")]
        return sorted(name for name in names if name.startswith("outside-test-") or name.endswith(group))

    def write(count=1, more="pass"):
        pytester.makepyfile(SUITE.format(group=group, count=count, more=more))
        return left

    return write


def test_workers_share_a_definition_and_the_last_one_removes_it(pytester, run_pytest, suite):
    left = suite(count=2)
    result = run_pytest("-n", "2", "--ephemeral-ns-scope=function")
    result.assert_outcomes(passed=2)
    assert len(list(pytester.path.glob("crd-*"))) == 1  # made once
    assert left() == []
    assert "remains" not in result.stdout.str()


def test_a_worker_that_was_killed(run_pytest, suite):
    crash = "if not pathlib.Path('crashed').exists(): pathlib.Path('crashed').touch(); os._exit(1)"
    left = suite(count=2, more=crash)
    result = run_pytest("-n", "2")
    assert result.parseoutcomes() == {"passed": 1, "failed": 1}
    assert left() == []


def test_a_namespace_that_is_kept_keeps_what_is_outside_until_it_is_deleted(run_pytest, suite, control_plane):
    from pytest_ephemeral_ns.cli import main

    left = suite(more="assert False")
    result = run_pytest("--keep-on-failure", "-p", "no:xdist")
    assert len(left()) == 2
    (kept,) = [line.split()[1] for line in result.stdout.lines if line.startswith("kept:")]
    assert "remains" not in result.stdout.str()
    with contextlib.redirect_stdout(io.StringIO()):
        assert main(["delete", "--yes", kept, "--kubeconfig", str(control_plane.kubeconfig)]) == 0
    assert left() == []


def test_a_run_that_was_killed_as_a_whole(pytester, suite, control_plane, witness, monkeypatch):
    """Whoever deletes its namespace: what it owns goes with it, by the cluster's own garbage collector."""
    import subprocess
    import sys

    left = suite(more="pathlib.Path('started').touch(); import time; time.sleep(60)")
    monkeypatch.setenv("KUBECONFIG", str(control_plane.kubeconfig))
    command = [sys.executable, "-m", "pytest", "-pno:cacheprovider", "--ephemeral-ns", "--ephemeral-ns-cluster=current"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True) as process:
        _until(lambda: (pytester.path / "started").exists() or process.poll() is not None)
        os.killpg(process.pid, signal.SIGKILL)
    before = left()
    assert len(before) == 2
    namespace = before[0].removeprefix("outside-test-")
    witness.kubectl("delete", "namespace", namespace)
    _until(lambda: len(left()) == 1)  # the cluster's own garbage collector
    (definition,) = left()
    witness.kubectl("delete", "crd", definition, "--wait=false")


def _until(check):
    for _ in range(600):
        if check():
            return
        time.sleep(0.1)
    raise AssertionError("it did not happen within a minute")


HELD = """
import pytest
ROLE = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": {"name": "outside-held", "finalizers": ["example.com/hold"]}}

@pytest.fixture(scope="session")
def ephemeral_ns_deploy():
    return lambda ns: ns.apply(ROLE, cluster_scoped="own")

def test_it(ephemeral_ns):
    pass
"""


@pytest.fixture
def let_go(witness):
    """Take the finalizer off again; the test's own roles only. Returns those that are there, or only those going."""

    def roles(going=False):
        found = json.loads(witness.kubectl("get", "clusterroles", "-o", "json", "-l", "pytest-ephemeral-ns/run"))
        there = [item["metadata"] for item in found["items"] if item["metadata"]["name"].startswith("outside-held-")]
        return [one["name"] for one in there if one.get("deletionTimestamp") or not going]

    yield roles
    for name in roles():
        witness.kubectl("patch", "clusterrole", name, "--type=merge", '--patch={"metadata":{"finalizers":null}}')


def test_wait_deleted_names_what_does_not_go(pytester, run_pytest, let_go):
    pytester.makepyfile(HELD)
    result = run_pytest("--ephemeral-ns-wait-deleted", "--ephemeral-ns-timeout=8s")
    result.assert_outcomes(passed=1)
    (role,) = let_go()
    result.stdout.fnmatch_lines(
        [f"remains: ClusterRole/{role}: it is being deleted since *, held by example.com/hold; *"]
    )


def test_wait_deleted_waits_for_what_is_outside(pytester, run_pytest, let_go, witness):
    """Somebody takes the finalizer off while the run waits."""
    pytester.makepyfile(HELD)
    over = threading.Event()

    def help_it() -> None:
        while not let_go(going=True) and not over.wait(0.3):
            pass
        over.wait(9)  # longer than the namespace takes to be gone
        for name in let_go():
            witness.kubectl("patch", "clusterrole", name, "--type=merge", '-p={"metadata":{"finalizers":null}}')

    helper = threading.Thread(target=help_it)
    helper.start()
    result = run_pytest("--ephemeral-ns-wait-deleted")
    left = let_go()
    over.set()
    helper.join(60)
    result.assert_outcomes(passed=1)
    assert left == []
    assert "remains" not in result.stdout.str()
