"""One failed test and what the cluster did, as plain values; this module must never know a CI system.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Failure:
    """One failed test and one namespace of it. Holds no secret.

    Args:
        test: its node id.
        path: its file, relative to the project.
        line: where it begins, from 1.
        namespace: where it ran.
        headline: what is wrong, on one line.
        text: the whole story.
    """

    test: str
    path: str
    line: int
    namespace: str
    headline: str
    text: str
