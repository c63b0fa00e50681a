"""prove_isolation() on the real kind: what it says there is what the cluster's network plugin does.

kindnet carries policies out since kind 0.24. A node image without it, such as that of a machine without a registry, has
the plain CNI bridge, which ignores them: then no test may pass for isolated.
"""

from __future__ import annotations

import pytest

from pytest_ephemeral_ns import NotEnforced, ephemeral
from pytest_ephemeral_ns.clusters.cluster import Cluster
from pytest_ephemeral_ns.kube.api import Api

pytestmark = [pytest.mark.kind, pytest.mark.slow]

TEST = """
def test_it(ephemeral_ns):
    assert ephemeral_ns.prove_isolation({}).verdict.word == "enforced"
"""


@pytest.fixture
def enforces(kind_cluster: Cluster) -> bool:
    """Whether the cluster has a plugin that carries policies out."""
    with Api(kind_cluster.connection) as api:
        return api.find("/apis/apps/v1/namespaces/kube-system/daemonsets/kindnet") is not None


def test_the_verdict(kind_cluster: Cluster, enforces: bool) -> None:
    where = {"cluster": "current", "kubeconfig": str(kind_cluster.kubeconfig), "policy": "isolated"}
    with ephemeral(context=f"kind-{kind_cluster.name}", **where) as ns:
        if enforces:
            assert ns.prove_isolation().verdict.word == "enforced"
            return
        with pytest.raises(NotEnforced, match="this cluster does not enforce NetworkPolicy: pod of ") as caught:
            ns.prove_isolation(settle=3)
    said = str(caught.value)
    assert said.count("connected (must time out)") == 2
    assert said.count("connected (must connect)") == 2


def test_under_pytest_it_is_skipped_with_the_reason_or_proven(
    pytester: pytest.Pytester, kind_cluster: Cluster, enforces: bool
) -> None:
    pytester.makepyfile(TEST.format("" if enforces else "settle=1"))
    result = pytester.runpytest_subprocess(
        "--ephemeral-ns",
        f"--ephemeral-ns-kubeconfig={kind_cluster.kubeconfig}",
        f"--ephemeral-ns-context=kind-{kind_cluster.name}",
        "--ephemeral-ns-policy=isolated",
        "-rs",
        "-Werror",
    )
    if enforces:
        result.assert_outcomes(passed=1)
        return
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED * this cluster does not enforce NetworkPolicy: pod of * connects, although*"])
