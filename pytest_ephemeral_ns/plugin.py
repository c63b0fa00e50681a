"""Face for pytest: options, fixtures, hooks; delegates, and is the only module that imports pytest.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_ephemeral_ns.options import add_options, anything_given, read_options

if TYPE_CHECKING:
    from pytest_ephemeral_ns.clusters.cluster import Cluster
    from pytest_ephemeral_ns.deploy import Source
    from pytest_ephemeral_ns.interrupt import Signals
    from pytest_ephemeral_ns.namespace import Namespace
    from pytest_ephemeral_ns.place import Place
    from pytest_ephemeral_ns.rules.identity import Identity
    from pytest_ephemeral_ns.run import Run
    from pytest_ephemeral_ns.settings import Settings

    Deploy = Callable[[Namespace], Any]
    Filling = list[Source] | Deploy | None
    Factory = Callable[..., AbstractContextManager[Namespace]]

__tracebackhide__ = True
SETTINGS: pytest.StashKey[Settings] = pytest.StashKey()
PLACE: pytest.StashKey[Place] = pytest.StashKey()
SIGNALS: pytest.StashKey[Signals] = pytest.StashKey()
ACTIVE: pytest.StashKey[list[Namespace]] = pytest.StashKey()
LATER: pytest.StashKey[list[Callable[[], object]]] = pytest.StashKey()
LINES: pytest.StashKey[Sequence[str]] = pytest.StashKey()
OURS = frozenset({"ephemeral_ns", "ephemeral_ns_shared", "ephemeral_ns_factory"})
SKIPPED = "needs a namespace: run pytest with --ephemeral-ns"


# Options


def pytest_addoption(parser: pytest.Parser) -> None:
    """See https://docs.pytest.org/en/stable/reference/reference.html#pytest.hookspec.pytest_addoption ."""
    add_options(parser)


def _settings(config: pytest.Config) -> Settings | None:
    """Return the checked settings, or nothing when nobody gave any: an idle plugin loads no more than its table."""
    if not anything_given(config):
        return None
    from pytest_ephemeral_ns.errors import UsageError

    try:
        return read_options(config)
    except UsageError as error:
        raise pytest.UsageError(str(error)) from None


def _enabled(config: pytest.Config) -> bool:
    return SETTINGS in config.stash and config.stash[SETTINGS].enabled


# The run


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """See https://docs.pytest.org/en/stable/reference/reference.html#pytest.hookspec.pytest_configure ."""
    config.stash[ACTIVE], config.stash[LATER] = [], []
    settings = _settings(config)
    if settings:
        config.stash[SETTINGS] = settings
    if _enabled(config):
        from pytest_ephemeral_ns.interrupt import Signals

        config.stash[SIGNALS] = Signals()
        config.add_cleanup(config.stash[SIGNALS].restore)
        if config.stash[SETTINGS].report and not config.option.collectonly:
            from pytest_ephemeral_ns.report import record

            config.pluginmanager.register(record(config, _place(config).seat, config.stash[ACTIVE], OURS))


def pytest_report_header(config: pytest.Config) -> list[str]:
    """See https://docs.pytest.org/en/stable/reference/reference.html#pytest.hookspec.pytest_report_header ."""
    if not _enabled(config):
        return []
    return [f"ephemeral-ns: {', '.join(config.stash[SETTINGS].describe()) or 'all defaults'}"]


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


def _place(config: pytest.Config) -> Place:
    """Return this process's place in the run: made by the process that begins it, handed on to xdist's workers."""
    if PLACE not in config.stash:
        from pytest_ephemeral_ns.place import Place
        from pytest_ephemeral_ns.run import Seat

        told = getattr(config, "workerinput", None)  # xdist adds the attribute, the type does not know it
        seat = Seat(**told["ephemeral_ns"]).beside(told["workerid"]) if told else Seat.first()
        progress = _progress(config, seat.directory)
        config.stash[PLACE] = Place(
            config.stash[SETTINGS], seat, worker=bool(told), environ=os.environ, progress=progress
        )
    return config.stash[PLACE]


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Hand the seat on to a worker: https://pytest-xdist.readthedocs.io/en/stable/how-to.html ."""
    if _enabled(node.config):
        place = _place(node.config)
        node.workerinput["ephemeral_ns"] = place.seat.to_dict()
        place.show_others()


@pytest.hookimpl(tryfirst=True, specname="pytest_sessionfinish")
def pytest_before_fixtures_end(session: pytest.Session, exitstatus: int) -> None:
    """Runs as the first ``pytest_sessionfinish``: an interrupt makes no report, and namespaces go with the fixtures."""
    stash = session.config.stash
    if SIGNALS in stash:
        stash[SIGNALS].ending()
    if exitstatus == pytest.ExitCode.INTERRUPTED and PLACE in stash:
        stash[PLACE].note_interrupt()
        if stash[ACTIVE]:
            from pytest_ephemeral_ns.reports import tell_interrupt

            tell_interrupt(stash[ACTIVE], stash[SETTINGS], _progress(session.config))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """See https://docs.pytest.org/en/stable/reference/reference.html#pytest.hookspec.pytest_sessionfinish ."""
    _leave(session.config, int(exitstatus))
    if PLACE in session.config.stash and session.config.stash[PLACE].interrupted:
        session.exitstatus = pytest.ExitCode.INTERRUPTED


