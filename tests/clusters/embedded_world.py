"""What the tests of the embedded cluster look at: processes, ports and requests, by nothing of the package's own."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pytest_ephemeral_ns.clusters.cluster import Cluster

COMMAND = [sys.executable, "-m", "pytest_ephemeral_ns.clusters.embedded"]


def processes_of(folder: Path) -> dict[int, str]:
    """Return every process that has the folder in its command line, except ourselves."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            argv = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
        except OSError:
            continue
        if f"{folder}/" in f"{argv}/" and int(entry.name) != os.getpid():
            found[int(entry.name)] = argv
    return found


def eventually(check: Callable[[], object], seconds: float = 20) -> object:
    """Return the first true answer of ``check``."""
    end = time.monotonic() + seconds
    while not (answer := check()):
        assert time.monotonic() < end, f"still not so after {seconds} s"
        time.sleep(0.05)
    return answer


def wait_until_gone(folder: Path, seconds: float = 30) -> None:
    """Wait until no process has the folder in its command line."""
    end = time.monotonic() + seconds
    while left := processes_of(folder):
        status = folder / "status.json"
        assert time.monotonic() < end, (left, status.read_text() if status.exists() else "no status")
        time.sleep(0.05)


def is_open(port: int, host: str = "127.0.0.1") -> bool:
    with socket.socket() as client:
        client.settimeout(2)
        return client.connect_ex((host, port)) == 0


def get(cluster: Cluster, path: str, method: str = "GET", body: object = None) -> Any:
    """Send one request with the cluster's administrator credential."""
    context = ssl.create_default_context(cadata=cluster.connection.ca_data)
    pki = cluster.kubeconfig.parent / "pki"
    context.load_cert_chain(pki / "admin.crt", pki / "admin.key")
    request = urllib.request.Request(cluster.connection.server + path, method=method)
    if body is not None:
        request.data = json.dumps(body).encode()
        request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, context=context, timeout=15) as answer:
        text = answer.read()
    return json.loads(text) if answer.headers.get_content_type() == "application/json" else text.decode()


def exists(cluster: Cluster, path: str) -> bool:
    try:
        get(cluster, path)
    except urllib.error.HTTPError as error:
        error.close()
        return False
    return True


def usable_namespace(cluster: Cluster, name: str) -> None:
    """Create a namespace and wait until a pod could be created in it."""
    get(cluster, "/api/v1/namespaces", "POST", {"metadata": {"name": name}})
    eventually(lambda: exists(cluster, f"/api/v1/namespaces/{name}/serviceaccounts/default"))
    eventually(lambda: exists(cluster, f"/api/v1/namespaces/{name}/configmaps/kube-root-ca.crt"))


@contextmanager
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process that does nothing; the owner of a cluster, for example."""
    with subprocess.Popen(["sleep", "600"]) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
