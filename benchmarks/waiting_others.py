"""What others type to wait: commands of Helm and kubectl, and a program with the Python client."""

from __future__ import annotations

from pathlib import Path

from pytest_ephemeral_ns.kube.tools import find

# The loop that is found wherever somebody asks how to wait with the client; it looks at nothing but the Deployment.
CLIENT_PROGRAM = """
import sys, time
from kubernetes import client, config, watch

kubeconfig, namespace, limit, *names = sys.argv[1:]
config.load_kube_config(kubeconfig)
apps, ends = client.AppsV1Api(), time.monotonic() + float(limit)

def ready(deployment):
    status, wanted = deployment.status, deployment.spec.replicas
    seen = (status.observed_generation or 0) >= deployment.metadata.generation
    return seen and (status.updated_replicas or 0) == (status.available_replicas or 0) == wanted

for name in names:
    left = max(1, int(ends - time.monotonic()))
    stream = watch.Watch()
    for event in stream.stream(
        apps.list_namespaced_deployment, namespace, field_selector=f"metadata.name={name}", timeout_seconds=left
    ):
        if ready(event["object"]):
            stream.stop()
            break
    else:
        sys.exit(f"deployment {name} is not ready")
"""


def helm(kubeconfig: Path, namespace: str, chart: Path, limit: float, *, wait: bool = True) -> list[str]:
    """Return the command that installs a chart, and waits."""
    waits = ["--wait", f"--timeout={limit:g}s"] if wait else []
    where = ["--kubeconfig", str(kubeconfig), "-n", namespace]
    return [str(find("helm")), "upgrade", "--install", "race", str(chart), *waits, *where]


def kubectl(kubeconfig: Path, namespace: str, *words: str, limit: float) -> list[str]:
    """Return a kubectl command that waits."""
    where = ["--kubeconfig", str(kubeconfig), "-n", namespace, f"--timeout={limit:g}s"]
    return [str(find("kubectl")), *words, *where]
