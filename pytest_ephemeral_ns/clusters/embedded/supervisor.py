"""The process that a cluster lives and dies with; this module must never start a thread (see containment).

One for each cluster: ``python -m pytest_ephemeral_ns.clusters.embedded.supervisor FOLDER``. It starts the components in
order, says in ``status.json`` how far it is, starts a component again that died, and stops everything when it is told
to, or when the process that the cluster belongs to is gone.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from pytest_ephemeral_ns.clusters.embedded import certificates, containment, control_plane, processes
from pytest_ephemeral_ns.clusters.embedded.control_plane import Component, Plan
from pytest_ephemeral_ns.clusters.embedded.processes import ProcessId, Watch
from pytest_ephemeral_ns.clusters.embedded.state import FAILED, READY, STARTING, STOPPING, Home, Spec, Status
from pytest_ephemeral_ns.deadline import Deadline
from pytest_ephemeral_ns.errors import ClusterError, EphemeralNsError

_POLL = 0.03  # seconds between two questions whether a component is ready
_GRACE = 4.0  # seconds that a component gets to end by itself
_MAX_RESTARTS = 5
_STABLE = 60.0  # seconds after which a component's restarts are forgotten


class Stopped(Exception):
    """Somebody wants the cluster to end while it is still starting."""


class PortTaken(ClusterError):
    """Somebody else took a port between our choice and the component's start."""


