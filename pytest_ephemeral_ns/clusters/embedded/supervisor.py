"""The process that a cluster lives and dies with; this module must never start a thread (see containment).

One for each cluster: ``python -m pytest_ephemeral_ns.clusters.embedded.supervisor FOLDER``. It starts the components in
order, says in ``status.json`` how far it is, starts a component again that died, and stops everything when it is told
to, or when the process that the cluster belongs to is gone.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from pytest_ephemeral_ns.clusters.embedded import certificates, containment, control_plane
from pytest_ephemeral_ns.clusters.embedded.control_plane import Component, Plan
from pytest_ephemeral_ns.clusters.embedded.processes import ProcessId, Watch
from pytest_ephemeral_ns.clusters.embedded.running import PortTaken, Running
from pytest_ephemeral_ns.clusters.embedded.state import FAILED, READY, STARTING, STOPPING, Home, Spec, Status
from pytest_ephemeral_ns.deadline import Deadline
from pytest_ephemeral_ns.errors import ClusterError, EphemeralNsError

if TYPE_CHECKING:
    from pytest_ephemeral_ns.clusters.embedded.probe import Probe
    from pytest_ephemeral_ns.clusters.embedded.real_node import RealNode

_POLL = 0.03  # seconds between two questions whether a component is ready
_PORT_ATTEMPTS = 3
_NODE_RESTARTS = 2  # while the cluster starts


class Stopped(Exception):
    """Somebody wants the cluster to end while it is still starting."""


class TooSlow(ClusterError):
    """A component is still not ready when the time is over."""


class Supervisor:
    """One cluster.

    Args:
        home: its folder, with ``spec.json`` in it.
    """

    def __init__(self, home: Home) -> None:
        self.home = home
        self.began = time.monotonic()
        self.spec = Spec.read(home)
        self.running = Running(home)
        self.node: RealNode | None = None
        self.node_started = 0.0
        self.namespace: int | None = None
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
            return self._fail(ClusterError(f"the supervisor failed: {error!r}", evidence=[traceback.format_exc()]))
        return self._end()

    def _start(self) -> None:
        deadline = Deadline.after(self.spec.timeout)
        self.namespace = containment.contain()
        self._say(containment="pid namespace" if self.namespace else "process list", processes=self._processes())
        for attempt in range(1, _PORT_ATTEMPTS + 1):
            try:
                plan = self._plan()
                self._start_api_server(plan, deadline)
                break
            except PortTaken:
                self._stop()
                if attempt == _PORT_ATTEMPTS:
                    raise
        self._start_rest(plan, deadline)
        self._say(phase=READY, message="ready")

    def _plan(self) -> Plan:
        address, pods, network = "127.0.0.1", "", None
        if self.spec.nodes == "real":
            from pytest_ephemeral_ns.clusters.embedded.real_node import RealNode

            self.node = RealNode(self.home, Path(self.spec.bin_dir), self.spec.images, egress=self.spec.egress)
            ranges = self.node.claim()
            # This machine's end of the link is an address that both sides have, and nobody else: not 0.0.0.0, which
            # would open the API server to the whole network, and not loopback, which the node could not reach.
            address, pods, network = ranges.host_ip, ranges.pods, ranges.index
        port = control_plane.free_port(address)
        return Plan(self.home, Path(self.spec.bin_dir), self.spec.nodes, address, port, pods, network)

    def _start_api_server(self, plan: Plan, deadline: Deadline) -> None:
        self._launch(control_plane.etcd(plan))  # needs no certificate, and starts while they are written
        self._say(port=plan.port, network=plan.network, message="writing certificates")
        node = (self.node.spec.name, self.node.spec.node_ip) if self.node else None
        certificates.write_all(self.home.pki, server_names=plan.server_names, node=node)
        for client in ("controller-manager", "scheduler", "kwok"):
            self._kubeconfig(plan, client, self.home.pki / f"{client}.kubeconfig")
        self._kubeconfig(plan, "admin", self.home.kubeconfig)
        parts = "etcd, kube-apiserver and the node" if self.node else "etcd and kube-apiserver"
        self._say(server=plan.server, message=f"starting {parts}")
        self._launch(control_plane.api_server(plan))
        if self.node:
            # It waits for the API server by itself; until then both have the processor in turns.
            self._start_node(plan.server)
        with contextlib.closing(self._probe(plan)) as probe:
            self._until(probe.ready, deadline, "kube-apiserver")
            self._say(version=probe.request("GET", "/version")[1]["gitVersion"])

    def _start_rest(self, plan: Plan, deadline: Deadline) -> None:
        self._say(message="starting kube-controller-manager and kube-scheduler")
        self._launch(control_plane.controller_manager(plan))
        self._launch(control_plane.scheduler(plan))
        with contextlib.closing(self._probe(plan)) as probe:
            if plan.nodes == "simulated":
                self._start_simulation(plan, probe, deadline)
            account = "/api/v1/namespaces/default/serviceaccounts/default"
            self._until(lambda: probe.exists(account), deadline, "kube-controller-manager")
            if self.node:
                self._await_node(self.node, probe, deadline)

    def _probe(self, plan: Plan) -> Probe:
        from pytest_ephemeral_ns.clusters.embedded.probe import Probe  # here: it is loaded while the first parts start

        return Probe(plan.server, self.home.pki)

    def _await_node(self, node: RealNode, probe: Probe, deadline: Deadline) -> None:
        self._say(message="waiting for the node and its DNS")
        try:
            self._until(lambda: self._node_ready(probe), deadline, "node")
        except TooSlow as error:
            obstacles = node.obstacles(probe)
            raise ClusterError(error.summary, evidence=obstacles, command=f"less {node.spec.logs}/*") from None

    def _start_simulation(self, plan: Plan, probe: Probe, deadline: Deadline) -> None:
        from pytest_ephemeral_ns.clusters.embedded import simulated

        self._say(message="starting simulated nodes")
        probe.apply(simulated.definition())
        self._until(lambda: simulated.established(probe), deadline, "kube-apiserver")
        self._launch(simulated.kwok(plan))
        for manifest in simulated.objects():
            probe.apply(manifest)
        self._until(lambda: simulated.ready(probe), deadline, "kwok")

    def _start_node(self, server: str) -> None:
        assert self.node
        self.node_started = time.monotonic()
        self.node.start(server)

    def _node_ready(self, probe: Probe) -> bool:
        """Whether the node is; a kubelet on a busy machine sometimes gives up, and is worth a second start."""
        assert self.node
        if not self.node.ended():
            return self.node.ready(probe)
        if self.running.restarts.get("node", 0) >= _NODE_RESTARTS:
            self.node.refuse_ended()
        self._restart_node()
        return False

    def _restart_node(self) -> None:
        self.running.count_restart("node", "its sandbox ended", time.monotonic() - self.node_started)
        self._start_node(self.status.server)
        self._say(restarts=self.running.restarts)

    def _kubeconfig(self, plan: Plan, client: str, path: Path) -> None:
        certificates.write_kubeconfig(
            path, pki=self.home.pki, client=client, server=plan.server, context=self.home.context
        )

    def _launch(self, component: Component) -> None:
        self.running.start(component)
        self._say(processes=self._processes())

    def _until(self, done: Callable[[], bool], deadline: Deadline, component: str) -> None:
        """Ask whether something is ready until it is, as long as every component runs and nobody wants us to end."""
        while not done():
            self.running.refuse_dead()
            if deadline.expired:
                raise TooSlow(
                    f"{component} is not ready after {deadline.budget:g} s",
                    evidence=self.running.evidence(component),
                    command=f"less {self.home.log(component)}",
                )
            self._pause(_POLL)
            if self._should_end():
                raise Stopped

    # -- watching --------------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        # Without a descriptor for the owner's end it has to be looked for; a component's end is a signal.
        blind = self.owner is not None and self.owner.descriptor is None
        while not self._should_end():
            if self.node and self.node.ended():
                self._restart_node()
            if self.running.restart_dead():
                self._say(processes=self._processes(), restarts=self.running.restarts)
            self._pause(0.5 if blind else None)

    def _should_end(self) -> bool:
        if self.owner is not None and self.owner.gone() and self.home.stay.exists():
            self.owner = None
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

    def _end(self) -> int:
        self._say(phase=STOPPING, message="stopping")
        try:
            self._stop()
        except EphemeralNsError as error:
            # What could not be removed is still described in the folder: `down` needs that to try again.
            self._leave()
            self._say(phase=FAILED, message=error.summary, error=_report(error))
            return 1
        self._leave()
        self.home.remove()
        return 0

    def _stop(self) -> None:
        """End everything, the last first."""
        node, self.node = self.node, None
        try:
            if node:
                node.clean_up()
        finally:
            self.running.stop()

    def _leave(self) -> None:
        """End the PID namespace, and with it whatever may still be in it."""
        if self.namespace:
            os.kill(self.namespace, signal.SIGKILL)
            os.waitpid(self.namespace, 0)

    def _processes(self) -> dict[str, ProcessId]:
        namespace = {"namespace": ProcessId.of(self.namespace)} if self.namespace else {}
        return {**namespace, **self.running.identities()}

    def _fail(self, error: EphemeralNsError) -> int:
        report = _report(error)
        with contextlib.suppress(OSError):
            # The node's folder ends with the node: whoever reads the error needs the names of the copies.
            there, kept = self.home.keep_node_logs()
            report = json.loads(json.dumps(report).replace(f"{there}", f"{kept}"))
        try:
            self._stop()
            self.home.remove(keep_logs=True)
        except EphemeralNsError as another:
            report["evidence"] += ["", *str(another).splitlines()]
        self._leave()
        self._say(phase=FAILED, message=error.summary, error=report)
        return 1

    def _say(self, **changes: object) -> None:
        if "message" in changes:
            sys.stderr.write(f"{time.monotonic() - self.began:8.3f} s  {changes['message']}\n")
            sys.stderr.flush()
        self.status = self.status.with_(**changes)
        self.status.write(self.home)


def _report(error: EphemeralNsError) -> dict[str, Any]:
    return {"summary": error.summary, "evidence": list(error.evidence), "command": error.command}


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
