"""READY: one wait loop for objects, and the waits above it; this package is the only one that may sleep.

Three layers on one deadline: infrastructure (what was applied) → application (a Job, a line of a log, an answer) →
contract (the business action that the test needs).

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from pytest_ephemeral_ns.ready.application import wait_for, wait_for_job
from pytest_ephemeral_ns.ready.contract import await_contract, wait_for_contract
from pytest_ephemeral_ns.ready.gates import wait_for_gates
from pytest_ephemeral_ns.ready.logs import wait_for_log
from pytest_ephemeral_ns.ready.loop import wait_ready
from pytest_ephemeral_ns.ready.reach import wait_for_http, wait_for_tcp
from pytest_ephemeral_ns.ready.report import ReadyReport

__all__ = [
    "ReadyReport",
    "await_contract",
    "wait_for",
    "wait_for_contract",
    "wait_for_gates",
    "wait_for_http",
    "wait_for_job",
    "wait_for_log",
    "wait_for_tcp",
    "wait_ready",
]
