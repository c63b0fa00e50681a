"""How we import: no more than is needed, as it was installed; this module must never hide that something is missing.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

_COMMAND_LINE = "httpx._main"
_OURS = f"{__package__}."


class _AsInstalled(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None, /
    ) -> ModuleSpec | None:
        return PathFinder.find_spec(fullname, path, target) if fullname.startswith(_OURS) else None


@contextmanager
def as_installed() -> Iterator[None]:
    """Let Python itself import our modules in the block, as it does everybody's but a plugin's.

    pytest keeps a compiled copy of its own of every module of a plugin, which may have assertions to rewrite; ours have
    none. It reads such a copy five times slower than Python reads what pip has compiled, and where nothing may be
    written, as in a read-only image or with ``PYTHONDONTWRITEBYTECODE``, it compiles all of them in every process.

    Source of the rule: ``_pytest/assertion/rewrite.py``, ``AssertionRewritingHook`` and ``_read_pyc``.

    Example:
        >>> with as_installed():
        ...     import pytest_ephemeral_ns.namespace
    """
    finder = _AsInstalled()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


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
