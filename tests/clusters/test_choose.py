"""What was named is used or is an error; what was not named is used only where it is meant for tests."""

from __future__ import annotations

import base64
import dataclasses
import json
import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_ephemeral_ns.clusters import kind, kubeconfig
from pytest_ephemeral_ns.clusters.choose import close_cluster, load_images, open_cluster
from pytest_ephemeral_ns.clusters.cluster import Cluster
from pytest_ephemeral_ns.clusters.current import connect, load_config, write_kubeconfig
from pytest_ephemeral_ns.clusters.embedded import cluster as embedded
from pytest_ephemeral_ns.clusters.probe import answers
from pytest_ephemeral_ns.connection import Connection
from pytest_ephemeral_ns.errors import ClusterError, ToolError, UsageError
from tests.clusters.kubeconfigs import client_certificate, encode, jwt, write
from tests.clusters.kubeconfigs import kubeconfig as make

NOBODY = "https://127.0.0.1:1"


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Put two that can be started in the place of kind and the embedded cluster; say which of them were asked."""
    asked: list[str] = []

    def up(provider: str) -> Callable[..., Cluster]:
        def start(name: str = "default", **options: Any) -> Cluster:
            asked.append(f"{provider} {name}")
            return Cluster(provider, name, Connection(NOBODY), Path("/nowhere"), started=True)

        return start

    monkeypatch.setattr(kind, "up", up("kind"))
    monkeypatch.setattr(embedded, "up", up("embedded"))
    return asked


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path / "home"), "PATH": os.environ["PATH"]}


def current(tmp_path: Path, *names: str, **options: Any) -> str:
    return str(write(tmp_path / "home" / ".kube" / "config", make(*names, **options)))


# auto, without anything named.


def test_without_a_kubeconfig_kind_is_next(started: list[str], environ: dict[str, str]) -> None:
    said: list[str] = []
    assert open_cluster("auto", environ=environ, progress=said.append).provider == "kind"
    assert started == ["kind ephemeral-ns"]
    assert said == [
        "current: no kubeconfig was found | KUBECONFIG is not set; trying kind",
    ]


def test_without_docker_the_embedded_cluster_is_next(
    started: list[str], environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kind, "up", _fails(ClusterError("kind needs docker, which does not answer")))
    assert open_cluster("auto", environ=environ).provider == "embedded"
    monkeypatch.setattr(kind, "up", _fails(ToolError("kind is not installed")))
    assert open_cluster("auto", environ=environ).provider == "embedded"


def test_when_nothing_works_all_that_was_tried_is_listed(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kind, "up", _fails(ClusterError("kind needs docker", evidence=["Is the daemon running?"])))
    monkeypatch.setattr(embedded, "up", _fails(ClusterError("etcd is not to be had")))
    with pytest.raises(ClusterError, match="no cluster could be used or started") as caught:
        open_cluster("auto", environ=environ)
    assert str(caught.value).splitlines()[1:] == [
        "  current: no kubeconfig was found | KUBECONFIG is not set",
        "  kind: kind needs docker | Is the daemon running?",
        "  embedded: etcd is not to be had",
        "→ ephemeral-ns doctor",
    ]


def _fails(error: Exception) -> Callable[..., Cluster]:
    def start(*_: Any, **__: Any) -> Cluster:
        raise error

    return start


PASSED_OVER: dict[str, tuple[dict[str, Any], str]] = {
    "not local": (make("prod"), "context prod does not look local; to use it, name it: --ephemeral-ns-context=prod"),
    "local and gone": (make("kind-old", cluster={"server": NOBODY}), "connection refused"),
    "no current context": (make("kind-old", current=""), "no context is chosen"),
    "current context is gone": (make("kind-old", current="kind-new"), "current-context kind-new does not exist"),
    "its plugin fails": (
        make(
            "kind-old",
            cluster={"server": NOBODY},
            user={"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "no-such-plugin"}},
        ),
        "credential plugin of user kind-old cannot be run",
    ),
}


@pytest.mark.parametrize("case", PASSED_OVER)
def test_a_current_context_that_is_passed_over(
    case: str, started: list[str], environ: dict[str, str], tmp_path: Path
) -> None:
    value, why = PASSED_OVER[case]
    write(tmp_path / "home" / ".kube" / "config", value)
    said: list[str] = []
    assert open_cluster("auto", environ=environ, progress=said.append).provider == "kind"
    assert said[0].startswith("current: ")
    assert why in said[0]


def test_a_broken_kubeconfig_is_passed_over(started: list[str], environ: dict[str, str], tmp_path: Path) -> None:
    said: list[str] = []
    path = write(tmp_path / "home" / ".kube" / "config", "a: b: c")
    assert open_cluster("auto", environ=environ, progress=said.append).provider == "kind"
    assert f"kubeconfig {path}, line 1: syntax error" in said[0]


def test_no_plugin_runs_for_a_context_that_may_not_be_used(
    started: list[str], environ: dict[str, str], tmp_path: Path
) -> None:
    mark = tmp_path / "it ran"
    section = {"apiVersion": "client.authentication.k8s.io/v1", "command": "touch", "args": [str(mark)]}
    current(tmp_path, "prod", user={"exec": section})
    open_cluster("auto", environ=environ)
    with pytest.raises(UsageError, match="does not look local"):
        open_cluster("current", environ=environ)
    assert not mark.exists()


def test_a_pod_is_passed_over(
    started: list[str], environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "account" / "token", "t")
    monkeypatch.setattr(kubeconfig, "SERVICE_ACCOUNT", tmp_path / "account")
    said: list[str] = []
    pod = {**environ, "KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": "1"}
    assert open_cluster("auto", environ=pod, progress=said.append).provider == "kind"
    assert "used only when asked for: --ephemeral-ns-cluster=current" in said[0]


# auto, with something named: used, or an error.


def test_a_named_context_that_does_not_exist(started: list[str], environ: dict[str, str], tmp_path: Path) -> None:
    current(tmp_path, "kind-shop")
    with pytest.raises(UsageError, match="context kind-shp does not exist"):
        open_cluster("auto", context="kind-shp", environ=environ)
    assert started == []


def test_a_named_context_that_does_not_answer(started: list[str], environ: dict[str, str], tmp_path: Path) -> None:
    path = current(tmp_path, "prod", cluster={"server": NOBODY})
    with pytest.raises(ClusterError, match=r"context prod: https://127.0.0.1:1 does not answer: .*refused") as caught:
        open_cluster("auto", context="prod", environ=environ)
    assert f"kubeconfig: {path}" in str(caught.value)
    assert started == []


def test_a_named_context_without_a_kubeconfig(started: list[str], environ: dict[str, str]) -> None:
    with pytest.raises(ClusterError, match="no kubeconfig was found"):
        open_cluster("auto", context="prod", environ=environ)
    assert started == []


@pytest.mark.parametrize("way", ["file", "variable"])
def test_naming_a_kubeconfig_is_not_naming_its_context(
    way: str, started: list[str], environ: dict[str, str], tmp_path: Path
) -> None:
    path = write(tmp_path / "ci.yaml", make("prod"))
    named = {"kubeconfig": path} if way == "file" else {}
    if way == "variable":
        environ["EPHEMERAL_NS_KUBECONFIG_B64"] = encode(path.read_text())
    with pytest.raises(UsageError, match=r"context prod .* is used only when it is named"):
        open_cluster("auto", environ=environ, **named)
    assert started == []


def test_a_named_kubeconfig_that_is_missing(started: list[str], environ: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="kubeconfig /nowhere/config does not exist"):
        open_cluster("auto", kubeconfig="/nowhere/config", environ=environ)
    assert started == []


# One that was asked for.


def test_an_unknown_choice(environ: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="cluster minikube is unknown") as caught:
        open_cluster("minikube", environ=environ)
    assert "auto, current, kind, embedded" in str(caught.value)


def test_kind_and_embedded_do_not_look_at_contexts(started: list[str], environ: dict[str, str], tmp_path: Path) -> None:
    current(tmp_path, "prod")
    open_cluster("kind", environ=environ)
    open_cluster("kind", context="prod", environ=environ)
    open_cluster("embedded", context="prod", environ=environ)
    assert started == ["kind ephemeral-ns", "kind ephemeral-ns", "embedded default"]


def test_current_is_refused_or_missing_and_never_something_else(
    started: list[str], environ: dict[str, str], tmp_path: Path
) -> None:
    with pytest.raises(ClusterError, match="no kubeconfig was found"):
        open_cluster("current", environ=environ)
    current(tmp_path, "prod", "kind-shop")
    with pytest.raises(UsageError, match="does not look local") as caught:
        open_cluster("current", environ=environ)
    assert "--ephemeral-ns-context=prod" in str(caught.value)
    assert started == []


# Giving back.


def test_only_what_was_started_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    stopped: list[str] = []
    monkeypatch.setattr(kind, "release", stopped.append)
    monkeypatch.setattr(embedded, "down", stopped.append)
    for provider in ("current", "kind", "embedded"):
        for begun in (True, False):
            close_cluster(Cluster(provider, f"{provider}-{begun}", Connection(NOBODY), Path("/a/b"), started=begun))
    assert stopped == ["kind-True", "embedded-True"]


def test_a_kubeconfig_of_the_users_is_not_removed(tmp_path: Path) -> None:
    path = write(tmp_path / "config", make("prod"))
    close_cluster(Cluster("current", "prod", Connection(NOBODY), path))
    assert path.exists()


def test_images_do_not_go_into_a_cluster_of_somebody_else(tmp_path: Path) -> None:
    cluster = Cluster("current", "prod", Connection(NOBODY), tmp_path / "config")
    with pytest.raises(UsageError, match="images cannot be loaded into context prod"):
        load_images(cluster, ["api.tar"], progress=lambda line: None)


def test_images_go_into_a_kind_cluster_of_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[Any] = []
    monkeypatch.setattr(kind, "load", lambda *what: loaded.append(what))
    cluster = Cluster("current", "kind-shop", Connection(NOBODY), tmp_path / "config")
    archive = str(write(tmp_path / "api.tar", ""))
    load_images(cluster, [archive], progress=lambda line: None)
    assert loaded == [("shop", [archive])]


# Against a real API server.


@pytest.fixture
def server(control_plane: Cluster, tmp_path: Path) -> Callable[..., str]:
    """Write a kubeconfig in which the real control plane has a name of the test's choice."""

    def named(context: str, **changes: Any) -> str:
        connection = dataclasses.replace(control_plane.connection, **changes)
        return str(write_kubeconfig(connection, tmp_path / "home" / ".kube" / "config", context=context))

    return named


