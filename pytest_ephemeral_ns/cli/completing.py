"""``ephemeral-ns completion``: what the shell offers when Tab is pressed; this module must never keep a shell waiting.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pytest_ephemeral_ns.cli import shells
from pytest_ephemeral_ns.cli.screen import OK, Commands, say
from pytest_ephemeral_ns.cli.shells import Command, Option
from pytest_ephemeral_ns.cli.target import add_target, open_api
from pytest_ephemeral_ns.errors import EphemeralNsError

_SHELLS: dict[str, Callable[[Sequence[Command]], str]] = {"bash": shells.bash, "zsh": shells.zsh, "fish": shells.fish}
_PATIENCE = 4.0  # seconds for the cluster to answer somebody who pressed Tab
_MANY = 500  # names; more are of no use to anybody
_EPILOG = """\
for this shell:   source <(ephemeral-ns completion bash)
for all shells:   ephemeral-ns completion bash > ~/.local/share/bash-completion/completions/ephemeral-ns
                  ephemeral-ns completion zsh  > a folder of $fpath, as _ephemeral-ns
                  ephemeral-ns completion fish > ~/.config/fish/completions/ephemeral-ns.fish
"""


def declare(commands: Commands) -> None:
    """Add ``completion``; declared last, it completes everything that was declared before."""
    help = "print the completion script for a shell"
    parser = commands.add_parser(
        "completion",
        help=help,
        description=help,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    below = parser.add_subparsers(title="shells", metavar="SHELL", required=True)
    for shell in _SHELLS:
        one = below.add_parser(shell, help=f"for {shell}", description=f"{help}: {shell}", allow_abbrev=False)
        one.set_defaults(handler=lambda arguments, shell=shell: _script(shell, commands))
    names = below.add_parser("names", description="names for completion; says nothing where it cannot")
    add_target(names)
    names.set_defaults(handler=_names)


def _script(shell: str, commands: Any) -> int:
    own = (Option(("-h", "--help"), help="show help"), Option(("--version",), help="print the version"))
    found = [Command((), "", own, _helps(commands)), *_commands(commands, ())]
    say(_SHELLS[shell](found).rstrip("\n"))
    return OK


def _names(arguments: argparse.Namespace) -> int:
    """Print names, one a line. One request, and no word about what goes wrong: it would appear in a half-typed line."""
    from pytest_ephemeral_ns.reap import names

    try:
        with open_api(arguments, timeout=_PATIENCE) as api:
            for name in names(api, limit=_MANY):
                say(name)
    except EphemeralNsError:
        return 1
    return OK


def _helps(commands: Any) -> dict[str, str]:
    return {action.dest: str(action.help or "") for action in commands._choices_actions}


def _commands(commands: Any, above: tuple[str, ...]) -> Iterator[Command]:
    helps = _helps(commands)
    for word, parser in commands.choices.items():
        if word not in helps:  # it is for scripts
            continue
        groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
        arguments = [a for a in parser._actions if not a.option_strings and a not in groups]
        takes = {"name": "names", "names": "names", "images": "files"}.get(arguments[0].dest, "") if arguments else ""
        yield Command(
            (*above, word),
            helps[word],
            tuple(_option(action) for action in parser._actions if action.option_strings),
            {key: help for group in groups for key, help in _helps(group).items()},
            takes,
            bool(arguments) and arguments[0].nargs == "+",
        )
        for group in groups:
            yield from _commands(group, (*above, word))


def _option(action: argparse.Action) -> Option:
    help = str(action.help or "").replace("%%", "%")
    flags = tuple(action.option_strings)
    if action.nargs == 0:
        return Option(flags, help=help)
    if action.choices:
        return Option(flags, "choice", tuple(str(choice) for choice in action.choices), help)
    metavar = str(action.metavar or "")
    value = "folder" if metavar == "FOLDER" else "file" if "FILE" in metavar or action.type is Path else "other"
    return Option(flags, value, help=help)
