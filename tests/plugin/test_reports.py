"""The failed report says why: in the terminal, in JUnit, over xdist, after a crash; without any secret."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from pytest_ephemeral_ns.paths import bin_dir
from tests.plugin.conftest import NEIGHBOURS_PYTHON
from tests.plugin.test_neighbours import EVERYBODY

pytestmark = pytest.mark.cluster

CANARY = "canary-q7w8e9r0"
BROKEN = f"""
apiVersion: v1
kind: Secret
metadata: {{name: db}}
stringData: {{password: {CANARY}}}
---
apiVersion: v1
kind: Pod
metadata:
  name: api
  annotations: {{note: "with {CANARY}"}}
spec:
  containers:
  - name: app
    image: registry.invalid/shop:1
    env: [{{name: DSN, value: "postgres://me:{CANARY}@db/shop"}}]
"""
# No kubelet is there: the test says what one would say.
STATUS = """
    def crash(ns, restarts=3):
        pod = f"/api/v1/namespaces/{ns.name}/pods/api"
        if not ns._api.get(pod)["spec"].get("nodeName"):
            target = {"apiVersion": "v1", "kind": "Node", "name": "far-away"}
            body = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "api"}, "target": target}
            ns._api.create(f"{pod}/binding", body)
        state = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s restarting failed container=app"}}
        end = {"exitCode": 3, "reason": "Error", "message": "cannot log in with canary-q7w8e9r0",
               "startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:00:02Z"}
        box = {"name": "app", "image": "x", "imageID": "", "ready": False, "restartCount": restarts, "state": state,
               "lastState": {"terminated": end}}
        body = {"status": {"phase": "Running", "containerStatuses": [box]}}
        ns._api.patch(f"{pod}/status", body)
"""


def helper(text: str) -> str:
    return "\n".join(line[4:] for line in STATUS.splitlines()) + text


def everything(folder: Path) -> str:
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")]
    return "\n".join(path.read_text("utf-8") for path in files if path.name != "app.yaml")


@pytest.fixture
def broken(pytester):
    pytester.makefile(".yaml", app=BROKEN)
    pytester.makepyfile(
        helper(
            """
def test_one(ephemeral_ns):
    ephemeral_ns.apply("app.yaml")
    crash(ephemeral_ns)
    print("logging in with canary-q7w8e9r0")
    raise ValueError("it is canary-q7w8e9r0 that is wrong")
def test_two(ephemeral_ns):
    assert not "the same state"
def test_three(ephemeral_ns):
    crash(ephemeral_ns, restarts=9)
    assert not "another state"
"""
        )
    )


def test_the_terminal_and_junit_and_the_bundle(pytester, run_pytest, witness, broken, mode):
    together = ["--dist=loadscope"] if "-n" in mode else []
    result = run_pytest("--junitxml=junit.xml", *together, *mode)
    result.assert_outcomes(failed=3)
    result.stdout.fnmatch_lines(
        [
            "*--- ephemeral-ns: * ---*",
            "namespace * on *: Pod/api failed: *CrashLoopBackOff*",
            "why Pod/api is not ready:",
            "*container app (registry.invalid/shop:1)",
            "*CrashLoopBackOff*exit*3*",
            "*Pod/api, container app: 3 restarts; last ended with exit code 3, after 2 s*",
            "secrets removed: *Secret/db password*",
            "everything else: */summary.md",
            "it is in the state that is told in the report of *::test_one",
            "*Pod/api, container app: 9 restarts*",
        ]
    )
    failures = ET.parse(pytester.path / "junit.xml").iter("failure")
    assert sum("why Pod/api is not ready" in str(failure.text) for failure in failures) == 2
    assert CANARY not in result.stdout.str() + everything(pytester.path)
    first, second = sorted((pytester.path / ".ephemeral-ns").glob("*/*/"))
    assert second.name == f"{first.name}-2"
    assert {"summary.md", "timeline.json", "describe.txt", "objects"} <= {path.name for path in first.iterdir()}
    assert "password: '***'" in (first / "objects" / "secrets.yaml").read_text()
    assert any(row["what"].startswith("ended with exit") for row in json.loads((first / "timeline.json").read_text()))
    assert witness.namespaces() == {}


def test_properties_say_where(pytester, run_pytest, witness, broken):
    run_pytest("--junitxml=junit.xml", "--keep-on-failure", "-k", "test_one")
    found = {e.get("name"): e.get("value") for e in ET.parse(pytester.path / "junit.xml").iter("property")}
    [name] = witness.namespaces()
    assert found["ephemeral-ns-namespace"] == name
    assert found["ephemeral-ns-bundle"].endswith(name)
    assert {"ephemeral-ns-cluster", "ephemeral-ns-preserved-until"} <= set(found)
    witness.kubectl("delete", "ns", name, "--wait=false")


DEPLOY = """
import pytest
@pytest.fixture(scope="session")
def ephemeral_ns_deploy():
    def deploy(ns):
        ns.apply("app.yaml")
        raise RuntimeError("the migration failed")
    return deploy
