"""The diagnoses of one namespace, by all processes of a run; this module must never write the same state down twice.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_ephemeral_ns.diagnose.footer import Where
from pytest_ephemeral_ns.diagnose.reading import known_values
from pytest_ephemeral_ns.diagnose.taking import LOG_LINES, diagnose
from pytest_ephemeral_ns.diagnose.words import Diagnosis
from pytest_ephemeral_ns.errors import EphemeralNsError
from pytest_ephemeral_ns.rules.redaction import Redactor

if TYPE_CHECKING:
    from pytest_ephemeral_ns.kube.api import Api

_BUNDLES = 5  # of one namespace; of those that come after, only the reports tell
_FRESH = 1.0  # seconds for which the values of Secrets are not asked for again
_LATER = 60.0  # the same, when they could not be had


class Diagnoses:
    """Takes diagnoses of one namespace, one at a time, also among processes. Thread-safe.

    Args:
        namespace: which.
        where: how people name and reach its cluster.
        directory: of its first bundle; the next ones get ``-2``, ``-3`` …
        log_lines: last lines of a container's log that are told.
        ledger: private folder that the processes of the run share; ``None`` if there is only this one.
    """

    def __init__(
        self,
        namespace: str,
        *,
        where: Where | None = None,
        directory: Path | None = None,
        log_lines: int = LOG_LINES,
        ledger: Path | None = None,
    ) -> None:
        self._namespace, self._where, self._directory = namespace, where, directory
        self._log_lines = log_lines
        self._ledger = _Ledger(ledger / "diagnosed" / namespace if ledger else None)
        self._redactor = Redactor({}, public=[namespace])
        self._asked = -_FRESH
        self._secrets: dict[str, str] = {}
        self._lock = threading.Lock()

    def take(self, api: Api, *, since: float | None, until: float | None = None, budget: float) -> Diagnosis:
        """Take one; see :func:`diagnose`."""
        with self._lock, self._ledger.held(budget) as told:
            last = Diagnosis.from_dict(told["last"]) if told.get("last") else None
            written = int(told.get("written", 0))
            found, self._redactor = diagnose(
                api,
                self._namespace,
                where=self._where,
                directory=self._next(written),
                log_lines=self._log_lines,
                budget=budget,
                since=since,
                until=until,
                secrets=self._secrets,
                last=last,
            )
            self._asked = time.monotonic()
            told["last"] = found.to_dict()
            told["written"] = written + bool(found.bundle and (last is None or found.bundle != last.bundle))
            return found

    def _next(self, written: int) -> Path | None:
        if self._directory is None or written >= _BUNDLES:
            return None
        name = f"{self._directory.name}-{written + 1}" if written else self._directory.name
        return self._directory.with_name(name)

    def learn(self, secrets: Mapping[str, str]) -> None:
        """Remove these values as well from now on.

        Args:
            secrets: value → what it is called.
        """
        with self._lock:
            self._secrets.update(secrets)
            self._redactor.learn(secrets)

    def know(self, api: Api) -> Redactor:
        """Return what removes the namespace's secrets, asking for them if that was not done just now; never raises.

        Args:
            api: the API server.
        """
        with self._lock:
            if time.monotonic() > self._asked + _FRESH:
                try:
                    credentials = dict.fromkeys(api.connection.secrets(), "credential of the connection")
                    self._redactor.learn({**known_values(api, self._namespace), **credentials})
                    self._asked = time.monotonic()
                except EphemeralNsError:
                    self._asked = time.monotonic() + _LATER  # gone or forbidden: not again for each test
            return self._redactor


class _Ledger:
    """What the processes of a run know of one namespace's diagnoses; in memory where there is only one process."""

    def __init__(self, base: Path | None) -> None:
        self._base = base
        self._told: dict[str, Any] = {}

    @contextlib.contextmanager
    def held(self, timeout: float) -> Iterator[dict[str, Any]]:
        """Give it for a change; a process that holds it for too long or a folder that is gone, delays nobody."""
        if self._base is None:
            yield self._told
            return
        import filelock

        with contextlib.ExitStack() as stack:
            try:
                self._base.parent.mkdir(mode=0o700, exist_ok=True)
                stack.enter_context(filelock.FileLock(f"{self._base}.lock", timeout=timeout))
                self._told = json.loads(self._base.with_name(f"{self._base.name}.json").read_text("utf-8"))
            except FileNotFoundError:
                pass  # the first one
            except (OSError, filelock.Timeout, ValueError):
                yield {**self._told}
                return
            yield self._told
            self._write(self._told)

    def _write(self, told: Mapping[str, Any]) -> None:
        assert self._base is not None
        target = self._base.with_name(f"{self._base.name}.json")
        part = target.with_suffix(f".{os.getpid()}.part")
        with contextlib.suppress(OSError):
            part.write_text(json.dumps(told), "utf-8")
            part.replace(target)
