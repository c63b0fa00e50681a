"""Shows a user's own frames, and our message: where in our code an error was raised says nothing to them.

This module must never hide a frame of an error that is not ours to explain.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any

from pytest_ephemeral_ns.errors import EphemeralNsError

PACKAGE = __name__.partition(".")[0]
PLUMBING = frozenset({"_pytest", "pluggy", "contextlib", "functools", "threading", "concurrent"})


def shorten(excinfo: Any) -> bool:
    """Leave only the frames of the user's own code in the traceback of one of our errors.

    Args:
        excinfo: pytest's ``ExceptionInfo``; changed in place.

    Returns:
        Whether there are none, so that the message alone should be shown.
    """
    if not isinstance(excinfo.value, EphemeralNsError):
        return False
    theirs = [entry for entry in _entries(excinfo.value.__traceback__) if _package(entry) not in (PACKAGE, *PLUMBING)]
    if not theirs:
        return True
    excinfo.traceback = type(excinfo.traceback)(_joined(theirs))
    # What we raised it from is told in its evidence; the frames in between are ours.
    excinfo.value.__cause__, excinfo.value.__suppress_context__ = None, True
    return False


def _entries(traceback: TracebackType | None) -> Iterator[TracebackType]:
    while traceback is not None:
        yield traceback
        traceback = traceback.tb_next


def _joined(entries: Sequence[TracebackType]) -> TracebackType | None:
    """Link entries anew: pytest walks along their own links, so leaving some out of a list is not enough."""
    linked: TracebackType | None = None
    for entry in reversed(entries):
        linked = TracebackType(linked, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    return linked


def _package(entry: TracebackType) -> str:
    return str(entry.tb_frame.f_globals.get("__name__", "")).partition(".")[0]
