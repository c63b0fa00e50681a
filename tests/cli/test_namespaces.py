"""The command on namespaces, in this process, on the real control plane."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import yaml

from pytest_ephemeral_ns import reap as reaper
from pytest_ephemeral_ns.cli import main
from pytest_ephemeral_ns.clusters.current import write_kubeconfig
from pytest_ephemeral_ns.kube.api import Api
from pytest_ephemeral_ns.kube.discovery import Discovery
from pytest_ephemeral_ns.rules import naming
from pytest_ephemeral_ns.rules.identity import Identity

pytestmark = pytest.mark.cluster
NAMESPACES = "/api/v1/namespaces"
HOUR = timedelta(hours=1)


class Here:
    """A run's namespaces on the control plane, and the command that looks at them."""

    def __init__(self, api: Api, kubeconfig: Path, context: str) -> None:
        self.api = api
        self.kubeconfig = kubeconfig
        self.target = ["--kubeconfig", str(kubeconfig), "--context", context]
        self.run_id = f"c{uuid.uuid4().hex[:9]}"
        self.made: list[str] = []

    def make(self, name: str, *, expires: timedelta = HOUR, labels: dict[str, str] | None = None) -> str:
        identity = Identity("shop", "pr42", pr_number="42", commit="1a2b3c4d" * 5, branch="feature/x")
        ours = naming.labels_of(identity, run_id=self.run_id, worker_id="gw0", scope="worker", owner="ada")
        moment = datetime.now(timezone.utc) + expires
        annotations = naming.annotations_of(identity, expires=moment, created_by="me:1")
        full = f"{name}-{self.run_id}"
        metadata = {"name": full, "labels": ours if labels is None else labels, "annotations": annotations}
        self.api.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        self.made.append(full)
        return full

    def get(self, name: str) -> dict[str, Any]:
        return self.api.get(f"{NAMESPACES}/{name}")

    def going(self, name: str) -> bool:
        found = self.api.find(f"{NAMESPACES}/{name}")
        return found is None or bool(found["metadata"].get("deletionTimestamp"))

    def __call__(self, *arguments: str) -> int:
        return main([*arguments, *self.target])


@pytest.fixture
def here(control_plane: Any) -> Iterator[Here]:
    with Api(control_plane.connection) as api:
        here = Here(api, control_plane.kubeconfig, control_plane.connection.context)
        yield here
        for name in here.made:
            api.delete(f"{NAMESPACES}/{name}")


@pytest.fixture
def later(here: Here, monkeypatch: pytest.MonkeyPatch) -> Callable[[timedelta], None]:
    """Let the reaper judge as at a later moment, and only this test's namespaces: nothing can be made old."""
    survey = reaper.survey

    def shift(by: timedelta) -> None:
        def shifted(api: Api, *, selector: str = "", now: datetime | None = None) -> reaper.Survey:
            return survey(api, selector=f"{naming.RUN}={here.run_id}", now=datetime.now(timezone.utc) + by)

        monkeypatch.setattr(reaper, "survey", shifted)

    return shift


def test_list_shows_what_is_ours(here: Here, capsys: pytest.CaptureFixture[str]) -> None:
    name = here.make("one")
    foreign = here.make("foreign", labels={})
    assert here("list", "--run", here.run_id) == 0
    out = capsys.readouterr().out
    heading, row = out.splitlines()
    assert heading.split() == ["NAME", "STATE", "AGE", "EXPIRES", "PODS", "CPU", "MEMORY", "OWNER", "REF", "REASON"]
    assert row.split()[:2] == [name, "active"]
    assert "ada" in row
    assert "pr42" in row
    assert here("list") == 0
    assert foreign not in capsys.readouterr().out


def test_list_for_programs(here: Here, capsys: pytest.CaptureFixture[str]) -> None:
    name = here.make("one")
    assert here("list", "--run", here.run_id, "-o", "json") == 0
    [one] = json.loads(capsys.readouterr().out)
    assert (one["name"], one["state"], one["pods"], one["labels"][naming.PR]) == (name, "active", "0/0", "42")
    assert here("list", "--run", here.run_id, "-o", "name") == 0
    assert capsys.readouterr().out == f"{name}\n"
    assert here("list", "--run", here.run_id, "-o", "wide") == 0
    assert "CPU" in capsys.readouterr().out


def test_list_narrows(here: Here, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    name = here.make("one")
    monkeypatch.setenv("LOGNAME", "ada")
    for arguments, found in (
        (["--pr", "42", "--mine"], True),
        (["--pr", "43"], False),
        (["--state", "kept"], False),
        (["--state", "kept", "--state", "active"], True),
    ):
        assert here("list", *arguments, "-o", "name", "--run", here.run_id) == 0
        assert (name in capsys.readouterr().out) is found


def test_describe_says_who_what_and_until_when(here: Here, capsys: pytest.CaptureFixture[str]) -> None:
    name = here.make("one")
    container = {"name": "api", "image": "x:1", "resources": {"requests": {"cpu": "250m", "memory": "64Mi"}}}
    metadata = {"name": "api-0"}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container]}}
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "own"}}
    here.api.create(f"{NAMESPACES}/{name}/serviceaccounts", account)
    pod["spec"]["serviceAccountName"] = "own"  # need not wait for the default one
    here.api.create(f"{NAMESPACES}/{name}/pods", pod)
    assert here("describe", name) == 0
    out = capsys.readouterr().out
    for part in ("owner:        ada", "branch:       feature/x", "api-0", f"→ ephemeral-ns delete {name}"):
        assert part in out
    assert here("describe", name, "-o", "json") == 0
    one = json.loads(capsys.readouterr().out)
    assert (one["pods"], one["cpu"], one["memory"]) == ("0/1", "250m", "64Mi")


