"""An error of ours shows its message and the user's own frames; --full-trace shows everything."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.cluster


@pytest.fixture(autouse=True)
def suite(pytester):
    pytester.makefile(".yaml", bad="kind: [\n")
    pytester.makepyfile(
        """
        def helper(ns):
            ns.apply("bad.yaml")
        def test_call(ephemeral_ns_factory):
            with ephemeral_ns_factory(deploy=[]) as ns:
                helper(ns)
        """
    )


def test_in_a_call_the_users_frames_are_shown(run_pytest):
    output = run_pytest().stdout.str()
    assert "helper(ns)" in output
    assert "pytest_ephemeral_ns.errors.ManifestError: bad.yaml:2: document 1" in output
    assert "pytest_ephemeral_ns/deploy" not in output


def test_in_a_set_up_of_ours_the_message_alone(run_pytest):
    output = run_pytest("--ephemeral-ns-deploy=bad.yaml").stdout.str()
    assert "bad.yaml:2: document 1: while parsing a flow node" in output
    assert "def plan" not in output
    assert "pytest_ephemeral_ns/deploy" not in output


def test_full_trace_shows_everything(run_pytest):
    assert "pytest_ephemeral_ns/deploy" in run_pytest("--full-trace").stdout.str()
