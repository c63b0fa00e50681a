"""Imports httpx without its command line; this module must never hide that httpx itself is missing.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_COMMAND_LINE = "httpx._main"


@contextmanager
def without_command_line() -> Iterator[None]:
    """Let ``import httpx`` in the block find its command line missing, as where ``httpx[cli]`` is not installed.

    Where click happens to be installed httpx imports that command line, and with it all of rich and pygments: a fifth
    of what a worker spends until its first request. Does nothing when somebody has imported httpx already.

    Source of the rule: ``httpx/__init__.py``, which expects an ImportError there.

    Example:
        >>> with without_command_line():
        ...     import httpx
    """
    modules: dict[str, Any] = sys.modules
    if "httpx" in modules:
        yield
        return
    modules[_COMMAND_LINE] = None  # what Python takes for "there is no such module"
    try:
        yield
    finally:
        del modules[_COMMAND_LINE]
