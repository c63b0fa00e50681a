"""The last doubt before "ready": containers that nothing probes may have ended since their kubelet looked.

This module must never doubt what a readiness probe says.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import TYPE_CHECKING

from pytest_ephemeral_ns.deadline import Deadline
from pytest_ephemeral_ns.ready.view import View
from pytest_ephemeral_ns.rules.objects import Ref
from pytest_ephemeral_ns.rules.status import Cause, Container, Verdict, unproven

if TYPE_CHECKING:
    from pytest_ephemeral_ns.kube.api import Api

_ONE_LOOK, _AT_ONCE = 3.0, 8
PAUSE = 0.25
"""Seconds between two questions, while a kubelet has not said yet what its runtime knows."""


class Alive:
    """Asks runtimes; who may not, or gets no answer, believes the kubelet.

    Args:
        api: the API server.
        view: what is to be seen.
        namespace: of objects that do not say it.
        deadline: of the wait.

    Attributes:
        doubting: whether a runtime knew better at the last question.
    """

    def __init__(self, api: Api, view: View, namespace: str, deadline: Deadline) -> None:
        self._api, self._view, self._namespace, self._deadline = api, view, namespace, deadline
        self._blind = False
        self.doubting = False

    def doubts(self, refs: Sequence[Ref], now: datetime) -> Mapping[Ref, Verdict]:
        """Return verdicts for objects that look ready, but have a container that has ended.

        Args:
            refs: objects that look ready.
            now: the time, on the API server's clock.
        """
        asked = {} if self._blind else {ref: found for ref in refs if (found := self._young(ref, now))}
        containers = {found: ref for ref, young in asked.items() for found in young}
        self.doubting = False
        if not containers:
            return {}
        with ThreadPoolExecutor(min(len(containers), _AT_ONCE), "ephemeral-ns-alive") as pool:
            answers = dict(zip(containers, pool.map(self._runs, containers), strict=True))
        self._blind = None in answers.values()
        self.doubting = False in answers.values()
        return {containers[found]: _ended(found, now) for found, answer in answers.items() if answer is False}

    def _young(self, ref: Ref, now: datetime) -> list[Container]:
        if not self._view.follows(ref) or (obj := self._view.sight(ref).obj) is None:
            return []
        return unproven(obj, self._view.related(ref.namespace, {}), now)

    def _runs(self, container: Container) -> bool | None:
        from pytest_ephemeral_ns.kube.alive import runs

        namespace = container.ref.namespace or self._namespace
        timeout = max(0.5, self._deadline.sooner(_ONE_LOOK))
        return runs(self._api, namespace, container.ref.name, container.name, timeout=timeout)


def _ended(container: Container, now: datetime) -> Verdict:
    message = "it has ended, and its kubelet has not said how yet"
    cause = Cause(container.ref, "JustEnded", message, now, container=container.name, log="current")
    return Verdict("waiting", "JustEnded", str(cause), (cause,))
