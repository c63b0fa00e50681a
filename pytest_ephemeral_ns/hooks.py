"""Face for pytest while a run has namespaces: hooks, and what they share; delegates. An idle plugin never loads it.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_ephemeral_ns.interrupt import Signals
from pytest_ephemeral_ns.progress import shower, teller

if TYPE_CHECKING:
    from pytest_ephemeral_ns.namespace import Namespace
    from pytest_ephemeral_ns.place import Place
    from pytest_ephemeral_ns.settings import Settings

__tracebackhide__ = True
OURS = frozenset({"ephemeral_ns", "ephemeral_ns_shared", "ephemeral_ns_factory"})


class Hooks:
    """What pytest tells a run that has namespaces.

    Args:
        config: pytest's configuration.
        settings: the run's.
    """

    def __init__(self, config: pytest.Config, settings: Settings) -> None:
        self.settings = settings
        self.active: list[Namespace] = []
        self.later: list[Callable[[], object]] = []
        self._config = config
        self._worker = hasattr(config, "workerinput")  # xdist adds the attribute, the type does not know it
        self._lines: Sequence[str] | None = None
        self._placed: Place | None = None
        self._signals = Signals()
        config.add_cleanup(self._signals.restore)

    def begin(self) -> None:
        """Write the tests down too, if a report of the run was asked for."""
        if self.settings.report and not self._config.option.collectonly:
            from pytest_ephemeral_ns.report import record

            self._config.pluginmanager.register(record(self._config, self.place.seat, self.active, OURS))

    # The run

    @property
    def place(self) -> Place:
        """This process's place in the run: made by the process that begins it, handed on to xdist's workers."""
        if self._placed is None:
            from pytest_ephemeral_ns.place import Place
            from pytest_ephemeral_ns.run import Seat

            told = getattr(self._config, "workerinput", None)
            seat = Seat(**told["ephemeral_ns"]).beside(told["workerid"]) if told else Seat.first()
            progress = self._progress(seat.directory)
            self._placed = Place(self.settings, seat, worker=bool(told), environ=os.environ, progress=progress)
        return self._placed

    def _progress(self, directory: str = "") -> Callable[[str], None]:
        """Return a function that shows a line while output is captured; a worker's lines go to the controller."""
        return teller(Path(directory or self.place.seat.directory)) if self._worker else shower(self._config)

    def pytest_report_header(self) -> list[str]:
        """See https://docs.pytest.org/en/stable/reference/reference.html#pytest.hookspec.pytest_report_header ."""
        return [f"ephemeral-ns: {', '.join(self.settings.describe()) or 'all defaults'}"]

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Hand the seat on to a worker: https://pytest-xdist.readthedocs.io/en/stable/how-to.html ."""
        node.workerinput["ephemeral_ns"] = self.place.seat.to_dict()
        self.place.show_others()

    @pytest.hookimpl(tryfirst=True, specname="pytest_sessionfinish")
    def pytest_before_fixtures_end(self, exitstatus: int) -> None:
        """Runs as the first ``pytest_sessionfinish``: an interrupt makes no report, namespaces go with the fixtures."""
        self._signals.ending()
        if exitstatus == pytest.ExitCode.INTERRUPTED and self._placed:
            self._placed.note_interrupt()
            if self.active:
                from pytest_ephemeral_ns.reports import tell_interrupt

                tell_interrupt(self.active, self.settings, self._progress())

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """See https://docs.pytest.org/en/stable/reference/reference.html#pytest.hookspec.pytest_sessionfinish ."""
        self._leave(int(exitstatus))
        if self._placed and self._placed.interrupted:
            session.exitstatus = pytest.ExitCode.INTERRUPTED

    def pytest_unconfigure(self, config: pytest.Config) -> None:
        """See https://docs.pytest.org/en/stable/reference/reference.html#pytest.hookspec.pytest_unconfigure ."""
        self._leave()  # for a session whose end was cut short; otherwise there is nothing left to do
        if reporter := config.pluginmanager.getplugin("terminalreporter"):
            self.pytest_terminal_summary(reporter)

    def _leave(self, code: int | None = None) -> None:
        """Release what is held; xdist's workers are gone when the process that began the run does."""
        self._release()
        if self._placed and (ending := self._placed.leave()) and not self._worker:
            from pytest_ephemeral_ns.report import write

            written = write(ending, self.settings, run_id=self._placed.seat.run_id, exit_code=code)
            self._lines = [*ending.lines(self._config.get_verbosity() > 0), *written]

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """See https://docs.pytest.org/en/stable/reference/reference.html#pytest.hookspec.pytest_terminal_summary ."""
        if self._lines is not None:
            from pytest_ephemeral_ns.reports import write_summary

            lines, self._lines = self._lines, None
            write_summary(terminalreporter, self.settings, lines, os.environ)

    # pytest-timeout's other way ends the process where it stands
    @pytest.hookimpl(optionalhook=True, tryfirst=True)
    def pytest_timeout_set_timer(self, item: pytest.Item, settings: Any) -> bool | None:
        """See https://github.com/pytest-dev/pytest-timeout#extending-pytest-timeout-with-plugins ."""
        if settings.method != "thread":
            return None
        from pytest_ephemeral_ns.reports import tell_interrupt
        from pytest_ephemeral_ns.timeouts import set_timer

        def give_up() -> None:
            if self._placed:
                tell_interrupt(self.active, self.settings, self._progress())
                self._placed.abandon(f"{item.nodeid}: timeout of {settings.timeout} s")

        return set_timer(item, settings, give_up)

    # Which namespaces saw a failure

    @contextmanager
    def living(self, made: AbstractContextManager[Namespace], later: bool = True) -> Iterator[Namespace]:
        """Give a namespace, and know for the length of the block that it lives.

        Args:
            made: makes it, and releases it.
            later: whether it is released only when everything that failed in the same tear-down is told.
        """
        with ExitStack() as stack:
            namespace = stack.enter_context(made)
            self.active.append(namespace)
            stack.callback(self.active.remove, namespace)
            yield namespace
            if later:
                self.later.append(stack.pop_all().close)

    def _release(self) -> None:
        while self.later:
            self.later.pop(0)()

    def reporting(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Stand around the making of a report: a failed one is told the cluster's side of the story.

        Args:
            item: the test.
            call: its set-up, call or tear-down.
        """
        item.__dict__.setdefault("_ephemeral_ns_began", call.start)
        message_only = False
        if call.excinfo and not item.config.getoption("fulltrace"):
            from pytest_ephemeral_ns.tracebacks import shorten

            message_only = shorten(call.excinfo)  # to the user's own frames
        ours = bool(OURS.intersection(getattr(item, "fixturenames", ())))
        if ours:
            from pytest_ephemeral_ns.reports import clean_before, tell_failure

            clean_before(item, call, self.active)
        report = yield
        if message_only and report.failed and call.excinfo is not None:
            report.longrepr = call.excinfo.getrepr(style="value", chain=False)
        if report.failed and ours:
            tell_failure(item, call, report, self.active, self.settings, Path(self.place.seat.directory))
        if call.when == "teardown":
            self._release()
        return report

    @pytest.hookimpl(optionalhook=True)
    def pytest_handlecrashitem(self, report: Any) -> None:
        """See https://pytest-xdist.readthedocs.io/en/stable/how-to.html ; the worker is gone, its namespace is not."""
        from pytest_ephemeral_ns.reports import tell_crash

        tell_crash(report, self.place.run())
