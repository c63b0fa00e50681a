"""What the command prints: tables for people, JSON and names for programs; this module must never decide what.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from pytest_ephemeral_ns.errors import UsageError
from pytest_ephemeral_ns.rules.durations import parse_duration

OK, FAILED, USAGE, NOT_FOUND, INTERRUPTED = 0, 1, 2, 3, 130
_GAP = 2  # spaces between two columns
_PROSE = 30  # columns that the last one, which is prose, should have before others are left out


class Commands(Protocol):
    """What ``ArgumentParser.add_subparsers`` returns; its class has no public name."""

    def add_parser(self, name: str, **options: Any) -> argparse.ArgumentParser:
        """Add a command."""


def say(line: str) -> None:
    """Print one line of the result."""
    sys.stdout.write(f"{line}\n")


def note(line: str) -> None:
    """Print one line about what is going on; never part of the result, so that it can be piped."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    say(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(rows: Sequence[Mapping[str, str]], columns: Sequence[str], *, spared: Sequence[str] = ()) -> None:
    """Print rows under their headings: fitted to the terminal by rich, plain columns in a pipe.

    Args:
        rows: one mapping from column to text each; a missing one is shown as ``-``.
        columns: the columns in order. A text that does not fit is folded, never cut: people copy names.
        spared: columns that a terminal that is too narrow does without, in this order. A pipe gets all.
    """
    if not rows:
        return
    if sys.stdout.isatty():
        _draw(rows, columns, spared)
        return
    cells = _cells(rows, columns)
    widths = _widths(cells, columns)
    for line in [[column.upper() for column in columns], *cells]:
        say((" " * _GAP).join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


def _cells(rows: Sequence[Mapping[str, str]], columns: Sequence[str]) -> list[list[str]]:
    return [[row.get(column) or "-" for column in columns] for row in rows]


def _widths(cells: Sequence[Sequence[str]], columns: Sequence[str]) -> list[int]:
    return [max(len(line[index]) for line in [list(columns), *cells]) for index in range(len(columns))]


def _draw(rows: Sequence[Mapping[str, str]], columns: Sequence[str], spared: Sequence[str]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, markup=False, emoji=False)
    shown = _fitting(rows, columns, spared, console.width)
    cells = _cells(rows, shown)
    widths = _widths(cells, shown)
    # The last column, which is prose, is folded first; where that is not enough, rich folds all of them.
    room = console.width - sum(widths[:-1]) - _GAP * (len(shown) - 1)
    enough = room >= min(_PROSE, widths[-1])
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    for column, width in zip(shown, [*widths[:-1], min(room, widths[-1])], strict=True):
        table.add_column(column.upper(), overflow="fold", width=width if enough else None)
    for line in cells:
        table.add_row(*line)
    console.print(table)


def _fitting(rows: Sequence[Mapping[str, str]], columns: Sequence[str], spared: Sequence[str], width: int) -> list[str]:
    shown = list(columns)
    for column in spared:
        widths = _widths(_cells(rows, shown), shown)
        if sum(widths[:-1]) + _GAP * (len(shown) - 1) + min(_PROSE, widths[-1]) <= width:
            break
        shown.remove(column)
    return shown


def add_output(parser: argparse.ArgumentParser, *formats: str) -> None:
    """Declare ``-o``: what a command can print besides text for people."""
    parser.add_argument("-o", "--output", choices=formats, default="", help="print this instead of text for people")


def add_duration(parser: argparse.ArgumentParser, name: str, *, help: str, default: float | None = None) -> None:
    """Declare an option or argument that is a duration; its value is seconds."""
    optional: dict[str, Any] = {"default": default} if name.startswith("-") else {}
    parser.add_argument(name, type=_duration, metavar="DURATION", help=help, **optional)


def _duration(text: str) -> float:
    try:
        return parse_duration(text)
    except UsageError as error:
        raise argparse.ArgumentTypeError(error.summary) from error
