"""RUN: a command as a Job in a namespace, its log streamed, its exit code returned; this module must never retry one.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass

__tracebackhide__ = True
CONTAINER = "run"
