"""The diagnoses of one namespace, one after the other; this module must never write the same state down twice.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_ephemeral_ns.diagnose.taking import LOG_LINES, Where, diagnose
from pytest_ephemeral_ns.diagnose.words import Diagnosis
from pytest_ephemeral_ns.rules.redaction import Redactor

if TYPE_CHECKING:
    from pytest_ephemeral_ns.kube.api import Api

_BUNDLES = 5  # of one namespace; of those that come after, only the reports tell


class Diagnoses:
    """Takes diagnoses of one namespace, one at a time. Thread-safe.

    Args:
        namespace: which.
        where: how people name and reach its cluster.
        directory: of its first bundle; the next ones get ``-2``, ``-3`` …
        log_lines: last lines of a container's log that are told.
    """

    def __init__(
        self,
        namespace: str,
        *,
        where: Where | None = None,
        directory: Path | None = None,
        log_lines: int = LOG_LINES,
    ) -> None:
        self._namespace, self._where, self._directory = namespace, where, directory
        self._log_lines = log_lines
        self._redactor = Redactor({})
        self._written = 0
        self._lock = threading.Lock()
        self.last: Diagnosis | None = None

    def take(self, api: Api, *, since: float | None, budget: float) -> Diagnosis:
        """Take one; see :func:`diagnose`."""
        with self._lock:
            found, self._redactor = diagnose(
                api,
                self._namespace,
                where=self._where,
                directory=self._next(),
                log_lines=self._log_lines,
                budget=budget,
                since=since,
                last=self.last,
            )
            self._written += bool(found.bundle) and (self.last is None or found.bundle != self.last.bundle)
            self.last = found
            return found

    def _next(self) -> Path | None:
        if self._directory is None or self._written >= _BUNDLES:
            return None
        name = f"{self._directory.name}-{self._written + 1}" if self._written else self._directory.name
        return self._directory.with_name(name)

    def clean(self, text: str) -> str:
        """Return the text without the values that the last diagnosis knew."""
        return self._redactor.clean_values(text)
