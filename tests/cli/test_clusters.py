"""``cluster`` and ``doctor``, in this process, on the real control plane."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_ephemeral_ns.cli import main
from tests.accounts import some_account

pytestmark = pytest.mark.cluster


def test_status_shows_what_runs(control_plane: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cluster", "status", "--name", control_plane.name]) == 0
    assert control_plane.connection.server in capsys.readouterr().out
    assert main(["cluster", "status", "-o", "json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows[control_plane.name]["state"] == "ready"


def test_up_uses_what_runs_and_prints_no_credentials(control_plane: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cluster", "up", "--name", control_plane.name, "--nodes", "none", "-o", "json"]) == 0
    out = capsys.readouterr().out
    assert json.loads(out)["started"] is False
    assert "BEGIN" not in out
    assert main(["cluster", "up", "--name", control_plane.name, "--nodes", "none"]) == 0
    assert f"export KUBECONFIG={control_plane.kubeconfig}" in capsys.readouterr().out


def test_kubeconfig_is_a_path_unless_its_content_is_asked_for(
    control_plane: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cluster", "kubeconfig", "--name", control_plane.name]) == 0
    assert Path(capsys.readouterr().out.strip()) == control_plane.kubeconfig
    assert main(["cluster", "kubeconfig", "--name", control_plane.name, "--raw"]) == 0
    assert "client-key-data" in capsys.readouterr().out


def test_a_cluster_of_ours_is_found_without_being_named(
    control_plane: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    assert main(["list", "--cluster", "embedded", "--state", "stuck"]) == 0
    assert main(["list", "--state", "stuck"]) == 0


def test_doctor_finds_no_problem(control_plane: Any, capsys: pytest.CaptureFixture[str]) -> None:
    target = ["--kubeconfig", str(control_plane.kubeconfig)]
    assert main(["doctor", *target]) == 0
    out = capsys.readouterr().out
    for part in (
        "programs",
        "ways to a cluster",
        "create, delete namespaces",
        "no problem found",
        control_plane.version,
    ):
        assert part in out
    assert main(["doctor", *target, "-o", "json"]) == 0
    findings = json.loads(capsys.readouterr().out)
    assert {finding["state"] for finding in findings} <= {"ok", "missing"}


def test_doctor_says_what_may_not_be_done(
    control_plane: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from pytest_ephemeral_ns.kube.api import Api

    with Api(control_plane.connection) as api, some_account(api, tmp_path) as nobody:
        nobody.may([])
        command = ["doctor", "--kubeconfig", str(nobody.kubeconfig), "--context", nobody.name, "-o", "json"]
        assert main(command) == 1
    findings = {finding["what"]: finding for finding in json.loads(capsys.readouterr().out)}
    assert findings["create, delete namespaces"]["state"] == "problem"
    assert findings["get, create pods/exec"]["state"] == "missing"


def test_doctor_names_a_cluster_that_does_not_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from pytest_ephemeral_ns.clusters.current import write_kubeconfig
    from pytest_ephemeral_ns.connection import Connection

    kubeconfig = write_kubeconfig(Connection("https://127.0.0.1:1", token="t", context="x"), tmp_path / "kubeconfig")
    assert main(["doctor", "--kubeconfig", str(kubeconfig), "--context", "x"]) == 1
    assert "https://127.0.0.1:1 does not answer" in capsys.readouterr().out
