"""--keep-on-failure, --ephemeral-ns-keep and --ephemeral-ns-reuse: what stays, why, until when, and how to go on."""

from __future__ import annotations

import re

import pytest

pytestmark = pytest.mark.cluster

PASS_AND_FAIL = """
import pytest
@pytest.mark.parametrize("n", range(2))
def test_it(ephemeral_ns, n):
    assert n == 0
"""


@pytest.fixture(autouse=True)
def clean(witness):
    yield
    left = witness.namespaces()
    if left:
        witness.kubectl("delete", "ns", *left, "--wait=false")


def test_only_what_failed_is_kept(pytester, run_pytest, witness):
    pytester.makepyfile(PASS_AND_FAIL)
    result = run_pytest("--keep-on-failure", "--ephemeral-ns-scope=function")
    result.assert_outcomes(passed=1, failed=1)
    [(name, item)] = witness.namespaces().items()
    assert item["metadata"]["labels"]["pytest-ephemeral-ns/keep"] == "true"
    assert "test_it[1]" in item["metadata"]["annotations"]["pytest-ephemeral-ns/reason"]
    result.stdout.fnmatch_lines([f"kept: {name} until *test_it?1?*", f"*--ephemeral-ns-reuse={name}"])


def test_a_failing_set_up_counts(pytester, run_pytest, witness):
    pytester.makeconftest(
        """
        import pytest
        @pytest.fixture(scope="session")
        def ephemeral_ns_deploy():
            def deploy(ns): raise RuntimeError("no")
            return deploy
        """
    )
    pytester.makepyfile("def test_it(ephemeral_ns): pass")
    run_pytest("--keep-on-failure").assert_outcomes(errors=1)
    assert len(witness.namespaces()) == 1


def test_with_workers_the_failing_workers_own(pytester, run_pytest, witness):
    pytester.makepyfile(
        """
        import pytest
        @pytest.mark.xdist_group("bad")
        def test_bad(ephemeral_ns): assert False
        @pytest.mark.xdist_group("good")
        def test_good(ephemeral_ns): pass
        """
    )
    run_pytest("--keep-on-failure", "-n", "2", "--dist=loadgroup").assert_outcomes(passed=1, failed=1)
    [item] = witness.namespaces().values()
    assert "test_bad" in item["metadata"]["annotations"]["pytest-ephemeral-ns/reason"]


def test_the_shared_namespace_is_kept_for_the_runs_outcome(pytester, run_pytest, witness, mode):
    pytester.makepyfile(PASS_AND_FAIL.replace("ephemeral_ns", "ephemeral_ns_shared"))
    run_pytest("--keep-on-failure", *mode).assert_outcomes(passed=1, failed=1)
    [item] = witness.namespaces().values()
    assert item["metadata"]["labels"]["pytest-ephemeral-ns/worker"] == "shared"


def test_a_crashed_workers_namespace_is_evidence_too(pytester, run_pytest, witness):
    pytester.makepyfile(
        """
        import os
        def test_it(ephemeral_ns): os._exit(1)
        """
    )
    run_pytest("--keep-on-failure", "-n", "1", "--max-worker-restart=0")
    [item] = witness.namespaces().values()
    assert "its worker crashed" in item["metadata"]["annotations"]["pytest-ephemeral-ns/reason"]


def test_at_most_so_many(pytester, run_pytest, witness):
    pytester.makepyfile(PASS_AND_FAIL.replace("range(2)", "range(5)"))
    result = run_pytest("--keep-on-failure", "--ephemeral-ns-keep-max=2", "--ephemeral-ns-scope=function")
    assert len(witness.namespaces()) == 2
    result.stdout.fnmatch_lines(["warning: namespace *not kept*"])


def test_always_and_never(pytester, run_pytest, witness):
    pytester.makepyfile("def test_it(ephemeral_ns): pass")
    run_pytest("--ephemeral-ns-keep=always", "--ephemeral-ns-keep-ttl=1h")
    [item] = witness.namespaces().values()
    assert re.match(r"\d{4}-", item["metadata"]["annotations"]["janitor/expires"])


def test_a_kept_namespace_can_be_used_again_and_is_not_deleted(pytester, run_pytest, witness):
    pytester.makefile(".yaml", seed="{apiVersion: v1, kind: ConfigMap, metadata: {name: seed}, data: {count: '1'}}")
    pytester.makepyfile("def test_it(ephemeral_ns): assert ephemeral_ns.get('cm/seed')['data'] == {'count': '2'}")
    run_pytest("--keep-on-failure", "--ephemeral-ns-deploy=seed.yaml").assert_outcomes(failed=1)
    [name] = witness.namespaces()
    pytester.makefile(".yaml", seed="{apiVersion: v1, kind: ConfigMap, metadata: {name: seed}, data: {count: '2'}}")
    run_pytest(f"--ephemeral-ns-reuse={name}", "--ephemeral-ns-deploy=seed.yaml").assert_outcomes(passed=1)
    assert list(witness.namespaces()) == [name]


def test_a_namespace_to_reuse_that_does_not_exist(pytester, run_pytest):
    pytester.makepyfile("def test_it(ephemeral_ns): pass")
    result = run_pytest("--ephemeral-ns-reuse=nowhere")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*nowhere*"])


def test_a_delete_that_does_not_arrive_is_swept_not_kept(pytester, run_pytest, witness):
    pytester.makeconftest(
        """
        import pytest_ephemeral_ns.ending as ending
        ending.delete_namespace = lambda api, record: f"namespace {record.name} was not deleted: cut"
        """
    )
    pytester.makepyfile("def test_it(ephemeral_ns): pass")
    result = run_pytest("--keep-on-failure")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["swept: * (namespace * was not deleted: cut)"])
    result.stdout.no_fnmatch_line("warning:*")
    assert witness.namespaces() == {}
