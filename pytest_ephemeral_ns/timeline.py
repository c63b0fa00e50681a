"""Writes down when what happened in a run, a JSON line each; this module must never fail or hold up what it watches.

Every process writes a file of its own, a whole line at a time: what a process that was killed has written is there.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import itertools
import json
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FOLDER = "timeline"
LIMIT = 16 * 1024 * 1024  # bytes of one process; the steps of its namespaces still come after that
_MORE = 4 * 1024 * 1024


class Timeline:
    """What one process of a run writes down. Thread-safe; the file is made by the first line.

    Args:
        directory: the folder that all processes of the run share.
        worker: ``"gw0"`` … or ``"main"``.
        detailed: whether somebody asked for a report: tests and objects are written down too, not only steps.

    Example:
        >>> import tempfile
        >>> timeline = Timeline(Path(tempfile.mkdtemp()), "gw0")
        >>> with timeline.span("deploy", "shop-gw0"):
        ...     pass
        >>> [row["what"] for row in read(timeline.directory)]
        ['deploy', 'deploy']
    """

    def __init__(self, directory: Path, worker: str, *, detailed: bool = False) -> None:
        self.directory = directory
        self.worker = worker
        self.detailed = detailed
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._file: int | None = None
        self._written = 0
        self._broken = False
        self._said = False

    def mark(self, what: str, namespace: str = "", **more: Any) -> None:
        """Write down that something happened now.

        Args:
            what: its name, for example ``"ready"``.
            namespace: where; empty for what belongs to none.
            more: what else is known, as plain values. Holds no secret: whoever calls has removed them.
        """
        self._write({"what": what, "namespace": namespace, **more}, LIMIT + _MORE)

    def detail(self, what: str, namespace: str = "", **more: Any) -> None:
        """Write down what only a report shows; nothing at all when nobody asked for one."""
        if self.detailed:
            self._write({"what": what, "namespace": namespace, **more}, LIMIT)

    @contextmanager
    def span(self, what: str, namespace: str = "", **more: Any) -> Iterator[dict[str, Any]]:
        """Write down when a block begins and when it ends.

        Args:
            what: the name of the step.
            namespace: where.
            more: see :meth:`mark`.

        Yields:
            A mapping; what the block puts into it is written with its end.
        """
        told: dict[str, Any] = {}
        step = {"what": what, "namespace": namespace, "span": f"{os.getpid()}-{next(self._numbers)}"}
        self._write({**step, **more}, LIMIT + _MORE)
        ok = False
        try:
            yield told
            ok = True
        finally:
            self._write({**step, "end": True, "ok": ok, **told}, LIMIT + _MORE)

    def _write(self, row: Mapping[str, Any], limit: int) -> None:
        if self._broken:
            return
        line = json.dumps({"at": round(time.time(), 4), "worker": self.worker, **row}, default=str) + "\n"
        with self._lock:
            if self._written + len(line) > limit:
                line = self._truncated()
            try:
                if self._file is None:
                    self._file = self._open()
                self._written += os.write(self._file, line.encode("utf-8", "replace"))
            except OSError:  # the disk is full, or the run is over: a gap in a picture is no reason to fail a test
                self._broken = True

    def _truncated(self) -> str:
        """Say once that something is missing, then nothing more."""
        if self._said:
            return ""
        self._said = True
        return json.dumps({"at": round(time.time(), 4), "worker": self.worker, "what": "truncated"}) + "\n"

    def _open(self) -> int:
        folder = self.directory / FOLDER
        folder.mkdir(mode=0o700, exist_ok=True)
        name = f"{self.worker}-{os.getpid()}-{id(self):x}.jsonl"
        return os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def close(self) -> None:
        """Close the file; what comes later opens it again."""
        with self._lock:
            if self._file is not None:
                os.close(self._file)
                self._file = None


class Moments:
    """Notes when each object of one wait changes its state; made to be called with every look's verdicts.

    Args:
        timeline: where to.
        namespace: of the wait.

    Attributes:
        last: the object that became ready last, for example ``"StatefulSet/db"``; empty if all were ready at once.
    """

    def __init__(self, timeline: Timeline, namespace: str) -> None:
        self._timeline = timeline
        self._namespace = namespace
        self._seen: dict[Any, tuple[str, str]] = {}
        self.last = ""

    def __call__(self, verdicts: Mapping[Any, Any]) -> None:
        """Take the verdicts of one look: object → something with ``state`` and ``reason``."""
        for ref, verdict in verdicts.items():
            now = (str(verdict.state), str(verdict.reason))
            before = self._seen.get(ref)
            if before == now:
                continue
            self._seen[ref] = now
            if before is not None and now[0] == "ready":
                self.last = str(ref)
            # The state's name only: its message may quote a program, and nobody has read the Secrets yet.
            self._timeline.detail("object", self._namespace, object=str(ref), state=now[0], reason=now[1][:80])


def read(directory: Path) -> list[dict[str, Any]]:
    """Return the rows of every process of a run, oldest first; a line that is not whole is left out.

    Args:
        directory: the folder that all processes of the run share.
    """
    rows: list[dict[str, Any]] = []
    for file in sorted((directory / FOLDER).glob("*.jsonl")):
        with file.open(encoding="utf-8", errors="replace") as lines:
            rows.extend(row for line in lines if (row := _row(line)) is not None)
    return sorted(rows, key=lambda row: float(row["at"]))


def _row(line: str) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except ValueError:  # its process was killed in the middle of it
        return None
    return found if isinstance(found, dict) and isinstance(found.get("at"), (int, float)) else None
