"""What the processes of a run wrote down → its namespaces and tests in order; this module must never drop a failure.

Rows are those of ``timeline.py``. All times that come out are seconds since the run began.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pytest_ephemeral_ns.rules.durations import format_duration

Row = Mapping[str, Any]

LAYERS = ("create", "usable", "guard rails", "deploy", "infrastructure", "application", "contract")
"""The steps that a namespace goes through until it is ready, in their order."""
SHARED = "shared"
SLOW = 10.0  # seconds until ready, from which on it is worth a line
_FEW, _MOST = 3, 5
_STEPS = frozenset({*LAYERS, "diagnosis", "release"})
_OF_SPACES = _STEPS | {"object", "ready", "failed", "reused", "kept", "swept"}


@dataclass(frozen=True)
class Step:
    """One step of a namespace.

    Args:
        what: ``"deploy"``, ``"infrastructure"`` …
        began: seconds.
        ended: seconds; where nobody wrote the end down, the last sign of life of its process.
        ok: whether it ended well; ``None`` if nobody wrote its end down.
        note: what else is known, for example which object was ready last.
    """

    what: str
    began: float
    ended: float
    ok: bool | None
    note: str = ""

    @property
    def seconds(self) -> float:
        """How long it took."""
        return max(0.0, self.ended - self.began)


@dataclass(frozen=True)
class State:
    """An object's state from one moment on: ``"ready"``, ``"waiting"`` or ``"failed"``, with the reason's name."""

    at: float
    state: str
    reason: str


@dataclass
class Space:
    """A namespace of the run.

    Args:
        name: its name.
        worker: whose it is: ``"gw0"``, ``"main"``, ``"shared"``.
        maker: the worker whose process made it.
        began: when its creation began.
        ended: the end of its last step.
        ready: when it was handed out; ``None`` if never.
        fate: ``"deleted"``, ``"kept"``, ``"swept"``, ``"reused"``, or ``"left"`` if nobody wrote it down.
        error: why it did not become ready; empty if it did.
        steps: in order.
        objects: name → its states, in order.
    """

    name: str
    worker: str
    maker: str
    began: float
    ended: float
    ready: float | None = None
    fate: str = "left"
    error: str = ""
    uid: str = ""
    steps: list[Step] = field(default_factory=list)
    objects: dict[str, list[State]] = field(default_factory=dict)

    @property
    def seconds(self) -> float | None:
        """How long it took to become ready; ``None`` if it never was."""
        return None if self.ready is None else max(0.0, self.ready - self.began)

    def slowest(self) -> Step | None:
        """Return the layer that took most of the time until it was ready: all its steps of that name as one."""
        until = self.ended if self.ready is None else self.ready
        early = [step for step in self.steps if step.what in LAYERS and step.began <= until]
        if not early:
            return None
        totals = {step.what: 0.0 for step in early}
        for step in early:
            totals[step.what] += step.seconds
        what = max(totals, key=lambda name: totals[name])
        same = [step for step in early if step.what == what]
        longest = max(same, key=lambda step: step.seconds)
        return Step(what, same[0].began, same[0].began + totals[what], longest.ok, longest.note)


@dataclass(frozen=True)
class Phase:
    """One phase of a test: ``"setup"``, ``"call"``, ``"teardown"``, or ``"crash"`` for the end of its process."""

    when: str
    outcome: str
    began: float
    ended: float


@dataclass(frozen=True)
class Story:
    """What the cluster did, as the test's own report tells it."""

    namespace: str
    headline: str
    text: str
    bundle: str = ""


@dataclass(frozen=True)
class Problem:
    """What went wrong in one phase of a test: the error's first line, all of it, and the cluster's side."""

    when: str
    message: str
    text: str
    stories: tuple[Story, ...] = ()


