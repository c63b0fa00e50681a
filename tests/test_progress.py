"""How far something is: one line that is rewritten on a terminal, few lines elsewhere, nothing where it is quiet."""

from __future__ import annotations

import errno
import os
import pty
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from pytest_ephemeral_ns.progress import Lines, Relay, status, teller


def test_lines_for_a_log_are_few() -> None:
    at = 0.0
    written: list[str] = []
    lines = Lines(written.append, lambda: at)
    for at, text in (  # noqa: B007
        (0, "0/2 ready"),
        (1, "1/2 ready"),
        (2, "1/2 ready · api: x (2 s)"),
        (11, "1/2 ready · api: x (11 s)"),
        (12, "1/2 ready · api: x (12 s)"),
        (20, "2/2 ready"),
        (22, "2/2 ready"),
        (22, "2/2 ready"),
        (23, ""),
    ):
        lines(status("gw0 shop", text))
    assert written == ["gw0 shop: 0/2 ready", "gw0 shop: 1/2 ready · api: x (11 s)", "gw0 shop: 2/2 ready"]


def test_subjects_do_not_silence_each_other_and_events_are_never_dropped() -> None:
    written: list[str] = []
    lines = Lines(written.append, lambda: 0.0)
    for line in (status("gw0", "a"), status("gw1", "a"), status("gw0", "b"), "cluster: up", "cluster: ready"):
        lines(line)
    assert written == ["gw0: a", "gw1: a", "cluster: up", "cluster: ready"]


def test_what_workers_tell_arrives_as_it_was(tmp_path: Path) -> None:
    got: list[str] = []
    relay = Relay(tmp_path, got.append)
    tell = teller(tmp_path)
    lines = ["an event", status("gw0 shop", "1/2 ready · api: pulling image (3 s)"), status("gw0 shop", "")]
    for line in lines:
        tell(line)
    relay.close()
    assert got == lines


# A pytest whose tests tell progress as a wait does; the plugin itself is not needed for that.
CONFTEST = """
    import pytest
    from pathlib import Path
    from pytest_ephemeral_ns.progress import Relay, shower, status, teller

    FOLDER = Path(__file__).parent

    @pytest.hookimpl(trylast=True)  # when pytest's own reporter is there
    def pytest_configure(config):
        config.tell = teller(FOLDER) if hasattr(config, "workerinput") else shower(config)

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(node):
        if not hasattr(node.config, "relay"):
            node.config.relay = Relay(FOLDER, node.config.tell)

    def pytest_sessionfinish(session):
        if hasattr(session.config, "relay"):
            session.config.relay.close()

    @pytest.fixture
    def tell(pytestconfig, worker_id):
        print("seen by the test alone")
        def tell(n, second):
            text = f"{n}/3 ready · api: pulling image ({second} s)" if second else ""
            pytestconfig.tell(status(f"{worker_id} shop", text))
        return tell
"""
TESTS = """
    import time, pytest

    @pytest.mark.parametrize("n", range(3))
    def test_it(tell, n):
        for second in (1, 2, 3, 0):
            tell(n, second)
            time.sleep(0.02)
        assert n != 1
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "conftest.py").write_text(textwrap.dedent(CONFTEST))
    (tmp_path / "test_it.py").write_text(textwrap.dedent(TESTS))
    return tmp_path


def on_a_terminal(project: Path, *options: str) -> str:
    """Run pytest on a pseudo terminal and return all that it wrote there."""
    ours, theirs = pty.openpty()
    environ = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "PYTEST_ADDOPTS": ""}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--color=no", *options]
    with subprocess.Popen(command, cwd=project, env=environ, stdout=theirs, stderr=theirs, stdin=theirs) as process:
        os.close(theirs)
        seen = b""
        while part := _read(ours):
            seen += part
        process.wait(timeout=60)
    os.close(ours)
    return seen.decode()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError as error:  # Linux says "input/output error" where others say "end of file"
        if error.errno != errno.EIO:
            raise
        return b""


def shown(raw: str) -> list[str]:
    """What stays on the screen: the little of a terminal that is needed here."""
    lines, row, column = [""], 0, 0
    for token in re.findall(r"\x1b\[1A|\x1b\[\d*[a-zA-Z]|\r|\n|[^\x1b\r\n]+", raw):
        if token == "\x1b[1A":
            row = max(0, row - 1)
        elif token == "\r":
            column = 0
        elif token == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif not token.startswith("\x1b"):
            text = lines[row].ljust(column)
            lines[row] = text[:column] + token + text[column + len(token) :]
            column += len(token)
    return [line.rstrip() for line in lines]


@pytest.mark.parametrize("options", [["-n", "0"], ["-n", "2"]], ids=" ".join)
def test_a_terminal_has_one_line_that_is_rewritten(project: Path, options: list[str]) -> None:
    raw = on_a_terminal(project, *options)
    left = "\n".join(shown(raw))
    assert "1 failed, 2 passed" in left
    if options[1] == "0":  # with workers the relay looks a few times a second, and may see the end only
        assert len(re.findall(r"\rmaster shop: 2/3 ready · api: pulling image \([123] s\)", raw)) == 3
    assert "pulling image" not in left
    assert "seen by the test alone" in left.partition("Captured stdout setup")[2]


def test_without_a_terminal_it_is_a_line_now_and_then(project: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-n", "0"]
    environ = {**os.environ, "PYTEST_ADDOPTS": ""}
    done = subprocess.run(command, cwd=project, env=environ, capture_output=True, text=True, timeout=60)
    told = re.findall(r"^ephemeral-ns: master shop: (.*)$", done.stdout, re.M)
    assert told == ["0/3 ready · api: pulling image (1 s)"]
    assert "\r" not in done.stdout


def test_quiet_is_quiet(project: Path) -> None:
    raw = on_a_terminal(project, "-q", "-n", "2")
    assert "1 failed, 2 passed" in raw
    assert "pulling image" not in raw
