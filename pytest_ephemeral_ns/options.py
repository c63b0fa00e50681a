"""Options as pytest collects them: declared from one table, read into settings; this module must never check a value.

It imports no pytest, and no more than the table as long as nobody gave an option.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pytest_ephemeral_ns.knobs import KNOBS, LISTS, Knob

if TYPE_CHECKING:
    from pytest_ephemeral_ns.settings import Settings

SHORT = "--keep-on-failure"
_SHORT = "ephemeral_ns_keep_on_failure"


def add_options(parser: Any) -> None:
    """Declare every option to pytest, as flag and as ini key.

    Args:
        parser: pytest's.
    """
    group = parser.getgroup("ephemeral-ns", "a Kubernetes namespace for each worker, run, module, class or test")
    for knob in KNOBS:
        _add(parser, group, knob)
    with suppress(ValueError):  # a neighbour has the short name; the long one is always ours
        meaning = "short for --ephemeral-ns-keep=on-failure"
        group.addoption(SHORT, action="store_true", dest=_SHORT, default=None, help=meaning)


def _add(parser: Any, group: Any, knob: Knob) -> None:
    how: dict[str, Any] = dict(knob.collected)
    default = f" (default: {knob.default})" if knob.default else ""
    meaning = (knob.meaning + default).replace("%", "%%")
    group.addoption(knob.flag, dest=knob.ini, default=None, help=meaning, **how)
    kind = {"switch": "bool"}.get(knob.kind, "linelist" if knob.kind in LISTS else "string")
    parser.addini(knob.ini, help=knob.meaning, type=kind, default=None)


def anything_given(config: Any) -> bool:
    """Return whether any flag, variable or ini key of ours has a value.

    Args:
        config: pytest's configuration.
    """
    flags, ini = _collected(config)
    short = config.getoption(_SHORT, None)
    return any((short, *flags.values(), *ini.values(), *(os.environ.get(knob.env) for knob in KNOBS)))


def _collected(config: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    flags = {knob.name: config.getoption(knob.ini) for knob in KNOBS}
    return flags, {knob.name: config.getini(knob.ini) for knob in KNOBS}


def read_options(config: Any) -> Settings:
    """Return the checked settings.

    Args:
        config: pytest's configuration.

    Raises:
        UsageError: a value is wrong; names the option and where it came from.
    """
    from pytest_ephemeral_ns.rules.naming import check_template
    from pytest_ephemeral_ns.settings import Given, load

    flags, ini = _collected(config)
    if config.getoption(_SHORT, None) and not flags["keep"]:
        flags["keep"] = Given("on-failure", SHORT, config.invocation_params.dir)
    settings = load(flags, os.environ, ini, cwd=config.invocation_params.dir, ini_path=config.inipath)
    check_template(settings.name)
    return settings
