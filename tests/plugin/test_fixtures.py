"""The fixtures beside ephemeral_ns: shared, factory, cluster, and the three seams."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.cluster

CONFIG_MAP = """
apiVersion: v1
kind: ConfigMap
metadata: {name: seed}
data: {hello: world}
"""


def test_shared_is_one_for_every_worker(pytester, run_pytest, mode, witness, monkeypatch):
    monkeypatch.setenv("SEEN", str(pytester.mkdir("seen")))
    pytester.makefile(".yaml", seed=CONFIG_MAP)
    pytester.makepyfile(
        """
        import os, pathlib, pytest
        @pytest.mark.parametrize("n", range(4))
        def test_shared(ephemeral_ns, ephemeral_ns_shared, n):
            assert ephemeral_ns.uid != ephemeral_ns_shared.uid
            assert ephemeral_ns_shared.worker_id == "shared"
            assert ephemeral_ns_shared.get("configmap/seed")["data"] == {"hello": "world"}
            pathlib.Path(os.environ["SEEN"], str(n)).write_text(ephemeral_ns_shared.uid)
        """
    )
    run_pytest("--ephemeral-ns-deploy=seed.yaml", *mode).assert_outcomes(passed=4)
    assert len({file.read_text() for file in (pytester.path / "seen").iterdir()}) == 1
    assert witness.namespaces() == {}


def test_the_factory_makes_more(pytester, run_pytest, witness):
    pytester.makefile(".yaml", seed=CONFIG_MAP)
    pytester.makepyfile(
        """
        def test_two(ephemeral_ns, ephemeral_ns_factory):
            with ephemeral_ns_factory(deploy=["seed.yaml"]) as filled, ephemeral_ns_factory(deploy=[]) as empty:
                assert len({ephemeral_ns.name, filled.name, empty.name}) == 3
                assert filled.get("configmap/seed")["data"] == {"hello": "world"}
                assert [m["metadata"]["name"] for m in empty.list("configmaps")] == ["kube-root-ca.crt"]
            with ephemeral_ns_factory(deploy=lambda ns: ns.apply("seed.yaml")) as own:
                assert own.get("cm", "seed")
        """
    )
    run_pytest().assert_outcomes(passed=1)
    assert witness.namespaces() == {}


def test_the_cluster_is_handed_out(pytester, run_pytest):
    pytester.makepyfile(
        """
        import subprocess
        def test_cluster(ephemeral_ns_cluster):
            assert ephemeral_ns_cluster.provider == "current"
            assert ephemeral_ns_cluster.version.startswith("v1.")
            assert ephemeral_ns_cluster.kubeconfig.stat().st_mode & 0o077 == 0
        """
    )
    run_pytest().assert_outcomes(passed=1)


def test_each_seam_is_one_fixture_to_override(pytester, run_pytest, witness):
    pytester.makeconftest(
        """
        import dataclasses, pytest

        @pytest.fixture(scope="session")
        def ephemeral_ns_settings(ephemeral_ns_settings):
            return dataclasses.replace(ephemeral_ns_settings, name="seam-{project}-{run}-{worker}")

        @pytest.fixture(scope="session")
        def ephemeral_ns_identity(ephemeral_ns_identity):
            return dataclasses.replace(ephemeral_ns_identity, project="renamed")

        @pytest.fixture(scope="session")
        def ephemeral_ns_deploy():
            return lambda ns: ns.apply(
                {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "mine"}, "data": {"ns": ns.name}}
            )
        """
    )
    pytester.makepyfile(
        """
        def test_seams(ephemeral_ns):
            assert ephemeral_ns.name.startswith("seam-renamed-")
            assert ephemeral_ns.get("configmap/mine")["data"] == {"ns": ephemeral_ns.name}
        """
    )
    run_pytest().assert_outcomes(passed=1)
    assert witness.namespaces() == {}


def test_the_namespace_says_whose_it_is(pytester, run_pytest, monkeypatch):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_REPOSITORY", "acme/shop")
    monkeypatch.setenv("GITHUB_REF", "refs/pull/42/merge")
    monkeypatch.setenv("GITHUB_HEAD_REF", "feature/Cart_2")
    monkeypatch.setenv("GITHUB_SHA", "1a2b3c4d5e6f")
    pytester.makepyfile(
        """
        import re
        def test_names(ephemeral_ns):
            assert re.fullmatch(r"shop-pr42-1a2b3c4-[a-z0-9]{4}-main", ephemeral_ns.name)
            meta = ephemeral_ns.get("ns", ephemeral_ns.name)["metadata"]
            labels = meta["labels"]
            assert labels["app.kubernetes.io/managed-by"] == "pytest-ephemeral-ns"
            assert labels["pytest-ephemeral-ns/run"] == ephemeral_ns.run_id
            assert labels["pytest-ephemeral-ns/worker"] == "main"
            assert labels["pytest-ephemeral-ns/pr"] == "42"
            assert re.fullmatch(r"\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\dZ", meta["annotations"]["janitor/expires"])
        """
    )
    run_pytest().assert_outcomes(passed=1)


def test_shared_that_the_users_own_deploy_breaks_is_tried_once(pytester, run_pytest, witness, monkeypatch):
    monkeypatch.setenv("TRIED", str(pytester.path / "tried"))
    pytester.makeconftest(
        """
        import os, pytest
        @pytest.fixture(scope="session")
        def ephemeral_ns_deploy():
            def deploy(ns):
                with open(os.environ["TRIED"], "a") as file:
                    file.write("once\\n")
                raise RuntimeError("no seed today")
            return deploy
        """
    )
    pytester.makepyfile(
        """
        import pytest
        @pytest.mark.parametrize("n", range(4))
        def test_it(ephemeral_ns_shared, n):
            pass
        """
    )
    result = run_pytest("-n", "2")
    assert result.parseoutcomes() == {"errors": 4}
    assert (pytester.path / "tried").read_text() == "once\n"
    result.stdout.fnmatch_lines(["*RuntimeError: no seed today*"])
    result.stdout.fnmatch_lines(["*which the run shares, was not filled: RuntimeError: no seed today*"])
    assert witness.namespaces() == {}


REFUSED = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: api}
spec:
  replicas: -1
  selector: {matchLabels: {app: api}}
  template: {metadata: {labels: {app: api}}, spec: {containers: [{name: a, image: "busybox:1.36"}]}}
"""
ASKS = {
    "function": "def test_it(ephemeral_ns, n): pass",
    "factory": "def test_it(ephemeral_ns_factory, n):\n    with ephemeral_ns_factory(deploy=['refused.yaml']): pass",
}


