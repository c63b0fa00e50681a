"""END: what happens once, when all processes of a run are gone; this module must never raise, and never block for long.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pytest_ephemeral_ns.belongings import remaining, remove_rest
from pytest_ephemeral_ns.deadline import Deadline
from pytest_ephemeral_ns.errors import EphemeralNsError
from pytest_ephemeral_ns.keeping import Kept, keep_if_wanted, kept
from pytest_ephemeral_ns.provision import Record, Sweep, sweep, wait_deleted
from pytest_ephemeral_ns.rules.naming import WORKER
from pytest_ephemeral_ns.rules.retention import is_kept
from pytest_ephemeral_ns.rules.timeline import SHARED, Row, spaces_of, tell_slowest
from pytest_ephemeral_ns.timeline import read

if TYPE_CHECKING:
    from pytest_ephemeral_ns.run import Run

__tracebackhide__ = True
_SHOWN = 12


def finish(run: Run) -> Ending:
    """End a run: sweep what its processes left, stop the cluster that it started, remove its folder.

    Called once, by the process that began the run, after all others are gone. Never raises.

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
    except EphemeralNsError as error:
        run.warn(str(error))
    finally:
        run.close()
        said = run.warnings()
        rows = read(run.directory)
        shutil.rmtree(run.directory, ignore_errors=True)
    return Ending(swept, tuple(stays), said, over, rows, outside)


@dataclass(frozen=True)
class Ending:
    """What is worth saying at the end of a run: leftovers, evidence and problems, not what went as it should."""

    sweep: Sweep
    kept: tuple[Kept, ...]
    warnings: tuple[str, ...]
    leftovers: str
    rows: Sequence[Row] = ()
    outside: tuple[str, ...] = ()

    def lines(self, verbose: bool = False) -> list[str]:
        """Return it as lines for a terminal.

        Args:
            verbose: whether to name the slowest namespaces of a quick run too.
        """
        swept = [f"swept: {name} (its process did not release it)" for name in self.unreleased()]
        stays = [line for one in self.kept for line in one.lines()]
        swept += [self.leftovers] if self.leftovers else []
        warned = [f"warning: {text}" for text in (*self.warnings, *self.sweep.warnings)]
        slow = tell_slowest(spaces_of(self.rows), verbose=verbose)
        return [*_folded(slow), *_folded(swept), *stays, *_folded(self.outside), *_folded(warned)]

    def unreleased(self) -> list[str]:
        """Return what the sweep deleted although a process should have: all but the one that the run shares."""
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
    return tuple(remaining(run, kept))


def _swept(run: Run) -> Sweep:
    """Sweep; a problem is a warning, because the cluster must be given back in any case."""
    try:
        return _sweep(run)
    except EphemeralNsError as error:
        return Sweep(warnings=(str(error),))


def _sweep(run: Run) -> Sweep:
    if run.settings.reuse:
        return Sweep()
    created = run.created()
    swept = sweep(run.api, run.seat.run_id, created, keep=lambda item: _stays(run, item))
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
    if run.read(f"released/{record.name}") is not None:
        return False  # its process decided, but its DELETE did not arrive
    if item["metadata"]["labels"].get(WORKER) == "shared":
        failed = [told["test"] for told in run.read_all("failed")]
        return keep_if_wanted(run, record, failed[0] if failed else "")
    return keep_if_wanted(run, record, "its process ended without releasing it")


def _give_back(run: Run, stays: Sequence[Kept]) -> None:
    from pytest_ephemeral_ns.clusters.choose import close_cluster, leave_running

    if stays and run.cluster.started:
        leave_running(run.cluster)
    else:
        close_cluster(run.cluster)
