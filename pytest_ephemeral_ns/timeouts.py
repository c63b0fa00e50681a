"""Cleans up before pytest-timeout ends the process from a thread; this module must never outlive the test's timer.

Its way of "thread" calls ``os._exit``: no tear-down, no hook and no exit handler runs after it.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

__tracebackhide__ = True


def set_timer(item: Any, settings: Any, give_up: Callable[[], None]) -> bool | None:
    """Set the timer of a test as pytest-timeout does, with a step before the end.

    Args:
        item: the test; gets ``cancel_timeout``, which pytest-timeout calls at its end.
        settings: pytest-timeout's settings of the test.
        give_up: called in the timer's thread before pytest-timeout prints all stacks and ends the process.

    Returns:
        ``True`` when it is set; ``None`` when this pytest-timeout is another than we know, and sets its own.
    """
    import pytest_timeout

    end: Callable[[Any, Any], None] | None = getattr(pytest_timeout, "timeout_timer", None)
    debugging: Callable[[], bool] | None = getattr(pytest_timeout, "is_debugging", None)
    if end is None or debugging is None:
        return None

    def fire() -> None:
        if settings.disable_debugger_detection or not debugging():
            try:
                give_up()
            finally:
                end(item, settings)

    timer = threading.Timer(settings.timeout, fire)
    timer.daemon = True

    def cancel() -> None:
        timer.cancel()
        timer.join()

    item.cancel_timeout = cancel
    timer.start()
    return True
