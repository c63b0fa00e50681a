"""Start, stop and describe embedded clusters; this module must never run a component itself (the supervisor does).

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_ephemeral_ns import paths
from pytest_ephemeral_ns.clusters.cluster import Cluster
from pytest_ephemeral_ns.clusters.embedded import launch, network_egress
from pytest_ephemeral_ns.clusters.embedded.assets.obtain import ensure
from pytest_ephemeral_ns.clusters.embedded.processes import ProcessId
from pytest_ephemeral_ns.clusters.embedded.state import FAILED, READY, UNREADABLE, Home, Spec, Status
from pytest_ephemeral_ns.connection import Connection
from pytest_ephemeral_ns.errors import ClusterError

if TYPE_CHECKING:
    import filelock

_STOP_TIMEOUT = 30.0  # seconds for a supervisor to stop everything by itself
_POLL = 0.02
_USE_KIND = "--ephemeral-ns-cluster=kind"
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
    if os.name != "posix":
        raise ClusterError(f"an embedded cluster needs Linux or macOS, this is {sys.platform}", command=_USE_KIND)
    home = Home.of(name)
    with _locked(home, progress, timeout):
        if running := _running(home, nodes, timeout):
            return running
    # Without the lock: whoever waits for it should not have to wait for a compiler.
    owner = ProcessId.of(owner_pid) if owner_pid is not None else None
    possible = _possible(nodes, progress)
    bin_dir = ensure(["control-plane", *_PROGRAMS[possible]], progress)
    images = tuple(str(archive) for archive in _images(bin_dir, progress)) if possible == "real" else ()
    out = network_egress.wanted() if egress is None else egress
    spec = Spec(possible, str(bin_dir), owner, timeout, images, out)
    with _locked(home, progress, timeout):
        if running := _running(home, nodes, timeout):
            return running
        launch.clean_up(home, Status.read(home))
        return _cluster(home, launch.start(home, spec, progress), started=True)


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
        launch.stop(home, status)
        home.remove()
        return existed


def status(name: str = "default") -> dict[str, Any]:
    """Return what is known about a cluster, as JSON-able values.

    Returns:
        ``name``, ``phase`` (``"absent"`` if there is none, ``"lost"`` if its supervisor was killed,
        ``"unreadable"`` if another version of this package started it), ``nodes``, ``server``, ``kubeconfig``,
        ``logs``, ``pid``, ``port``, ``restarts``, ``containment``, ``error``, ``version``.
    """
    home = Home.of(name)
    known = Status.read(home)
    if known is None:
        return {"name": name, "phase": "absent"}
    phase = known.phase if known.alive or known.phase in (FAILED, UNREADABLE) else "lost"
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


def _possible(nodes: str, progress: Progress) -> str:
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
    if reasons:
        progress(f"without a node, as a real one is not possible here: {'; '.join(reasons)}")
    return "none" if reasons else "real"


def _images(bin_dir: Path, progress: Progress) -> list[Path]:
    from pytest_ephemeral_ns.clusters.embedded.images import COREDNS, PAUSE, ensure_images

    return ensure_images((PAUSE, COREDNS), progress, bin_dir=bin_dir)


def _running(home: Home, nodes: str, timeout: float) -> Cluster | None:
    """Return the cluster if it runs; one that another process starts or stops is waited for.

    Raises:
        ClusterError: it runs with other nodes than were asked for.
    """
    status = _settled(home, timeout)
    if status is not None and status.phase == UNREADABLE and status.processes:
        raise ClusterError(
            f"embedded cluster {home.name!r} was started by another version of this package, and cannot be used",
            evidence=[f"not understood: {home.path / 'status.json'}"],
            command=f"ephemeral-ns cluster down --name {home.name}, or another name",
        )
    if status is None or not status.alive:
        return None
    if nodes not in ("auto", status.nodes):
        raise ClusterError(
            f"embedded cluster {home.name!r} runs already, with nodes: {status.nodes}, not {nodes}",
            command=f"ephemeral-ns cluster down --name {home.name}, or another name",
        )
    return _cluster(home, status, started=False)


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
