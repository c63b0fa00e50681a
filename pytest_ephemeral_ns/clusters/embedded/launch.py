"""The two ends of a supervisor's life, seen from outside; this module must never run a component itself.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from pytest_ephemeral_ns.clusters.embedded import processes
from pytest_ephemeral_ns.clusters.embedded.processes import ProcessId
from pytest_ephemeral_ns.clusters.embedded.state import FAILED, READY, STARTING, Home, Spec, Status
from pytest_ephemeral_ns.deadline import Deadline
from pytest_ephemeral_ns.errors import ClusterError

Progress = Callable[[str], None]

_STOP_TIMEOUT = 30.0  # seconds for a supervisor to stop everything by itself
_POLL = 0.02


def start(home: Home, spec: Spec, progress: Progress) -> Status:
    """Start the supervisor, and wait until it says that the cluster is ready.

    Args:
        home: the cluster's folder; emptied first.
        spec: what the cluster is to be.
        progress: told what the supervisor says on the way.

    Returns:
        The status of a cluster that is ready.

    Raises:
        ClusterError: it did not get ready; nothing of it runs, and its logs stay.
    """
    home.prepare()
    spec.write(home)
    package_root = str(Path(__file__).resolve().parents[3])
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [package_root, os.environ.get("PYTHONPATH")]))}
    command = [sys.executable, "-m", "pytest_ephemeral_ns.clusters.embedded.supervisor", str(home.path)]
    child = processes.spawn(command, log=home.log("supervisor"), cwd=home.path, env=env, component=False)
    Status(STARTING, "preparing", supervisor=ProcessId.of(child.pid)).write_first(home)
    try:
        return _follow(home, child, Deadline.after(spec.timeout + 10), progress)
    except BaseException:  # also Ctrl-C: a cluster that nobody waits for must not stay
        _end(child)
        status = Status.read(home)
        clean_up(home, status)
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


def stop(home: Home, status: Status | None) -> None:
    """End the supervisor, and with it the cluster; then whatever outlived it.

    Raises:
        ClusterError: something still runs.
    """
    if status is not None and status.supervisor is not None:
        status.supervisor.end(_STOP_TIMEOUT)
        with contextlib.suppress(ChildProcessError):  # if it was a child of ours, not even a zombie stays
            os.waitpid(status.supervisor.pid, os.WNOHANG)
    clean_up(home, status)


def clean_up(home: Home, status: Status | None) -> None:
    """End what outlived a supervisor: where there are PID namespaces nothing, but a node leaves a link and cgroups.

    Raises:
        ClusterError: something still runs.
    """
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
