"""END: how a process lets go, and what happens once, when all are gone; must never raise, and never block for long.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pytest_ephemeral_ns.belongings import remaining, remove_outside, remove_rest, wait_outside_gone
from pytest_ephemeral_ns.deadline import Deadline
from pytest_ephemeral_ns.errors import EphemeralNsError
from pytest_ephemeral_ns.keeping import Kept, keep_if_wanted, kept
from pytest_ephemeral_ns.provision import Record, Sweep, delete_namespace, identified, sweep, wait_deleted
from pytest_ephemeral_ns.rules.naming import RUN
from pytest_ephemeral_ns.rules.retention import is_kept
from pytest_ephemeral_ns.timeline import read

if TYPE_CHECKING:
    from pytest_ephemeral_ns.presence import Presence
    from pytest_ephemeral_ns.rules.timeline import Row
    from pytest_ephemeral_ns.run import Run

__tracebackhide__ = True
_SHOWN = 12
GRACE = 2.0  # seconds for workers that an interrupt has left behind; they clean up by themselves
SWEEP_TIME = 30.0  # seconds for all requests of a sweep
DIED = "its process did not release it"


def let_go(run: Run, record: Record) -> None:
    """Keep a namespace or send it away; never raises. A problem is a warning at the end of the run.

    Args:
        run: the run, as the process sees it that made the namespace.
        record: which one.
    """
    run.mark_released(record.name)
    with run.timeline.span("release", record.name) as row:
        row["how"] = _keep_or_delete(run, record)


def _keep_or_delete(run: Run, record: Record) -> str:
    try:
        known = identified(run.api, record, run.seat.run_id)
        if known is None:
            return "never made"
        if keep_if_wanted(run, known, run.failure_of(record.name)):
            return "kept"
    except EphemeralNsError as error:
        run.forget(f"released/{record.name}")  # the end of the run decides once more
        return f"undecided: {error.summary}"
    for problem in remove_outside(run, record.name):
        run.warn(problem)
    if why := delete_namespace(run.api, known):
        run.write(f"undeleted/{record.name}", {"name": record.name, "why": why})
        return "undeleted"
    return "deleted"


def leave(run: Run, presence: Presence, *, worker: bool) -> Ending | None:
    """Let go what this process still holds; whoever is the last process of the run ends it. Never raises.

    Args:
        run: the run, as this process sees it.
        presence: says which processes of the run are still here.
        worker: whether another process began the run, which then is expected to end it.

    Returns:
        What was done at the end of the run; ``None`` where another process does that.
    """
    try:
        for record in [] if run.settings.reuse else run.unreleased():
            let_go(run, record)
        alone = presence.leave() if worker else presence.wait_alone(Deadline.after(GRACE))
    except (EphemeralNsError, OSError) as error:  # the run's folder is gone
        run.close()
        return None if worker else Ending.unknown(run.seat.run_id, str(error))
    if alone or not worker:
        return finish(run, alone=alone)
    run.close()
    return None


def finish(run: Run, *, alone: bool = True) -> Ending:
    """End a run: sweep what its processes left, stop the cluster that it started, remove its folder. Never raises.

    Args:
        run: the run.
        alone: whether no other process of the run is left; otherwise the last one removes the folder.

    Returns:
        What the sweep did, what is kept, and every warning of every process of the run.
    """
    swept, stays, over = Sweep(), [], ""
    outside: tuple[str, ...] = ()
    try:
        if run.touched:
            with run.timeline.span("sweep"):
                swept = _swept(run)
            for what, names in (("swept", swept.deleted), ("kept", swept.kept)):
                for name in names:
                    run.timeline.mark(what, name)
            stays = kept(run)
            outside = _outside(run, {one.name for one in stays} | set(swept.kept))
            over = run.leaked
            _give_back(run, stays)
    except Exception as error:  # whatever it is, the folder with the credentials goes
        run.warn(str(error) if isinstance(error, EphemeralNsError) else f"{type(error).__name__}: {error}")
    finally:
        run.close()
        said = run.warnings()
        rows = read(run.directory)
        causes = {told["name"]: told["why"] for told in run.read_all("undeleted")}
        if alone:
            shutil.rmtree(run.directory, ignore_errors=True)
    return Ending(swept, tuple(stays), said, over, rows, outside, causes)


@dataclass(frozen=True)
class Ending:
    """What is worth saying at the end of a run: leftovers, evidence and problems, not what went as it should."""

    sweep: Sweep
    kept: tuple[Kept, ...]
    warnings: tuple[str, ...]
    leftovers: str
    rows: Sequence[Row] = ()
    outside: tuple[str, ...] = ()
    causes: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def unknown(cls, run_id: str, why: str = "") -> Ending:
        """Return what is known of an end that was cut short."""
        look = f"kubectl get namespaces --selector {RUN}={run_id}"
        said = why or f"the end of run {run_id} was interrupted"
        return cls(Sweep(), (), (f"{said}; to see what is left: {look}",), "")

    def lines(self, verbose: bool = False) -> list[str]:
        """Return it as lines for a terminal.

        Args:
            verbose: whether to name the slowest namespaces of a quick run too.
        """
        from pytest_ephemeral_ns.rules.timeline import spaces_of, tell_slowest

        swept = [f"swept: {name} ({self.causes.get(name, DIED)})" for name in self.unreleased()]
        stays = [line for one in self.kept for line in one.lines()]
        swept += [self.leftovers] if self.leftovers else []
        warned = [f"warning: {text}" for text in (*self.warnings, *self.sweep.warnings)]
        slow = tell_slowest(spaces_of(self.rows), verbose=verbose)
        return [*_folded(slow), *_folded(swept), *stays, *_folded(self.outside), *_folded(warned)]

    def unreleased(self) -> list[str]:
        """Return what the sweep deleted although a process should have: all but the one that the run shares."""
        from pytest_ephemeral_ns.rules.timeline import SHARED, spaces_of

        shared = {space.name for space in spaces_of(self.rows) if space.worker == SHARED}
        return [name for name in self.sweep.deleted if name not in shared]


def _folded(lines: Sequence[str]) -> list[str]:
    """A run of hundreds of namespaces must not push what failed off the screen."""
    left = len(lines) - _SHOWN
    return [*lines[:_SHOWN], f"  … and {left} more like this"] if left > 1 else list(lines)


def _outside(run: Run, kept: set[str]) -> tuple[str, ...]:
    """Remove what is left outside the namespaces, and say what stays; a cluster of our own goes as a whole."""
    if run.cluster.started and not kept:
        return ()
    try:
        for problem in remove_rest(run, kept):
            run.warn(problem)
    except EphemeralNsError as error:
        run.warn(error.summary)
    lines = remaining(run, kept)
    if run.settings.wait_deleted:
        lines += wait_outside_gone(run, kept, Deadline.after(run.settings.timeout))
    return tuple(lines)


def _swept(run: Run) -> Sweep:
    """Sweep; a problem is a warning, because the cluster must be given back in any case."""
    try:
        return _sweep(run)
    except EphemeralNsError as error:
        return Sweep(warnings=(str(error),))


def _sweep(run: Run) -> Sweep:
    if run.settings.reuse:
        return Sweep()
    created, deadline = run.created(), Deadline.after(SWEEP_TIME)
    swept = sweep(run.api, run.seat.run_id, created, keep=lambda item: _stays(run, item), deadline=deadline)
    if not run.settings.wait_deleted:
        return swept
    gone = [record for record in created if record.name not in swept.kept]
    left = wait_deleted(run.api, gone, Deadline.after(run.settings.timeout))
    return replace(swept, warnings=(*swept.warnings, *left))


def _stays(run: Run, item: dict[str, Any]) -> bool:
    """Decide on a namespace that nobody released: the shared one, or that of a process that died."""
    if is_kept(item):
        return True
    record = Record(item["metadata"]["name"], item["metadata"]["uid"])
    if run.is_released(record.name):
        return False  # its process decided, but its DELETE did not arrive
    shared = (run.read(f"created/{record.name}") or {}).get("worker") == "shared"
    # Whoever interrupts a run also kills workers that are slow to end; that is no failure of theirs.
    died = "" if shared or run.read("interrupted") is not None else DIED
    try:
        return keep_if_wanted(run, record, run.failure_of(record.name) or died)
    except EphemeralNsError as error:
        run.warn(f"namespace {record.name} stays, but could not be marked as kept: {error.summary}")
        return True


def _give_back(run: Run, stays: Sequence[Kept]) -> None:
    from pytest_ephemeral_ns.clusters.choose import close_cluster, leave_running

    if stays and run.cluster.started:
        leave_running(run.cluster)
    else:
        close_cluster(run.cluster)
