"""prove_isolation() on the real kind: whether its network plugin carries policies out is seen by another kubectl.

kindnet does since kind 0.24. A node image without it has the plain CNI bridge, which ignores policies.
"""

from __future__ import annotations

import subprocess
import uuid

import pytest

from pytest_ephemeral_ns import NotEnforced, ephemeral
from pytest_ephemeral_ns.paths import bin_dir

pytestmark = pytest.mark.kind
SERVES = ["--", "sh", "-c", "while true; do echo hello | nc -l -p 8080; done"]


@pytest.fixture
def kubectl(kind_cluster):
    def run(*args: str) -> subprocess.CompletedProcess[str]:
        command = [str(bin_dir() / "kubectl"), "--kubeconfig", str(kind_cluster.kubeconfig), *args]
        return subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)

    return run


@pytest.fixture
def outside(kubectl):
    """A namespace of nobody's, with a pod that can connect to others."""
    name = f"witness-{uuid.uuid4().hex[:8]}"
    assert kubectl("create", "namespace", name).returncode == 0
    kubectl("run", "looks", "-n", name, "--image=busybox:1.36", "--", "sleep", "600")
    kubectl("wait", "-n", name, "--for=condition=Ready", "pod/looks", "--timeout=120s")
    yield name
    kubectl("delete", "namespace", name, "--wait=false")


def test_the_verdict_is_what_somebody_else_sees(kind_cluster, kubectl, outside):
    where = {"cluster": "current", "kubeconfig": str(kind_cluster.kubeconfig)}
    with ephemeral(policy="isolated", **where) as ns:
        kubectl("run", "serves", "-n", ns.name, "--image=busybox:1.36", *SERVES)
        kubectl("wait", "-n", ns.name, "--for=condition=Ready", "pod/serves", "--timeout=120s")
        address = kubectl("get", "-n", ns.name, "pod/serves", "-o", "jsonpath={.status.podIP}").stdout
        seen = kubectl("exec", "-n", outside, "looks", "--", "sh", "-c", f"sleep 9 | nc -w 5 {address} 8080")
        comes_in = "hello" in seen.stdout
        try:
            proof = str(ns.prove_isolation())
        except NotEnforced as error:
            proof = str(error)
    assert proof.count("connected (must connect)") == 2
    assert proof.count("connected (must time out)") == (2 if comes_in else 0)
    assert ("does not enforce NetworkPolicy" in proof) == comes_in


TEST = """
def test_it(ephemeral_ns):
    assert ephemeral_ns.prove_isolation().verdict.word == "enforced"
"""


def test_under_pytest_it_is_skipped_with_the_reason_or_proven(pytester, kind_cluster, kubectl):
    pytester.makepyfile(TEST)
    where = (f"--ephemeral-ns-kubeconfig={kind_cluster.kubeconfig}", f"--ephemeral-ns-context=kind-{kind_cluster.name}")
    options = ("--ephemeral-ns", *where, "--ephemeral-ns-policy=isolated", "-rs", "-Werror")
    result = pytester.runpytest_subprocess(*options)
    if kubectl("get", "-n", "kube-system", "daemonset/kindnet").returncode == 0:
        result.assert_outcomes(passed=1)
        return
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED * this cluster does not enforce NetworkPolicy: pod of * connects, although*"])
