"""Credentials of every kind become plain values, or an error that names file, user and cause."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_ephemeral_ns.clusters import credentials
from pytest_ephemeral_ns.clusters.cluster import Cluster
from pytest_ephemeral_ns.clusters.current import connect, load_config, refresh, write_kubeconfig
from pytest_ephemeral_ns.clusters.expiry import certificate_end, timestamp, token_end
from pytest_ephemeral_ns.clusters.proxies import proxy_for
from pytest_ephemeral_ns.connection import Connection
from pytest_ephemeral_ns.errors import ClusterError, UsageError
from tests.clusters.kubeconfigs import client_certificate, encode, jwt, kubeconfig, write

CERTIFICATE, KEY = client_certificate()
ENVIRON = {"PATH": os.environ["PATH"]}


@pytest.fixture
def connected(tmp_path: Path) -> Callable[..., Connection]:
    """Write a kubeconfig with one user (and cluster), and connect by it."""

    def connect_as(user: dict[str, Any], cluster: dict[str, Any] | None = None, **more: Any) -> Connection:
        path = write(tmp_path / "config", kubeconfig("shop", user=user, cluster=cluster))
        return connect(load_config(path, environ=ENVIRON), environ=ENVIRON, **more)

    return connect_as


# Static credentials.


def test_a_client_certificate_and_its_end(connected: Callable[..., Connection]) -> None:
    before = time.time()
    connection = connected({"client-certificate-data": encode(CERTIFICATE), "client-key-data": encode(KEY)})
    assert (connection.client_cert_data, connection.client_key_data) == (CERTIFICATE, KEY)
    assert connection.expires_at is not None
    assert abs(connection.expires_at - before - 86400) < 3600
    assert not connection.refreshable


def test_a_token_and_its_end(connected: Callable[..., Connection]) -> None:
    connection = connected({"token": jwt(exp=1_900_000_000)})
    assert (connection.expires_at, connection.refreshable) == (1_900_000_000, False)
    assert connected({"token": "opaque"}).expires_at is None


def test_a_token_file_goes_before_a_token_and_is_read_again(
    connected: Callable[..., Connection], tmp_path: Path
) -> None:
    write(tmp_path / "token", "one\n")
    connection = connected({"token": "written down", "tokenFile": "token"})
    assert (connection.token, connection.token_file) == ("one", str(tmp_path / "token"))
    write(tmp_path / "token", "two\n")
    assert refresh(connection).token == "two"


def test_no_credential_goes_over_plain_http(connected: Callable[..., Connection]) -> None:
    connection = connected({"token": "secret"}, {"server": "http://shop.example.com"})
    assert (connection.server, connection.token) == ("http://shop.example.com", "")


@pytest.mark.parametrize(
    ("cluster", "server"),
    [
        ({"server": "shop:8080"}, "http://shop:8080"),
        ({"server": "shop:6443", "insecure-skip-tls-verify": True}, "https://shop:6443"),
        ({"server": "https://shop/prefix/"}, "https://shop/prefix"),
    ],
)
def test_a_server_as_kubectl_reads_it(
    cluster: dict[str, Any], server: str, connected: Callable[..., Connection]
) -> None:
    assert connected({"token": "t"}, cluster).server == server


def test_impersonation(connected: Callable[..., Connection]) -> None:
    user = {"token": "t", "as": "bob", "as-uid": "7", "as-groups": ["a", "b"], "as-user-extra": {"x/y": ["1", "2"]}}
    connection = connected(user)
    assert connection.headers == (
        ("Impersonate-User", "bob"),
        ("Impersonate-Uid", "7"),
        ("Impersonate-Group", "a"),
        ("Impersonate-Group", "b"),
        ("Impersonate-Extra-x%2Fy", "1"),
        ("Impersonate-Extra-x%2Fy", "2"),
    )
    assert Connection.from_dict(json.loads(json.dumps(connection.to_dict()))) == connection


WRONG_USERS: dict[str, tuple[dict[str, Any], str]] = {
    "basic auth": ({"username": "me", "password": "secret"}, "username and password, which Kubernetes removed"),
    "gcp": ({"auth-provider": {"name": "gcp"}}, "auth-provider gcp, which Kubernetes removed"),
    "azure": ({"auth-provider": {"name": "azure"}}, "auth-provider azure, which Kubernetes removed"),
    "exec and auth-provider": ({"exec": {}, "auth-provider": {"name": "oidc"}}, "has both exec and auth-provider"),
    "not base64": ({"client-certificate-data": "secret!"}, "client-certificate-data is not base64"),
    "not PEM": (
        {"client-certificate-data": encode("secret"), "client-key-data": encode(KEY)},
        "client-certificate-data holds no PEM certificate",
    ),
    "no key": ({"client-certificate-data": encode(CERTIFICATE)}, "a client certificate and no client-key"),
    "certificate as key": (
        {"client-certificate-data": encode(CERTIFICATE), "client-key-data": encode(CERTIFICATE)},
        "client-key-data holds no PEM private key",
    ),
    "file is gone": ({"client-certificate": "gone.crt"}, "gone.crt cannot be read: No such file"),
    "file and data": (
        {"client-certificate": "me.crt", "client-certificate-data": encode(CERTIFICATE)},
        "client-certificate-data and client-certificate; only one",
    ),
    "token file is gone": ({"tokenFile": "gone"}, "tokenFile .*gone cannot be read"),
    "groups alone": ({"token": "secret", "as-groups": ["a"]}, "without as"),
}


@pytest.mark.parametrize("case", WRONG_USERS)
def test_a_wrong_user_is_named(case: str, connected: Callable[..., Connection], tmp_path: Path) -> None:
    user, says = WRONG_USERS[case]
    with pytest.raises(UsageError, match=says) as caught:
        connected(user)
    assert str(tmp_path / "config") in str(caught.value)
    assert "shop" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_certificate_file_that_cannot_be_read(connected: Callable[..., Connection], tmp_path: Path) -> None:
    (tmp_path / "me.crt").mkdir()
    with pytest.raises(UsageError, match=r"me\.crt cannot be read: Is a directory"):
        connected({"client-certificate": "me.crt"})


def test_a_ca_and_skipping_the_check_contradict(connected: Callable[..., Connection]) -> None:
    with pytest.raises(UsageError, match="only one can be meant"):
        connected({}, {"insecure-skip-tls-verify": True, "certificate-authority-data": encode(CERTIFICATE)})


# Ends.


def test_the_end_of_a_certificate_is_that_of_cryptography() -> None:
    from cryptography import x509

    for days in (-30, 1, 400 * 70):  # the last one is written as GeneralizedTime: it is beyond 2049
        pem, _ = client_certificate(days=days)
        assert certificate_end(pem) == x509.load_pem_x509_certificate(pem.encode()).not_valid_after_utc.timestamp()


@pytest.mark.parametrize("pem", ["", "x", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"])
def test_the_end_of_what_is_no_certificate(pem: str) -> None:
    assert certificate_end(pem) is None


@pytest.mark.parametrize("token", ["", "a.b", "a.b.c", "a.!!.c", "a.W10.c", jwt(), jwt(exp="soon")])
def test_the_end_of_what_has_none(token: str) -> None:
    assert token_end(token) is None


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("2027-01-02T03:04:05Z", 1798859045),
        ("2027-01-02T03:04:05.123456789Z", 1798859045),
        ("2027-01-02T05:04:05+02:00", 1798859045),
        ("2027-01-02t03:04:05z", 1798859045),
        ("tomorrow", None),
        ("", None),
    ],
)
def test_a_timestamp(written: str, seconds: float | None) -> None:
    assert timestamp(written) == seconds


# Credential plugins.


@pytest.fixture
def plugin(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Make a plugin of a few lines of shell; return the user that has it."""

    def make(script: str, **section: Any) -> dict[str, Any]:
        path = write(tmp_path / "plugins" / "login", f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        known = {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": "plugins/login",
            "interactiveMode": "Never",
        }
        return {"exec": {**known, **section}}

    return make


def credential(version: str = "v1", **status: Any) -> str:
    answer = {"apiVersion": f"client.authentication.k8s.io/{version}", "kind": "ExecCredential", "status": status}
    return f"cat <<'END'\n{json.dumps(answer)}\nEND"


def test_a_plugin_gives_a_token(connected: Callable[..., Connection], plugin: Callable[..., dict[str, Any]]) -> None:
    connection = connected(plugin(credential(token="from-plugin", expirationTimestamp="2027-01-02T03:04:05Z")))
    assert (connection.token, connection.expires_at, connection.refreshable) == ("from-plugin", 1798859045, True)


def test_a_plugin_gives_a_certificate(
    connected: Callable[..., Connection], plugin: Callable[..., dict[str, Any]]
) -> None:
    answer = credential("v1beta1", clientCertificateData=CERTIFICATE, clientKeyData=KEY)
    connection = connected(plugin(answer, apiVersion="client.authentication.k8s.io/v1beta1"))
    assert (connection.client_cert_data, connection.client_key_data, connection.token) == (CERTIFICATE, KEY, "")
    assert connection.expires_at == certificate_end(CERTIFICATE)


def test_a_plugin_is_asked_again_for_a_new_token(
    connected: Callable[..., Connection], plugin: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    count = "echo x >> $COUNT; N=$(wc -l < $COUNT)\n"
    answer = credential(token="token-$N").replace("<<'END'", "<<END")
    user = plugin(count + answer, env=[{"name": "COUNT", "value": str(tmp_path / "count")}])
    first = connected(user)
    # In another process it is the same: a value and the files are all there is.
    again = refresh(Connection.from_dict(json.loads(json.dumps(first.to_dict()))), environ=ENVIRON)
    assert (first.token, again.token) == ("token-1", "token-2")


def test_a_plugin_is_not_asked_when_there_is_a_credential(
    connected: Callable[..., Connection], plugin: Callable[..., dict[str, Any]]
) -> None:
    assert connected({**plugin("exit 1"), "token": "static"}).token == "static"


def test_a_plugin_gets_arguments_environment_and_cluster(
    connected: Callable[..., Connection], plugin: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    script = f'echo "$1|$2|$GIVEN|$PATH" > {tmp_path}/seen; echo "$KUBERNETES_EXEC_INFO" > {tmp_path}/info\n'
    user = plugin(
        script + credential(token="t"),
        args=["--region", "eu west"],
        env=[{"name": "GIVEN", "value": "yes"}],
        provideClusterInfo=True,
    )
    extension = {"name": "client.authentication.k8s.io/exec", "extension": {"audience": "a"}}
    connected(user, {"certificate-authority-data": encode(CERTIFICATE), "extensions": [extension]})
    assert (tmp_path / "seen").read_text() == f"--region|eu west|yes|{os.environ['PATH']}\n"
    assert json.loads((tmp_path / "info").read_text()) == {
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "spec": {
            "interactive": False,
            "cluster": {
                "server": "https://shop.example.com",
                "certificate-authority-data": encode(CERTIFICATE),
                "config": {"audience": "a"},
            },
        },
    }


def test_a_plugin_gets_no_cluster_unless_asked_for(
    connected: Callable[..., Connection], plugin: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    connected(plugin(f'echo "$KUBERNETES_EXEC_INFO" > {tmp_path}/info\n' + credential(token="t")))
    assert json.loads((tmp_path / "info").read_text())["spec"] == {"interactive": False}


FAILING: dict[str, tuple[str, dict[str, Any], list[str]]] = {
    "fails": ("echo please log in first >&2; exit 3", {}, ["failed: exit code 3", "please log in first"]),
    "is missing": (
        "",
        {"command": "no-such-plugin", "installHint": "brew install it"},
        ["cannot be run", "brew install it"],
    ),
    "prints no JSON": ("echo s3cret", {}, ["its output is not JSON"]),
    "prints something else": ('echo \'{"kind": "Pod"}\'', {}, ["did not print an ExecCredential"]),
    "other version": (credential("v1beta1", token="s3cret"), {}, ["answered in", "v1beta1"]),
    "gives nothing": (credential(), {}, ["neither a token nor a client certificate"]),
    "gives no key": (credential(clientCertificateData="s3cret"), {}, ["a client certificate and no key"]),
    "control characters": ("printf '\\033[31mred\\033[0m\\n' >&2; exit 1", {}, ["[31mred"]),
}


@pytest.mark.parametrize("case", FAILING)
def test_a_failing_plugin_is_an_error(
    case: str, connected: Callable[..., Connection], plugin: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    script, section, says = FAILING[case]
    with pytest.raises(ClusterError, match="credential plugin of user shop") as caught:
        connected(plugin(script, **section))
    text = str(caught.value)
    assert all(part in text for part in says), text
    assert f"kubeconfig: {tmp_path / 'config'}" in text
    assert "command: " in text
    assert "--context shop" in text
    assert "s3cret" not in text
    assert "\033" not in text


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["--oidc-client-secret=s3cret", "x"], "--oidc-client-secret=*** x"),
        (["--password", "s3cret", "-v"], "--password *** -v"),
        (["get-token", "--id=a"], "get-token --id=a"),
    ],
)
def test_a_secret_among_the_arguments_is_not_shown(
    arguments: list[str], shown: str, connected: Callable[..., Connection], plugin: Callable[..., dict[str, Any]]
) -> None:
    with pytest.raises(ClusterError) as caught:
        connected(plugin("exit 1", args=arguments))
    assert f"login {shown}\n" in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_hanging_plugin_is_ended_with_its_children(
    connected: Callable[..., Connection], plugin: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    script = f"echo open https://login.example.com >&2\nsleep 600 &\necho $! > {tmp_path}/child\nwait"
    with pytest.raises(ClusterError, match=r"did not end within 0\.5 s") as caught:
        connected(plugin(script), timeout=0.5)
    assert "open https://login.example.com" in str(caught.value)
    with pytest.raises(ProcessLookupError):
        _until_gone(int((tmp_path / "child").read_text()))


def _until_gone(pid: int) -> None:
    ends = time.monotonic() + 20
    while time.monotonic() < ends:
        os.kill(pid, 0)
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            if file.read().rpartition(")")[2].split()[0] == "Z":  # ended, and not yet collected by its new parent
                raise ProcessLookupError
        time.sleep(0.05)
    os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ({"apiVersion": "client.authentication.k8s.io/v1alpha1"}, "was removed in Kubernetes 1.24"),
        ({"apiVersion": ""}, "apiVersion is missing"),
        ({"command": ""}, "has no command"),
        ({"interactiveMode": "Always"}, "wants a terminal"),
        ({"args": "a b"}, "args is not a list"),
        ({"env": [{"value": "x"}]}, "an item of env has no name"),
    ],
)
def test_a_wrong_section_is_named(
    section: dict[str, Any], says: str, connected: Callable[..., Connection], plugin: Callable[..., dict[str, Any]]
) -> None:
    with pytest.raises(UsageError, match=says):
        connected(plugin("exit 1", **section))


def test_a_plugin_on_path(
    connected: Callable[..., Connection], plugin: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    user = plugin(credential(token="t"))
    user["exec"] |= {"command": "sh", "args": [str(tmp_path / "plugins" / "login")], "env": None}
    assert connected(user).token == "t"
    assert credentials.PLUGIN_TIMEOUT == 60


# Refreshing.


def test_what_cannot_be_refreshed_stays(connected: Callable[..., Connection]) -> None:
    connection = connected({"token": "t"})
    assert refresh(connection) is connection


def test_a_context_that_became_another_server(
    connected: Callable[..., Connection], plugin: Callable[..., dict[str, Any]]
) -> None:
    connection = connected(plugin(credential(token="t")))
    with pytest.raises(UsageError, match=r"has become another server: \S+ instead of https://old"):
        refresh(dataclasses.replace(connection, server="https://old"), environ=ENVIRON)


def test_a_kubeconfig_in_a_variable_is_refreshed_from_it(plugin: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    user = plugin(credential(token="t"))
    user["exec"]["command"] = str(tmp_path / "plugins" / "login")
    environ = {**ENVIRON, "EPHEMERAL_NS_KUBECONFIG_B64": encode(json.dumps(kubeconfig("shop", user=user)))}
    connection = connect(load_config(environ=environ), environ=environ)
    assert (connection.kubeconfig, refresh(connection, environ=environ).token) == ((), "t")


# Writing.

FULL = Connection(
    "https://shop.example.com/prefix",
    ca_data=CERTIFICATE,
    client_cert_data=CERTIFICATE,
    client_key_data=KEY,
    token="secret: with 'yaml' \"in it\"",
    tls_server_name="other",
    proxy_url="http://proxy:3128",
    namespace="team",
    context="kind-shop",
    headers=(("Impersonate-User", "bob"), ("Impersonate-Group", "g"), ("Impersonate-Extra-x%2Fy", "1")),
)


@pytest.mark.parametrize(
    "connection",
    [FULL, Connection("https://a"), dataclasses.replace(FULL, ca_data="", insecure_skip_tls_verify=True)],
    ids=["full", "bare", "insecure"],
)
def test_what_is_written_is_read_again(connection: Connection, tmp_path: Path) -> None:
    path = write_kubeconfig(connection, tmp_path / "new" / "config")
    read = connect(load_config(path, environ=ENVIRON), environ=ENVIRON)
    expected = {
        "expires_at": read.expires_at,
        "kubeconfig": (str(path),),
        "context": connection.context or "ephemeral-ns",
    }
    assert read == dataclasses.replace(connection, **expected)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_written_kubeconfig_keeps_a_token_file(tmp_path: Path) -> None:
    write(tmp_path / "token", "now")
    connection = Connection("https://a", token="before", token_file=str(tmp_path / "token"))
    path = write_kubeconfig(connection, tmp_path / "config", namespace="shop-gw0", context="shop")
    read = connect(load_config(path, environ=ENVIRON))
    assert (read.token, read.namespace, read.context) == ("now", "shop-gw0", "shop")


def test_a_plugin_is_written_in_the_place_of_its_token(
    connected: Callable[..., Connection], plugin: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    user = {**plugin(credential(token="t"), provideClusterInfo=True, env=None), "as": "bob"}
    extension = {"name": "client.authentication.k8s.io/exec", "extension": {"audience": "a"}}
    connection = connected(user, {"extensions": [extension]})
    path = write_kubeconfig(connection, tmp_path / "elsewhere" / "config")
    written = json.loads(path.read_text())
    section = {**user["exec"], "command": str(tmp_path / "plugins" / "login")}
    assert written["users"][0]["user"] == {"exec": section, "as": "bob"}
    assert written["clusters"][0]["cluster"]["extensions"] == [extension]
    assert connect(load_config(path, environ=ENVIRON), environ=ENVIRON).token == "t"
    (tmp_path / "config").unlink()
    path = write_kubeconfig(connection, path)
    assert json.loads(path.read_text())["users"][0]["user"] == {"token": "t", "as": "bob"}


@pytest.mark.cluster
def test_kubectl_runs_the_plugin_that_we_wrote(
    control_plane: Cluster, plugin: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    from pytest_ephemeral_ns.clusters.probe import answers
    from pytest_ephemeral_ns.kube.api import Api
    from pytest_ephemeral_ns.kube.tools import run

    with Api(control_plane.connection) as api:
        account = "/api/v1/namespaces/default/serviceaccounts/default/token"
        token = api.create(account, {"spec": {"expirationSeconds": 600}})["status"]["token"]
    cluster = {
        "server": control_plane.connection.server,
        "certificate-authority-data": encode(control_plane.connection.ca_data),
    }
    value = kubeconfig("shop", user=plugin(credential(token=token)), cluster=cluster)
    connection = connect(load_config(write(tmp_path / "config", value), environ=ENVIRON), environ=ENVIRON)
    assert answers(connection).accepted
    assert connection.expires_at == token_end(token)
    path = write_kubeconfig(connection, tmp_path / "elsewhere" / "config")
    done = run("kubectl", ["auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"], kubeconfig=path, timeout=60)
    assert done.stdout == "system:serviceaccount:default:default"
    assert token not in path.read_text()


PROXIES: list[tuple[str, dict[str, str], str]] = [
    ("https://a.example.com", {}, ""),
    ("https://a.example.com", {"HTTPS_PROXY": "http://p:1"}, "http://p:1"),
    ("https://a.example.com", {"https_proxy": "http://p:1"}, "http://p:1"),
    ("https://a.example.com", {"HTTPS_PROXY": "p:1"}, "http://p:1"),
    ("https://a.example.com", {"HTTP_PROXY": "http://p:1"}, ""),
    ("http://a.example.com", {"HTTP_PROXY": "http://p:1"}, "http://p:1"),
    ("https://127.0.0.1:6443", {"HTTPS_PROXY": "http://p:1"}, ""),
    ("https://[::1]:6443", {"HTTPS_PROXY": "http://p:1"}, ""),
    ("https://localhost:6443", {"HTTPS_PROXY": "http://p:1"}, ""),
    *(
        ("https://a.example.com:6443", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": excepted}, proxy)
        for excepted, proxy in {
            "*": "",
            "example.com": "",
            ".example.com": "",
            "*.example.com": "",
            "b.com, a.example.com": "",
            "A.EXAMPLE.COM": "",
            "a.example.com:6443": "",
            "a.example.com:443": "http://p:1",
            ".a.example.com": "http://p:1",
            "ample.com": "http://p:1",
            "10.0.0.0/8": "http://p:1",
            ",,": "http://p:1",
        }.items()
    ),
    ("https://10.96.0.1", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "10.96.0.0/12"}, ""),
    ("https://10.96.0.1", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "10.96.0.1"}, ""),
    ("https://10.96.0.1", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "10.96.0.1:443"}, ""),
    ("https://10.96.0.1", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "10.97.0.0/16,nonsense/99"}, "http://p:1"),
    ("https://[fd00::1]", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "fd00::/8"}, ""),
]


@pytest.mark.parametrize(("server", "environ", "proxy"), PROXIES)
def test_the_proxy_of_the_environment(server: str, environ: dict[str, str], proxy: str) -> None:
    assert proxy_for(server, environ) == proxy


def test_the_proxy_of_the_kubeconfig_goes_first(tmp_path: Path) -> None:
    environ = {**ENVIRON, "HTTPS_PROXY": "http://p:1"}
    path = write(tmp_path / "a", kubeconfig("a"))
    assert connect(load_config(path), environ=environ).proxy_url == "http://p:1"
    path = write(tmp_path / "b", kubeconfig("b", cluster={"proxy-url": "socks5://q:2"}))
    assert connect(load_config(path), environ=environ).proxy_url == "socks5://q:2"


def test_the_private_file_is_never_readable_by_others(tmp_path: Path) -> None:
    path = write(tmp_path / "config", "old")
    path.chmod(0o644)
    write_kubeconfig(FULL, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    write(tmp_path / "file", "")
    with pytest.raises(UsageError, match="cannot be written"):
        write_kubeconfig(FULL, tmp_path / "file" / "config")


# Against real programs.


def test_kubectl_reads_what_we_write(tmp_path: Path) -> None:
    from tests.clusters.test_kubeconfig import kubectl_view

    path = write_kubeconfig(dataclasses.replace(FULL, headers=(("Impersonate-User", "bob"),)), tmp_path / "config")
    seen = kubectl_view({**ENVIRON, "HOME": str(tmp_path)}, "--kubeconfig", str(path))
    assert (seen["server"], seen["token"], seen["key"]) == (FULL.server, FULL.token, KEY)
    assert (seen["namespace"], seen["headers"]) == ("team", (("Impersonate-User", "bob"),))


def test_static_credentials_need_no_kubernetes_library(tmp_path: Path) -> None:
    import sys

    user = {"client-certificate-data": encode(CERTIFICATE), "client-key-data": encode(KEY)}
    path = write(tmp_path / "config", kubeconfig("shop", user=user))
    code = (
        "import sys; from pytest_ephemeral_ns.clusters.current import *\n"
        f"connect(load_config({str(path)!r}))\n"
        "heavy = {'kubernetes', 'httpx', 'cryptography', 'urllib3', 'pydantic', 'requests'}\n"
        "print(sorted({m.split('.')[0] for m in sys.modules} & heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
