"""Kubeconfigs are found, read and merged as kubectl does; the real kubectl is the witness."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pytest_ephemeral_ns.clusters import kubeconfig as module
from pytest_ephemeral_ns.clusters.contexts import choose_context, looks_local
from pytest_ephemeral_ns.clusters.current import connect, context_names, load_config, require_permission
from pytest_ephemeral_ns.errors import ClusterError, EphemeralNsError, UsageError
from pytest_ephemeral_ns.kube.tools import find
from tests.clusters.kubeconfigs import client_certificate, encode, kubeconfig, write


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def environ(home: Path) -> dict[str, str]:
    return {"HOME": str(home), "PATH": os.environ["PATH"]}


CERTIFICATE, KEY = client_certificate()

# Files, KUBECONFIG, --context; the files' names stand for their paths.
MERGES: dict[str, tuple[dict[str, Any], str, str]] = {
    "one file": ({"a": kubeconfig("a1", "a2")}, "a", ""),
    "first current-context wins": ({"a": kubeconfig("a1"), "b": kubeconfig("b1")}, "a:b", ""),
    "the order counts": ({"a": kubeconfig("a1"), "b": kubeconfig("b1")}, "b:a", ""),
    "first without a current-context": ({"a": kubeconfig("a1", current=""), "b": kubeconfig("b1")}, "a:b", ""),
    "current-context that another file has": (
        {"a": kubeconfig("a1", current="b1"), "b": kubeconfig("b1", current="b1")},
        "a:b",
        "",
    ),
    "a named context": ({"a": kubeconfig("a1"), "b": kubeconfig("b1", "b2")}, "a:b", "b2"),
    "same names: all of the first file's entries": (
        {
            "a": kubeconfig("x", user={"token": "first"}, namespace="one"),
            "b": kubeconfig("x", user={"token": "second", "as": "somebody"}, namespace="two"),
        },
        "a:b",
        "",
    ),
    "same user: nothing of the second is added": (
        {
            "a": kubeconfig("x", user={"token": "first"}),
            "b": kubeconfig("x", user={"client-certificate-data": encode(CERTIFICATE), "client-key-data": encode(KEY)}),
        },
        "a:b",
        "",
    ),
    "missing files are skipped": ({"b": kubeconfig("b1")}, "nowhere:b:gone", ""),
    "empty parts are skipped": ({"a": kubeconfig("a1")}, "::a:", ""),
    "an empty file is skipped": ({"a": "", "b": kubeconfig("b1")}, "a:b", ""),
    "the same file twice": ({"a": kubeconfig("a1")}, "a:a", ""),
    "users and clusters in different files": (
        {
            "a": {**kubeconfig("x"), "users": [], "clusters": []},
            "b": {**kubeconfig("x"), "contexts": [], "clusters": [], "current-context": ""},
            "c": {**kubeconfig("x"), "contexts": [], "users": [], "current-context": ""},
        },
        "a:b:c",
        "",
    ),
    "null lists": ({"a": {**kubeconfig("a1"), "preferences": None}, "b": {"users": None, "clusters": None}}, "b:a", ""),
    "relative paths start at the file that holds them": (
        {
            "a": kubeconfig("other", cluster={"certificate-authority": "pki/ca.crt"}),
            "far/b": kubeconfig(
                "x",
                cluster={"certificate-authority": "pki/ca.crt"},
                user={"client-certificate": "pki/me.crt", "client-key": "../key.pem"},
            ),
            "far/pki/ca.crt": CERTIFICATE,
            "far/pki/me.crt": CERTIFICATE,
            "key.pem": KEY,
        },
        "a:far/b",
        "x",
    ),
    "flags": (
        {
            "a": kubeconfig(
                "x", cluster={"insecure-skip-tls-verify": True, "tls-server-name": "n", "proxy-url": "http://p:1"}
            )
        },
        "a",
        "",
    ),
    "yaml with numbers that are text": (
        {"a": json.dumps(kubeconfig("x")).replace('"namespace"', "namespace") + "\n# 1e3: a comment\n"},
        "a",
        "",
    ),
}


@pytest.mark.parametrize("case", MERGES)
def test_kubectl_sees_the_same(case: str, tmp_path: Path, environ: dict[str, str]) -> None:
    files, listed, context = MERGES[case]
    for name, content in files.items():
        write(tmp_path / name, content)
    environ["KUBECONFIG"] = ":".join(str(tmp_path / part) if part else "" for part in listed.split(":"))
    mine = connect(load_config(environ=environ), context, environ=environ)
    seen = {
        "context": mine.context,
        "namespace": mine.namespace,
        "server": mine.server,
        "ca": mine.ca_data,
        "certificate": mine.client_cert_data,
        "key": mine.client_key_data,
        "token": mine.token,
        "insecure": mine.insecure_skip_tls_verify,
        "name": mine.tls_server_name,
        "proxy": mine.proxy_url,
        "headers": mine.headers,
    }
    assert seen == kubectl_view(environ, *(["--context", context] if context else []))


def test_a_named_file_is_the_only_one_as_for_kubectl(tmp_path: Path, environ: dict[str, str]) -> None:
    write(tmp_path / "a", kubeconfig("a1"))
    environ["KUBECONFIG"] = str(write(tmp_path / "b", kubeconfig("b1")))
    mine = connect(load_config(tmp_path / "a", environ=environ))
    witness = kubectl_view(environ, "--kubeconfig", str(tmp_path / "a"))
    assert mine.context == witness["context"] == "a1"
    with pytest.raises(UsageError, match="b1 does not exist"):
        connect(load_config(tmp_path / "a", environ=environ), "b1")


def test_without_kubeconfig_the_home_file_is_read_as_by_kubectl(home: Path, environ: dict[str, str]) -> None:
    write(home / ".kube" / "config", kubeconfig("kind-shop"))
    assert connect(load_config(environ=environ)).context == kubectl_view(environ)["context"] == "kind-shop"


def kubectl_view(environ: dict[str, str], *arguments: str) -> dict[str, Any]:
    """Return what kubectl itself would use."""
    try:
        kubectl = find("kubectl")
    except EphemeralNsError as error:
        pytest.skip(error.summary)
    command = [kubectl, "config", "view", "--minify", "--raw", "--flatten", "-o", "json", *arguments]
    view = json.loads(subprocess.run(command, env=environ, check=True, capture_output=True, timeout=60).stdout)
    context, cluster, user = view["contexts"][0], view["clusters"][0]["cluster"], view["users"][0]["user"]

    def decoded(value: dict[str, Any], key: str) -> str:
        return base64.b64decode(value.get(key, "")).decode()

    return {
        "context": context["name"],
        "namespace": context["context"].get("namespace", "default"),
        "server": cluster["server"],
        "ca": decoded(cluster, "certificate-authority-data"),
        "certificate": decoded(user, "client-certificate-data"),
        "key": decoded(user, "client-key-data"),
        "token": user.get("token", ""),
        "insecure": cluster.get("insecure-skip-tls-verify", False),
        "name": cluster.get("tls-server-name", ""),
        "proxy": cluster.get("proxy-url", ""),
        "headers": (("Impersonate-User", user["as"]),) if "as" in user else (),
    }


# In a variable.


@pytest.mark.parametrize(
    "wrap", [lambda s: s, lambda s: f"  {s[:40]}\n{s[40:]}\n", lambda s: "\r\n".join([s[:9], s[9:]])]
)
def test_base64_in_a_variable(wrap: Any, environ: dict[str, str], tmp_path: Path) -> None:
    environ["KUBECONFIG"] = str(write(tmp_path / "a", kubeconfig("a1")))
    environ["EPHEMERAL_NS_KUBECONFIG_B64"] = wrap(encode(json.dumps(kubeconfig("ci"))))
    config = load_config(environ=environ)
    assert (config.current_context, config.files, config.named) == ("ci", (), True)
    assert connect(config).token == "token-of-ci"
    assert load_config(tmp_path / "a", environ=environ).current_context == "a1"


def test_a_blank_variable_is_none(environ: dict[str, str], tmp_path: Path) -> None:
    environ["KUBECONFIG"] = str(write(tmp_path / "a", kubeconfig("a1")))
    assert load_config(environ={**environ, "EPHEMERAL_NS_KUBECONFIG_B64": " \n"}).current_context == "a1"


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("###", "is not base64"),
        ("apiVersion: v1\nkind: Config\n", "holds a kubeconfig as plain text"),
        (encode("[1, 2]"), "is not a kubeconfig: it holds a list"),
        (encode("a: b: c"), "line 1: syntax error"),
        (base64.b64encode(b"\xff\xfe\x00\x01\x80").decode(), "is not YAML text"),
    ],
)
def test_a_wrong_variable_is_named_and_not_shown(value: str, says: str, environ: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="EPHEMERAL_NS_KUBECONFIG_B64") as caught:
        load_config(environ={**environ, "EPHEMERAL_NS_KUBECONFIG_B64": value})
    assert says in str(caught.value)
    assert value not in str(caught.value)


# In a pod.


@pytest.fixture
def pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str]) -> dict[str, str]:
    account = tmp_path / "account"
    for name, content in {"token": "pod-token\n", "ca.crt": CERTIFICATE, "namespace": "runner"}.items():
        write(account / name, content)
    monkeypatch.setattr(module, "SERVICE_ACCOUNT", account)
    monkeypatch.setattr("pytest_ephemeral_ns.clusters.contexts.SERVICE_ACCOUNT", account)
    return {**environ, "KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}


def test_in_a_pod_without_a_kubeconfig(pod: dict[str, str], tmp_path: Path) -> None:
    connection = connect(load_config(environ=pod))
    assert (connection.server, connection.token, connection.namespace) == (
        "https://10.96.0.1:443",
        "pod-token",
        "runner",
    )
    assert connection.token_file == str(tmp_path / "account" / "token")
    assert connection.ca_data == CERTIFICATE
    assert connection.refreshable


def test_in_a_pod_with_ipv6(pod: dict[str, str]) -> None:
    config = load_config(environ={**pod, "KUBERNETES_SERVICE_HOST": "fd00::1"})
    assert connect(config).server == "https://[fd00::1]:443"


def test_in_a_pod_a_kubeconfig_goes_first(pod: dict[str, str], home: Path) -> None:
    write(home / ".kube" / "config", kubeconfig("kind-shop"))
    assert load_config(environ=pod).current_context == "kind-shop"


def test_in_a_pod_there_are_no_contexts(pod: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=r"context prod does not exist.*service account of this pod"):
        connect(load_config(environ=pod), "prod")


# Nothing there, or nothing usable.


def test_nothing_at_all_says_what_was_looked_at(environ: dict[str, str], home: Path) -> None:
    with pytest.raises(ClusterError, match="no kubeconfig was found") as caught:
        load_config(environ=environ)
    text = str(caught.value)
    assert "KUBECONFIG is not set" in text
    assert f"{home}/.kube/config does not exist" in text
    assert "this is not a pod" in text
    assert "--ephemeral-ns-cluster=embedded" in text


def test_only_missing_files_in_kubeconfig(environ: dict[str, str], home: Path) -> None:
    write(home / ".kube" / "config", kubeconfig("kind-shop"))  # as for kubectl, not looked at when KUBECONFIG is set
    with pytest.raises(ClusterError, match="no kubeconfig was found") as caught:
        load_config(environ={**environ, "KUBECONFIG": "/nowhere/a:/nowhere/b"})
    assert "/nowhere/a does not exist\n  /nowhere/b does not exist" in str(caught.value)


@pytest.mark.parametrize("content", ["", "\n", "apiVersion: v1\nkind: Config\ncontexts: null\n", "{}"])
def test_empty(content: str, environ: dict[str, str], tmp_path: Path) -> None:
    path = write(tmp_path / "a", content)
    with pytest.raises(ClusterError, match="kubeconfig is empty") as caught:
        load_config(environ={**environ, "KUBECONFIG": str(path)})
    assert f"{path} is empty" in str(caught.value)


WRONG: dict[str, tuple[str | dict[str, Any], str]] = {
    "syntax error": (
        "apiVersion: v1\nclusters:\n- name: a\n  cluster: {server: x\nusers: []\n",
        "a, line 5: syntax error",
    ),
    "tab": ("apiVersion: v1\n\tkind: Config\n", "a, line 2: syntax error"),
    "a manifest": ("apiVersion: apps/v1\nkind: Deployment\n", "is not a kubeconfig: it holds a Deployment"),
    "a list": ("- a\n- b\n", "is not a kubeconfig: it holds a list"),
    "contexts is a mapping": ({"contexts": {"a": 1}}, "contexts is not a list"),
    "an entry without a name": ({"users": [{"user": {}}]}, r"users\[0\] has no name"),
    "a name twice": ({**kubeconfig("a", "a")}, "context a is there twice"),
    "an entry that is text": ({"clusters": [{"name": "a", "cluster": "https://x"}]}, "cluster a is not a mapping"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_file_is_named_with_the_place(case: str, tmp_path: Path, environ: dict[str, str]) -> None:
    content, says = WRONG[case]
    path = write(tmp_path / "a", content)
    with pytest.raises(UsageError, match=says) as caught:
        load_config(path, environ=environ)
    assert str(path) in str(caught.value)


def test_a_named_file_that_is_missing(environ: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="kubeconfig /nowhere/config does not exist"):
        load_config("/nowhere/config", environ=environ)


def test_a_folder(environ: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot be read: Is a directory"):
        load_config(environ={**environ, "KUBECONFIG": str(tmp_path)})


# Contexts.


def test_a_context_that_does_not_exist(tmp_path: Path, environ: dict[str, str]) -> None:
    config = load_config(write(tmp_path / "a", kubeconfig("kind-shop", "staging")), environ=environ)
    with pytest.raises(UsageError, match="context kind-shp does not exist") as caught:
        choose_context(config, "kind-shp")
    text = str(caught.value)
    assert str(tmp_path / "a") in text
    assert "did you mean kind-shop?" in text
    assert "contexts: kind-shop, staging" in text
    assert "→ --ephemeral-ns-context=kind-shop" in text
    assert context_names(config) == ["kind-shop", "staging"]


BROKEN_CONTEXTS: dict[str, tuple[dict[str, Any], str]] = {
    "no current-context": (kubeconfig("a", current=""), "no context is chosen"),
    "current-context is gone": (kubeconfig("a", current="b"), "current-context b does not exist"),
    "cluster is gone": ({**kubeconfig("a"), "clusters": []}, "context a names the cluster a, which is not there"),
    "user is gone": ({**kubeconfig("a"), "users": []}, "context a names the user a, which is not there"),
    "no cluster": ({**kubeconfig("a"), "contexts": [{"name": "a", "context": {}}]}, "context a names no cluster"),
    "no server": (kubeconfig("a", cluster={"server": ""}), "cluster a has no server"),
}


@pytest.mark.parametrize("case", BROKEN_CONTEXTS)
def test_a_broken_context_is_named(case: str, tmp_path: Path, environ: dict[str, str]) -> None:
    value, says = BROKEN_CONTEXTS[case]
    config = load_config(write(tmp_path / "a", value), environ=environ)
    with pytest.raises(UsageError, match=says) as caught:
        choose_context(config)
    assert str(tmp_path / "a") in str(caught.value)


def test_many_contexts_are_not_all_listed(tmp_path: Path, environ: dict[str, str]) -> None:
    config = load_config(write(tmp_path / "a", kubeconfig(*(f"c{n}" for n in range(30)))), environ=environ)
    with pytest.raises(UsageError, match="c19 and 10 more"):
        choose_context(config, "zzz")


@pytest.mark.parametrize(
    ("context", "server", "local"),
    [
        ("kind-shop", "https://127.0.0.1:41235", True),
        ("kind-ephemeral-ns", "https://localhost:6443", True),
        ("k3d-dev", "https://0.0.0.0:45123", True),
        ("k3d-dev", "https://host.docker.internal:45123", True),
        ("minikube", "https://192.168.49.2:8443", True),
        ("docker-desktop", "https://kubernetes.docker.internal:6443", True),
        ("rancher-desktop", "https://127.0.0.1:6443", True),
        ("orbstack", "https://k8s.orb.local:26443", True),
        ("colima", "https://127.0.0.1:6443", True),
        ("colima-x86", "https://[::1]:6443", True),
        ("ephemeral-ns-default", "https://10.97.0.1:6443", True),
        ("kind-shop", "https://kind.example.com:6443", False),  # a name alone says nothing
        ("kind-shop", "https://203.0.113.7:6443", False),
        ("prod", "https://127.0.0.1:8443", False),  # nor does an address: this may be a tunnel
        ("my-kind-cluster", "https://127.0.0.1:8443", False),
        ("kindly", "https://127.0.0.1:8443", False),
        ("minikube-prod", "https://127.0.0.1:8443", False),
        ("docker-desktop-2", "https://127.0.0.1:8443", False),
        ("", "https://127.0.0.1:8443", False),
        ("arn:aws:eks:eu-west-1:1:cluster/kind-x", "https://x.eks.amazonaws.com", False),
    ],
)
def test_what_looks_local(context: str, server: str, local: bool) -> None:
    assert looks_local(context, server) is local


def test_the_refusal_names_everything_and_the_flag_that_helps(tmp_path: Path, environ: dict[str, str]) -> None:
    config = load_config(write(tmp_path / "a", kubeconfig("prod", "kind-shop")), environ=environ)
    with pytest.raises(UsageError, match=r"context prod \(https://prod.example.com\) does not look local") as caught:
        require_permission(config, choose_context(config))
    text = str(caught.value)
    assert f"contexts of {tmp_path / 'a'}: prod, kind-shop" in text
    assert "minikube" in text
    assert text.endswith("→ --ephemeral-ns-context=prod (or EPHEMERAL_NS_CONTEXT, or ephemeral_ns_context)")


def test_no_secret_is_in_any_repr(tmp_path: Path, environ: dict[str, str]) -> None:
    config = load_config(write(tmp_path / "a", kubeconfig("a", user={"token": "s3cret"})), environ=environ)
    assert "s3cret" not in f"{config!r} {choose_context(config)!r} {connect(config)!r}"