@dataclass
class Test:
    """One attempt at one test.

    Args:
        id: its node id.
        worker: where it ran.
        outcome: ``"passed"``, ``"failed"``, ``"error"``, ``"skipped"``, ``"xfailed"``, ``"xpassed"``, ``"rerun"``
            (another attempt follows), ``"interrupted"``.
        began: seconds.
        ended: seconds.
        attempt: from 1.
        phases: in order.
        namespaces: names of those that it used, or that were made while it ran.
        problems: what went wrong.
    """

    __test__ = False

    id: str
    worker: str
    outcome: str
    began: float
    ended: float
    attempt: int = 1
    phases: list[Phase] = field(default_factory=list)
    namespaces: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def zero(rows: Sequence[Row]) -> float:
    """Return when the run began, in seconds since the epoch: its first row.

    Args:
        rows: of all processes.

    Example:
        >>> zero([{"at": 5.0}, {"at": 3.0}])
        3.0
    """
    return min((float(row["at"]) for row in rows), default=0.0)


def spaces_of(rows: Sequence[Row]) -> list[Space]:
    """Return the namespaces of a run, by their beginning.

    Args:
        rows: of all processes, oldest first.

    Example:
        >>> create = {"at": 1.0, "worker": "gw0", "what": "create", "span": "1", "namespace": "", "lane": "gw0"}
        >>> [space] = spaces_of([create, {**create, "at": 1.5, "end": True, "ok": True, "namespace": "shop-gw0"}])
        >>> space.name, space.steps[0].seconds
        ('shop-gw0', 0.5)
    """
    start = zero(rows)
    reused = {row["namespace"] for row in rows if row.get("what") == "reused"}
    found: dict[tuple[str, str], Space] = {}
    for begin, end, ended in _pairs(rows):
        name = str(end.get("namespace") or begin.get("namespace") or "")
        if not name or begin.get("what") not in _OF_SPACES:
            continue
        worker = str(begin.get("worker", ""))
        key = (name, worker if name in reused else "")
        at = float(begin["at"]) - start
        if key not in found:
            found[key] = Space(name, str(begin.get("lane") or worker), worker, at, at)
        _add(found[key], begin, end, at, ended - start)
    return sorted(found.values(), key=lambda space: space.began)


def _add(space: Space, begin: Row, end: Row, at: float, ended: float) -> None:
    what = str(begin["what"])
    space.uid = str(end.get("uid") or begin.get("uid") or space.uid)
    if what in _STEPS:
        space.steps.append(Step(what, at, ended, end.get("ok"), _note(begin, end)))
        space.ended = max(space.ended, ended)
        if what == "release" and end.get("how"):
            space.fate = str(end["how"])
    elif what == "object":
        states = space.objects.setdefault(str(begin.get("object", "")), [])
        states.append(State(at, str(begin.get("state", "")), str(begin.get("reason", ""))))
    elif what == "ready":
        space.ready = at if space.ready is None else space.ready
    elif what == "failed":
        space.error = space.error or str(begin.get("error") or "failed")
    else:  # the one that all share has nobody who releases it: the sweep is its end
        space.fate = "deleted" if what == "swept" and space.worker == SHARED else what


def _note(begin: Row, end: Row) -> str:
    parts = [str(begin.get("on") or "")]
    count = end.get("count", begin.get("count"))
    if count is not None:
        parts.append(f"{count} object{'' if count == 1 else 's'}")
    if end.get("last"):
        parts.append(f"{end['last']} last")
    parts.append(str(end.get("headline") or ""))
    return ", ".join(part for part in parts if part)


def _pairs(rows: Sequence[Row]) -> list[tuple[Row, Row, float]]:
    """Return each begin with its end and the end's time; a mark is both.

    A process that was killed may have left a step open: that ends with the process's last sign of life.
    """
    ends = {row["span"]: row for row in rows if row.get("end")}
    last = {row.get("worker"): float(row["at"]) for row in rows}
    found: list[tuple[Row, Row, float]] = []
    for row in rows:
        if not row.get("end"):
            end = ends.get(row["span"], {}) if "span" in row else row
            found.append((row, end, max(float(row["at"]), float(end.get("at", last[row.get("worker")])))))
    return found


_CATEGORIES = ("failed", "error", "rerun", "interrupted", "xpassed", "xfailed", "skipped", "passed")


