"""Process 1 of a node's sandbox: starts all, reaps, and ends as a whole; it must never run outside of a sandbox.

``python -m pytest_ephemeral_ns.clusters.embedded.sandbox SPEC.json``, in namespaces of its own. It prints one line when
it is there, reads one line when it has its link, and ends when its standard input does, which is when the process that
started it ends. With it the kernel ends every container, shim and mount.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit

from pytest_ephemeral_ns.clusters.embedded import containerd, network, node_config, sandbox_root
from pytest_ephemeral_ns.clusters.embedded.image_names import read_archive
from pytest_ephemeral_ns.clusters.embedded.node_programs import find, run, search_path
from pytest_ephemeral_ns.clusters.embedded.node_spec import NodeSpec

RESTARTS_PER_MINUTE = 5  # of all components together
API_SERVER_TIMEOUT = 60.0  # seconds until kubelet and kube-proxy are left alone with it
CONTAINERD_TIMEOUT = 60.0  # seconds until its socket must answer


class Supervisor:
    """The components of one node, and what happens when one of them ends.

    Args:
        spec: the node.
    """

    def __init__(self, spec: NodeSpec) -> None:
        self.spec = spec
        self.environment = {"PATH": search_path(), "HOME": "/", **_python_path(), **_proxies(spec)}
        self.commands = {
            "containerd": [find("containerd"), "--config", str(spec.config / "containerd.toml")],
            "kube-proxy": node_config.kube_proxy_command(spec),
            "kubelet": node_config.kubelet_command(spec),
            "volumes": [sys.executable, "-m", f"{__package__}.sandbox_volumes", str(spec.file)],
        }
        self.running: dict[int, str] = {}
        self.restarts: list[float] = []

    def start(self, name: str) -> int:
        """Start a component with a log of its own; return its pid."""
        with (self.spec.logs / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                self.commands[name],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment,
                start_new_session=True,
            )
        process.returncode = 0  # process 1 reaps for everyone; Popen must not
        self.running[process.pid] = name
        say(f"started {name}")
        return process.pid

    def run(self) -> str:
        """Start everything and keep it running; return why that is no longer possible."""
        runtime = self.start("containerd")
        if problem := self.wait_for_containerd(runtime):
            return problem
        with ThreadPoolExecutor() as pool:
            # A kubelet that finds no CoreDNS image asks a registry, and then waits 10 s before it looks again.
            for name in pool.map(_import_early, self.spec.images):
                say(f"imported {name}")
        self.wait_for_api_server()
        self.start("kube-proxy")
        self.start("kubelet")
        self.start("volumes")
        say("all components are started")
        while True:
            pid, status = os.waitpid(-1, 0)
            if problem := self.ended(self.running.pop(pid, ""), status):
                return problem

    def wait_for_containerd(self, runtime: int) -> str:
        """Wait until containerd's socket answers; return why it never will."""
        until = time.monotonic() + CONTAINERD_TIMEOUT
        while time.monotonic() < until:
            with socket.socket(socket.AF_UNIX) as client:
                if client.connect_ex(str(containerd.SOCKET)) == 0:
                    return ""
            done, status = os.waitpid(runtime, os.WNOHANG)
            if done:
                return _how("containerd", status)
            time.sleep(0.02)
        return f"containerd does not answer on {containerd.SOCKET} after {CONTAINERD_TIMEOUT:.0f} s"

    def wait_for_api_server(self) -> None:
        """Wait until the API server is ready: what finds it missing looks again only after seconds.

        The node is started together with it. It need not answer in the end: kubelet and kube-proxy know how to wait.
        """
        address = urlsplit(self.spec.server)
        context = ssl.create_default_context(cafile=str(self.spec.ca_file))
        until = time.monotonic() + API_SERVER_TIMEOUT
        while time.monotonic() < until:
            api = http.client.HTTPSConnection(address.hostname or "", address.port, timeout=5, context=context)
            with contextlib.closing(api), contextlib.suppress(OSError, http.client.HTTPException):
                api.request("GET", "/readyz")
                if api.getresponse().status == 200:
                    say("the API server is ready")
                    return
            time.sleep(0.05)

    def ended(self, name: str, status: int) -> str:
        """Start a component again that ended; return why not, for containerd and for one that does it all the time."""
        if not name:
            return ""  # an orphan of some container
        how = _how(name, status)
        self.restarts = [*(moment for moment in self.restarts if moment > time.monotonic() - 60), time.monotonic()]
        if name == "containerd" or len(self.restarts) > RESTARTS_PER_MINUTE:
            return how
        say(how)
        if name == "kube-proxy":  # takes tables that it finds for complete, and then no Service answers
            for family in ("ip", "ip6"):
                run("nft", "delete", "table", family, "kube-proxy", check=False)
        self.start(name)
        return ""


def _import_early(image: Path) -> str:
    containerd.import_archive(read_archive(image), unpack=False)
    return image.name


def _how(name: str, status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"{name} ended with {'signal' if code < 0 else 'exit code'} {abs(code)}; see {name}.log"


def _python_path() -> dict[str, str]:
    return {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}


def _proxies(spec: NodeSpec) -> dict[str, str]:
    if not spec.egress:
        return {}
    inside = f"localhost,.svc,.cluster.local,{spec.pod_range},{spec.service_range},{spec.host_ip},{spec.node_ip}"
    proxies = {name: value for name, value in os.environ.items() if name.lower() in ("http_proxy", "https_proxy")}
    direct = os.environ.get("NO_PROXY") or os.environ.get("no_proxy") or ""
    return proxies | {"NO_PROXY": f"{direct},{inside}".lstrip(",")} if proxies else {}


def say(line: str) -> None:
    """Write one line to the node's log."""
    print(f"{time.time():.3f} {line}", file=sys.stderr, flush=True)  # noqa: T201


def _follow_lifeline() -> None:
    """End with the process that holds the other end of standard input."""
    while os.read(0, 1024):
        pass
    say("the process that started this node has ended")
    os._exit(0)


def _end(number: int, _: FrameType | None) -> None:
    say(f"ended by signal {number}")
    os._exit(0)


def main(spec_file: str) -> int:
    """Be process 1 of the node that ``spec_file`` describes."""
    spec = NodeSpec.read(Path(spec_file))
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _end)
    socket.sethostname(spec.name)
    sandbox_root.enter(spec)
    os.write(1, b"ready\n")
    if os.read(0, 64) != b"linked\n":
        return 1
    threading.Thread(target=_follow_lifeline, daemon=True).start()
    network.set_up_inside(spec)
    say(Supervisor(spec).run())
    return 1


if __name__ == "__main__":
    sys.stderr.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    code = main(sys.argv[1])
    sys.stderr.flush()
    os._exit(code)
