"""One process's place in a run, from its first moment to its last; this module must never leave before it has let go.

However a process ends, by itself or because another did, it comes through :meth:`Place.leave`: what its fixtures could
not release is released, and the last process of the run ends it.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import atexit
import os
import shutil
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_ephemeral_ns.ending import Ending, leave
from pytest_ephemeral_ns.interrupt import interrupt_main, undisturbed
from pytest_ephemeral_ns.ledger import Ledger
from pytest_ephemeral_ns.presence import Presence
from pytest_ephemeral_ns.progress import Relay
from pytest_ephemeral_ns.run import Run, Seat

if TYPE_CHECKING:
    from pytest_ephemeral_ns.rules.identity import Identity
    from pytest_ephemeral_ns.settings import Settings

__tracebackhide__ = True
PATIENCE = 8.0  # seconds that the end of a run still has after an interrupt
LOOK_EVERY = 0.25  # seconds; also how late an orphan notices
ORPHANS_TIME = 2.5  # seconds for the fixtures of an orphan; xdist ends it after five


class Place:
    """Where this process sits in a run, and how it leaves it.

    Args:
        settings: the run's settings.
        seat: which place.
        worker: whether another process began the run.
        environ: the process environment.
        progress: gets one line of text per step of something that takes long.

    Raises:
        EphemeralNsError: the run is over.
    """

    def __init__(
        self,
        settings: Settings,
        seat: Seat,
        *,
        worker: bool,
        environ: Mapping[str, str],
        progress: Callable[[str], None],
    ) -> None:
        self.settings = settings
        self.seat = seat
        self.worker = worker
        self.ending: Ending | None = None
        self.interrupted = False
        self._environ = environ
        self._progress = progress
        self._presence = Presence(Path(seat.directory), first=not worker)
        self._relay: Relay | None = None
        self._leaving = threading.Lock()
        atexit.register(self.leave)  # an interrupted worker of xdist does not come to its pytest_unconfigure

    def run(self, identity: Identity | None = None) -> Run:
        """Return this process's view of the run; without an identity, one that only ends it."""
        return Run(self.settings, self.seat, identity, environ=self._environ, progress=self._progress)

    def show_others(self) -> None:
        """Show what the other processes of the run tell."""
        self._relay = self._relay or Relay(Path(self.seat.directory), self._progress)

    def watch_owner(self) -> None:
        """End this worker when the process that began the run is gone: nobody wants the rest of its tests.

        Does nothing for a worker that is not its child, as on another machine; xdist ends that one after five seconds.
        """
        if self.worker and os.getppid() == self.seat.owner_pid:
            threading.Thread(target=self._watch, name="ephemeral-ns-owner", daemon=True).start()

    def _watch(self) -> None:
        look = threading.Event()
        while os.getppid() == self.seat.owner_pid:
            look.wait(LOOK_EVERY)
        interrupt_main()
        look.wait(ORPHANS_TIME)
        self.leave()  # the main thread may hang in a call that no signal interrupts

    def note_interrupt(self) -> None:
        """Write down that somebody ended the run: then a process that does not come to its end is no failure."""
        with suppress(OSError):  # an orphan's run may be over already
            Ledger(Path(self.seat.directory), self.seat.worker_id).write("interrupted", {})

    def abandon(self, why: str) -> None:
        """Leave from a thread, because this process is about to end without any tear-down.

        Args:
            why: what failed in its namespaces.
        """
        run = self.run()
        for record in run.unreleased():
            run.mark_failed(record.name, why)
        ending = self.leave()
        for line in ending.lines() if ending else ():
            self._progress(line)

    def leave(self) -> Ending | None:
        """Let go what this process still holds; in the last one, end the run. Only the first call does anything.

        An interrupt does not cut it short, but limits it; a second one ends it.

        Returns:
            How the run ended, where this call ended it.
        """
        if not self._leaving.acquire(blocking=False):
            return None
        try:
            self.ending = undisturbed(self._leave, patience=PATIENCE)
        except KeyboardInterrupt:
            self.interrupted = True
            self.ending = self.ending or Ending.unknown(self.seat.run_id)
        atexit.unregister(self.leave)
        if not self.worker:
            atexit.register(self._go)
        return self.ending

    def _go(self) -> None:
        """Leave in the end, after xdist has killed the workers that an interrupt left behind."""
        folder = Path(self.seat.directory)
        if folder.exists() and self._presence.leave():
            shutil.rmtree(folder, ignore_errors=True)

    def _leave(self) -> Ending | None:
        if self._relay is not None:
            self._relay.close()
        self.ending = leave(self.run(), self._presence, worker=self.worker)
        return self.ending
