"""Ordinary endings with warnings as errors; tests/endings has the table of all of them."""

from __future__ import annotations

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
