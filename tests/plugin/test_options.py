"""Options as pytest users give them: provenance in the header, strict checks, no cluster touched on a mistake."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.cluster

ONE = "def test_it(ephemeral_ns): pass"


def test_without_the_flag_tests_are_skipped_with_that_reason(pytester, run_pytest, monkeypatch, mode):
    monkeypatch.setenv("KUBECONFIG", "/nowhere")
    pytester.makepyfile(
        "def test_a(ephemeral_ns): pass\n"
        "def test_b(ephemeral_ns_shared): pass\n"
        "def test_c(ephemeral_ns_factory): pass\n"
        "def test_d(ephemeral_ns_cluster): pass\n"
        "def test_e(ephemeral_ns_settings): pass\n"
        "def test_f(): pass"
    )
    result = run_pytest("-rs", *mode, enabled=False)
    result.assert_outcomes(skipped=5, passed=1)
    result.stdout.fnmatch_lines(["SKIPPED*needs a namespace: run pytest with --ephemeral-ns"])


def test_the_header_says_where_a_value_came_from(pytester, run_pytest, monkeypatch):
    pytester.makeini("[pytest]\nephemeral_ns_ttl = 3h\n")
    monkeypatch.setenv("EPHEMERAL_NS_TIMEOUT", "90s")
    pytester.makepyfile(ONE)
    result = run_pytest("--ephemeral-ns-scope=function")
    result.stdout.fnmatch_lines(
        [
            "ephemeral-ns: *cluster: current (--ephemeral-ns-cluster)*scope: function (--ephemeral-ns-scope)*"
            "timeout: 1m30s (EPHEMERAL_NS_TIMEOUT)*ttl: 3h (tox.ini)*"
        ]
    )


def test_the_environment_alone_is_enough(pytester, run_pytest, monkeypatch):
    monkeypatch.setenv("EPHEMERAL_NS", "1")
    monkeypatch.setenv("EPHEMERAL_NS_CLUSTER", "current")
    pytester.makepyfile(ONE)
    run_pytest(enabled=False).assert_outcomes(passed=1)


WRONG = [
    (["--ephemeral-ns-scope=galaxy"], "--ephemeral-ns-scope: 'galaxy' is not one of run, worker, module"),
    (["--ephemeral-ns-timeout=soon"], "--ephemeral-ns-timeout: 'soon' is not a duration"),
    (["--ephemeral-ns-deploy=nowhere"], "--ephemeral-ns-deploy: 'nowhere' does not exist"),
    (["--ephemeral-ns-name={nothing}"], "nothing"),
]


@pytest.mark.parametrize(("args", "message"), WRONG)
def test_a_wrong_value_is_a_usage_error_before_any_cluster_is_touched(pytester, run_pytest, monkeypatch, args, message):
    monkeypatch.setenv("KUBECONFIG", "/nowhere")
    pytester.makepyfile(ONE)
    result = run_pytest(*args)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert message in result.stderr.str()


def test_wait_deleted_waits_until_deletion_is_verified(pytester, run_pytest, witness):
    pytester.makepyfile(ONE)
    run_pytest("--ephemeral-ns-wait-deleted").assert_outcomes(passed=1)
    assert witness.namespaces(terminating=True) == {}
