"""What each asks the API server for 50 objects that become ready, counted by a proxy in front of it."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.measure import Sample
from benchmarks.waiting_cases import MANY, many
from benchmarks.waiting_others import CLIENT_PROGRAM, helm, kubectl
from pytest_ephemeral_ns.clusters.cluster import Cluster
from pytest_ephemeral_ns.deadline import Deadline
from pytest_ephemeral_ns.kube.api import Api
from pytest_ephemeral_ns.kube.discovery import Discovery
from pytest_ephemeral_ns.kube.watch import Watcher
from pytest_ephemeral_ns.ready import wait_ready
from pytest_ephemeral_ns.rules.objects import Ref
from tests.faults.proxy import FaultProxy

LIMIT = 120.0


def requests(cluster: Cluster, folder: Path) -> list[Sample]:
    """Return the number of requests of each, ours beside every other."""
    chart = folder / "many"
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text("apiVersion: v2\nname: many\nversion: 0.1.0\n")
    (chart / "templates" / "all.yaml").write_text(many())
    with FaultProxy(cluster.connection) as proxy:
        kubeconfig = _kubeconfig(folder / "proxied", proxy.connection.server)
        count = _Count(cluster, proxy, chart)
        names = [f"d{number}" for number in range(MANY)]
        ours = count.of(lambda namespace: _ours(proxy, namespace))
        others = {
            "kubectl rollout status, one by one": lambda namespace: [
                _run(kubectl(kubeconfig, namespace, "rollout", "status", f"deployment/{name}", limit=LIMIT))
                for name in names
            ],
            "kubectl wait --all": lambda namespace: _run(
                kubectl(kubeconfig, namespace, "wait", "--for=condition=Available", "deployment", "--all", limit=LIMIT)
            ),
            "kubernetes (Python)": lambda namespace: _run(
                [sys.executable, "-c", CLIENT_PROGRAM, str(kubeconfig), namespace, str(LIMIT), *names]
            ),
        }
        counts = {name: count.of(wait) for name, wait in others.items()}
        counts["helm --wait (less those of its install)"] = count.helm(kubeconfig)
    samples: list[Sample] = []
    for name, value in counts.items():
        samples.append(Sample("requests for 50 objects, ours", (ours,), "requests"))
        samples.append(Sample(f"requests for 50 objects, {name}", (value,), "requests"))
    return samples


class _Count:
    """Counts what passes the proxy while somebody waits for the same 50 objects, each time new ones."""

    def __init__(self, cluster: Cluster, proxy: FaultProxy, chart: Path) -> None:
        self._cluster, self._proxy, self._chart = cluster, proxy, chart

    def of(self, wait: Callable[[str], object]) -> float:
        """Install past the proxy, wait through it, and return the number of requests."""
        with Api(self._cluster.connection) as api:
            namespace = _namespace(api)
            _run(helm(self._cluster.kubeconfig, namespace, self._chart, LIMIT, wait=False))
            before = len(self._proxy.requests)
            wait(namespace)
            count = len(self._proxy.requests) - before
            api.delete(f"/api/v1/namespaces/{namespace}")
        return float(count)

    def helm(self, kubeconfig: Path) -> float:
        """Helm only waits for what it installs: count both, and take away an install that does not wait."""
        counts = []
        with Api(self._cluster.connection) as api:
            for wait in (True, False):
                namespace = _namespace(api)
                before = len(self._proxy.requests)
                _run(helm(kubeconfig, namespace, self._chart, LIMIT, wait=wait))
                counts.append(len(self._proxy.requests) - before)
                api.delete(f"/api/v1/namespaces/{namespace}")
        return float(counts[0] - counts[1])


def _ours(proxy: FaultProxy, namespace: str) -> None:
    with Api(proxy.connection) as api, Watcher(api) as watcher:
        refs = [Ref("apps/v1", "Deployment", f"d{number}", namespace) for number in range(MANY)]
        refs += [Ref("v1", "ConfigMap", f"c{number}", namespace, "stored") for number in range(MANY)]
        wait_ready(api, watcher, namespace, refs, deadline=Deadline.after(LIMIT), discovery=Discovery(api))


def _namespace(api: Api) -> str:
    name = f"many-{secrets.token_hex(3)}"
    api.create("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    with Watcher(api) as watcher:
        wait_ready(api, watcher, name, [Ref("v1", "ServiceAccount", "default")], deadline=Deadline.after(LIMIT))
    return name


def _kubeconfig(folder: Path, server: str) -> Path:
    folder.mkdir()
    path = folder / "kubeconfig"
    path.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "proxied",
                "clusters": [{"name": "proxied", "cluster": {"server": server}}],
                "users": [{"name": "proxied", "user": {}}],
                "contexts": [{"name": "proxied", "context": {"cluster": "proxied", "user": "proxied"}}],
            }
        )
    )
    return path


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LIMIT * 2)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:3])} ended with {done.returncode}: {done.stderr[-500:]}")