def pytest_unconfigure(config: pytest.Config) -> None:
    """See https://docs.pytest.org/en/stable/reference/reference.html#pytest.hookspec.pytest_unconfigure ."""
    _leave(config)  # for a session whose end was cut short; otherwise there is nothing left to do
    if reporter := config.pluginmanager.getplugin("terminalreporter"):
        pytest_terminal_summary(reporter, config)


def _leave(config: pytest.Config, code: int | None = None) -> None:
    """Release what is held; xdist's workers are gone when the process that began the run does."""
    _release(config)
    if PLACE in config.stash and (ending := config.stash[PLACE].leave()) and not _is_worker(config):
        from pytest_ephemeral_ns.report import write

        written = write(ending, config.stash[SETTINGS], run_id=config.stash[PLACE].seat.run_id, exit_code=code)
        config.stash[LINES] = [*ending.lines(config.get_verbosity() > 0), *written]


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """See https://docs.pytest.org/en/stable/reference/reference.html#pytest.hookspec.pytest_terminal_summary ."""
    if (lines := config.stash.get(LINES, None)) is not None:
        from pytest_ephemeral_ns.reports import write_summary

        del config.stash[LINES]
        write_summary(terminalreporter, config.stash[SETTINGS], lines, os.environ)


def _progress(config: pytest.Config, directory: str = "") -> Callable[[str], None]:
    """Return a function that shows a line while output is captured; a worker's lines go to the controller."""
    from pytest_ephemeral_ns.progress import shower, teller

    if not _is_worker(config):
        return shower(config)
    return teller(Path(directory or _place(config).seat.directory))


# pytest-timeout's other way ends the process where it stands
@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: Any) -> bool | None:
    """See https://github.com/pytest-dev/pytest-timeout#extending-pytest-timeout-with-plugins ."""
    if settings.method != "thread" or not _enabled(item.config):
        return None
    from pytest_ephemeral_ns.reports import tell_interrupt
    from pytest_ephemeral_ns.timeouts import set_timer

    def give_up() -> None:
        stash = item.config.stash
        if PLACE in stash:
            tell_interrupt(stash[ACTIVE], stash[SETTINGS], _progress(item.config))
            stash[PLACE].abandon(f"{item.nodeid}: timeout of {settings.timeout} s")

    return set_timer(item, settings, give_up)


# Which namespaces saw a failure


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """See https://docs.pytest.org/en/stable/reference/reference.html#pytest.hookspec.pytest_runtest_makereport ."""
    item.__dict__.setdefault("_ephemeral_ns_began", call.start)
    message_only = False
    if call.excinfo and type(call.excinfo.value).__name__ == "NotEnforced":  # nothing can be proven here: never a pass
        skipped = pytest.skip.Exception(getattr(call.excinfo.value, "summary", ""))
        call.excinfo = pytest.ExceptionInfo.from_exception(skipped.with_traceback(call.excinfo.tb))
    elif call.excinfo and _enabled(item.config) and not item.config.getoption("fulltrace"):
        from pytest_ephemeral_ns.tracebacks import shorten

        message_only = shorten(call.excinfo)  # to the user's own frames
    ours = _enabled(item.config) and bool(OURS.intersection(getattr(item, "fixturenames", ())))
    if ours:
        from pytest_ephemeral_ns.reports import clean_before, tell_failure

        clean_before(item, call, item.config.stash[ACTIVE])
    report = yield
    if message_only and report.failed and call.excinfo is not None:
        report.longrepr = call.excinfo.getrepr(style="value", chain=False)
    if report.failed and ours:
        ledger = Path(_place(item.config).seat.directory)
        tell_failure(item, call, report, item.config.stash[ACTIVE], item.config.stash[SETTINGS], ledger)
    if call.when == "teardown":
        _release(item.config)
    return report


def _release(config: pytest.Config) -> None:
    """Let go what fixtures gave back, now that everything that failed in the same tear-down is told."""
    while config.stash[LATER]:
        config.stash[LATER].pop(0)()


@pytest.hookimpl(optionalhook=True)
def pytest_handlecrashitem(report: Any) -> None:
    """See https://pytest-xdist.readthedocs.io/en/stable/how-to.html ; the worker is gone, its namespace is not."""
    if _enabled(report.node.config):
        from pytest_ephemeral_ns.reports import tell_crash

        tell_crash(report, _place(report.node.config).run())


# Fixtures


@pytest.fixture(scope="session")
def _ephemeral_ns_enabled(pytestconfig: pytest.Config) -> None:
    if not _enabled(pytestconfig):
        pytest.skip(SKIPPED)