"""


@pytest.mark.parametrize("fixture", ["ephemeral_ns", "ephemeral_ns_shared"])
def test_a_failed_deploy_is_diagnosed_before_its_namespace_goes(pytester, run_pytest, broken, fixture, mode):
    pytester.makeconftest(DEPLOY)
    pytester.makepyfile(f"def test_a({fixture}): pass\ndef test_b({fixture}): pass")
    result = run_pytest("--junitxml=junit.xml", *mode)
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(["*the migration failed*", "*Pod/api failed: *no nodes available*"])
    junit = (pytester.path / "junit.xml").read_text()
    assert "no nodes available" in junit
    assert 'name="ephemeral-ns-cluster"' in junit
    assert CANARY not in result.stdout.str() + everything(pytester.path)


def test_workers_that_share_a_namespace_tell_its_state_once(pytester, run_pytest, broken):
    pytester.makeconftest(
        helper(
            """
import pytest
@pytest.fixture(scope="session")
def ephemeral_ns_deploy():
    def deploy(ns):
        ns.apply("app.yaml")
        crash(ns)
    return deploy
"""
        )
    )
    pytester.makepyfile("def test_a(ephemeral_ns): assert 0\ndef test_b(ephemeral_ns): assert 0")
    result = run_pytest("--ephemeral-ns-scope=run", "-n2")
    result.assert_outcomes(failed=2)
    out = result.stdout.str()
    assert out.count("why Pod/api is not ready:") == 1
    assert out.count("it is in the state that is told in the report of ") == 1
    assert len(list((pytester.path / ".ephemeral-ns").glob("*/*/"))) == 1


def test_a_failing_tear_down(pytester, run_pytest, broken):
    pytester.makepyfile(
        """
        import pytest
        @pytest.fixture
        def order(ephemeral_ns):
            ephemeral_ns.apply("app.yaml")
            yield
            raise RuntimeError("cannot delete the order")
        def test_it(order): pass
        """
    )
    result = run_pytest("--junitxml=junit.xml")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*Pod/api failed*"])
    assert 'name="ephemeral-ns-namespace"' in (pytester.path / "junit.xml").read_text()


@pytest.mark.parametrize("style", ["short", "line", "no"])
def test_other_styles_of_tracebacks(pytester, run_pytest, broken, style):
    result = run_pytest(f"--tb={style}", "-k", "test_one")
    result.stdout.fnmatch_lines(["why Pod/api is not ready:"])


def test_never_and_always(pytester, run_pytest, broken):
    result = run_pytest("--ephemeral-ns-diagnostics=never", "-k", "test_one")
    result.assert_outcomes(failed=1, deselected=2)
    assert "why Pod/api" not in result.stdout.str()
    assert CANARY not in result.stdout.str()
    assert not (pytester.path / ".ephemeral-ns").exists()
    pytester.makepyfile("def test_it(ephemeral_ns): pass")
    run_pytest("--ephemeral-ns-diagnostics=always", "--ephemeral-ns-artifacts=out").assert_outcomes(passed=1)
    [bundle] = (pytester.path / "out").glob("*/*/summary.md")
    assert "it has no workload" in bundle.read_text()


@pytest.mark.parametrize("scope", ["worker", "run"])
def test_a_worker_that_crashes(pytester, run_pytest, broken, scope):
    pytester.makepyfile(
        """
        import os
        def test_it(ephemeral_ns):
            ephemeral_ns.apply("app.yaml")
            os._exit(1)
        """
    )
    options = ["-n1", "--max-worker-restart=0", "--junitxml=junit.xml", f"--ephemeral-ns-scope={scope}"]
    result = run_pytest(*options)
    result.stdout.fnmatch_lines(["*crashed while running*", "*Pod/api failed*no nodes available*"])
    assert "no nodes available" in (pytester.path / "junit.xml").read_text()


def test_an_interrupt_while_a_test_runs(pytester, run_pytest, broken, mode):
    pytester.makepyfile(
        """
        def test_it(ephemeral_ns):
            ephemeral_ns.apply("app.yaml")
            raise KeyboardInterrupt
        """
    )
    result = run_pytest(*mode)
    result.stdout.fnmatch_lines(["ephemeral-ns: interrupted; *: Pod/api *everything else: *"])


def test_an_error_in_the_collector_is_one_line(pytester, run_pytest, broken):
    pytester.makeconftest(
        """
        import pytest_ephemeral_ns.diagnose.taking as taking
        def fail(*args, **more): raise ZeroDivisionError("a bug")
        taking.triage = fail
        """
    )
    result = run_pytest("-k", "test_one")
    result.assert_outcomes(failed=1, deselected=2)
    result.stdout.fnmatch_lines(["*this diagnosis is not complete: ZeroDivisionError: a bug"])
    assert "INTERNALERROR" not in result.stdout.str()


def test_an_alarm_in_the_collector_does_not_end_the_run(pytester, run_pytest, broken):
    pytester.makeconftest(
        """
        import time
        import pytest_ephemeral_ns.diagnose.taking as taking
        def slow(*args, **more): time.sleep(30)
        taking.triage = slow
        """
    )
    pytester.makepyfile("def test_it(ephemeral_ns): assert 0\ndef test_after(ephemeral_ns): pass")
    result = run_pytest("--timeout=6")
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(["no diagnosis: Failed: Timeout*"])


def test_a_server_that_is_gone_costs_one_line(pytester, run_pytest):
    pytester.makepyfile(
        """
        import dataclasses
        def test_it(ephemeral_ns):
            session = ephemeral_ns._api._caller.session
            gone = dataclasses.replace(session.connection, server="https://127.0.0.1:9")
            ephemeral_ns._api._caller.session = type("Session", (), {"connection": gone, "pool": session.pool,
                                                                       "headers": session.headers})()
            try:
                assert not "a test"
            finally:
                import pytest_ephemeral_ns.reports as reports
                tell = reports.tell_failure
                def put_back(*args):
                    try: tell(*args)
                    finally: ephemeral_ns._api._caller.session = session
                reports.tell_failure = put_back
        """
    )
    result = run_pytest()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*this diagnosis is not complete: *127.0.0.1:9*"])


def test_github(pytester, run_pytest, broken, monkeypatch):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(pytester.path / "step.md"))
    result = run_pytest()
    result.stdout.fnmatch_lines(
        [
            "::group::ephemeral-ns: *::test_one: Pod/api failed*",
            "::endgroup::",
            "::error file=test_github.py,line=*,title=test_github.py%3A%3Atest_one::*Pod/api failed*",
        ]
    )
    page = (pytester.path / "step.md").read_text()
    assert "### What the cluster did" in page
    assert CANARY not in page + result.stdout.str()


@pytest.fixture
def run_beside(run_pytest):
    """Run pytest in the neighbours' environment with those named, and no other, loaded."""
    if not NEIGHBOURS_PYTHON.exists():
        pytest.skip("make neighbours installs them")

    def run(*args: str, neighbours: tuple[str, ...]) -> pytest.RunResult:
        off = [f"-pno:{name}" for name in sorted(EVERYBODY - set(neighbours))]
        return run_pytest(*off, *args, python=NEIGHBOURS_PYTHON)

    return run


