"""Tables on a terminal of any width, and in a pipe."""

from __future__ import annotations

import re
import sys

import pytest

from pytest_ephemeral_ns.cli.screen import print_table

COLUMNS = ("name", "state", "age", "pods", "owner", "reason")
SPARED = ("owner", "age", "pods")
ROWS = [
    {
        "name": "shop-pr42-1a2b3c4-k3x9-gw0",
        "state": "active",
        "age": "5m",
        "pods": "2/2",
        "owner": "ada",
        "reason": "x",
    },
    {
        "name": "shop-gw1",
        "state": "kept",
        "age": "1d2h",
        "pods": "0/1",
        "owner": "ada",
        "reason": "failed: " + "t" * 60,
    },
]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def draw(width: int) -> list[str]:
        monkeypatch.setenv("COLUMNS", str(width))
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
        print_table(ROWS, COLUMNS, spared=SPARED)
        return re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()

    return draw


@pytest.mark.parametrize(
    ("width", "shown"),
    [
        (160, "NAME STATE AGE PODS OWNER REASON"),
        (80, "NAME STATE AGE PODS REASON"),
        (75, "NAME STATE PODS REASON"),
        (66, "NAME STATE REASON"),
        (40, "NAME STATE REASON"),
        (20, "NAME STATE REASON"),
    ],
)
def test_it_fits_leaves_out_what_is_least_wanted_and_cuts_nothing(drawn, width: int, shown: str) -> None:
    lines = drawn(width)
    assert max(map(len, lines)) <= width
    if width >= 40:
        assert lines[0].split() == shown.split()
    letters = "".join(lines)
    assert letters.count("t") >= 60
    if width >= 66:
        assert any(line.startswith(ROWS[0]["name"]) for line in lines)


def test_a_pipe_gets_every_column_in_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(ROWS, COLUMNS, spared=SPARED)
    heading, first, second = capsys.readouterr().out.splitlines()
    assert heading.split() == [column.upper() for column in COLUMNS]
    assert first.split() == [ROWS[0][column] for column in COLUMNS]
    assert second.endswith("t" * 60)
    print_table([], COLUMNS)
    assert capsys.readouterr().out == ""