def test_describe_says_why_it_does_not_go(here: Here, capsys: pytest.CaptureFixture[str]) -> None:
    name = here.make("held")
    held = {"name": "order", "finalizers": ["example.com/cleanup"]}
    path = f"{NAMESPACES}/{name}/configmaps"
    here.api.create(path, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": held})
    here.api.delete(f"{path}/order")
    here.api.delete(f"{NAMESPACES}/{name}")
    assert here("describe", name) == 0
    assert "configmaps order waits for finalizer example.com/cleanup" in capsys.readouterr().out
    here.api.patch(f"{path}/order", {"metadata": {"finalizers": None}})


def test_keep_and_extend_move_the_expiry(here: Here, capsys: pytest.CaptureFixture[str]) -> None:
    name = here.make("one")
    assert here("keep", name, "--ttl", "2d", "--reason", "look at it") == 0
    metadata = here.get(name)["metadata"]
    assert metadata["labels"][naming.KEEP] == "true"
    assert metadata["annotations"][naming.REASON] == "look at it"
    before = datetime.fromisoformat(metadata["annotations"][naming.EXPIRES].replace("Z", "+00:00"))
    assert before - datetime.now(timezone.utc) > timedelta(hours=47)
    assert here("extend", name, "4h") == 0
    after = here.get(name)["metadata"]["annotations"][naming.EXPIRES]
    assert datetime.fromisoformat(after.replace("Z", "+00:00")) - before == 4 * HOUR
    assert here("list", "--state", "kept", "--run", here.run_id) == 0
    assert "look at it" in capsys.readouterr().out


def test_delete_deletes_ours(here: Here, capsys: pytest.CaptureFixture[str]) -> None:
    one, other = here.make("one"), here.make("other")
    assert here("delete", "--yes", "--wait", one) == 0
    assert here.api.find(f"{NAMESPACES}/{one}") is None
    assert not here.going(other)


@pytest.mark.parametrize("command", [["delete", "--yes"], ["keep"], ["extend"]])
def test_what_is_not_ours_is_refused(here: Here, command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    name = here.make("foreign", labels={"team": "a"})
    more = ["1h"] if command == ["extend"] else []
    assert here(*command, name, *more) == 2
    assert f"namespace {name} is left alone: not ours" in capsys.readouterr().err
    assert not here.going(name)
    assert naming.KEEP not in here.get(name)["metadata"]["labels"]
    assert here(*command, "kube-system", *more) == 2


def test_one_foreign_name_among_ours_deletes_nothing(here: Here) -> None:
    one, foreign = here.make("one"), here.make("foreign", labels={})
    assert here("delete", "--yes", one, foreign) == 2
    assert not here.going(one)


@pytest.mark.parametrize("command", [["describe"], ["keep"], ["delete", "--yes"]])
def test_a_name_that_does_not_exist_is_exit_code_3(
    here: Here, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert here(*command, "nothing-here") == 3
    assert "nothing-here" in capsys.readouterr().err


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("answer", "code", "gone"), [("y\n", 0, True), ("\n", 1, False), ("no\n", 1, False)])
def test_delete_asks_on_a_terminal(
    here: Here, monkeypatch: pytest.MonkeyPatch, answer: str, code: int, gone: bool
) -> None:
    name = here.make("one")
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    assert here("delete", name) == code
    assert here.going(name) is gone


def test_delete_does_not_guess_where_nobody_can_answer(
    here: Here, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = here.make("one")
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert here("delete", name) == 2
    assert f"→ ephemeral-ns delete --yes {name}" in capsys.readouterr().err
    assert not here.going(name)


def test_reap_says_the_same_dry_and_wet_and_writes_its_figures(
    here: Here, later: Callable[[timedelta], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short, long = here.make("short"), here.make("long", expires=5 * HOUR)
    later(2 * HOUR)
    assert here("reap", "--dry-run") == 0
    dry = capsys.readouterr()
    assert f"delete {short}: expired " in dry.out
    assert "dry run: nothing was deleted" in dry.err
    assert not here.going(short)
    figures = tmp_path / "ephemeral.prom"
    assert here("reap", "--once", "--metrics", str(figures)) == 0
    assert capsys.readouterr().out == dry.out
    assert here.going(short)
    assert not here.going(long)
    assert "ephemeral_ns_reaped 1\n" in figures.read_text()
    assert list(tmp_path.iterdir()) == [figures]


def test_reap_explains_what_is_stuck_and_forces_only_the_kind_that_is_named(
    here: Here, later: Callable[[timedelta], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = here.make("held")
    held = {"finalizers": ["example.com/cleanup"]}
    for plural, kind in (("configmaps", "ConfigMap"), ("secrets", "Secret")):
        body = {"apiVersion": "v1", "kind": kind, "metadata": {"name": "order", **held}}
        here.api.create(f"{NAMESPACES}/{name}/{plural}", body)
    here.api.delete(f"{NAMESPACES}/{name}")
    paths = [f"{NAMESPACES}/{name}/{plural}/order" for plural in ("configmaps", "secrets")]
    while not all(here.api.get(path)["metadata"].get("deletionTimestamp") for path in paths):
        time.sleep(0.1)
    assert here("reap", "--once") == 0  # being deleted for a moment only
    later(HOUR)
    figures = tmp_path / "x.prom"
    assert here("reap", "--once", "--metrics", str(figures)) == 1
    said = capsys.readouterr().err
    assert f"namespace {name} is being deleted since " in said
    for kind in ("configmaps", "secrets"):
        assert f"{kind} order waits for finalizer example.com/cleanup: the controller of example.com" in said
        assert f"kubectl patch {kind} order -n {name} --type=merge" in said
    assert "ephemeral_ns_stuck 1\n" in figures.read_text()
    assert here("reap", "--dry-run", "--force-finalizers", "cm") == 1
    assert capsys.readouterr().out == "remove finalizers of configmaps order: example.com/cleanup\n"
    assert here.api.find(paths[0])
    here("reap", "--once", "--force-finalizers", "cm")
    assert [here.api.find(path) is None for path in paths] == [True, False]
    assert here("reap", "--once", "--force-finalizers", "nonsense") == 2
    here("reap", "--once", "--force-finalizers", "secrets")
    assert here.api.find(paths[1]) is None


def test_delete_removes_what_its_namespace_had_outside(here: Here) -> None:
    goes, stays = here.make("goes"), here.make("stays")
    roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
    for home in (goes, stays):
        labels = {naming.RUN: here.run_id, naming.HOME: home}
        role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole"}
        here.api.create(roles, {**role, "metadata": {"name": f"r-{home}", "labels": labels}})
    assert here("delete", "--yes", goes) == 0
    assert here.api.find(f"{roles}/r-{goes}") is None
    assert here.api.find(f"{roles}/r-{stays}")
    assert here("delete", "--yes", stays) == 0
    assert here.api.find(f"{roles}/r-{stays}") is None


def test_reap_names_a_metrics_file_that_cannot_be_written(here: Here, capsys: pytest.CaptureFixture[str]) -> None:
    assert here("reap", "--once", "--metrics", "/nowhere/x.prom") == 1
    assert "/nowhere/x.prom could not be written" in capsys.readouterr().err


def test_the_janitors_account_may_do_what_it_has_to_and_nothing_else(
    here: Here, later: Callable[[timedelta], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The manifests of --print-cronjob, applied, and a pass with the token of their ServiceAccount."""
    assert main(["reap", "--print-cronjob", "--image", "x:1", "--namespace", here.run_id]) == 0
    objects = list(yaml.safe_load_all(capsys.readouterr().out))
    here.made.append(here.run_id)
    for obj in objects:
        resource = Discovery(here.api).find(obj["apiVersion"], obj["kind"])
        metadata = obj["metadata"]
        here.api.apply(resource.path(namespace=metadata.get("namespace", ""), name=metadata["name"]), obj)
    account = f"{NAMESPACES}/{here.run_id}/serviceaccounts/{objects[1]['metadata']['name']}"
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 600}}
    token = here.api.create(f"{account}/token", request)["status"]["token"]
    janitor = replace(here.api.connection, token=token, client_cert_data="", client_key_data="", context="janitor")
    kubeconfig = write_kubeconfig(janitor, tmp_path / "kubeconfig")
    short = here.make("short")
    later(2 * HOUR)
    assert main(["reap", "--once", "--kubeconfig", str(kubeconfig), "--context", "janitor"]) == 0
    said = capsys.readouterr()
    assert f"delete {short}" in said.out
    assert said.err == ""  # nothing was refused
    assert here.going(short)
    with Api(janitor) as api:
        assert not any(api.can(verb, "secrets")[0] for verb in ("get", "list", "delete"))
        assert not any(api.can(verb, "namespaces")[0] for verb in ("create", "patch", "update", "deletecollection"))
        assert not api.can("create", "events", namespace="kube-system")[0]


def test_the_loop_ends_on_sigterm(here: Here) -> None:
    command = [sys.executable, "-m", "pytest_ephemeral_ns", "reap", "--interval", "1h", "--metrics"]
    figures = here.kubeconfig.parent / f"{here.run_id}.prom"
    process = subprocess.Popen([*command, str(figures), *here.target], stderr=subprocess.PIPE, text=True)
    try:
        while not figures.exists():
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.02)
        process.terminate()
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
        figures.unlink(missing_ok=True)
