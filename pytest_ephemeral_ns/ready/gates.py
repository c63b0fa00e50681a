"""GATES: what must hold above the objects before a test starts, one after the other, on the deadline of the namespace.

This module must never read a gate's text: that is a rule's part.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from pytest_ephemeral_ns.deadline import Deadline
from pytest_ephemeral_ns.errors import NotReady
from pytest_ephemeral_ns.ready.application import LAYER, complete
from pytest_ephemeral_ns.ready.history import shorten
from pytest_ephemeral_ns.ready.logs import wait_for_log
from pytest_ephemeral_ns.ready.lookout import Lookout
from pytest_ephemeral_ns.ready.loop import Progress, wait_ready
from pytest_ephemeral_ns.ready.reach import wait_for_http, wait_for_tcp
from pytest_ephemeral_ns.rules.gates import Gate, parse_gate
from pytest_ephemeral_ns.rules.graces import Graces
from pytest_ephemeral_ns.rules.objects import Ref

if TYPE_CHECKING:
    from pytest_ephemeral_ns.kube.api import Api
    from pytest_ephemeral_ns.kube.discovery import Discovery
    from pytest_ephemeral_ns.kube.watch import Watcher

__tracebackhide__ = True


def wait_for_gates(
    api: Api,
    watcher: Watcher,
    namespace: str,
    gates: Sequence[str | Gate],
    *,
    deadline: Deadline,
    below: Sequence[Ref] = (),
    graces: Graces | None = None,
    on_progress: Progress | None = None,
    discovery: Discovery | None = None,
    secrets: Collection[str] = (),
) -> None:
    """Wait until every gate is open, in the order in which they are given; see ``rules.gates.parse_gate``.

    Args:
        api: the API server.
        watcher: shared by all waits of a handle.
        namespace: where.
        gates: ``"job/migrate"``, ``"http://svc/api:8080/healthz"`` ...
        deadline: when to give up; one for all of them.
        below: the objects that were ready before; when one of them fails meanwhile, its cause ends the wait.
        graces: how long each kind of trouble may last.
        on_progress: gets a line when something changes.
        discovery: finds kinds; a new one by default.
        secrets: values that are removed from the errors.

    Raises:
        WaitFailed: a gate can never open.
        WaitTimeout: the deadline passed; names the gate, what was seen, and how the objects below are.
        UsageError: a gate is not understood; nothing was waited for.

    Example:
        >>> wait_for_gates(api, watcher, "shop", ["job/migrate"], deadline=Deadline.after(60))  # doctest: +SKIP
    """
    parsed = [parse_gate(gate) if isinstance(gate, str) else gate for gate in gates]
    if discovery is None:
        from pytest_ephemeral_ns.kube.discovery import Discovery

        discovery = Discovery(api)
    passing = _Passing(api, watcher, namespace, deadline, below, graces or Graces(), on_progress, discovery, secrets)
    for number, gate in enumerate(parsed, start=1):
        passing.wait(gate, f"gate {number}/{len(parsed)} {gate}")


class _Passing:
    """One way through several gates."""

    def __init__(
        self,
        api: Api,
        watcher: Watcher,
        namespace: str,
        deadline: Deadline,
        below: Sequence[Ref],
        graces: Graces,
        on_progress: Progress | None,
        discovery: Discovery,
        secrets: Collection[str],
    ) -> None:
        self._api, self._watcher, self._namespace, self._deadline = api, watcher, namespace, deadline
        self._below, self._graces, self._secrets = below, graces, secrets
        self._on_progress, self._discovery = on_progress or (lambda line: None), discovery

    def wait(self, gate: Gate, called: str) -> None:
        self._on_progress(called)
        lookout = self._lookout(called)
        try:
            self._wait(gate, lookout)
        except NotReady as error:
            error.evidence = (f"waited for: {called}", *lookout.lines(), *error.evidence)
            raise

    def _lookout(self, called: str) -> Lookout:
        return Lookout(
            self._api,
            self._watcher,
            self._namespace,
            self._below,
            self._deadline,
            self._discovery,
            self._graces,
            self._secrets,
            lambda seen: self._on_progress(f"{called}: {shorten(seen, 80)}"),
        )

    def _wait(self, gate: Gate, lookout: Lookout) -> None:
        if gate.kind == "job":
            self._wait_for_job(gate.target, lookout)
        elif gate.kind == "log":
            wait_for_log(
                self._api,
                self._namespace,
                gate.target,
                gate.pattern,
                deadline=self._deadline,
                graces=self._graces,
                secrets=self._secrets,
            )
        elif gate.kind == "tcp":
            wait_for_tcp(self._api, self._namespace, gate.target, gate.port, deadline=self._deadline, lookout=lookout)
        else:
            wait_for_http(
                self._api,
                self._namespace,
                gate.target,
                gate.port,
                gate.path,
                deadline=self._deadline,
                scheme=gate.kind,
                lookout=lookout,
            )

    def _wait_for_job(self, name: str, lookout: Lookout) -> None:
        """The objects below only must not fail meanwhile: a rollout that the Job sets off is no reason to wait."""
        known = [ref for ref in self._below if ref.kind == "Job" and ref.name == name]
        wait_ready(
            self._api,
            self._watcher,
            self._namespace,
            known or [Ref("batch/v1", "Job", name, self._namespace)],
            deadline=self._deadline,
            graces=self._graces,
            on_progress=lookout.look,  # when something changes, and every second
            discovery=self._discovery,
            secrets=self._secrets,
            layer=LAYER,
            refine=complete,
        )