@pytest.mark.cluster
@pytest.mark.parametrize(
    ("choice", "context", "options"),
    [
        ("auto", "kind-shop", {}),
        ("current", "minikube", {}),
        ("auto", "prod", {"context": "prod"}),
        ("current", "prod", {"context": "prod"}),
    ],
)
def test_a_context_that_answers_is_used(
    choice: str,
    context: str,
    options: dict[str, str],
    server: Callable[..., str],
    environ: dict[str, str],
    started: list[str],
) -> None:
    server(context)
    cluster = open_cluster(choice, environ=environ, **options)
    assert (cluster.provider, cluster.name, cluster.nodes, cluster.started) == ("current", context, "external", False)
    assert cluster.version.startswith("v1.")
    assert started == []
    written = cluster.kubeconfig
    assert (stat.S_IMODE(written.stat().st_mode), stat.S_IMODE(written.parent.stat().st_mode)) == (0o600, 0o700)
    assert answers(connect(load_config(written, environ=environ))).accepted
    for _ in range(2):
        close_cluster(Cluster.from_dict(json.loads(json.dumps(cluster.to_dict()))))
        assert not written.parent.exists()


@pytest.mark.cluster
def test_the_credentials_of_a_run_that_was_killed_are_removed(
    server: Callable[..., str], environ: dict[str, str]
) -> None:
    server("kind-shop")
    with subprocess.Popen(["sleep", "600"]) as killed:
        old = open_cluster("current", environ=environ, owner_pid=killed.pid)
        new = open_cluster("current", environ=environ, owner_pid=os.getpid())
        assert old.kubeconfig.exists()
        killed.kill()
    close_cluster(open_cluster("current", environ=environ))
    assert (old.kubeconfig.parent.exists(), new.kubeconfig.exists()) == (False, True)
    close_cluster(new)


