"""Face for pytest: hooks, and everything that an idle run loads; options and fixtures stand beside it. Delegates.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from pytest_ephemeral_ns.importing import as_installed

with as_installed():
    from pytest_ephemeral_ns.fixtures import HOOKS, SETTINGS
    from pytest_ephemeral_ns.options import add_options, anything_given, read_options

if TYPE_CHECKING:
    from pytest_ephemeral_ns.settings import Settings

__tracebackhide__ = True
pytest_plugins = ["pytest_ephemeral_ns.fixtures"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """See https://docs.pytest.org/en/stable/reference/reference.html#pytest.hookspec.pytest_addoption ."""
    add_options(parser)


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """See https://docs.pytest.org/en/stable/reference/reference.html#pytest.hookspec.pytest_configure ."""
    if not anything_given(config):
        return
    settings = _settings(config)
    config.stash[SETTINGS] = settings
    if settings.enabled:
        here = ExitStack()
        here.enter_context(as_installed())
        config.add_cleanup(here.close)
        from pytest_ephemeral_ns.hooks import Hooks

        config.stash[HOOKS] = Hooks(config, settings)
        config.pluginmanager.register(config.stash[HOOKS])
        config.stash[HOOKS].begin()


def _settings(config: pytest.Config) -> Settings:
    from pytest_ephemeral_ns.errors import UsageError

    try:
        return read_options(config)
    except UsageError as error:
        raise pytest.UsageError(str(error)) from None


# Here and not among the other hooks: those of a project's conftest.py were registered later, and so see what it adds
@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """See https://docs.pytest.org/en/stable/reference/reference.html#pytest.hookspec.pytest_runtest_makereport ."""
    if call.excinfo and type(call.excinfo.value).__name__ == "NotEnforced":  # nothing can be proven here: never a pass
        skipped = pytest.skip.Exception(getattr(call.excinfo.value, "summary", ""))
        call.excinfo = pytest.ExceptionInfo.from_exception(skipped.with_traceback(call.excinfo.tb))
    hooks = item.config.stash.get(HOOKS, None)
    return (yield) if hooks is None else (yield from hooks.reporting(item, call))
