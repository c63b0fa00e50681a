"""Runs pytest as a user would, ends it in every way there is, and looks with other eyes at what exists afterwards."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pytest_ephemeral_ns.clusters.cluster import Cluster
from pytest_ephemeral_ns.environ import copied
from pytest_ephemeral_ns.paths import bin_dir
from tests.faults.proxy import FaultProxy

MODES = {"plain": (), "n0": ("-pxdist", "-n", "0"), "n4": ("-pxdist", "-n", "4")}
SCOPES = ("worker", "run", "module", "class", "function")
NEIGHBOURS = Path(__file__).parents[2] / ".venv-neighbours" / "bin" / "python"
PATIENCE = 600.0  # seconds until a run must have started its tests or ended, on a machine that does much else
ORPHANS = 60.0  # seconds until workers without controller must be gone; xdist itself kills them after 15


@dataclass(frozen=True)
class Blow:
    """One thing that is done to a run while its tests are under way.

    Args:
        to: ``"group"``, ``"controller"``, ``"worker"`` (one of them), ``"server"``: the API server is away for a
            moment, or ``"kube-apiserver"``: its process, which is started again.
        number: the signal; not for ``"server"``.
        after: seconds since the one before.
    """

    to: str
    number: int = 0
    after: float = 0.0


@dataclass(frozen=True)
class Aftermath:
    """What is there when a run is over.

    Args:
        code: its exit code; negative for a signal.
        output: what it printed.
        namespaces: its namespaces that are not being deleted, by name.
        going: names of those that are being deleted.
        leases: its heartbeat Leases in them, as ``namespace/name``.
        processes: command lines of processes that it began and that still run.
        listeners: local ports of its port-forwards that still accept.
        folders: names of what it left in the folder for temporary files.
        requests: how many requests came in where they are counted.
    """

    code: int
    output: str
    namespaces: Mapping[str, dict[str, Any]]
    going: tuple[str, ...]
    leases: tuple[str, ...]
    processes: tuple[str, ...]
    listeners: tuple[int, ...]
    folders: tuple[str, ...]
    requests: int = 0


@dataclass
class Lab:
    """A control plane and a folder for many runs at once; every run has its own subfolder, names and marks.

    Args:
        cluster: where the namespaces are.
        folder: short, because sockets may be put below it.
    """

    cluster: Cluster
    folder: Path
    python: str = sys.executable
    _used: set[str] = field(default_factory=set)

    def run(
        self,
        name: str,
        files: Mapping[str, str],
        args: Iterable[str],
        *,
        blows: Iterable[Blow] = (),
        faults: Callable[[FaultProxy], object] | None = None,
        running: int = 1,
        python: str = "",
    ) -> Aftermath:
        """Run pytest in a subprocess, in a process group of its own, and say what is left of it.

        Args:
            name: of the run; lower case letters and digits, at most 12; also the first part of its namespaces' names.
            files: what is written into its folder.
            args: of pytest.
            blows: what is done to it, as soon as tests are running.
            faults: called with a proxy, which then stands between the run and the API server.
            running: how many tests must be running before the first blow.
            python: another interpreter.
        """
        assert name not in self._used
        self._used.add(name)
        here = self.folder / name
        (here / "tmp").mkdir(parents=True)
        for file, text in files.items():
            (here / file).write_text(text)
        blows, kubeconfig = [*blows], self.cluster.kubeconfig
        with ExitStack() as stack:
            proxy = None
            if faults or any(blow.to == "server" for blow in blows):
                proxy = stack.enter_context(FaultProxy(self.cluster.connection))
                kubeconfig = _kubeconfig_of(proxy, here)
                if faults:
                    faults(proxy)
            command = [python or self.python, "-m", "pytest", "-pno:cacheprovider", "-ppytest_ephemeral_ns.plugin"]
            command += ["--ephemeral-ns", "--ephemeral-ns-cluster=current"]
            command += [f"--ephemeral-ns-name={name}-{{run}}-{{worker}}", *args]
            code, left = self._end(command, here, self._environ(here, kubeconfig), blows, running, proxy)
            return self._aftermath(name, here, code, left, len(proxy.requests) if proxy else 0)

    def _end(
        self,
        command: list[str],
        here: Path,
        environ: dict[str, str],
        blows: list[Blow],
        running: int,
        proxy: FaultProxy | None,
    ) -> tuple[int, tuple[str, ...]]:
        """Start it, strike, wait; return its exit code and the processes that did not end."""
        with (here / "output").open("wb") as output:
            process = subprocess.Popen(
                command, cwd=here, env=environ, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
        try:
            if blows and running:
                _wait(lambda: len(_started(here)) >= running or process.poll() is not None, "no test began")
            for blow in blows:
                time.sleep(blow.after)
                if blow.to == "kube-apiserver":
                    _restart(self.cluster, blow.number)
                else:
                    _strike(blow, process, here, proxy)
            (here / "struck").touch()
            code = process.wait(PATIENCE)
            _wait(lambda: not _processes(here), "", ORPHANS)
        finally:
            left = _processes(here)
            for pid, _ in left:
                _kill(pid, signal.SIGKILL)
            process.wait(10)
        return code, tuple(line for _, line in left)

    def _environ(self, here: Path, kubeconfig: Path) -> dict[str, str]:
        inherited = copied(os.environ)  # runs are started from threads
        mine = {
            key: value for key, value in inherited.items() if not key.startswith(("PYTEST", "EPHEMERAL_NS", "COV_"))
        }
        cache = os.environ.get("EPHEMERAL_NS_CACHE_DIR", "")
        return {
            **mine,
            **({"EPHEMERAL_NS_CACHE_DIR": cache} if cache else {}),
            "EPHEMERAL_NS_STATE_DIR": str(here / "state"),
            "KUBECONFIG": str(kubeconfig),
            "TMPDIR": str(here / "tmp"),
            "ENDING": str(here),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # half of the time of a run is other plugins' start
        }

    def _aftermath(self, name: str, here: Path, code: int, left_running: tuple[str, ...], requests: int) -> Aftermath:
        all_of_it = self.namespaces(f"{name}-")
        left = {key: item for key, item in all_of_it.items() if not _is_going(item)}
        leases = [f"{key}/{lease}" for key in left for lease in self._leases(key)]
        return Aftermath(
            code,
            (here / "output").read_text(errors="replace"),
            left,
            tuple(key for key in all_of_it if key not in left),
            tuple(leases),
            left_running,
            _listeners(here),
            tuple(sorted(entry.name for entry in (here / "tmp").iterdir() if entry.name.startswith("ephemeral-ns"))),
            requests,
        )

    def kubectl(self, *args: str) -> str:
        """Ask a kubectl that knows nothing of the plugin."""
        command = [str(bin_dir() / "kubectl"), "--kubeconfig", str(self.cluster.kubeconfig), *args]
        ends = time.monotonic() + 60
        while True:
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
            if done.returncode == 0:
                return done.stdout
            # Another run's row may be restarting the API server just now.
            assert time.monotonic() < ends, done.stderr
            time.sleep(0.5)

    def namespaces(self, prefix: str) -> dict[str, dict[str, Any]]:
        """Return the namespaces whose name begins so, those that are being deleted too."""
        items = json.loads(self.kubectl("get", "namespaces", "-o", "json"))["items"]
        return {item["metadata"]["name"]: item for item in items if item["metadata"]["name"].startswith(prefix)}

    def _leases(self, namespace: str) -> list[str]:
        return self.kubectl("get", "leases", "-n", namespace, "-o", "name").split()

    def forget(self, *names: str) -> None:
        """Remove what runs left on purpose: other tests on the same cluster count what is there.

        Args:
            names: of the runs; all of this laboratory's by default.
        """
        names = names or tuple(self._used)
        prefixes = tuple(f"{name}-" for name in names)
        if left := [name for name in self.namespaces("") if name.startswith(prefixes)]:
            self.kubectl("delete", "namespaces", *left, "--wait=false", "--ignore-not-found")
        for name in names:
            shutil.rmtree(self.folder / name, ignore_errors=True)


def _is_going(item: Mapping[str, Any]) -> bool:
    return bool(item["metadata"].get("deletionTimestamp"))


def _kubeconfig_of(proxy: FaultProxy, here: Path) -> Path:
    cluster = {"name": "proxy", "cluster": {"server": proxy.connection.server}}
    context = {"name": "kind-proxy", "context": {"cluster": "proxy", "user": ""}}
    path = here / "proxy-kubeconfig"
    path.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [cluster],
                "contexts": [context],
                "current-context": "kind-proxy",
            }
        )
    )
    return path


def _started(here: Path) -> list[Path]:
    return [*here.glob("started-*")]


def _listeners(here: Path) -> tuple[int, ...]:
    """Return the ports on which a socket of the run still listens, not one that another program made meanwhile."""
    sockets = {line.split()[9] for line in Path("/proc/net/tcp").read_text().splitlines()}
    return tuple(int(path.name.removeprefix("port-")) for path in here.glob("port-*") if path.read_text() in sockets)


def _strike(blow: Blow, process: subprocess.Popen[bytes], here: Path, proxy: FaultProxy | None) -> None:
    if blow.to == "server":
        assert proxy
        with proxy.down():
            time.sleep(2.0)
    elif blow.to == "controller":
        _kill(process.pid, blow.number)
    elif blow.to == "worker":
        for path in _started(here)[:1]:
            _kill(int(path.read_text()), blow.number)
    elif process.poll() is None:
        os.killpg(process.pid, blow.number)


def _restart(cluster: Cluster, number: int) -> None:
    """End the API server's process, and wait until another one answers in its place."""
    port = f"--secure-port={urlsplit(cluster.connection.server).port}"
    before = _servers(port)
    assert len(before) == 1
    _kill(before[0], number)
    _wait(lambda: bool(set(_servers(port)) - {*before}), "the API server was not started again", 60)
    command = [str(bin_dir() / "kubectl"), "--kubeconfig", str(cluster.kubeconfig), "get", "--raw", "/readyz"]
    _wait(lambda: subprocess.run(command, capture_output=True, timeout=60).returncode == 0, "it is not ready", 60)


def _servers(port: str) -> list[int]:
    """Return the processes of API servers that listen on a port."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or is not ours
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if words[0].endswith("kube-apiserver") and port in words:
                found.append(int(folder.name))
    return found


def _kill(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return  # it was faster


def _processes(here: Path) -> list[tuple[int, str]]:
    """Return every process, of whatever parent, whose environment says that it comes from this run."""
    mark, found = f"ENDING={here}\0".encode(), []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (folder / "environ").read_bytes() + b"\0":
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                if command:  # not a zombie
                    found.append((int(folder.name), command))
        except OSError:
            continue  # it has ended, or is not ours
    return found


def _wait(condition: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > ends:
            assert not what, what
            return
        time.sleep(0.05)


def passed(output: str) -> int:
    """Return how many tests passed, by pytest's last line."""
    found = re.findall(r"(\d+) passed", output)
    return int(found[-1]) if found else 0
