"""The last doubt before "ready": containers that nothing probes may have ended since their kubelet looked.

A runtime says that a container runs, but not which start of it: one that ended at once may have been started again. Its
kubelet tells of the end before it starts the next, so the pods are read once more after the runtime's answer.

This module must never doubt what a readiness probe says.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import TYPE_CHECKING

from pytest_ephemeral_ns.deadline import Deadline
from pytest_ephemeral_ns.errors import ApiError
from pytest_ephemeral_ns.ready.view import View
from pytest_ephemeral_ns.rules.objects import Object, Ref
from pytest_ephemeral_ns.rules.status import Cause, Container, Verdict, runs_on, unproven

if TYPE_CHECKING:
    from pytest_ephemeral_ns.kube.alive import Life
    from pytest_ephemeral_ns.kube.api import Api

_ONE_LOOK, _AT_ONCE = 3.0, 8
_HUSH = 3.0  # a kubelet looks every second
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
        self._dead: set[str] = set()
        self._silent_since: dict[str, float] = {}
        self.doubting = False

    def doubts(self, refs: Sequence[Ref], now: datetime) -> Mapping[Ref, Verdict]:
        """Return verdicts for objects that look ready, but have a container that has ended.

        Args:
            refs: objects that look ready.
            now: the time, on the API server's clock.
        """
        young = {container: ref for ref in refs for container in self._young(ref, now)}
        ended = self._dead_ones(young) or self._changed_ones(young)
        self.doubting = bool(ended)
        return {young[container]: _ended(container, now) for container in ended}

    def _young(self, ref: Ref, now: datetime) -> list[Container]:
        if not self._view.follows(ref) or (obj := self._view.sight(ref).obj) is None:
            return []
        return unproven(obj, self._view.related(ref.namespace, {}), now)

    def _dead_ones(self, found: Collection[Container]) -> list[Container]:
        """Those that do not run any more; an end is final, so it is asked for only once."""
        asked = [container for container in found if container.id not in self._dead and not self._blind]
        lives: dict[Container, Life] = {}
        if asked:
            with ThreadPoolExecutor(min(len(asked), _AT_ONCE), "ephemeral-ns-alive") as pool:
                lives = dict(zip(asked, pool.map(self._life, asked), strict=True))
        self._blind = self._blind or "unknown" in lives.values()
        self._dead.update(container.id for container in asked if lives[container] == "ended")
        return [each for each in found if each.id in self._dead or (lives.get(each) == "silent" and self._hushed(each))]

    def _life(self, container: Container) -> Life:
        from pytest_ephemeral_ns.kube.alive import life

        namespace = container.ref.namespace or self._namespace
        timeout = max(0.5, self._deadline.sooner(_ONE_LOOK))
        return life(self._api, namespace, container.ref.name, container.name, timeout=timeout)

    def _hushed(self, container: Container) -> bool:
        """Whether one without output may have ended: what is silent for longer has its output elsewhere."""
        since = self._silent_since.setdefault(container.id, time.monotonic())
        return time.monotonic() - since < _HUSH

    def _changed_ones(self, found: Collection[Container]) -> list[Container]:
        """Those that are not any more what the watch has shown."""
        places = {container.ref.namespace or self._namespace for container in found}
        pods = {place: self._pods(place) for place in sorted(places)}
        return [
            container
            for container in found
            if (there := pods[container.ref.namespace or self._namespace]) is not None
            and not runs_on(container, there.get(container.ref.uid))
        ]

    def _pods(self, namespace: str) -> Mapping[str, Object] | None:
        """The pods as the server has them now; ``None`` if that can't be had: then the watch is believed."""
        try:
            return {pod["metadata"]["uid"]: pod for pod in self._api.list(f"/api/v1/namespaces/{namespace}/pods")}
        except ApiError:
            return None


def _ended(container: Container, now: datetime) -> Verdict:
    message = "it has ended, and its kubelet has not said how yet"
    cause = Cause(container.ref, "JustEnded", message, now, container=container.name, log="current")
    return Verdict("waiting", "JustEnded", str(cause), (cause,))
