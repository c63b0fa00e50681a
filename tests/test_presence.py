"""Who of a run's processes is still here, as the system knows it: also of those that were killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from pytest_ephemeral_ns import presence as module
from pytest_ephemeral_ns.deadline import Deadline
from pytest_ephemeral_ns.errors import EphemeralNsError
from pytest_ephemeral_ns.presence import FILE, PREFIX, Presence, clear_dead

STAYS = """
import sys, pathlib
from pytest_ephemeral_ns.presence import Presence
presence = Presence(pathlib.Path(sys.argv[1]), first=False)
print("here", flush=True)
sys.stdin.readline()
print(presence.leave(), flush=True)
"""


@pytest.fixture
def other(tmp_path):
    """Another process of the same run."""
    command = [sys.executable, "-c", STAYS, str(tmp_path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "here\n"
    yield process
    process.kill()
    process.communicate()


def test_alone_one_is_the_last(tmp_path):
    assert Presence(tmp_path, first=True).leave()


def test_with_another_one_is_not(tmp_path, other):
    mine = Presence(tmp_path, first=True)
    assert not mine.wait_alone(Deadline.after(0.0))
    assert not mine.leave()
    assert other.communicate("leave\n")[0] == "True\n"  # so the other is


def test_looking_costs_nothing(tmp_path, other):
    mine = Presence(tmp_path, first=True)
    assert not mine.wait_alone(Deadline.after(0.2))
    assert other.communicate("leave\n")[0] == "False\n"  # we are still here
    assert mine.leave()


def test_a_killed_process_has_left(tmp_path, other):
    mine = Presence(tmp_path, first=True)
    other.send_signal(signal.SIGKILL)
    assert mine.wait_alone(Deadline.after(60.0))
    assert mine.leave()


def test_nobody_joins_a_run_that_is_over(tmp_path):
    last = Presence(tmp_path, first=True)
    assert last.leave()
    with pytest.raises(EphemeralNsError, match="the run is over"):
        Presence(tmp_path, first=False)
    with pytest.raises(EphemeralNsError, match="the run is over"):
        Presence(tmp_path / "gone", first=False)


def test_folders_of_dead_runs_go_and_those_of_living_ones_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(module, "YOUNG", 0.0)
    dead, alive, foreign = (tmp_path / f"{PREFIX}{name}" for name in ("dead", "alive", "foreign"))
    for folder in (dead, alive, foreign):
        folder.mkdir()
    (dead / FILE).touch()
    os.utime(dead / FILE, (0, 0))
    living = Presence(alive, first=True)
    clear_dead()
    assert [path.name for path in sorted(Path(tmp_path).iterdir())] == [alive.name, foreign.name]
    assert living.leave()
