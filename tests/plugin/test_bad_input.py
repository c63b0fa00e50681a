"""Bad input is a clear error that says what, where and what to type next; nothing half-made stays."""

from __future__ import annotations

from base64 import b64encode

import pytest

pytestmark = pytest.mark.cluster

ONE = "def test_it(ephemeral_ns): pass"
SYNTAX = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n---\napiVersion: v1\nkind: [\n"
DUPLICATE = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  name: b\n"
UNKNOWN = "apiVersion: apps/v1\nkind: Deploymnet\nmetadata: {name: a}\n"
NO_NAME = "apiVersion: v1\nkind: ConfigMap\nmetadata: {}\n"
CHART = "apiVersion: v2\nname: broken\nversion: 0.1.0\n"

MANIFESTS = [
    (SYNTAX, ["bad.yaml:7", "document 2"]),
    (DUPLICATE, ["bad.yaml:5", "document 1", "duplicate", "name"]),
    (UNKNOWN, ["bad.yaml", "Deploymnet", "Deployment"]),
    (NO_NAME, ["bad.yaml", "document 1", "metadata.name"]),
]


@pytest.mark.parametrize(("text", "told"), MANIFESTS, ids=["syntax", "duplicate", "unknown kind", "no name"])
def test_a_manifest_that_is_wrong(pytester, run_pytest, witness, text, told):
    pytester.makefile(".yaml", bad=text)
    pytester.makepyfile(ONE)
    result = run_pytest("--ephemeral-ns-deploy=bad.yaml")
    result.assert_outcomes(errors=1)
    output = result.stdout.str()
    assert all(word in output for word in told), output
    mine = pytester.path.name.replace("_", "-")  # those of the test before may still be on their way out
    made = [name for name in witness.namespaces(terminating=True) if name.startswith(mine)]
    assert not made or "Deploymnet" in text


def test_a_chart_that_does_not_render(pytester, run_pytest, witness):
    folder = pytester.mkdir("chart")
    (folder / "Chart.yaml").write_text(CHART)
    (folder / "templates").mkdir()
    (folder / "templates" / "x.yaml").write_text('{{ required "image is needed" .Values.image }}\n')
    pytester.makepyfile(ONE)
    result = run_pytest("--ephemeral-ns-deploy=chart")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*image is needed*"])
    assert witness.namespaces() == {}


def test_no_kubeconfig(pytester, run_pytest, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", str(pytester.path / "nowhere"))
    pytester.makepyfile(ONE)
    result = run_pytest()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["no kubeconfig was found*"])
    assert str(pytester.path / "nowhere") in result.stdout.str()


def test_a_context_that_does_not_exist(pytester, run_pytest, control_plane):
    pytester.makepyfile(ONE)
    result = run_pytest("--ephemeral-ns-context=staging")
    result.assert_outcomes(errors=1)
    output = result.stdout.str()
    assert "staging" in output
    assert control_plane.connection.context in output or "ephemeral-ns-tests-plane" in output


def test_a_context_that_does_not_look_local(pytester, run_pytest, control_plane, monkeypatch):
    text = control_plane.kubeconfig.read_text().replace("ephemeral-ns-tests-plane", "production")
    path = pytester.path / "production.kubeconfig"
    path.write_text(text)
    path.chmod(0o600)
    monkeypatch.setenv("KUBECONFIG", str(path))
    pytester.makepyfile(ONE)
    result = run_pytest()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*--ephemeral-ns-context=production*"])
    run_pytest("--ephemeral-ns-context=production").assert_outcomes(passed=1)


def test_a_missing_permission_says_which_and_what_to_grant(pytester, run_pytest, control_plane, witness, monkeypatch):
    witness.kubectl("create", "serviceaccount", "nobody", "--namespace", "default")
    try:
        token = witness.kubectl("create", "token", "nobody", "--namespace", "default").strip()
        path = pytester.path / "nobody.kubeconfig"
        kubectl = ["--kubeconfig", str(path)]
        path.touch(mode=0o600)
        connection = control_plane.connection
        (pytester.path / "ca.crt").write_text(connection.ca_data)
        for args in (
            ["set-cluster", "c", f"--server={connection.server}", f"--certificate-authority={pytester.path}/ca.crt"],
            ["set-credentials", "u", f"--token={token}"],
            ["set-context", "kind-nobody", "--cluster=c", "--user=u"],
            ["use-context", "kind-nobody"],
        ):
            witness.kubectl("config", *args, *kubectl)
        monkeypatch.setenv("KUBECONFIG", str(path))
        pytester.makepyfile(ONE)
        result = run_pytest()
        result.assert_outcomes(errors=1)
        output = result.stdout.str()
        assert "create namespaces" in output
        assert "Forbidden" in output
        assert "kubectl create clusterrole" in output
        assert token not in output
    finally:
        witness.kubectl("delete", "serviceaccount", "nobody", "--namespace", "default")


def test_a_token_that_has_ended(pytester, run_pytest, control_plane, monkeypatch):
    connection = control_plane.connection
    path = pytester.path / "config"
    path.touch(mode=0o600)
    (pytester.path / "ca.crt").write_text(connection.ca_data)
    path.write_text(
        "apiVersion: v1\nkind: Config\ncurrent-context: kind-x\n"
        "contexts: [{name: kind-x, context: {cluster: c, user: u}}]\n"
        f"clusters: [{{name: c, cluster: {{server: '{connection.server}', certificate-authority: ca.crt}}}}]\n"
        "users: [{name: u, user: {token: not-a-token}}]\n"
    )
    monkeypatch.setenv("KUBECONFIG", str(path))
    pytester.makepyfile(ONE)
    result = run_pytest()
    result.assert_outcomes(errors=1)
    output = result.stdout.str()
    assert "Unauthorized" in output or "credential" in output
    assert "not-a-token" not in output


def test_a_port_that_is_taken(pytester, run_pytest):
    pytester.makepyfile(
        """
        import socket, pytest
        from pytest_ephemeral_ns import UsageError
        def test_it(ephemeral_ns):
            with socket.create_server(("127.0.0.1", 0)) as other:
                port = other.getsockname()[1]
                with pytest.raises(UsageError, match=str(port)):
                    ephemeral_ns.port_forward("pod/x", 80, local_port=port)
        """
    )
    run_pytest().assert_outcomes(passed=1)


def test_a_kubeconfig_in_the_environment_is_never_written_where_others_can_read_it(
    pytester, run_pytest, control_plane, monkeypatch
):
    monkeypatch.delenv("KUBECONFIG")
    monkeypatch.setenv("EPHEMERAL_NS_KUBECONFIG_B64", b64encode(control_plane.kubeconfig.read_bytes()).decode())
    pytester.makepyfile(
        """
        def test_it(ephemeral_ns, ephemeral_ns_cluster):
            for path in (ephemeral_ns.kubeconfig, ephemeral_ns_cluster.kubeconfig):
                assert path.stat().st_mode & 0o077 == 0
                assert path.parent.stat().st_mode & 0o077 == 0
        """
    )
    run_pytest().assert_outcomes(passed=1)
