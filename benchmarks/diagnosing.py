"""Claim: a failed test in a namespace of 100 pods costs its report and its whole bundle well below the budget of 20 s.

Beside it what people run by hand or at the end of a CI job: ``kubectl get``, ``describe`` and a ``logs`` for each pod,
and ``kubectl cluster-info dump``. The nodes are simulated; a program in a process of its own plays their logs.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trustme

from benchmarks.measure import Sample, take_turns, wall_of
from pytest_ephemeral_ns.clusters import embedded
from pytest_ephemeral_ns.clusters.cluster import Cluster
from pytest_ephemeral_ns.diagnose import BUDGET, Diagnosis, diagnose
from pytest_ephemeral_ns.kube.api import Api
from pytest_ephemeral_ns.kube.tools import find

NAMESPACE = "many"
DEPLOYMENTS, REPLICAS, LINES = 10, 10, 200
ROUNDS = 3
LIMIT = 180.0
_KUBELET = f"""
import http.server, ssl, sys
LINE = "2026-01-01T00:00:00.123456789Z INFO shop handled request id=%d user=ada path=/orders/12 status=200 in 12 ms\\n"
BODY = "".join(LINE % number for number in range({LINES})).encode()
class Answer(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args): pass
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY)
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Answer)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[2])
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""


def run() -> list[Sample]:
    """Diagnose the same namespace in turn."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["EPHEMERAL_NS_STATE_DIR"] = folder
        cluster = embedded.up("bench", nodes="simulated", owner_pid=os.getpid(), progress=lambda line: None)
        try:
            with Api(cluster.connection) as api, _kubelet(api, Path(folder)):
                _fill(api)
                return _compare(cluster, api, Path(folder))
        finally:
            embedded.down("bench")
            del os.environ["EPHEMERAL_NS_STATE_DIR"]


def _compare(cluster: Cluster, api: Api, folder: Path) -> list[Sample]:
    last: list[Diagnosis] = []

    def ours() -> float:
        target = folder / "ours" / NAMESPACE
        shutil.rmtree(target, ignore_errors=True)
        took = wall_of(lambda: last.append(diagnose(api, NAMESPACE, directory=target)[0]))
        assert not last[-1].missing, last[-1].missing
        return took

    def by_hand() -> float:
        return wall_of(lambda: _by_hand(cluster, folder / "by-hand"))

    def dump() -> float:
        return wall_of(lambda: _kubectl(cluster, "cluster-info", "dump", f"--output-directory={folder}/dump"))

    ours()
    contestants = {"ours": ours, "get, describe, logs": by_hand, "ours again": ours, "cluster-info dump": dump}
    found = {sample.name: sample.values for sample in take_turns(contestants, ROUNDS)}
    title = f"{DEPLOYMENTS * REPLICAS} pods → report and bundle"
    samples = [Sample(f"{title}, {name}", values) for name, values in found.items()]
    sizes = {name: _size(folder / name) for name in ("ours", "by-hand", "dump")}
    samples += [Sample(f"bytes written, {name}", (float(size),), "bytes") for name, size in sizes.items()]
    return [*samples, Sample("the budget", (BUDGET,))]


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _by_hand(cluster: Cluster, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "objects.yaml").write_bytes(_kubectl(cluster, "get", "all,events,configmaps", "-o", "yaml"))
    (folder / "describe.txt").write_bytes(_kubectl(cluster, "describe", "all"))
    for name in _kubectl(cluster, "get", "pods", "-o", "name").decode().split():
        told = _kubectl(cluster, "logs", name, "--all-containers", "--timestamps", "--tail=10000", check=False)
        (folder / f"{name.partition('/')[2]}.log").write_bytes(told)


def _kubectl(cluster: Cluster, *words: str, check: bool = True) -> bytes:
    command = [str(find("kubectl")), "--kubeconfig", str(cluster.kubeconfig), "-n", NAMESPACE, *words]
    return subprocess.run(command, check=check, capture_output=True, timeout=LIMIT).stdout


def _fill(api: Api) -> None:
    """Nine Deployments that run and one that no node takes."""
    api.create("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    _until(lambda: api.find(f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/default") is not None)
    for number in range(DEPLOYMENTS):
        labels = {"app": f"d{number}"}
        box = {"name": "app", "image": "busybox:1.36", "env": [{"name": "PORT", "value": "8080"}]}
        spec = {"containers": [box], "nodeSelector": {"disk": "fast"} if number == 0 else {}}
        template = {"metadata": {"labels": labels}, "spec": spec}
        body = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": f"d{number}"},
            "spec": {"replicas": REPLICAS, "selector": {"matchLabels": labels}, "template": template},
        }
        api.create(f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments", body)
    pods = f"/api/v1/namespaces/{NAMESPACE}/pods"
    wanted = (DEPLOYMENTS - 1) * REPLICAS
    _until(lambda: sum(p["status"].get("phase") == "Running" for p in api.list(pods)) == wanted)


def _until(check) -> None:  # type: ignore[no-untyped-def]
    ends = time.monotonic() + LIMIT
    while not check():
        if time.monotonic() > ends:
            raise TimeoutError("the namespace was not filled")
        time.sleep(0.2)


@contextmanager
def _kubelet(api: Api, folder: Path) -> Iterator[None]:
    """Play the logs of all simulated nodes."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    issued = trustme.CA().issue_cert("127.0.0.1")
    issued.private_key_and_cert_chain_pem.write_to_path(folder / "kubelet.pem")
    child = subprocess.Popen([sys.executable, "-c", _KUBELET, str(port), str(folder / "kubelet.pem")])
    try:
        status = {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
        }
        for node in api.list("/api/v1/nodes"):
            api.patch(f"/api/v1/nodes/{node['metadata']['name']}/status", {"status": status})
        yield
    finally:
        child.kill()
        child.wait()


if __name__ == "__main__":
    print(json.dumps([sample.row() for sample in run()], indent=1))