@pytest.fixture(scope="session")
def ephemeral_ns_settings(pytestconfig: pytest.Config, _ephemeral_ns_enabled: None) -> Settings:
    """The run's settings; override to compute one: ``return dataclasses.replace(ephemeral_ns_settings, deploy=…)``."""
    return pytestconfig.stash[SETTINGS]


@pytest.fixture(scope="session")
def ephemeral_ns_identity(pytestconfig: pytest.Config, ephemeral_ns_settings: Settings) -> Identity:
    """Project, branch or pull request, commit and CI run; namespaces are named from it."""
    from pytest_ephemeral_ns.facts import identity

    return identity(pytestconfig.rootpath, os.environ)


@pytest.fixture(scope="session")
def ephemeral_ns_deploy(ephemeral_ns_settings: Settings) -> Deploy:
    """A function of the namespace that fills it; the default deploys what the settings list and waits until ready."""
    from pytest_ephemeral_ns.lifecycle import default_deploy

    return default_deploy(ephemeral_ns_settings)


@pytest.fixture(scope="session")
def _ephemeral_ns_run(
    pytestconfig: pytest.Config,
    _ephemeral_ns_enabled: None,
    ephemeral_ns_settings: Settings,
    ephemeral_ns_identity: Identity,
) -> Iterator[Run]:
    from pytest_ephemeral_ns.lifecycle import check

    check(ephemeral_ns_settings, ephemeral_ns_identity)
    place = _place(pytestconfig)
    place.settings = ephemeral_ns_settings
    run = place.run(ephemeral_ns_identity)
    place.watch_owner()
    yield run
    pytestconfig.stash[LATER].append(run.close)


@pytest.fixture(scope="session")
def ephemeral_ns_cluster(_ephemeral_ns_run: Run) -> Cluster:
    """The cluster: ``kubeconfig`` (a path), ``provider``, ``name``, ``nodes``, ``version``."""
    return _ephemeral_ns_run.cluster


@contextmanager
def _active(config: pytest.Config, made: AbstractContextManager[Namespace], later: bool = True) -> Iterator[Namespace]:
    with ExitStack() as stack:
        namespace = stack.enter_context(made)
        config.stash[ACTIVE].append(namespace)
        stack.callback(config.stash[ACTIVE].remove, namespace)
        yield namespace
        if later:
            config.stash[LATER].append(stack.pop_all().close)


@pytest.fixture(scope="session")
def ephemeral_ns_shared(
    pytestconfig: pytest.Config, _ephemeral_ns_run: Run, ephemeral_ns_deploy: Deploy
) -> Iterator[Namespace]:
    """One namespace for the whole run, the same for every worker; deployed by the first that asks."""
    from pytest_ephemeral_ns.lifecycle import shared

    with _active(pytestconfig, shared(_ephemeral_ns_run, ephemeral_ns_deploy)) as namespace:
        yield namespace


def _scope(fixture_name: str, config: pytest.Config) -> Any:
    scope = config.stash[SETTINGS].scope if SETTINGS in config.stash else "worker"
    return {"run": "session", "worker": "session"}.get(scope, scope)


@pytest.fixture(scope=_scope)
def ephemeral_ns(
    request: pytest.FixtureRequest, pytestconfig: pytest.Config, _ephemeral_ns_run: Run, ephemeral_ns_deploy: Deploy
) -> Iterator[Namespace]:
    """A Kubernetes namespace of this worker's (or run's, module's, class's, test's) own, deployed and ready."""
    from pytest_ephemeral_ns.lifecycle import provisioned, shared

    run = _ephemeral_ns_run
    whole_run = pytestconfig.stash[SETTINGS].scope == "run"
    made = shared(run, ephemeral_ns_deploy) if whole_run else provisioned(run, ephemeral_ns_deploy)
    with _active(pytestconfig, made) as namespace:
        yield namespace


@pytest.fixture(scope="session")
def ephemeral_ns_factory(pytestconfig: pytest.Config, _ephemeral_ns_run: Run, ephemeral_ns_deploy: Deploy) -> Factory:
    """More namespaces, for a test that needs two.

    ``with ephemeral_ns_factory(deploy=["k8s/"]) as other:`` releases it at the end of the block. ``deploy`` is a list
    of sources, a function of the namespace, or ``None`` for what ``ephemeral_ns`` gets; ``policy`` is ``"none"``,
    ``"standard"`` or ``"isolated"``, default: ``--ephemeral-ns-policy``.
    """
    from pytest_ephemeral_ns.lifecycle import filler, provisioned

    def factory(deploy: Filling = None, policy: str | None = None) -> AbstractContextManager[Namespace]:
        filling = filler(deploy, ephemeral_ns_deploy)
        made = provisioned(_ephemeral_ns_run, filling, policy, gates=deploy is None)
        return _active(pytestconfig, made, False)

    return factory
