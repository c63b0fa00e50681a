"""DIAGNOSE: a bounded snapshot of a namespace, for people; this package must never raise, and never change anything.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from pytest_ephemeral_ns.diagnose.again import Diagnoses
from pytest_ephemeral_ns.diagnose.footer import Where
from pytest_ephemeral_ns.diagnose.taking import BUDGET, diagnose
from pytest_ephemeral_ns.diagnose.words import Diagnosis

__all__ = ["BUDGET", "Diagnoses", "Diagnosis", "Where", "diagnose"]
