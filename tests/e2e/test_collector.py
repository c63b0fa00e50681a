"""The collector on a real node: a kubelet that hangs, logs without an end or made of bytes."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pytest_ephemeral_ns.diagnose import diagnose
from pytest_ephemeral_ns.kube.api import Api
from tests.kube.conftest import until

pytestmark = [pytest.mark.node, pytest.mark.cluster]
ENDLESS = "head -c 3000000 /dev/zero | tr '\\0' x; exec sleep 3600"
BYTES = "head -c 300000 /dev/urandom; echo; echo the end of it; exec sleep 3600"
MANY = "seq 12000; echo the last one; exec sleep 3600"


@pytest.fixture(scope="module")
def api(node_cluster) -> Iterator[Api]:
    with Api(node_cluster.connection) as made:
        yield made


@pytest.fixture(scope="module")
def talkers(api: Api) -> Iterator[str]:
    """Pods that say a lot; none of them gets ready, so that each is worth a look."""
    name = f"talkers-{os.getpid()}"
    api.create("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    base = f"/api/v1/namespaces/{name}"
    until(lambda: api.find(f"{base}/serviceaccounts/default"))
    for pod, text in (("endless", ENDLESS), ("bytes", BYTES), ("many", MANY)):
        box = {"name": "app", "image": "busybox:1.36", "command": ["sh", "-c", text]}
        box["readinessProbe"] = {"exec": {"command": ["false"]}}
        spec = {"terminationGracePeriodSeconds": 0, "containers": [box]}
        api.create(f"{base}/pods", {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": pod}, "spec": spec})
    for pod, end in (("endless", "x"), ("bytes", "the end of it\n"), ("many", "the last one\n")):
        until(lambda pod=pod, end=end: _log(api, base, pod).endswith(end))  # type: ignore[misc]
    yield name
    api.delete(base)


def _log(api: Api, base: str, pod: str) -> str:
    path = f"{base}/pods/{pod}"
    state = api.get(path).get("status", {}).get("containerStatuses", [{}])[0].get("state", {})
    return api.text(f"{path}/log", params={"tailLines": 1, "limitBytes": 64}) if "running" in state else ""


def test_logs_of_any_kind(api, talkers, tmp_path):
    found = diagnose(api, talkers, directory=tmp_path / "run" / talkers)[0]
    assert found.missing == ()
    assert len(found.text.encode()) <= 64 * 1024
    assert "the end of it" in found.text
    assert "the last one" in found.text
    assert "characters)" in found.text
    assert not any(ord(char) < 32 and char != "\n" for char in found.text.replace("\t", ""))
    logs = Path(found.bundle) / "logs"
    many = (logs / "many" / "app.log").read_text().splitlines()
    assert len(many) == 10_000
    assert many[-1].endswith("the last one")
    assert (logs / "endless" / "app.log").stat().st_size <= 2_000_000
    assert "the end of it" in (logs / "bytes" / "app.log").read_text()


@contextmanager
def stopped(program: str, folder: Path) -> Iterator[None]:
    """Stop a program of the cluster that keeps its files in a folder, as if it hung."""
    found = [pid for pid in _pids() if _is(pid, program, str(folder))]
    assert found, f"no {program} of {folder}"
    for pid in found:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in found:
            os.kill(pid, signal.SIGCONT)


def _pids() -> Iterator[int]:
    return (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())


def _is(pid: int, program: str, folder: str) -> bool:
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    except OSError:
        return False
    return arguments[0].endswith(f"/{program}") and any(folder in argument for argument in arguments)


def test_a_kubelet_that_hangs(api, talkers, node_cluster, tmp_path):
    with stopped("kubelet", Path(node_cluster.kubeconfig).parent):
        found = diagnose(api, talkers, directory=tmp_path / "run" / talkers, budget=16)[0]
    [line] = [line for line in found.missing if "gives no logs" in line]
    assert line in found.text
    assert "log of Pod/" in line
    assert "Pod/many" in found.text
    assert (Path(found.bundle) / "objects" / "pods.yaml").exists()
