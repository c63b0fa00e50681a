"""What is written down of a run: whole lines, by several processes and threads, bounded, and never an error."""

from __future__ import annotations

import json
import threading
from types import SimpleNamespace

import pytest

from pytest_ephemeral_ns import timeline as module
from pytest_ephemeral_ns.timeline import FOLDER, Moments, Timeline, read


def verdict(state: str, reason: str = "") -> SimpleNamespace:
    return SimpleNamespace(state=state, reason=reason)


def test_a_step_has_a_begin_and_an_end(tmp_path):
    timeline = Timeline(tmp_path, "gw0")
    with timeline.span("create", lane="gw0") as told:
        told["namespace"] = "shop-gw0"
    begin, end = read(tmp_path)
    assert begin["what"] == end["what"] == "create"
    assert begin["span"] == end["span"]
    assert (end["namespace"], end["ok"], end["worker"]) == ("shop-gw0", True, "gw0")
    assert end["at"] >= begin["at"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_step_that_fails_says_so_and_the_error_goes_on(tmp_path, error):
    timeline = Timeline(tmp_path, "gw0")
    with pytest.raises(error), timeline.span("deploy"):
        raise error
    assert read(tmp_path)[-1]["ok"] is False


def test_details_only_for_a_report(tmp_path):
    Timeline(tmp_path, "gw0").detail("test")
    assert read(tmp_path) == []
    assert not (tmp_path / FOLDER).exists()
    Timeline(tmp_path, "gw0", detailed=True).detail("test")
    assert [row["what"] for row in read(tmp_path)] == ["test"]


def test_several_writers_and_threads_keep_lines_whole(tmp_path):
    writers = [Timeline(tmp_path, f"gw{number}", detailed=True) for number in range(3)]

    def write(timeline: Timeline) -> None:
        for number in range(100):
            timeline.mark("step", "x" * number)

    threads = [threading.Thread(target=write, args=(one,)) for one in writers for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    rows = read(tmp_path)
    assert len(rows) == 900
    assert [row["at"] for row in rows] == sorted(row["at"] for row in rows)


def test_a_line_that_a_killed_process_did_not_finish_is_left_out(tmp_path):
    timeline = Timeline(tmp_path, "gw0")
    timeline.mark("ready", "shop")
    [file] = (tmp_path / FOLDER).iterdir()
    with file.open("a") as more:
        more.write('[]\n{"what": "no time"}\n{"at": 1, "wh')
    assert [row["what"] for row in read(tmp_path)] == ["ready"]
    assert file.stat().st_mode & 0o777 == 0o600


def test_the_size_is_bounded_and_steps_come_after_details(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LIMIT", 2000)
    monkeypatch.setattr(module, "_MORE", 1000)
    timeline = Timeline(tmp_path, "gw0", detailed=True)
    for _ in range(100):
        timeline.detail("object", "shop")
    timeline.mark("ready", "shop")
    for _ in range(100):
        timeline.mark("step", "shop")
    whats = [row["what"] for row in read(tmp_path)]
    assert whats.count("truncated") == 1
    assert "ready" in whats
    [file] = (tmp_path / FOLDER).iterdir()
    assert file.stat().st_size < 3200


def test_a_folder_that_is_gone_fails_nothing(tmp_path):
    timeline = Timeline(tmp_path / "gone", "gw0")
    timeline.mark("ready")
    with timeline.span("deploy"):
        pass
    assert read(tmp_path / "gone") == []


def test_what_cannot_be_json_is_told_as_text(tmp_path):
    Timeline(tmp_path, "gw0").mark("odd", path=tmp_path, text="\udcff")
    [file] = (tmp_path / FOLDER).iterdir()
    assert json.loads(file.read_text())["path"] == str(tmp_path)


def test_moments_note_changes_and_who_was_last(tmp_path):
    moments = Moments(Timeline(tmp_path, "gw0", detailed=True), "shop")
    moments({"Service/api": verdict("ready", "Exists"), "Pod/db": verdict("waiting", "Pending")})
    moments({"Service/api": verdict("ready", "Exists"), "Pod/db": verdict("waiting", "Pending")})
    assert moments.last == ""
    moments({"Service/api": verdict("ready", "Exists"), "Pod/db": verdict("ready", "Ready")})
    assert moments.last == "Pod/db"
    told = [(row["object"], row["state"]) for row in read(tmp_path)]
    assert told == [("Service/api", "ready"), ("Pod/db", "waiting"), ("Pod/db", "ready")]
