"""All objects of one wait at one moment → their verdicts; this module must never block.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from pytest_ephemeral_ns.ready.view import View
from pytest_ephemeral_ns.rules.graces import Graces
from pytest_ephemeral_ns.rules.objects import Ref
from pytest_ephemeral_ns.rules.status import (
    Cause,
    Related,
    Verdict,
    gone_verdict,
    may_write,
    missing_verdict,
    remember,
    verdict,
)

if TYPE_CHECKING:
    from pytest_ephemeral_ns.kube.api import Api

Refine = Callable[[Ref, Verdict], Verdict]
Verdicts = dict[Ref, Verdict]

_LONG_AGO = datetime(1970, 1, 1, tzinfo=timezone.utc)
_NOT_YET = datetime(9999, 1, 1, tzinfo=timezone.utc)
_ALL_AGAIN = 1.0
_CRASHED = ("crash", "restarted")
# These wait for others; nobody's start waits for them.
_FOLLOWERS = {"Service", "Ingress", "HorizontalPodAutoscaler", "PodDisruptionBudget", "Namespace"}


class Judge:
    """Judges the objects of one wait, again and again.

    Args:
        api: for the server's time.
        view: what is to be seen.
        namespace: the wait's own.
        refs: the objects.
        graces: how long each kind of trouble may last.
        refine: changes a verdict; ``None`` leaves them.

    Attributes:
        now: the server's time at the last look.
    """

    def __init__(
        self, api: Api, view: View, namespace: str, refs: Sequence[Ref], graces: Graces, refine: Refine | None
    ) -> None:
        self._api, self._view, self._namespace = api, view, namespace
        writers = any(may_write(ref.api_version, ref.kind) for ref in refs)
        self._refs, self._graces = refs, graces if writers else graces.without_writers()
        self._refine = refine or (lambda ref, found: found)
        self._seen: dict[tuple[str, str, str], Cause] = {}
        self._last: Verdicts = {}
        self._all_at = float("-inf")
        self._related: dict[str, Related] = {}
        self._shaky: set[Ref] = set()
        self._busy: dict[Ref, datetime] = {}
        self._calm_since: datetime | None = None
        self.now = datetime.now(timezone.utc)

    def look(self) -> Verdicts:
        """Judge what was not ready, and from time to time everything; "all ready" is always said of one moment."""
        open_ones = [ref for ref in self._refs if ref not in self._last or not self._last[ref].ready]
        again = time.monotonic() - self._all_at >= _ALL_AGAIN
        verdicts = self._judge(self._refs if again else open_ones)
        if len(verdicts) < len(self._refs) and all(found.ready for found in verdicts.values()):
            verdicts = self._judge(self._refs)
        if self._grow_calm({**self._last, **verdicts}):
            verdicts = self._judge(self._refs)
        self._last = {**self._last, **verdicts}
        ordered = {ref: self._last[ref] for ref in self._refs}
        return {**self._namespace_ending(ordered), **ordered}

    def _judge(self, refs: Sequence[Ref]) -> Verdicts:
        self.now = datetime.fromtimestamp(self._api.server_time, timezone.utc)
        self._related = {}
        if len(refs) == len(self._refs):
            self._all_at = time.monotonic()
        verdicts = {ref: self._refine(ref, self._verdict(ref)) for ref in refs}
        self._seen = remember(self._seen, (cause for found in verdicts.values() for cause in found.causes))
        return verdicts

    def _verdict(self, ref: Ref) -> Verdict:
        if not self._view.follows(ref):
            return Verdict("ready", "Exists")
        sight = self._view.sight(ref)
        if sight.error is not None:
            return Verdict("failed", "NotReadable", sight.error.summary)
        if sight.unseen:
            return Verdict("waiting", "NotSeenYet", sight.unseen)
        if sight.obj is not None:
            return verdict(sight.obj, self._surroundings(ref), self.now, self._graces)
        if sight.last is not None:
            return gone_verdict(sight.last, self._surroundings(ref), self.now, self._graces)
        return missing_verdict(ref)

    def _surroundings(self, ref: Ref) -> Related:
        if ref.namespace not in self._related:
            calm = self._calm_since or _NOT_YET
            self._related[ref.namespace] = self._view.related(ref.namespace, self._seen, calm)
        return self._related[ref.namespace]

    def _grow_calm(self, verdicts: Verdicts) -> bool:
        """Note since when nothing is on its way any more but what crashes; return whether that has just become so.

        An application may end until its database is up. While the database is on its way, a crash proves nothing;
        one that began after it was there does, and so does every crash of what waits for nobody.
        """
        for ref, found in verdicts.items():
            if any(cause.topic in _CRASHED for cause in found.causes):
                self._shaky.add(ref)
            if found.state == "waiting" and ref.kind not in _FOLLOWERS:
                self._busy[ref] = self.now
        if any(self._on_its_way(ref, found) for ref, found in verdicts.items()):
            self._calm_since = None
            return False
        news = self._calm_since is None
        self._calm_since = max((at for ref, at in self._busy.items() if ref not in self._shaky), default=_LONG_AGO)
        return news and bool(self._shaky)

    def _on_its_way(self, ref: Ref, found: Verdict) -> bool:
        return found.state == "waiting" and ref.kind not in _FOLLOWERS and ref not in self._shaky

    def _namespace_ending(self, verdicts: Verdicts) -> Verdicts:
        """A namespace that is being deleted under us explains all the rest."""
        if all(found.ready for found in verdicts.values()):
            return {}
        namespace = self._view.namespace()
        if namespace is None:
            return {}
        found = verdict({**namespace, "apiVersion": "v1", "kind": "Namespace"}, Related({}), self.now, self._graces)
        return {} if found.ready else {Ref("v1", "Namespace", self._namespace): found}

    def pause(self, verdicts: Mapping[Ref, Verdict]) -> float:
        """Return the seconds until time alone may change an answer; infinite if it can't.

        Args:
            verdicts: of the last look.
        """
        now = datetime.fromtimestamp(self._api.server_time, timezone.utc)
        dues = [found.due for found in verdicts.values() if found.due is not None]
        return min(((due - now).total_seconds() for due in dues), default=float("inf"))


def nothing_moves(verdicts: Mapping[Ref, Verdict]) -> bool:
    """Whether all that is not ready has failed, so that there is no further cause to come.

    Args:
        verdicts: of one look.
    """
    return len(verdicts) > 1 and all(found.failed for found in verdicts.values() if not found.ready)