def attempts_of(rows: Sequence[Row], found: Iterable[Space] = ()) -> list[Test]:
    """Return the tests of a run, by their beginning; each attempt is one of its own.

    Args:
        rows: of all processes, oldest first.
        found: its namespaces: one that was made while a test ran belongs to it too.

    Example:
        >>> row = {"at": 9.0, "worker": "main", "what": "phase", "test": "t.py::a", "when": "call"}
        >>> [test] = attempts_of([{**row, "outcome": "passed", "began": 9.0, "ended": 9.5}])
        >>> test.outcome, test.ended
        ('passed', 0.5)
    """
    start = zero(rows)
    done: list[Test] = []
    current: dict[tuple[str, str], Test] = {}
    for row in rows:
        if row.get("what") not in ("begin", "phase", "problem"):
            continue
        key = (str(row["test"]), str(row["worker"]))
        test = current.get(key)
        if test is None or _is_new_attempt(row, test):
            attempt = test.attempt + 1 if test else 1
            began = float(row.get("began") or row["at"]) - start
            test = current[key] = Test(*key, "interrupted", began, began, attempt)
            done.append(test)
        _take(test, row, start)
    made: dict[str, list[Space]] = {}
    for space in found:
        made.setdefault(space.maker, []).append(space)
    for test in done:
        inside = [s.name for s in made.get(test.worker, ()) if test.began <= s.began <= test.ended]
        test.namespaces = list(dict.fromkeys([*test.namespaces, *inside]))
    return sorted(done, key=lambda test: test.began)


def _is_new_attempt(row: Row, test: Test) -> bool:
    return bool(test.phases) and (row["what"] == "begin" or (row.get("when") == "setup" and row["what"] == "phase"))


def _take(test: Test, row: Row, start: float) -> None:
    test.namespaces += [name for name in row.get("namespaces") or () if name not in test.namespaces]
    if row["what"] == "phase":
        began = float(row.get("began") or row["at"]) - start
        ended = float(row.get("ended") or row["at"]) - start
        test.phases.append(Phase(str(row["when"]), str(row["outcome"]), began, ended))
        test.began, test.ended = min(test.began, began), max(test.ended, ended)
        test.outcome = _outcome(test.phases)
    elif row["what"] == "problem":
        stories = tuple(Story(**story) for story in row.get("stories") or ())
        test.problems.append(Problem(str(row["when"]), str(row.get("message", "")), str(row.get("text", "")), stories))


def _outcome(phases: Sequence[Phase]) -> str:
    """A failure outside of the test's own body is an error, as pytest counts it."""
    seen = {
        "error" if phase.outcome == "failed" and phase.when in ("setup", "teardown") else phase.outcome
        for phase in phases
    }
    if {phase.when for phase in phases} == {"setup"} and seen == {"passed"}:
        return "interrupted"
    return next((name for name in _CATEGORIES if name in seen), "passed")


def tell_slowest(found: Iterable[Space], *, verbose: bool) -> list[str]:
    """Return a line for each of the namespaces that took longest to become ready, the slowest first.

    A run whose namespaces are all quick has nothing to say, unless somebody asked for more words.

    Args:
        found: namespaces.
        verbose: whether to name quick ones too.

    Example:
        >>> tell_slowest([Space("shop-gw0", "gw0", "gw0", 0.0, 75.0, 75.0, steps=[
        ...     Step("deploy", 0.0, 3.0, True), Step("infrastructure", 3.0, 75.0, True, "StatefulSet/db last")])],
        ...     verbose=False)
        ['slow: shop-gw0 was ready after 1m15s, infrastructure took 1m12s (StatefulSet/db last)']
    """
    ready = [space for space in found if space.seconds is not None and (verbose or space.seconds >= SLOW)]
    ready.sort(key=lambda space: -(space.seconds or 0.0))
    return [_told(space) for space in ready[: _MOST if verbose else _FEW]]


def _told(space: Space) -> str:
    step = space.slowest()
    line = f"slow: {space.name} was ready after {format_duration(space.seconds or 0.0)}"
    if step is None:
        return line
    return f"{line}, {step.what} took {format_duration(step.seconds)}{f' ({step.note})' if step.note else ''}"
