"""Start, stop and describe embedded clusters; this module must never run a component itself (the supervisor does).

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_ephemeral_ns import paths
from pytest_ephemeral_ns.clusters.cluster import Cluster
from pytest_ephemeral_ns.clusters.embedded import network_egress, processes
from pytest_ephemeral_ns.clusters.embedded.assets.obtain import ensure
from pytest_ephemeral_ns.clusters.embedded.processes import ProcessId
from pytest_ephemeral_ns.clusters.embedded.state import FAILED, READY, Home, Spec, Status
from pytest_ephemeral_ns.connection import Connection
from pytest_ephemeral_ns.deadline import Deadline
from pytest_ephemeral_ns.errors import ClusterError, EphemeralNsError

if TYPE_CHECKING:
    import filelock

_STOP_TIMEOUT = 30.0  # seconds for a supervisor to stop everything by itself
_POLL = 0.02
_PROGRAMS = {"real": ["node"], "simulated": ["simulated"], "none": []}  # beside the control plane

Progress = Callable[[str], None]
DEFAULT = "default"


def up(
    name: str = DEFAULT,
    *,
    nodes: str = "auto",
    owner_pid: int | None = None,
    progress: Progress = lambda line: None,
    timeout: float = 120.0,
    egress: bool | None = None,
) -> Cluster:
    """Start a cluster, or return the one of this name that runs already.

    Args:
        name: the cluster's name; several can run side by side.
        nodes: ``"real"``, ``"simulated"``, ``"none"``, or ``"auto"``: real where possible, else none.
        owner_pid: the process whose end ends the cluster, however it ends; ``None``: it runs until :func:`down`.
        progress: called with one line of text for each step.
        timeout: seconds for the start; fetching and building the programs is not part of it.
        egress: whether a real node and its pods may reach what this machine reaches, for example a registry; by
            default not, unless the environment says ``EPHEMERAL_NS_EMBEDDED_EGRESS=1``.

    Returns:
        The cluster. ``started`` says whether this call started it.

    Raises:
        ClusterError: it could not be started: the component, its last words and its log file are named.

    Example:
        >>> up("shop", nodes="none").provider  # doctest: +SKIP
        'embedded'
    """
    home = Home.of(name)
    with _locked(home, progress, timeout):
        status = _settled(home, timeout)
        if status is not None and status.alive and status.phase == READY:
            return _cluster(home, status, started=False)
        _clean_up(home, status)
        owner = ProcessId.of(owner_pid) if owner_pid is not None else None
        nodes = _possible(nodes)
        bin_dir = ensure(["control-plane", *_PROGRAMS[nodes]], progress)
        images = tuple(str(archive) for archive in _images(bin_dir, progress)) if nodes == "real" else ()
        spec = Spec(nodes, str(bin_dir), owner, timeout, images, network_egress.wanted() if egress is None else egress)
        return _cluster(home, _start(home, spec, progress), started=True)


def down(name: str = "default") -> bool:
    """Stop a cluster completely, also what a killed one left behind.

    Returns:
        Whether there was anything to stop.

    Raises:
        ClusterError: something of it could not be stopped.
    """
    home = Home.of(name)
    if not home.path.exists():
        return False
    with _locked(home, lambda line: None, _STOP_TIMEOUT):
        status = Status.read(home)
        existed = home.path.exists()
        if status is not None and status.supervisor is not None:
            status.supervisor.end(_STOP_TIMEOUT)
        _clean_up(home, status)
        home.remove()
        return existed


def status(name: str = "default") -> dict[str, Any]:
    """Return what is known about a cluster, as JSON-able values.

    Returns:
        ``name``, ``phase`` (``"absent"`` if there is none, ``"lost"`` if its supervisor was killed), ``nodes``,
        ``server``, ``kubeconfig``, ``logs``, ``pid``, ``port``, ``restarts``, ``containment``, ``error``, ``version``.
    """
    home = Home.of(name)
    known = Status.read(home)
    if known is None:
        return {"name": name, "phase": "absent"}
    phase = known.phase if known.alive or known.phase == FAILED else "lost"
    return {
        "name": name,
        "phase": phase,
        "message": known.message,
        "nodes": known.nodes,
        "server": known.server,
        "kubeconfig": str(home.kubeconfig),
        "logs": str(home.logs),
        "pid": known.supervisor.pid if known.supervisor else None,
        "port": known.port,
        "restarts": dict(known.restarts),
        "containment": known.containment,
        "error": dict(known.error),
        "version": known.version,
    }


def stays(name: str) -> bool:
    """Return whether a cluster of this name runs, and ends with no process but :func:`down`."""
    home = Home.of(name)
    known = Status.read(home)
    return known is not None and known.alive and known.phase == READY and Spec.read(home).owner is None


def disown(name: str) -> None:
    """Let a cluster outlive the process that it would end with, for what was kept in it; it runs until :func:`down`."""
    Home.of(name).stay.touch(mode=0o600)


def clear_away(prefix: str) -> None:
    """Remove what killed clusters left whose name begins with ``prefix``: folders, interfaces, routes, cgroups."""
    for name in names():
        if name.startswith(prefix) and status(name)["phase"] == "lost":
            down(name)


def names() -> list[str]:
    """Return the names of all embedded clusters that run or left something, sorted."""
    root = paths.state_dir()
    if not root.is_dir():
        return []
    return sorted(entry.name for entry in root.iterdir() if (entry / "status.json").is_file())


def load(name: str, archives: Sequence[Path]) -> list[str]:
    """Import image archives into a cluster's real node.

    Args:
        name: the cluster's name.
        archives: files of ``docker save``, or OCI layouts.

    Returns:
        The full names of the images that arrived.

    Raises:
        UsageError: an archive is not one.
        ClusterError: there is no such cluster, or it has no real node.
    """
    from pytest_ephemeral_ns.clusters.embedded import containerd, real_node

    home = Home.of(name)
    known = Status.read(home)
    if known is None or not known.alive:
        raise ClusterError(
            f"embedded cluster {name!r} is not running", command=f"ephemeral-ns cluster up --name {name}"
        )
    spec = real_node.recorded(home)
    if spec is None:
        raise ClusterError(
            f"images cannot be loaded into embedded cluster {name!r}: it has no real node (nodes: {known.nodes})",
            command=f"ephemeral-ns cluster down --name {name}; ephemeral-ns cluster up --name {name} --nodes real",
        )
    return containerd.load(spec, archives)


def _possible(nodes: str) -> str:
    """Return what ``auto`` means here; refuse a real node where there can be none."""
    if nodes not in ("auto", "real"):
        return nodes
    from pytest_ephemeral_ns.clusters.embedded.node import missing

    reasons = missing()
    if nodes == "real" and reasons:
        raise ClusterError(
            "a real node is not possible here",
            evidence=reasons,
            command="--ephemeral-ns-nodes=none or simulated needs nothing of this; make demo installs what it can",
        )
    return "none" if reasons else "real"


def _images(bin_dir: Path, progress: Progress) -> list[Path]:
    from pytest_ephemeral_ns.clusters.embedded.images import COREDNS, PAUSE, ensure_images

    return ensure_images((PAUSE, COREDNS), progress, bin_dir=bin_dir)


def _start(home: Home, spec: Spec, progress: Progress) -> Status:
    home.prepare()
    spec.write(home)
    package_root = str(Path(__file__).resolve().parents[3])
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [package_root, os.environ.get("PYTHONPATH")]))}
    command = [sys.executable, "-m", "pytest_ephemeral_ns.clusters.embedded.supervisor", str(home.path)]
    child = processes.spawn(command, log=home.log("supervisor"), cwd=home.path, env=env, component=False)
    try:
        return _follow(home, child, Deadline.after(spec.timeout + 10), progress)
    except BaseException:  # also Ctrl-C: a cluster that nobody waits for must not stay
        _end(child)
        status = Status.read(home)
        _clean_up(home, status)
        if status is None or status.phase != FAILED:
            home.remove()
        raise


def _end(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(_STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait(_STOP_TIMEOUT)


def _follow(home: Home, child: subprocess.Popen[bytes], deadline: Deadline, progress: Progress) -> Status:
    """Wait until the supervisor says that the cluster is ready, passing on what it says on the way."""
    said = ""
    while True:
        code = child.poll()
        status = Status.read(home)
        if status is not None and status.phase == FAILED:
            raise ClusterError(
                f"embedded cluster {home.name!r} did not start: {status.error['summary']}",
                evidence=status.error["evidence"],
                command=status.error["command"],
            )
        if status is not None and status.phase == READY:
            child.returncode = 0  # it outlives this process; Popen must not complain about that
            return status
        if code is not None:
            log = home.log("supervisor")
            raise ClusterError(
                f"embedded cluster {home.name!r} did not start: its supervisor ended: {processes.describe_exit(code)}",
                evidence=[*processes.last_lines(log), f"log: {log}"],
            )
        if status is not None and status.message != said:
            said = status.message
            progress(said)
        if deadline.expired:
            raise ClusterError(f"embedded cluster {home.name!r} did not start within {deadline.budget:g} s: {said}")
        time.sleep(_POLL)


def _settled(home: Home, timeout: float) -> Status | None:
    """Return the status once the cluster is neither starting nor stopping (its starter may have been killed)."""
    end = time.monotonic() + timeout
    while True:
        status = Status.read(home)
        if status is None or not status.alive or status.phase == READY:
            return status
        if time.monotonic() >= end:
            raise ClusterError(
                f"embedded cluster {home.name!r} is still {status.phase} after {timeout:g} s: {status.message}",
                command=f"ephemeral-ns cluster down --name {home.name}",
            )
        time.sleep(_POLL)


def _clean_up(home: Home, status: Status | None) -> None:
    """End what outlived the supervisor: nothing, where there are PID namespaces."""
    if status is None:
        return
    for process in reversed(list(status.processes.values())):
        process.end(5.0)
    if (home.path / "node").exists():
        from pytest_ephemeral_ns.clusters.embedded import real_node

        real_node.clean_up(home)
    survivors = [name for name, process in status.processes.items() if process.alive()]
    if survivors:
        raise ClusterError(
            f"embedded cluster {home.name!r} could not be stopped: {', '.join(survivors)} still runs",
            command=f"ps -fp {','.join(str(status.processes[name].pid) for name in survivors)}",
        )


def _cluster(home: Home, status: Status, *, started: bool) -> Cluster:
    def read(name: str) -> str:
        return (home.pki / name).read_text("ascii")

    connection = Connection(
        status.server,
        ca_data=read("ca.crt"),
        client_cert_data=read("admin.crt"),
        client_key_data=read("admin.key"),
        context=home.context,
        kubeconfig=(str(home.kubeconfig),),
    )
    return Cluster("embedded", home.name, connection, home.kubeconfig, status.nodes, started, status.version)


@contextlib.contextmanager
def _locked(home: Home, progress: Progress, timeout: float) -> Iterator[None]:
    import filelock

    lock = filelock.FileLock(home.lock)
    try:
        home.lock.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except filelock.Timeout:
        progress(f"waiting for another process that starts or stops cluster {home.name!r}")
        _wait_for(lock, home, timeout + _STOP_TIMEOUT)
    except OSError as error:
        raise ClusterError(
            f"the state folder {home.lock.parent} cannot be used: {error.strerror}",
            command="EPHEMERAL_NS_STATE_DIR=/a/folder/of/yours",
        ) from error
    try:
        yield
    finally:
        lock.release()


def _wait_for(lock: filelock.BaseFileLock, home: Home, timeout: float) -> None:
    import filelock

    try:
        lock.acquire(timeout=timeout)
    except filelock.Timeout:
        raise ClusterError(
            f"embedded cluster {home.name!r} is locked by another process for more than {timeout:g} s",
            evidence=[f"lock: {home.lock}"],
        ) from None


def main() -> int:
    """Run ``up``, ``down``, ``status`` or ``names`` from a terminal; the proper command is ``ephemeral-ns cluster``."""
    import argparse

    parser = argparse.ArgumentParser(prog="python -m pytest_ephemeral_ns.clusters.embedded")
    parser.add_argument("action", choices=("up", "down", "status", "names"))
    parser.add_argument("--name", default="default")
    parser.add_argument("--nodes", default="auto")
    arguments = parser.parse_args()
    results: dict[str, Callable[[], object]] = {
        "up": lambda: str(up(arguments.name, nodes=arguments.nodes, progress=_to_stderr).kubeconfig),
        "down": lambda: down(arguments.name),
        "status": lambda: status(arguments.name),
        "names": names,
    }
    try:
        result = results[arguments.action]()
    except EphemeralNsError as error:
        _to_stderr(str(error))
        return 1
    sys.stdout.write(json.dumps(result, indent=1) + "\n")
    return 0


def _to_stderr(line: str) -> None:
    sys.stderr.write(line + "\n")