@pytest.mark.cluster
def test_a_kubeconfig_in_a_variable(server: Callable[..., str], environ: dict[str, str], tmp_path: Path) -> None:
    text = Path(server("prod")).read_text()
    os.unlink(tmp_path / "home" / ".kube" / "config")
    environ["EPHEMERAL_NS_KUBECONFIG_B64"] = base64.encodebytes(text.encode()).decode()
    cluster = open_cluster("auto", context="prod", environ=environ)
    assert (cluster.name, cluster.connection.kubeconfig) == ("prod", ())
    close_cluster(cluster)


@pytest.mark.cluster
def test_a_pod_is_used_when_asked_for(
    control_plane: Cluster, environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from urllib.parse import urlsplit

    from pytest_ephemeral_ns.kube.api import Api

    with Api(control_plane.connection) as api:
        path = "/api/v1/namespaces/default/serviceaccounts/default/token"
        token = api.create(path, {"spec": {"expirationSeconds": 600}})["status"]["token"]
    account = tmp_path / "account"
    for name, content in {"token": token, "ca.crt": control_plane.connection.ca_data, "namespace": "runner"}.items():
        write(account / name, content)
    monkeypatch.setattr(kubeconfig, "SERVICE_ACCOUNT", account)
    monkeypatch.setattr("pytest_ephemeral_ns.clusters.contexts.SERVICE_ACCOUNT", account)
    url = urlsplit(control_plane.connection.server)
    pod = {**environ, "KUBERNETES_SERVICE_HOST": url.hostname or "", "KUBERNETES_SERVICE_PORT": str(url.port)}
    cluster = open_cluster("current", environ=pod)
    assert (cluster.name, cluster.connection.namespace) == ("in-cluster", "runner")
    assert cluster.connection.expires_at is not None
    close_cluster(cluster)


@pytest.mark.cluster
@pytest.mark.parametrize("named", [True, False])
def test_a_credential_that_is_not_accepted(
    named: bool, server: Callable[..., str], environ: dict[str, str], started: list[str]
) -> None:
    server("kind-shop", client_cert_data="", client_key_data="", token="wrong")
    options = {"context": "kind-shop"} if named else {}
    with pytest.raises(ClusterError, match="does not accept its credential") as caught:
        open_cluster("current", environ=environ, **options)
    assert "wrong" not in str(caught.value).replace("revoked or wrong", "")


@pytest.mark.cluster
@pytest.mark.parametrize("kind_of", ["certificate", "token"])
def test_an_expired_credential_is_called_expired(
    kind_of: str, server: Callable[..., str], environ: dict[str, str]
) -> None:
    certificate, key = client_certificate(days=-3)
    changes = {"client_cert_data": certificate, "client_key_data": key}
    if kind_of == "token":
        changes = {"client_cert_data": "", "client_key_data": "", "token": jwt(exp=1_700_000_000)}
    server("kind-shop", **changes)
    with pytest.raises(ClusterError, match=r"401 .* context kind-shop expired at \d{4}-\d\d-\d\dT"):
        open_cluster("current", environ=environ)


@pytest.mark.cluster
def test_impersonation_is_used_and_written(server: Callable[..., str], environ: dict[str, str]) -> None:
    server("kind-shop", headers=(("Impersonate-User", "bob"),))
    cluster = open_cluster("current", environ=environ)
    assert cluster.connection.headers == (("Impersonate-User", "bob"),)
    assert connect(load_config(cluster.kubeconfig, environ=environ)).headers == cluster.connection.headers
    close_cluster(cluster)


# One look at a server.


@pytest.mark.cluster
def test_what_one_look_shows(control_plane: Cluster) -> None:
    real = control_plane.connection
    anybody = dataclasses.replace(real, client_cert_data="", client_key_data="", token="")
    assert answers(real).version.startswith("v1.")
    assert answers(anybody).accepted
    seen = answers(dataclasses.replace(anybody, token="wrong"))
    assert (seen.reached, seen.accepted) == (True, False)
    seen = answers(dataclasses.replace(real, ca_data=client_certificate()[0]))
    assert (seen.reached, seen.accepted) == (False, False)
    assert "unknown CA" in seen.why or "certificate" in seen.why
