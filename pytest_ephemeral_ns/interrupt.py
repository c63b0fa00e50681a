"""Lets SIGTERM and SIGHUP end a run as Ctrl-C does; this module must never replace a handler that somebody else set.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import TypeVar

__tracebackhide__ = True
NAMES = ("SIGTERM", "SIGHUP")
T = TypeVar("T")


class Signals:
    """Makes SIGTERM and SIGHUP raise KeyboardInterrupt, once each, so that every fixture's tear-down runs.

    pytest runs no tear-down on these signals by itself: https://github.com/pytest-dev/pytest/issues/5243
    A signal that somebody handles or ignores (nohup) is left alone, and no handler of others is ever called. Does
    nothing outside the main thread.

    Example:
        >>> signals = Signals()
        >>> signals.restore()
    """

    def __init__(self) -> None:
        self._fired: set[int] = set()
        self._ending = False
        main = threading.current_thread() is threading.main_thread()
        known = [number for name in NAMES if (number := getattr(signal, name, None))]
        self._mine = [number for number in known if main and signal.getsignal(number) is signal.SIG_DFL]
        for number in self._mine:
            signal.signal(number, self._interrupt)

    def ending(self) -> None:
        """Say that the tear-down has begun: a signal that came already does not cut it short a second time."""
        self._ending = True

    def restore(self) -> None:
        """Put back what was there, unless somebody else has set a handler since."""
        for number in self._mine:
            if signal.getsignal(number) == self._interrupt:
                signal.signal(number, signal.SIG_DFL)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        # Not SIG_IGN: programs that a tear-down starts would inherit it. Before the tear-down a repetition counts,
        # because code that swallows every exception may have eaten the first.
        if not (self._ending and number in self._fired):
            self._fired.add(number)
            raise KeyboardInterrupt(signal.Signals(number).name)


def interrupt_main() -> None:
    """Interrupt the main thread as Ctrl-C does, also out of a sleep or a wait for the network."""
    names = ("SIGINT", *NAMES)  # a shell that starts us in the background has SIGINT ignored
    known = [number for name in names if (number := getattr(signal, name, None))]
    heard = [number for number in known if callable(signal.getsignal(number))]
    main = threading.main_thread().ident
    if heard and main is not None and hasattr(signal, "pthread_kill"):
        signal.pthread_kill(main, heard[0])
    elif heard:
        signal.raise_signal(heard[0])


def undisturbed(work: Callable[[], T], *, patience: float) -> T:
    """Do something that an interrupt must not cut short, for so long at most.

    It is done in a thread, which no signal reaches. A second interrupt means it: then it is not waited for.

    Args:
        work: what is done.
        patience: seconds that it still has after an interrupt.

    Returns:
        What ``work`` returned.

    Raises:
        KeyboardInterrupt: there was one; ``work`` has ended, or had its time.
        BaseException: what ``work`` raised.

    Example:
        >>> undisturbed(lambda: "done", patience=1.0)
        'done'
    """
    if threading.current_thread() is not threading.main_thread():
        return work()
    result: list[T] = []
    trouble: list[BaseException] = []
    done = threading.Event()

    def do() -> None:
        try:
            result.append(work())
        except BaseException as error:
            trouble.append(error)
        finally:
            done.set()

    interrupt = _do_and_wait(do, done, patience)
    if interrupt is not None:
        raise interrupt
    if trouble:
        raise trouble[0]
    return result[0]


def _do_and_wait(do: Callable[[], None], done: threading.Event, patience: float) -> KeyboardInterrupt | None:
    """Do it in a thread and wait for its end; return the interrupt that came meanwhile."""
    steps: list[Callable[[], object]] = [
        done.wait,
        threading.Thread(target=do, name="ephemeral-ns-release", daemon=True).start,
    ]
    interrupt = None
    while steps:
        try:
            steps.pop()()
        except KeyboardInterrupt as error:
            if interrupt is not None:
                raise
            interrupt = error
            steps = [*steps[1:], partial(done.wait, patience)]
        except (RuntimeError, MemoryError):  # no thread can be had: out of memory, or the interpreter is ending
            steps.append(do)
    return interrupt
