"""INFRASTRUCTURE: the one wait loop; it blocks on watches and on graces that end, and this module must never poll.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from pytest_ephemeral_ns.deadline import Deadline
from pytest_ephemeral_ns.errors import UsageError
from pytest_ephemeral_ns.ready.history import Redactor
from pytest_ephemeral_ns.ready.report import Ending, ReadyReport, progress_line
from pytest_ephemeral_ns.ready.view import View
from pytest_ephemeral_ns.rules.graces import Graces
from pytest_ephemeral_ns.rules.objects import Ref
from pytest_ephemeral_ns.rules.status import (
    Cause,
    Related,
    Verdict,
    gone_verdict,
    missing_verdict,
    remember,
    verdict,
)

if TYPE_CHECKING:
    from pytest_ephemeral_ns.kube.api import Api
    from pytest_ephemeral_ns.kube.discovery import Discovery
    from pytest_ephemeral_ns.kube.watch import Watcher

WINDOW = 1.2
"""Seconds that a failure waits for others, so that one report names all causes."""
_CALM = 0.02  # between two looks: a burst of events is one change
_LONGEST = 5.0
_TICK = 1.0

Progress = Callable[[str], None]
Refine = Callable[[Verdict], Verdict]

__tracebackhide__ = True


def wait_ready(
    api: Api,
    watcher: Watcher,
    namespace: str,
    refs: Sequence[Ref],
    *,
    deadline: Deadline,
    graces: Graces | None = None,
    on_progress: Progress | None = None,
    discovery: Discovery | None = None,
    secrets: Collection[str] = (),
    layer: str = "infrastructure",
    refine: Refine | None = None,
) -> ReadyReport:
    """Wait until every object is ready, or one of them can never be.

    Args:
        api: the API server.
        watcher: shared by all waits of a handle; what is followed already costs nothing.
        namespace: where the objects are that do not say it, and for the commands in errors.
        refs: what to wait for; at least one.
        deadline: when to give up.
        graces: how long each kind of trouble may last before it counts as failed.
        on_progress: gets a line when something changes, and every second.
        discovery: finds kinds; a new one by default.
        secrets: values that are removed from the errors.
        layer: named in the errors.
        refine: changes a verdict, for waits that ask for more than readiness.

    Returns:
        The verdict of each object, and the seconds that it took.

    Raises:
        WaitFailed: at least one object can never become ready. Raised about a second after the cluster knew it.
        WaitTimeout: the deadline passed; names what was still missing, and why.
        UsageError: there is nothing to wait for, or a kind is unknown.

    Example:
        >>> wait_ready(api, watcher, "shop", refs, deadline=Deadline.after(300)).elapsed  # doctest: +SKIP
        2.4
    """
    wanted = list(dict.fromkeys(refs))
    if not wanted:
        raise UsageError(
            f"namespace {namespace}: there is nothing to wait for",
            evidence=["an empty list of objects is never ready: nothing was applied, or the names are wrong"],
            command=f"kubectl -n {namespace} get all",
        )
    if discovery is None:
        from pytest_ephemeral_ns.kube.discovery import Discovery

        discovery = Discovery(api)
    view = View(api, watcher, discovery, namespace, wanted)
    wait = _Wait(api, view, namespace, wanted, graces or Graces(), refine)

    def ending() -> Ending:
        return Ending(api, namespace, layer, deadline, Redactor(secrets), view.troubles())

    began, window, tell = time.monotonic(), 0.0, _Teller(on_progress)
    while True:
        seen = watcher.changed(0, 0)
        verdicts = wait.look()
        tell(verdicts, wait.now)
        if all(item.ready for item in verdicts.values()):
            if view.prove(wanted):
                continue
            return ReadyReport(verdicts, time.monotonic() - began, (layer,))
        failed = any(item.failed for item in verdicts.values())
        window = (window or time.monotonic() + WINDOW) if failed else 0.0
        if failed and (time.monotonic() >= window or deadline.expired or wait.nothing_moves(verdicts)):
            raise ending().failed(verdicts)
        if deadline.expired:
            raise ending().timed_out(verdicts)
        view.deepen(verdicts)
        longest = _TICK if on_progress or view.reads else _LONGEST
        pause = min(wait.pause(verdicts), window - time.monotonic() if window else longest, longest)
        _block(watcher, seen, deadline.sooner(max(0.0, pause)))


def _block(watcher: Watcher, seen: int, seconds: float) -> None:
    """Block until something changed; what comes within a few milliseconds after it is looked at together with it."""
    began = time.monotonic()
    if watcher.changed(seen, seconds) == seen and time.monotonic() - began < seconds / 2:
        raise UsageError("the watches of this wait were closed while it ran: its namespace has been released")
    time.sleep(_CALM)


class _Wait:
    """What one wait knows: which objects, and the causes as they were seen first."""

    def __init__(
        self, api: Api, view: View, namespace: str, refs: Sequence[Ref], graces: Graces, refine: Refine | None
    ) -> None:
        self._api, self._view, self._namespace = api, view, namespace
        self._refs, self._graces = refs, graces
        self._refine = refine or (lambda found: found)
        self._seen: dict[tuple[str, str, str], Cause] = {}
        self._last: dict[Ref, Verdict] = {}
        self._related: dict[str, Related] = {}
        self.now = datetime.now(timezone.utc)

    def look(self) -> dict[Ref, Verdict]:
        """Judge what is not ready; when that is nothing any more, judge all at the same moment."""
        done = {ref for ref, found in self._last.items() if found.ready}
        verdicts = self._judge([ref for ref in self._refs if ref not in done])
        if done and all(found.ready for found in verdicts.values()):
            verdicts = self._judge(self._refs)
        self._last = {**self._last, **verdicts}
        ordered = {ref: self._last[ref] for ref in self._refs}
        ending = self._namespace_ending(ordered)
        return {**ending, **ordered}

    def _judge(self, refs: Sequence[Ref]) -> dict[Ref, Verdict]:
        self.now = datetime.fromtimestamp(self._api.server_time, timezone.utc)
        self._related = {}
        verdicts = {ref: self._refine(self._verdict(ref)) for ref in refs}
        self._seen = remember(self._seen, (cause for found in verdicts.values() for cause in found.causes))
        return verdicts

    def _verdict(self, ref: Ref) -> Verdict:
        if not self._view.follows(ref):
            return Verdict("ready", "Exists")
        sight = self._view.sight(ref)
        if sight.error is not None:
            return Verdict("failed", "NotReadable", sight.error.summary)
        if sight.stale:
            return Verdict("waiting", "NotSeenYet", "the watch has not caught up yet")
        if sight.obj is not None:
            return verdict(sight.obj, self._surroundings(ref), self.now, self._graces)
        if sight.last is not None:
            return gone_verdict(sight.last, self._surroundings(ref), self.now, self._graces)
        return missing_verdict(ref)

    def _surroundings(self, ref: Ref) -> Related:
        if ref.namespace not in self._related:
            self._related[ref.namespace] = self._view.related(ref.namespace, self._seen)
        return self._related[ref.namespace]

    def _namespace_ending(self, verdicts: dict[Ref, Verdict]) -> dict[Ref, Verdict]:
        """A namespace that is being deleted under us explains all the rest."""
        if all(found.ready for found in verdicts.values()):
            return {}
        namespace = self._view.namespace()
        if namespace is None:
            return {}
        found = verdict({**namespace, "apiVersion": "v1", "kind": "Namespace"}, Related({}), self.now, self._graces)
        return {} if found.ready else {Ref("v1", "Namespace", self._namespace): found}

    def nothing_moves(self, verdicts: dict[Ref, Verdict]) -> bool:
        """Whether all that is not ready has failed: there is no further cause to come."""
        return len(verdicts) > 1 and all(found.failed for found in verdicts.values() if not found.ready)

    def pause(self, verdicts: dict[Ref, Verdict]) -> float:
        """Return the seconds until time alone may change an answer."""
        now = datetime.fromtimestamp(self._api.server_time, timezone.utc)
        dues = [found.due for found in verdicts.values() if found.due is not None]
        return min(((due - now).total_seconds() for due in dues), default=_LONGEST)


class _Teller:
    """Passes progress on when its words change."""

    def __init__(self, on_progress: Progress | None) -> None:
        self._on_progress = on_progress
        self._line = ""

    def __call__(self, verdicts: dict[Ref, Verdict], now: datetime) -> None:
        if self._on_progress is None:
            return
        line = progress_line(verdicts, now)
        if line != self._line:
            self._line = line
            self._on_progress(line)
