"""Lets SIGTERM and SIGHUP end a run as Ctrl-C does; this module must never replace a handler that somebody else set.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType

NAMES = ("SIGTERM", "SIGHUP")


def end_clean_on_signals() -> Callable[[], None]:
    """Make SIGTERM and SIGHUP raise KeyboardInterrupt once, so that every fixture's tear-down runs.

    pytest runs no tear-down on these signals by itself: https://github.com/pytest-dev/pytest/issues/5243
    A second signal of the same kind is ignored, because it would cut the tear-down short; SIGKILL still ends all.

    Returns:
        A function that puts back what was there. Does nothing outside the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        return lambda: None
    mine = [number for name in NAMES if (number := getattr(signal, name, None)) and _is_free(number)]
    for number in mine:
        signal.signal(number, _interrupt)

    def restore() -> None:
        for number in mine:
            if signal.getsignal(number) in (_interrupt, signal.SIG_IGN):
                signal.signal(number, signal.SIG_DFL)

    return restore


def _is_free(number: int) -> bool:
    return signal.getsignal(number) is signal.SIG_DFL


def _interrupt(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt(signal.Signals(number).name)
