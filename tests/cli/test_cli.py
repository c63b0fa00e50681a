"""The command line itself: no cluster is needed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pytest_ephemeral_ns.cli import main
from pytest_ephemeral_ns.rules.retention import HEARTBEAT

FAR = """
apiVersion: v1
kind: Config
current-context: prod
contexts: [{name: prod, context: {cluster: prod, user: prod}}]
clusters: [{name: prod, cluster: {server: "https://prod.example.com"}}]
users: [{name: prod, user: {token: secret-token}}]
"""


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user without any cluster."""
    for name in [name for name in os.environ if name.startswith(("EPHEMERAL_NS_", "KUBE"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("EPHEMERAL_NS_STATE_DIR", str(tmp_path / "state"))
    return tmp_path


def test_help_tells_the_exit_codes_and_the_choice_of_the_cluster(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    for part in ("exit codes:", "3    what was named does not exist", "only when it is named", "reap", "doctor"):
        assert part in out


@pytest.mark.parametrize(
    "arguments",
    [[], ["nonsense"], ["cluster"], ["list", "--nope"], ["keep", "x", "--ttl", "soon"], ["extend", "x"], ["delete"]],
)
def test_a_wrong_command_line_is_exit_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert "usage: ephemeral-ns" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--isolation", "--unreachable", "prod"], "'prod' is not HOST:PORT"),
        (["--unreachable", "prod:443"], "go with --isolation"),
        (["--image", "busybox:1"], "go with --isolation"),
    ],
)
def test_a_proof_that_cannot_be_made_is_exit_code_2(options, problem, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", *options]) == 2
    assert problem in capsys.readouterr().err


def test_where_there_is_no_cluster_nothing_is_proven(nowhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--isolation"]) == 1
    assert "1 problem" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("ephemeral-ns ")


def test_without_a_cluster_it_says_what_it_tried(nowhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 1
    err = capsys.readouterr().err
    for part in ("no cluster is running that may be used", "current: ", "kind: ", "embedded: ", "→ "):
        assert part in err


@pytest.mark.parametrize("command", [["list"], ["delete", "--yes", "x"], ["reap", "--once"]])
def test_a_context_that_does_not_look_local_is_used_only_when_named(
    nowhere: Path, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (nowhere / "config").write_text(FAR)
    assert main([*command, "--kubeconfig", str(nowhere / "config")]) == 2
    err = capsys.readouterr().err
    assert "context prod (https://prod.example.com) does not look local" in err
    assert "→ --context prod" in err
    assert "secret-token" not in err


def test_a_context_does_not_go_with_another_kind_of_cluster(nowhere: Path) -> None:
    assert main(["list", "--context", "x", "--cluster", "kind"]) == 2


def test_cluster_status_and_kubeconfig_without_any(nowhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cluster", "status"]) == 0
    assert "no cluster of ours is running" in capsys.readouterr().err
    assert main(["cluster", "status", "--name", "x"]) == 3
    assert main(["cluster", "down", "--name", "x"]) == 0
    assert main(["cluster", "kubeconfig"]) == 1
    assert "→ ephemeral-ns cluster up" in capsys.readouterr().err


def test_the_cronjob_has_no_right_that_it_does_not_use(nowhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reap", "--print-cronjob"]) == 2
    capsys.readouterr()
    command = ["reap", "--print-cronjob", "--image", "example.com/janitor:1", "--schedule", "0 * * * *"]
    assert main(command) == 0
    [role] = [obj for obj in yaml.safe_load_all(capsys.readouterr().out) if obj["kind"] == "ClusterRole"]
    assert any("clusterroles" in rule["resources"] for rule in role["rules"])
    assert main([*command, "--namespaces-only"]) == 0
    objects = {obj["kind"]: obj for obj in yaml.safe_load_all(capsys.readouterr().out)}
    job = objects["CronJob"]["spec"]
    assert job["schedule"] == "0 * * * *"
    pod = job["jobTemplate"]["spec"]["template"]["spec"]
    assert pod["containers"][0]["image"] == "example.com/janitor:1"
    rules = objects["ClusterRole"]["rules"] + objects["Role"]["rules"]
    assert {(r, v) for rule in rules for r in rule["resources"] for v in rule["verbs"]} == {
        ("namespaces", "get"),
        ("namespaces", "list"),
        ("namespaces", "delete"),
        ("leases", "list"),
        ("leases", "delete"),
        ("events", "create"),
    }
    [delete] = [rule for rule in rules if rule["resources"] == ["leases"] and "delete" in rule["verbs"]]
    assert delete["resourceNames"] == [HEARTBEAT]
    assert "--namespaces-only" in pod["containers"][0]["args"]


def test_the_account_for_ci_is_printed(nowhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--print-rbac", "--account", "tests", "--namespace", "ci"]) == 0
    account, role, binding = yaml.safe_load_all(capsys.readouterr().out)
    assert account["metadata"] == {"name": "tests", "namespace": "ci"}
    assert binding["roleRef"]["name"] == role["metadata"]["name"] == "tests"
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "tests", "namespace": "ci"}]
    assert not any("*" in part for rule in role["rules"] for key in rule for part in rule[key])


def test_nobody_reading_on_is_no_traceback(nowhere: Path) -> None:
    command = f"{sys.executable} -m pytest_ephemeral_ns reap --print-cronjob --image x | true"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in done.stderr


def test_nothing_heavy_is_imported_for_help() -> None:
    code = "import sys; from pytest_ephemeral_ns.cli import main; main(['--help']); print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    for name in ("httpx", "kubernetes", "rich", "yaml", "pytest"):
        assert f"'{name}'" not in done.stdout
