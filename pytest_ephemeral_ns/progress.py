"""Carries progress from workers, which have no terminal, to the controller; this module must never fail a test.

A line is either an event, which stays, or how far something is, which holds until the next of the same subject. On a
terminal the second is one line that is rewritten, elsewhere a line from time to time.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from pluggy import HookimplMarker

FILE = "progress"
LOOK_EVERY = 0.3  # seconds
SELDOM = 10.0  # seconds between two lines about one subject where nothing can be rewritten
_STATUS = "\r"  # begins a line that the next of its subject replaces, as on a terminal
_SUBJECT = 16  # characters of a subject that are shown at least: "gw0 shop-pr42-1…"
_SCREEN = "ephemeral-ns-screen"
hookimpl = HookimplMarker("pytest")


def status(subject: str, text: str) -> str:
    r"""Return a line that says how far something is; the next one of the same subject replaces it.

    Args:
        subject: ``"gw0 shop-pr42-1a2b3c4-k3x9-gw0"``.
        text: how far it is; empty at its end.

    Example:
        >>> status("gw0 shop", "3/5 ready")
        '\rgw0 shop\t3/5 ready'
    """
    return f"{_STATUS}{subject}\t{text}"


def _read(line: str) -> tuple[str, str] | None:
    """Return subject and text of a status; ``None`` for an event."""
    if not line.startswith(_STATUS):
        return None
    subject, _, text = line[len(_STATUS) :].partition("\t")
    return subject, text


def teller(directory: Path) -> Callable[[str], None]:
    """Return what a worker calls with a line: it goes to the end of a file that the controller reads.

    Args:
        directory: the folder that all processes of the run share.
    """

    def tell(line: str) -> None:
        told = _read(line)
        plain = " ".join(line.split()) if told is None else status(told[0], " ".join(told[1].split()))
        try:
            # One write of one short line: lines of several workers never mix.
            with (directory / FILE).open("a", encoding="utf-8", newline="\n") as file:
                file.write(plain + "\n")
        except OSError:
            return  # the run's folder is gone: the run is over, and nobody reads any more

    return tell


class Lines:
    """Writes events at once, and how far something is when it changes, at most every ``seconds`` for each subject.

    Args:
        write: gets a line, without its end.
        clock: returns seconds.
        seconds: the least time between two lines of one subject.

    Example:
        >>> written = []
        >>> lines = Lines(written.append, lambda: 0.0)
        >>> lines(status("gw0", "0/1 ready")), lines(status("gw0", "1/1 ready")), lines("cluster: up"), written
        (None, None, None, ['gw0: 0/1 ready', 'cluster: up'])
    """

    def __init__(
        self, write: Callable[[str], object], clock: Callable[[], float] = time.monotonic, seconds: float = SELDOM
    ) -> None:
        self._write, self._clock, self._seconds = write, clock, seconds
        self._shown: dict[str, tuple[float, str]] = {}

    def __call__(self, line: str) -> None:
        """Write the line, if it is time for it."""
        told = _read(line)
        if told is None:
            self._write(line)
            return
        subject, text = told
        plain = re.sub(r" \([^)]*\)$", "", text)  # a count of seconds is no change
        at, last = self._shown.get(subject, (float("-inf"), ""))
        if text and plain != last and self._clock() - at >= self._seconds:
            self._shown[subject] = (self._clock(), plain)
            self._write(f"{subject}: {text}")


class Screen:
    """Keeps one line at the bottom of pytest's terminal that is rewritten, and takes it away when pytest writes.

    Args:
        reporter: pytest's terminal reporter.
        uncaptured: a context in which output reaches the terminal.
        lines: writes what stays.
    """

    def __init__(self, reporter: Any, uncaptured: Callable[[], AbstractContextManager[Any]]) -> None:
        self._reporter, self._uncaptured = reporter, uncaptured
        self._lock = threading.RLock()  # the relay's thread draws, the main one writes reports
        self._told: dict[str, str] = {}
        self._drawn = False

    def __call__(self, line: str) -> None:
        """Show the line: an event stays, a status is drawn over the last one."""
        told = _read(line)
        with self._lock, self._uncaptured():
            if told is None:
                self._erase()
                self._reporter.ensure_newline()
                self._reporter.write_line(f"ephemeral-ns: {line}")
                return
            subject, text = told
            self._told.pop(subject, "")
            if text:
                self._told[subject] = text  # at the end: the last that moved is the one that is shown
            if self._told:
                self._draw()
            else:
                self._erase()

    def _draw(self) -> None:
        subject, text = list(self._told.items())[-1]
        more = f" [+{len(self._told) - 1} more]" if len(self._told) > 1 else ""
        width = self._reporter._tw.fullwidth - 1 - len(more)
        line = f"{_cut(subject, max(_SUBJECT, width - len(text) - 2))}: {text}"
        if not self._drawn:
            self._reporter.ensure_newline()
            if self._reporter._tw.width_of_current_line:  # the dots of xdist's workers
                self._reporter.write("\n")
        self._reporter.rewrite(_cut(line, width) + more, erase=True)
        self._reporter.flush()
        self._drawn = True

    def _erase(self) -> None:
        if not self._drawn:
            return
        self._reporter.rewrite("", erase=True)
        # One up and down again: for pytest, which counts what it writes, this is the beginning of a line.
        self._reporter.write("\r\x1b[1A\n", flush=True)
        self._drawn = False

    @hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logstart(self) -> Generator[None, object, object]:
        """Give pytest the line back while it writes."""
        with self._lock:
            self._erase()
            return (yield)

    @hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logreport(self) -> Generator[None, object, object]:
        """Give pytest the line back while it writes."""
        with self._lock:
            self._erase()
            return (yield)

    @hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self) -> Generator[None, object, object]:
        """Leave nothing of it behind."""
        self.end()
        return (yield)

    def end(self) -> None:
        """Take the line away for good."""
        with self._lock:
            self._told.clear()
            self._erase()


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def shower(config: Any) -> Callable[[str], None]:
    """Return what shows a line on pytest's terminal while output is captured; the same at each call.

    Args:
        config: pytest's configuration; without a terminal reporter, or when it is quiet, nothing is shown.
    """
    plugins = config.pluginmanager
    reporter = plugins.getplugin("terminalreporter")
    if reporter is None or config.get_verbosity() < 0:
        return lambda line: None
    known = plugins.getplugin(_SCREEN)
    if known is None:
        known = _screen(reporter, plugins.getplugin("capturemanager"))
        plugins.register(known, _SCREEN)
    return known  # type: ignore[no-any-return]


def _screen(reporter: Any, capture: Any) -> Callable[[str], None]:
    def uncaptured() -> AbstractContextManager[Any]:
        return capture.global_and_fixture_disabled() if capture else nullcontext()

    def write(line: str) -> None:
        with uncaptured():
            reporter.ensure_newline()
            reporter.write_line(f"ephemeral-ns: {line}")

    rewrites = reporter.isatty and os.name == "posix" and os.environ.get("TERM", "dumb") != "dumb"
    return Screen(reporter, uncaptured) if rewrites else Lines(write)


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