@pytest.mark.parametrize("how", ASKS)
def test_what_is_refused_for_good_is_not_repeated(pytester, run_pytest, witness, how):
    """Each worker tries once; all other tests say at once why, and in which test that was."""
    pytester.makefile(".yaml", refused=REFUSED)
    pytester.makeini("[pytest]\nephemeral_ns_deploy = refused.yaml\nephemeral_ns_scope = function\n")
    pytester.makepyfile(f"import pytest\n@pytest.mark.parametrize('n', range(10))\n{ASKS[how]}\n")
    result = run_pytest("-n", "2", "--ephemeral-ns-report=report.json")
    assert sum(result.parseoutcomes().get(word, 0) for word in ("errors", "failed")) == 10
    said = result.stdout.str()
    told = said.partition("short test summary info")[0]
    assert told.count("spec.replicas: Invalid value: -1") >= 10
    assert told.count("not tried again: it failed for good in test_what_is_refused") == 8
    assert len(json.loads((pytester.path / "report.json").read_text())["namespaces"]) == 2
    assert witness.namespaces() == {}


def test_what_one_policy_refuses_is_tried_with_another(pytester, run_pytest):
    pytester.makepyfile(
        """
        import pytest
        from pytest_ephemeral_ns import EphemeralNsError
        tried = []
        def deploy(ns):
            tried.append(ns)
            if len(tried) == 1:
                raise EphemeralNsError("too small a quota")
        def test_it(ephemeral_ns_factory):
            for _ in range(2):
                with pytest.raises(EphemeralNsError, match="too small"), ephemeral_ns_factory(deploy=deploy):
                    pass
            with ephemeral_ns_factory(deploy=deploy, policy="none"):
                assert len(tried) == 2
        """
    )
    run_pytest().assert_outcomes(passed=1)