def test_reruns_are_told_at_the_last_attempt(pytester, run_beside, broken):
    pytester.makepyfile(
        helper(
            """
def test_it(ephemeral_ns):
    if not ephemeral_ns.list("pods"):
        ephemeral_ns.apply("app.yaml")
    crash(ephemeral_ns)
    assert 0
"""
        )
    )
    result = run_beside("--reruns=2", neighbours=("rerunfailures",))
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["why Pod/api is not ready:"])
    assert len(list((pytester.path / ".ephemeral-ns").glob("*/*/"))) == 1


def test_html_and_allure(pytester, run_beside, broken):
    where = ["--html=report.html", "--self-contained-html", "--alluredir=allure"]
    result = run_beside(*where, "-k", "test_one", neighbours=("html", "html_fixtures", "metadata", "allure_pytest"))
    result.assert_outcomes(failed=1, deselected=2)
    assert "why Pod/api is not ready" in (pytester.path / "report.html").read_text()
    attached = [path.read_text() for path in (pytester.path / "allure").glob("*-attachment.txt")]
    [ours] = [text for text in attached if "why Pod/api is not ready" in text]  # what the test prints is Allure's own
    assert CANARY not in result.stdout.str() + (pytester.path / "report.html").read_text() + ours


@pytest.mark.node
def test_what_a_real_container_said(pytester, node_cluster, monkeypatch):
    """On a real node: the last words of the container that crashed, and what the healthy one said during the test."""
    monkeypatch.setenv("KUBECONFIG", str(node_cluster.kubeconfig))
    loop = "while true; do echo serving at $RANDOM; sleep 0.2; done"
    pytester.makefile(
        ".yaml",
        app=f"""
apiVersion: v1
kind: Secret
metadata: {{name: db}}
stringData: {{password: {CANARY}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: api}}
spec:
  selector: {{matchLabels: {{app: api}}}}
  template:
    metadata: {{labels: {{app: api}}}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: app
        image: busybox:1.36
        command: [sh, -c, "echo connecting with $PASSWORD; echo no such database; exit 7"]
        readinessProbe: {{exec: {{command: ["false"]}}}}
        env: [{{name: PASSWORD, valueFrom: {{secretKeyRef: {{name: db, key: password}}}}}}]
      - {{name: side, image: "busybox:1.36", command: [sh, -c, "{loop}"]}}
""",
    )
    pytester.makepyfile("def test_it(ephemeral_ns): pass\ndef test_again(ephemeral_ns): pass")
    ours = ["--ephemeral-ns", "--ephemeral-ns-cluster=current", "--ephemeral-ns-deploy=app.yaml"]
    result = pytester.run(sys.executable, "-m", "pytest", "-pno:cacheprovider", *ours, timeout=200)
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(
        [
            "why Deployment/api is not ready:",
            "*ReplicaSet/api-*",
            "*Pod/api-* on node *",
            "*container app (*busybox:1.36)",
            "containers that ended or restarted:",
            "*Pod/api-*, container app: * restart*; *ended with exit code 7*",
            "Pod/api-*, container app (*exit code 7*), *last 2 lines of its log:",
            "  ??:??:??.??? | connecting with [*][*][*]",
            "  ??:??:??.??? | no such database",
        ]
    )
    assert CANARY not in result.stdout.str() + everything(pytester.path)
    assert list((pytester.path / ".ephemeral-ns").glob("*/*/logs/api-*/app*.log"))
    command = [str(bin_dir() / "kubectl"), "--kubeconfig", str(node_cluster.kubeconfig), "get", "ns", "-o", "name"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
