"""INFRASTRUCTURE: the one wait loop; it blocks on watches and on graces that end, and this module must never poll.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from pytest_ephemeral_ns.deadline import Deadline
from pytest_ephemeral_ns.errors import UsageError
from pytest_ephemeral_ns.ready.alive import PAUSE, Alive
from pytest_ephemeral_ns.ready.history import redactor_of
from pytest_ephemeral_ns.ready.judge import Judge, Refine, Verdicts, nothing_moves
from pytest_ephemeral_ns.ready.report import Ending, ReadyReport, progress_line
from pytest_ephemeral_ns.ready.view import View
from pytest_ephemeral_ns.rules.graces import Graces
from pytest_ephemeral_ns.rules.objects import Ref

if TYPE_CHECKING:
    from pytest_ephemeral_ns.kube.api import Api
    from pytest_ephemeral_ns.kube.discovery import Discovery
    from pytest_ephemeral_ns.kube.watch import Watcher

WINDOW, WINDOW_OF_ONE = 1.5, 1.0
"""Seconds from the first sign of trouble to the error at least, so that one report names all causes; of one object."""
_CALM = 0.03  # from one look to the next: a burst of events is one change
_LONGEST = 5.0
_TICK = 1.0

Progress = Callable[[str], None]

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
    on_look: Callable[[Verdicts], None] | None = None,
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
        on_look: gets the verdicts of every look.

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
    began = time.monotonic()
    view = View(api, watcher, discovery, namespace, wanted, deadline)
    judge = Judge(api, view, namespace, wanted, graces or Graces(), refine)

    def ending() -> Ending:
        return Ending(api, namespace, layer, deadline, redactor_of(secrets), view.troubles())

    alive = Alive(api, view, namespace, deadline)
    tell, collecting = _Teller(on_progress), _Collecting()
    while True:
        seen, looked = watcher.changed(0, 0), time.monotonic()
        verdicts = judge.look()
        tell(verdicts, judge.now)
        if on_look:
            on_look(verdicts)
        if all(item.ready for item in verdicts.values()):
            if view.prove(wanted):
                continue
            if not (doubts := alive.doubts(wanted, judge.now)):
                return ReadyReport(verdicts, time.monotonic() - began, (layer,))
            verdicts = {**verdicts, **doubts}
        more_may_come = collecting.left(verdicts)
        _end(verdicts, bool(more_may_come), deadline, ending)
        view.deepen(verdicts)
        longest = PAUSE if alive.doubting else _TICK if on_progress or view.reads else _LONGEST
        _block(watcher, seen, deadline.sooner(max(0.0, min(judge.pause(verdicts), more_may_come or longest, longest))))
        time.sleep(max(0.0, looked + _CALM - time.monotonic()))


def _end(verdicts: Verdicts, more_may_come: bool, deadline: Deadline, ending: Callable[[], Ending]) -> None:
    """Raise the error if the wait has ended badly."""
    if any(item.failed for item in verdicts.values()) and (not more_may_come or deadline.expired):
        raise ending().failed(verdicts)
    if deadline.expired:
        raise ending().timed_out(verdicts)


def _block(watcher: Watcher, seen: int, seconds: float) -> None:
    began = time.monotonic()
    if watcher.changed(seen, seconds) == seen and time.monotonic() - began < seconds / 2:
        raise UsageError("the watches of this wait were closed while it ran: its namespace has been released")


class _Collecting:
    """Gives further causes a moment to show, counted from the first sign of trouble on what failed."""

    def __init__(self) -> None:
        self._since: dict[Ref, float] = {}

    def left(self, verdicts: Verdicts) -> float:
        """Return the seconds that are left to wait for more; 0 if there is nothing to wait for."""
        now = time.monotonic()
        troubled = [ref for ref, item in verdicts.items() if item.failed or item.due is not None]
        self._since = {ref: self._since.get(ref, now) for ref in troubled}
        window = WINDOW if len(verdicts) > 1 else WINDOW_OF_ONE
        ends = [self._since[ref] + window for ref, item in verdicts.items() if item.failed]
        return max(0.0, min(ends) - now) if ends and not nothing_moves(verdicts) else 0.0


class _Teller:
    """Passes progress on when its words change, and every second, for those who show only some lines."""

    def __init__(self, on_progress: Progress | None) -> None:
        self._on_progress = on_progress
        self._line, self._told = "", 0.0

    def __call__(self, verdicts: Verdicts, now: datetime) -> None:
        if self._on_progress is None:
            return
        line = progress_line(verdicts, now)
        if line != self._line or time.monotonic() - self._told >= _TICK:
            self._line, self._told = line, time.monotonic()
            self._on_progress(line)
