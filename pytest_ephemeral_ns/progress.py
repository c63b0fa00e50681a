"""Carries progress from workers, which have no terminal, to the controller; this module must never fail a test.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

FILE = "progress"
LOOK_EVERY = 0.3  # seconds


def teller(directory: Path) -> Callable[[str], None]:
    """Return what a worker calls with a line: it goes to the end of a file that the controller reads.

    Args:
        directory: the folder that all processes of the run share.
    """

    def tell(line: str) -> None:
        try:
            # One write of one short line: lines of several workers never mix.
            with (directory / FILE).open("a", encoding="utf-8") as file:
                file.write(" ".join(line.split()) + "\n")
        except OSError:
            return  # the run's folder is gone: the run is over, and nobody reads any more

    return tell


def shower(config: Any) -> Callable[[str], None]:
    """Return what shows a line on pytest's terminal while output is captured.

    Args:
        config: pytest's configuration; without a terminal, or when it is quiet, nothing is shown.
    """
    reporter = config.pluginmanager.getplugin("terminalreporter")
    capture = config.pluginmanager.getplugin("capturemanager")
    if reporter is None or config.get_verbosity() < 0:
        return lambda line: None

    def show(line: str) -> None:
        with capture.global_and_fixture_disabled() if capture else nullcontext():
            reporter.ensure_newline()
            reporter.write_line(f"ephemeral-ns: {line}")

    return show


class Relay:
    """Shows in one process what the others tell, while it lives; one thread.

    Args:
        directory: the folder that all processes of the run share.
        show: called with one line at a time, from the thread.
    """

    def __init__(self, directory: Path, show: Callable[[str], None]) -> None:
        self._file = directory / FILE
        self._show = show
        self._read = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ephemeral-ns-progress", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Show what is left and end the thread."""
        self._end.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        over = False
        while not over:
            over = self._end.wait(LOOK_EVERY)
            for line in self._new_lines():
                self._show(line)

    def _new_lines(self) -> list[str]:
        try:
            with self._file.open("rb") as file:
                file.seek(self._read)
                whole, newline, _ = file.read().rpartition(b"\n")
        except OSError:  # nobody told anything yet
            return []
        self._read += len(whole) + len(newline)
        return whole.decode("utf-8", "replace").split("\n") if whole else []
