"""prove_isolation() and doctor --isolation: both verdicts on the real node, with and without a plugin that enforces."""

from __future__ import annotations

import json
import socket
import threading

import pytest

from pytest_ephemeral_ns import IsolationError, NotEnforced, UsageError, ephemeral
from pytest_ephemeral_ns.cli import main
from pytest_ephemeral_ns.deploy import api_servers
from pytest_ephemeral_ns.kube.api import Api
from tests.e2e.network_plugin import network_plugin

pytestmark = pytest.mark.node


@pytest.fixture
def make(node_cluster):
    def isolated(**options):
        where = {"cluster": "current", "kubeconfig": str(node_cluster.kubeconfig)}
        return ephemeral(**{**where, "policy": "isolated", **options})

    return isolated


@pytest.fixture
def api(node_cluster):
    with Api(node_cluster.connection) as api:
        yield api


@pytest.fixture(autouse=True)
def nothing_is_left(api):
    yield
    there = [item["metadata"] for item in api.list("/api/v1/namespaces")]
    stays = [meta["name"] for meta in there if not meta.get("deletionTimestamp")]
    assert not [name for name in stays if "-outside" in name or "-doctor-" in name]


@pytest.fixture
def production(api):
    """A server outside the cluster, on the address of this machine that pods can reach."""
    address = api_servers(api)[0][0]
    with socket.create_server((address, 0)) as server:
        over = threading.Event()

        def answer() -> None:
            while not over.is_set():
                client, _ = server.accept()
                client.close()

        thread = threading.Thread(target=answer)
        thread.start()
        yield f"{address}:{server.getsockname()[1]}"
        over.set()
        socket.create_connection(server.getsockname(), timeout=10).close()
        thread.join(10)


def test_as_it_is_the_node_does_not_enforce(make, production):
    with make() as ns, pytest.raises(NotEnforced) as caught:
        ns.prove_isolation(settle=3, unreachable=[production])
    said = str(caught.value)
    assert "this cluster does not enforce NetworkPolicy: pod of " in said
    assert f"namespace {ns.name} reaches {production}" in said
    assert said.count("connected (must time out)") == 2
    assert said.count("connected (must connect)") == 2


def test_with_a_plugin_that_enforces_it_is_proven(make, node_cluster, production):
    with network_plugin(node_cluster), make(pod_security="restricted", isolated_api_server="closed") as ns:
        # Two closed ways out of three: the third is to be refused.
        proof = ns.prove_isolation(unreachable=[production])
        assert proof.verdict.word == "enforced"
        said = str(proof)
        assert said.count("timeout (must time out)") == 2
        assert f"→ {production}: timeout (must not connect)" in said
        assert f"→ {production}: connected (control, without the policy)" in said


def test_what_an_isolated_namespace_may_do_works(make, node_cluster, capsys):
    with network_plugin(node_cluster), make() as ns:
        assert ns.run("busybox:1.36", ["nslookup", "kubernetes.default.svc.cluster.local"]) == 0
        assert "10.96.0.1" in capsys.readouterr().out


def test_a_host_that_can_be_reached_is_a_failure_not_a_skip(make, node_cluster, api):
    host, port = api_servers(api)[0]
    with network_plugin(node_cluster), make() as ns, pytest.raises(IsolationError) as caught:
        ns.prove_isolation(unreachable=[f"{host}:{port}"])
    assert type(caught.value) is IsolationError
    assert f"namespace {ns.name} reaches {host}:{port}" in str(caught.value)


def test_half_a_plugin_does_not_enforce(make, node_cluster):
    with network_plugin(node_cluster, directions=("in",)), make() as ns, pytest.raises(NotEnforced) as caught:
        ns.prove_isolation(settle=8)
    assert str(caught.value).count("timeout (must time out)") == 1
    assert str(caught.value).count("connected (must time out)") == 1


def test_probes_that_do_not_run_prove_nothing(make):
    with make() as ns, pytest.raises(IsolationError) as caught:
        ns.prove_isolation(image="registry.invalid/none:1")
    assert type(caught.value) is IsolationError
    assert "is not proven: the probes do not run: " in str(caught.value)
    assert "registry.invalid/none:1" in str(caught.value)


def test_without_a_default_deny_there_is_nothing_to_prove(make):
    with make(policy="standard") as ns, pytest.raises(UsageError, match="no policy denies Egress and Ingress"):
        ns.prove_isolation()


def test_under_pytest_it_is_skipped_with_the_reason_and_never_passes(pytester, node_cluster, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", str(node_cluster.kubeconfig))
    pytester.makepyfile(
        """
        def test_it(ephemeral_ns):
            ephemeral_ns.prove_isolation(settle=1)
        """
    )
    result = pytester.runpytest_subprocess(
        "--ephemeral-ns", "--ephemeral-ns-cluster=current", "--ephemeral-ns-policy=isolated", "-rs", "-Werror"
    )
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(
        [
            "SKIPPED * test_under_pytest_it_is_skipped_with_the_reason_and_never_passes.py:2: this cluster does not "
            "enforce NetworkPolicy: pod of * connects, although a policy denies it"
        ]
    )


@pytest.mark.parametrize("enforced", [False, True], ids=["as it is", "enforced"])
def test_doctor(node_cluster, capsys, enforced):
    words = ["doctor", "--isolation", "--settle", "20" if enforced else "2", "-o", "json"]
    arguments = [*words, "--kubeconfig", str(node_cluster.kubeconfig)]
    if enforced:
        with network_plugin(node_cluster):
            code = main(arguments)
    else:
        code = main(arguments)
    found = json.loads(capsys.readouterr().out)
    [proof] = [item for item in found if item["what"] == "isolation"]
    assert code == (0 if enforced else 1)
    assert proof["state"] == ("ok" if enforced else "problem")
    assert proof["text"].startswith("enforced: " if enforced else "not enforced: ")
    tried = [item["text"] for item in found if item["what"] == "evidence"]
    assert len([line for line in tried if line.endswith("(must time out)")]) == 2
