"""The components that run: started, looked at, started again, ended; this module must never decide when.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import subprocess
import time

from pytest_ephemeral_ns.clusters.embedded import processes
from pytest_ephemeral_ns.clusters.embedded.control_plane import Component
from pytest_ephemeral_ns.clusters.embedded.processes import ProcessId
from pytest_ephemeral_ns.clusters.embedded.state import Home
from pytest_ephemeral_ns.errors import ClusterError

_GRACE = 1.0  # seconds that a component gets to end by itself; nothing that it could still save is of use
_MAX_RESTARTS = 5
# Go's collector takes a sixth of the processor time of a start; half of that is saved for 100 MB of memory.
_MEMORY = {"GOGC": "400", "GOMEMLIMIT": "1GiB"}
_STABLE = 60.0  # seconds after which a component's restarts are forgotten


class PortTaken(ClusterError):
    """Somebody else took a port between our choice and the component's start."""


class Running:
    """The components of one cluster, in the order of their start.

    Args:
        home: the cluster's folder.
    """

    def __init__(self, home: Home) -> None:
        self._home = home
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._components: dict[str, Component] = {}
        self._started_at: dict[str, float] = {}
        self._log_start: dict[str, int] = {}
        self.restarts: dict[str, int] = {}

    def identities(self) -> dict[str, ProcessId]:
        """Return each component's process."""
        return {name: ProcessId.of(child.pid) for name, child in self._children.items()}

    def start(self, component: Component) -> None:
        """Start a component.

        Raises:
            ClusterError: its program can't be run.
        """
        log = self._home.log(component.name)
        self._log_start[component.name] = log.stat().st_size if log.exists() else 0
        environment = processes.environment(self._home.path, _MEMORY)
        try:
            child = processes.spawn(component.argv, log=log, cwd=self._home.path, env=environment)
        except OSError as error:
            raise ClusterError(
                f"{component.name} cannot be started: {error.strerror or error}",
                evidence=[f"program: {component.argv[0]}", f"log: {log}"],
                command="python -m pytest_ephemeral_ns.clusters.embedded.assets control-plane",
            ) from error
        self._components[component.name] = component
        self._children[component.name] = child
        self._started_at[component.name] = time.monotonic()

    def refuse_dead(self) -> None:
        """Raise if a component has ended; for the time of the start.

        Raises:
            PortTaken: it ended because its port was taken.
            ClusterError: it ended for another reason: exit code, last words and log file are named.
        """
        for name, child in self._children.items():
            if (code := child.poll()) is not None:
                evidence = self.evidence(name)
                taken = any("address already in use" in line for line in evidence)
                raise (PortTaken if taken else ClusterError)(
                    f"{name} ended while the cluster was starting: {processes.describe_exit(code)}",
                    evidence=evidence,
                    command=f"less {self._home.log(name)}",
                )

    def restart_dead(self) -> bool:
        """Start every component again that has ended, and say whether there was one.

        Raises:
            ClusterError: it ends again and again.
        """
        dead = {name: code for name, child in self._children.items() if (code := child.poll()) is not None}
        for name, code in dead.items():
            self.count_restart(name, processes.describe_exit(code), time.monotonic() - self._started_at[name])
            with self._home.log(name).open("ab") as log:
                log.write(f"--- ended: {processes.describe_exit(code)}; started again by the supervisor\n".encode())
            self.start(self._components[name])
        return bool(dead)

    def count_restart(self, name: str, how: str, lived: float) -> None:
        """Note that a component ended after ``lived`` seconds.

        Raises:
            ClusterError: too often.
        """
        count = self.restarts.get(name, 0) + 1 if lived < _STABLE else 1
        if count > _MAX_RESTARTS:
            raise ClusterError(
                f"{name} keeps ending within {_STABLE:g} s of its start: {how}",
                evidence=self.evidence(name),
                command=f"less {self._home.log(name)}",
            )
        self.restarts[name] = count

    def evidence(self, name: str) -> list[str]:
        """Return a component's last words since it was started last, and where the others are."""
        log = self._home.log(name)
        return [*processes.last_lines(log, start=self._log_start.get(name, 0)), f"log: {log}"]

    def stop(self) -> None:
        """End every component, the last one first; what does not end by itself is killed."""
        for name, child in reversed(list(self._children.items())):
            if child.poll() is None:
                child.terminate()
            try:
                child.wait(_GRACE)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait(_GRACE)
            del self._children[name]
