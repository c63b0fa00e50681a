"""The report's data: documented field by field, without secrets, the same for page and JSON."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from pytest_ephemeral_ns.report import write
from pytest_ephemeral_ns.report.data import build
from pytest_ephemeral_ns.timeline import read
from tests.report import sample

DOCUMENT = Path(__file__).parents[2] / "docs" / "report.md"
FREE = ("counts", "commands")  # their keys are outcomes and names


def fields(value: Any) -> set[str]:
    if isinstance(value, dict):
        inner = [fields(item) for key, item in value.items() if key not in FREE]
        return set(value).union(*inner)
    return set().union(*map(fields, value)) if isinstance(value, list) else set()


def test_the_document_names_every_field_and_no_other():
    text = DOCUMENT.read_text("utf-8").partition("## The JSON")[2]
    named = set(re.findall(r"`(\w+)(?:\[\])?`", re.sub(r"`\w+\[\]\.(\w+)\[\]`", r"`\1`", text)))
    data = sample.data(bad_every=5)
    found = fields({**data, "namespaces": data["namespaces"][:2], "tests": data["tests"][:40]})
    assert found - named == set()
    outcomes = {"passed", "failed", "interrupted", "error", "skipped", "xfailed", "xpassed", "rerun", "null"}
    values = {"setup", "call", "teardown", "crash", "ready", "waiting", "deleted", "kept", "swept", "reused", "left"}
    values |= {"create", "usable", "deploy", "infrastructure", "application", "contract", "diagnosis", "release"}
    assert named - found - outcomes - values <= {"1", "main", "shared", "gw0", "truncated"}


def test_what_looks_like_a_secret_is_masked_wherever_it_came_in():
    text = json.dumps(sample.data())
    assert "hunter2hunter2" not in text
    assert "abcdefgh12345" not in text
    assert "helm_set: db.password" in text


def test_data_is_plain_and_the_same_again():
    data = sample.data()
    assert json.loads(json.dumps(data)) == data
    assert sample.data() == data


def test_an_error_in_the_report_is_one_line(monkeypatch, tmp_path):
    def fail(*args: Any, **more: Any) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("pytest_ephemeral_ns.report.data.build", fail)
    settings = sample.settings(report=[str(tmp_path / "report.html")])
    lines = write(sample.ending([]), settings, run_id="k3x9", exit_code=0)
    assert lines == ["warning: no report of the run: ZeroDivisionError: a bug"]
    assert list(tmp_path.iterdir()) == []


def test_a_report_is_replaced_as_a_whole(tmp_path):
    target = tmp_path / "deep" / "report.html"
    settings = sample.settings(report=[str(target), str(tmp_path / "report.json")])
    for _ in range(2):
        lines = write(sample.ending(sample.rows(1, 1, 1)), settings, run_id="k3x9", exit_code=0)
        assert lines == [f"report: {target}", f"report: {tmp_path / 'report.json'}"]
        assert target.read_text("utf-8").endswith("</html>\n")
    assert [path.name for path in target.parent.iterdir()] == ["report.html"]


def test_nothing_was_written_down(tmp_path):
    data = build(sample.ending(read(tmp_path)), sample.settings(), run_id="k3x9", exit_code=None, now=sample.START)
    assert (data["run"]["outcome"], data["namespaces"], data["tests"]) == ("interrupted", [], [])
    assert data["run"]["seconds"] == 0
