"""``diagnose`` on the real control plane."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_ephemeral_ns.cli import main
from pytest_ephemeral_ns.kube.api import Api
from pytest_ephemeral_ns.rules import naming
from pytest_ephemeral_ns.rules.identity import Identity

pytestmark = pytest.mark.cluster
NAMESPACES = "/api/v1/namespaces"


class Broken:
    """A namespace with a pod that no node takes, and a Secret."""

    def __init__(self, api: Api, cluster: Any) -> None:
        self.run_id = f"g{uuid.uuid4().hex[:9]}"
        self.name = f"broken-{self.run_id}"
        self.target = ["--kubeconfig", str(cluster.kubeconfig), "--context", cluster.connection.context]
        labels = naming.labels_of(Identity("shop", "main"), run_id=self.run_id, worker_id="gw0", scope="run", owner="a")
        metadata = {"name": self.name, "labels": labels}
        api.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        path = f"{NAMESPACES}/{self.name}"
        api.create(f"{path}/serviceaccounts", {"metadata": {"name": "own"}})
        secret = {"metadata": {"name": "db"}, "data": {"password": base64.b64encode(b"correct-horse").decode()}}
        api.create(f"{path}/secrets", secret)
        container = {"name": "api", "image": "x:1", "env": [{"name": "NOTE", "value": "correct-horse"}]}
        spec = {"serviceAccountName": "own", "containers": [container]}
        api.create(f"{path}/pods", {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "api-0"}, "spec": spec})

    def diagnose(self, *arguments: str) -> int:
        return main(["diagnose", self.name, *arguments, *self.target])


@pytest.fixture
def broken(control_plane: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Broken]:
    monkeypatch.chdir(tmp_path)
    with Api(control_plane.connection) as api:
        broken = Broken(api, control_plane)
        yield broken
        api.delete(f"{NAMESPACES}/{broken.name}")


def test_the_story_is_told_and_all_of_it_written_down(
    broken: Broken, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert broken.diagnose() == 0
    folder = tmp_path / ".ephemeral-ns" / broken.run_id / broken.name
    out = capsys.readouterr().out
    for part in (f"namespace {broken.name} on context", "api-0", f"everything else: .ephemeral-ns/{broken.run_id}/"):
        assert part in out
    assert f"kubectl --kubeconfig {broken.target[1]} --context {broken.target[3]} -n {broken.name} " in out
    assert (folder / "summary.md").is_file()
    assert "api-0" in (folder / "objects" / "pods.yaml").read_text()
    assert "correct-horse" not in "".join(path.read_text() for path in folder.rglob("*") if path.is_file())
    # What was written down before is evidence, too.
    assert broken.diagnose("-o", "json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["bundle"] == f".ephemeral-ns/{broken.run_id}/{broken.name}-2"
    assert (tmp_path / told["bundle"] / "summary.md").is_file()
    assert (folder / "summary.md").is_file()


def test_nothing_is_written_where_that_is_not_wanted_or_not_possible(
    broken: Broken, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert broken.diagnose("--no-bundle") == 0
    assert not (tmp_path / ".ephemeral-ns").exists()
    (tmp_path / "file").write_text("")
    assert broken.diagnose("--artifacts", "file") == 1
    said = capsys.readouterr()
    assert "api-0" in said.out
    assert "no bundle was written to file/" in said.err


def test_a_name_that_does_not_exist(broken: Broken, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diagnose", "nothing-here", *broken.target]) == 3
    assert "nothing-here" in capsys.readouterr().err
    assert main(["diagnose", broken.name, "--log-lines", "many"]) == 2
