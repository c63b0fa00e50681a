"""Signals end a run clean, once each, and what must not be cut short is not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from pytest_ephemeral_ns.interrupt import Signals, interrupt_main, undisturbed


@pytest.fixture
def free_signals():
    """As in a process that nobody has touched: the run of these tests may have handlers of its own."""
    known = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in known.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_interrupts_and_what_was_there_comes_back(free_signals, number):
    signals = Signals()
    with pytest.raises(KeyboardInterrupt, match=signal.Signals(number).name):
        signal.raise_signal(number)
    signals.restore()
    assert signal.getsignal(number) is signal.SIG_DFL


def test_a_repetition_does_not_cut_the_tear_down_short(free_signals):
    signals = Signals()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)  # the first may have been swallowed by the test
    signals.ending()
    signal.raise_signal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGHUP)  # another kind means more hurry
    signals.restore()


def test_a_handler_of_somebody_else_stays_and_is_not_called_by_us(free_signals):
    heard: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    theirs = signal.getsignal(signal.SIGTERM)
    signals = Signals()
    signal.raise_signal(signal.SIGTERM)
    assert heard == [signal.SIGTERM]
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGHUP)
    assert heard == [signal.SIGTERM]
    signals.restore()
    assert signal.getsignal(signal.SIGTERM) is theirs


def test_a_handler_that_was_set_later_is_not_taken_away(free_signals):
    signals = Signals()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signals.restore()
    assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler


def test_an_ignored_signal_stays_ignored(free_signals):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as under nohup
    signals = Signals()
    signal.raise_signal(signal.SIGHUP)
    signals.restore()
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_programs_that_a_tear_down_starts_can_be_ended(free_signals):
    signals = Signals()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)
    signals.ending()
    program = subprocess.Popen(
        [sys.executable, "-c", "import signal; print(signal.getsignal(signal.SIGTERM).name)"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert program.communicate(timeout=60)[0].strip() == "SIG_DFL"
    signals.restore()


def test_work_is_done_in_spite_of_an_interrupt():
    begun, may_end, done = threading.Event(), threading.Event(), []

    def work():
        begun.set()
        assert may_end.wait(60)
        done.append(1)

    def disturb():
        assert begun.wait(60)
        interrupt_main()
        may_end.set()

    disturber = threading.Thread(target=disturb)
    disturber.start()
    with pytest.raises(KeyboardInterrupt):
        undisturbed(work, patience=60.0)
    disturber.join()
    assert done == [1]


def test_a_second_interrupt_means_it():
    begun, over, heard = threading.Event(), threading.Event(), threading.Event()

    def work():
        begun.set()
        assert over.wait(60)

    def on_interrupt(number, frame):
        heard.set()
        raise KeyboardInterrupt

    def disturb():
        assert begun.wait(60)
        interrupt_main()
        assert heard.wait(60)
        interrupt_main()

    known = signal.signal(signal.SIGINT, on_interrupt)
    disturber = threading.Thread(target=disturb)
    disturber.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            undisturbed(work, patience=3600.0)
    finally:
        over.set()
        disturber.join()
        signal.signal(signal.SIGINT, known)


def test_what_the_work_returns_and_raises():
    assert undisturbed(lambda: os.getpid(), patience=1.0) == os.getpid()
    with pytest.raises(ZeroDivisionError):
        undisturbed(lambda: 1 // 0, patience=1.0)
