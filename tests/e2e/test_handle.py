"""The handle on a real application: everything that a test does with its namespace."""

from __future__ import annotations

import os
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from pytest_ephemeral_ns import ApiError, WaitFailed
from tests.e2e.conftest import KUBECTL

PODINFO = ("svc/quickstart", 9898)


def test_url_reaches_the_service_over_many_connections_at_once(podinfo):
    url = podinfo.url(*PODINFO)
    assert podinfo.url(*PODINFO) == url

    def ask(number: int) -> str:
        return httpx.post(f"{url}/echo", content=f"{number}", timeout=30).text

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(ask, range(64))) == [str(n) for n in range(64)]


def test_url_survives_the_pods_replacement(podinfo, witness):
    url = podinfo.url(*PODINFO)
    before = httpx.get(f"{url}/api/info").json()["hostname"]
    podinfo.delete(f"pod/{before}", grace_period=0)
    after = podinfo.wait_for_contract(
        f"{url}/api/info", until=lambda body: body["hostname"] != before, timeout=60, interval=0.2
    )
    assert after["hostname"] in {pod["metadata"]["name"] for pod in witness("-n", podinfo.name, "get", "pods")["items"]}


def test_the_contract(podinfo):
    body = podinfo.wait_for_contract(
        f"{podinfo.url(*PODINFO)}/api/info",
        until=lambda body: body["message"] == podinfo.name,
        fail_when=lambda body: body["version"] == "0.0.0",
        timeout=30,
        consecutive=2,
    )
    assert body["version"] == "6.9.2"


def test_a_port_forward_is_a_listener_of_its_own_and_closes(podinfo):
    with podinfo.port_forward("deploy/quickstart", "http") as forward:
        assert httpx.get(f"http://127.0.0.1:{forward.port}/healthz").status_code == 200
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{forward.port}/healthz")


@pytest.mark.parametrize(
    ("command", "code", "out"),
    [
        (["podcli", "check", "http", "localhost:9898/healthz"], 0, ""),
        (["sh", "-c", "echo -n $HOSTNAME; exit 3"], 3, "quickstart-"),
        (["sh", "-c", "cat"], 0, "from standard input"),
    ],
)
def test_exec(podinfo, command, code, out):
    done = podinfo.exec("deploy/quickstart", command, stdin="from standard input" if command[-1] == "cat" else None)
    assert done.returncode == code
    assert out in str(done.stdout)


def test_logs(podinfo):
    assert "Starting HTTP Server" in podinfo.logs("deploy/quickstart")
    assert len(podinfo.logs("deploy/quickstart", tail=1).splitlines()) == 1


def test_kubectl_and_env_reach_this_namespace_only(podinfo):
    assert "deployment.apps/quickstart" in podinfo.kubectl("get", "deploy", "-o", "name")
    command = [str(KUBECTL), "get", "pods", "--namespace", "kube-system"]
    done = subprocess.run(command, env={**os.environ, **podinfo.env}, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "Forbidden" in done.stderr
    assert podinfo.kubeconfig.stat().st_mode & 0o077 == 0


def test_api_client_is_the_librarys_own(podinfo):
    from kubernetes.client import CoreV1Api

    pods = CoreV1Api(podinfo.api_client).list_namespaced_pod(podinfo.name)
    assert [pod.metadata.labels["app"] for pod in pods.items] == ["quickstart"]


def test_run_streams_the_log_and_returns_the_exit_code(podinfo, capsys):
    script = "wget -q -O - http://quickstart:9898/readyz; echo said $WHO; exit 7"
    code = podinfo.run("busybox:1.36", ["sh", "-c", script], env={"WHO": "hello"})
    assert code == 7
    out = capsys.readouterr().out
    assert "OK" in out
    assert "said hello" in out
    assert podinfo.run("busybox:1.36", ["true"]) == 0


def test_run_of_an_image_that_is_nowhere_fails_with_the_cause(podinfo):
    with pytest.raises(WaitFailed, match=r"(?i)imagepull|errimage|registryunreachable") as error:
        podinfo.run("registry.invalid/nothing:1", ["true"])
    assert "registry.invalid/nothing:1" in str(error.value)


def test_get_list_and_events(podinfo):
    assert podinfo.get("deployment", "quickstart")["spec"]["replicas"] == 1
    assert podinfo.get("svc/quickstart")["spec"]["ports"][0]["port"] == 9898
    assert [d["metadata"]["name"] for d in podinfo.list("deployments")] == ["quickstart"]
    assert any(event["reason"] == "Scheduled" for event in podinfo.events())
    with pytest.raises(ApiError) as error:
        podinfo.get("deploy/nothing")
    assert error.value.status == 404


def test_the_application_layer(podinfo):
    assert "HTTP" in podinfo.wait_for_log("deploy/quickstart", r"Starting HTTP Server", timeout=30)
    podinfo.wait_for(lambda: podinfo.get("deploy/quickstart")["status"]["availableReplicas"] == 1, timeout=30)


def test_no_thread_and_no_listener_is_left(make):
    before = set(threading.enumerate())
    with make() as namespace:
        namespace.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}})
        namespace.wait_ready()
    left = [thread for thread in set(threading.enumerate()) - before if thread.name.startswith("ephemeral-ns")]
    assert left == []
