"""Writes down the tests of one process, from pytest's own hooks; this module must never change a report.

It imports no pytest: pytest finds the hooks by their names.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from pytest_ephemeral_ns.rules.redaction import printable

if TYPE_CHECKING:
    from pytest_ephemeral_ns.namespace import Namespace
    from pytest_ephemeral_ns.timeline import Timeline

PHASES = frozenset({"setup", "call", "teardown"})
_TEXT = 32 * 1024  # characters of one error; a diagnosis is bounded where it is made
_MESSAGE = 300
_STORY = "---- ephemeral-ns"


class TestRecorder:
    """Registered with pytest when somebody asked for a report of the run.

    Args:
        config: pytest's configuration.
        timeline: of this process.
        live: the namespaces that live at this moment; the list changes.
        fixtures: a test with one of these fixtures uses them.
    """

    __test__ = False

    def __init__(self, config: Any, timeline: Timeline, live: Sequence[Namespace], fixtures: frozenset[str]) -> None:
        self._config = config
        self._timeline = timeline
        self._live = live
        self._fixtures = fixtures
        self._uses = False

    @property
    def _distributed(self) -> bool:
        """Whether the tests run in other processes, which write them down themselves."""
        return bool(self._config.pluginmanager.hasplugin("dsession"))

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Write down that a test begins: one that never ends was interrupted."""
        if not self._distributed:
            self._timeline.mark("begin", test=str(nodeid))

    def pytest_runtest_setup(self, item: Any) -> None:
        """See whether the test uses namespaces."""
        self._uses = bool(self._fixtures.intersection(getattr(item, "fixturenames", ())))

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Write down one phase of a test; a crash is told by the controller, everything else by who ran the test."""
        node = getattr(report, "node", None)
        if node is not None and report.when in PHASES:
            return
        worker = node.gateway.id if node is not None else self._timeline.worker
        told: dict[str, Any] = {
            "test": str(report.nodeid),
            "worker": worker,
            "when": report.when if report.when in PHASES else "crash",
        }
        stories = [_story(one) for one in getattr(report, "ephemeral_ns", None) or ()]
        names = [space.name for space in self._live] if self._uses else []
        names += [story["namespace"] for story in stories]
        times: dict[str, Any] = {"began": getattr(report, "start", 0), "ended": getattr(report, "stop", 0)}
        self._timeline.mark("phase", **told, outcome=_outcome(report), namespaces=names, **times)
        if report.outcome in ("failed", "rerun"):
            message, text = _error(report)
            clean = {"message": self._clean(message)[:_MESSAGE], "text": _cut(self._clean(text))}
            self._timeline.detail("problem", **told, **clean, stories=stories)

    def _clean(self, text: str) -> str:
        """Remove what the diagnoses of living namespaces know of secrets; what only looks like one goes at the end."""
        for space in self._live:
            text = space.clean(text)
        return printable(text)


def _outcome(report: Any) -> str:
    if not hasattr(report, "wasxfail"):
        return str(report.outcome)
    return {"skipped": "xfailed", "passed": "xpassed"}.get(report.outcome, str(report.outcome))


def _story(told: Any) -> dict[str, str]:
    return {key: str(told.get(key) or "") for key in ("namespace", "headline", "text", "bundle")}


def _error(report: Any) -> tuple[str, str]:
    """Return the error's first line and all of it, without the cluster's side, which is told beside it."""
    longrepr = report.longrepr
    crash = getattr(longrepr, "reprcrash", None)
    text = "\n".join(_tracebacks(longrepr)).partition(_STORY)[0].strip("\n")
    message = str(getattr(crash, "message", "") or "").strip() or (text.splitlines() or [""])[-1]
    return message.partition("\n")[0].removeprefix("pytest_ephemeral_ns.errors."), text


def _tracebacks(longrepr: Any) -> Iterable[str]:
    if hasattr(longrepr, "chain"):
        for traceback, _, description in longrepr.chain:
            yield str(traceback)
            if description:
                yield f"\n{description}\n"
    elif hasattr(longrepr, "reprtraceback"):
        yield str(longrepr.reprtraceback)
    else:
        yield str(longrepr)


def _cut(text: str) -> str:
    """Keep the end, where the error is."""
    return text if len(text) <= _TEXT else f"… {len(text) - _TEXT} characters left out\n{text[-_TEXT:]}"