class Supervisor:
    """One cluster.

    Args:
        home: its folder, with ``spec.json`` in it.
    """

    def __init__(self, home: Home) -> None:
        self.home = home
        self.spec = Spec.read(home)
        self.children: dict[str, subprocess.Popen[bytes]] = {}
        self.components: dict[str, Component] = {}
        self.started_at: dict[str, float] = {}
        self.owner = Watch(self.spec.owner) if self.spec.owner else None
        self.stop_wanted = False
        self._wake_read, self._wake_write = _pipe()
        me = ProcessId.of(os.getpid())
        self.status = Status(STARTING, "preparing", supervisor=me, nodes=self.spec.nodes)

    # -- the life of a cluster -------------------------------------------------------------------------------------

    def run(self) -> int:
        """Start, watch, stop. Return the exit code: 0 if the cluster ended because it was meant to."""
        self._listen_for_signals()
        self._say()
        try:
            self._start()
            self._watch()
        except Stopped:
            pass
        except EphemeralNsError as error:
            return self._fail(error)
        except Exception as error:  # a defect of ours must not look like a cluster that is still starting
            import traceback

            return self._fail(ClusterError(f"the supervisor failed: {error!r}", evidence=[traceback.format_exc()]))
        self._say(phase=STOPPING, message="stopping")
        self._stop()
        self.home.remove()
        return 0

    def _start(self) -> None:
        first = containment.contain()
        self._say(containment="pid namespace" if first else "process list")
        deadline = Deadline.after(self.spec.timeout)
        for attempt in range(3):
            try:
                return self._start_control_plane(deadline)
            except PortTaken:
                self._stop()
                if attempt == 2:
                    raise
        return None

    def _start_control_plane(self, deadline: Deadline) -> None:
        from pytest_ephemeral_ns.clusters.embedded.probe import Probe

        plan = self._plan()
        self._say(ports=plan.ports, message="writing certificates")
        certificates.write_all(self.home.pki, server_names=plan.server_names)
        for client in ("controller-manager", "scheduler", "kwok"):
            self._kubeconfig(plan, client, self.home.pki / f"{client}.kubeconfig")
        self._kubeconfig(plan, "admin", self.home.kubeconfig)
        self._say(message="starting etcd and kube-apiserver")
        self._spawn(control_plane.etcd(plan))
        self._spawn(control_plane.api_server(plan))
        probe = Probe(plan.server, self.home.pki)
        with contextlib.closing(probe):
            self._until(probe.ready, deadline, "kube-apiserver")
            self._say(message="starting kube-controller-manager and kube-scheduler")
            self._spawn(control_plane.controller_manager(plan))
            self._spawn(control_plane.scheduler(plan))
            account = "/api/v1/namespaces/default/serviceaccounts/default"
            self._until(lambda: probe.exists(account), deadline, "kube-controller-manager")
        self._say(phase=READY, message="ready", server=plan.server)

    def _plan(self) -> Plan:
        address = "127.0.0.1"
        return Plan(
            home=self.home,
            bin_dir=Path(self.spec.bin_dir),
            nodes=self.spec.nodes,
            address=address,
            ports=control_plane.free_ports(address),
        )

    def _kubeconfig(self, plan: Plan, client: str, path: Path) -> None:
        certificates.write_kubeconfig(
            path, pki=self.home.pki, client=client, server=plan.server, context=self.home.context
        )

    # -- components ------------------------------------------------------------------------------------------------

    def _spawn(self, component: Component) -> None:
        log = self.home.log(component.name)
        try:
            child = processes.spawn(
                component.argv, log=log, cwd=self.home.path, env=processes.environment(self.home.path)
            )
        except OSError as error:
            raise ClusterError(
                f"{component.name} cannot be started: {error.strerror or error}",
                evidence=[f"program: {component.argv[0]}"],
            ) from error
        self.components[component.name] = component
        self.children[component.name] = child
        self.started_at[component.name] = time.monotonic()
        identity = ProcessId.of(child.pid)
        self._say(processes={**self.status.processes, component.name: identity})

    def _until(self, done: Callable[[], bool], deadline: Deadline, component: str) -> None:
        """Ask whether something is ready until it is, as long as every component runs and nobody wants us to end."""
        while not done():
            self._refuse_dead()
            if deadline.expired:
                raise ClusterError(
                    f"{component} is not ready after {deadline.budget:g} s",
                    evidence=self._log_evidence(component),
                    command=f"less {self.home.log(component)}",
                )
            self._pause(_POLL)
            if self._should_end():
                raise Stopped

    def _refuse_dead(self) -> None:
        for name, child in self.children.items():
            code = child.poll()
            if code is None:
                continue
            evidence = self._log_evidence(name)
            kind = PortTaken if any("address already in use" in line for line in evidence) else ClusterError
            raise kind(
                f"{name} ended while the cluster was starting: {processes.describe_exit(code)}",
                evidence=evidence,
                command=f"less {self.home.log(name)}",
            )

    def _log_evidence(self, component: str) -> list[str]:
        log = self.home.log(component)
        return [*processes.last_lines(log), f"log: {log}"]

    # -- watching --------------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        while not self._should_end():
            for name, child in list(self.children.items()):
                if (code := child.poll()) is not None:
                    self._restart(name, code)
            # Without a descriptor for the owner's end it has to be looked for; a component's end is a signal.
            self._pause(None if self.owner is None or self.owner.descriptor is not None else 0.5)

    def _restart(self, name: str, code: int) -> None:
        recent = time.monotonic() - self.started_at[name] < _STABLE
        count = self.status.restarts.get(name, 0) + 1 if recent else 1
        if count > _MAX_RESTARTS:
            raise ClusterError(
                f"{name} keeps ending within {_STABLE:g} s of its start: {processes.describe_exit(code)}",
                evidence=self._log_evidence(name),
                command=f"less {self.home.log(name)}",
            )
        with self.home.log(name).open("ab") as log:
            log.write(f"--- ended: {processes.describe_exit(code)}; started again by the supervisor\n".encode())
        self._spawn(self.components[name])
        self._say(restarts={**self.status.restarts, name: count})

    def _should_end(self) -> bool:
        return self.stop_wanted or (self.owner is not None and self.owner.gone())

    def _pause(self, seconds: float | None) -> None:
        """Sleep until a signal comes, the owner ends, or the time is over."""
        waiting = [self._wake_read]
        if self.owner is not None and self.owner.descriptor is not None:
            waiting.append(self.owner.descriptor)
        select.select(waiting, [], [], seconds)
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_read, 4096)

    def _listen_for_signals(self) -> None:
        def stop(number: int, frame: FrameType | None) -> None:
            self.stop_wanted = True

        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, stop)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)

    # -- the end ---------------------------------------------------------------------------------------------------

    def _stop(self) -> None:
        """End every component, the last one first; what does not end by itself is killed."""
        for name, child in reversed(list(self.children.items())):
            if child.poll() is None:
                child.terminate()
            try:
                child.wait(_GRACE)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait(_GRACE)
            del self.children[name]

    def _fail(self, error: EphemeralNsError) -> int:
        self._stop()
        self.home.remove(keep_logs=True)
        report = {"summary": error.summary, "evidence": list(error.evidence), "command": error.command}
        self._say(phase=FAILED, message=error.summary, error=report)
        return 1

    def _say(self, **changes: object) -> None:
        self.status = self.status.with_(**changes)
        self.status.write(self.home)


def _pipe() -> tuple[int, int]:
    read, write = os.pipe()
    os.set_blocking(read, False)
    os.set_blocking(write, False)
    return read, write


def main() -> int:
    """Run the supervisor for the folder that the first argument names."""
    return Supervisor(Home(Path(sys.argv[1]))).run()


if __name__ == "__main__":
    sys.exit(main())
