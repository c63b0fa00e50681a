"""Bars on a time axis as SVG, without one line of style, as a strict page wants it; this module must never need JS.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_ephemeral_ns.rules.durations import format_duration
from pytest_ephemeral_ns.rules.redaction import printable

TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400)
_MOST_TICKS = 9
_SEEN = 0.2  # seconds
_BAD = ("failed", "error", "interrupted")


def esc(text: object) -> str:
    """Return a text for HTML, in an element or between double quotes.

    Args:
        text: any.

    Example:
        >>> esc('</script>"')
        '&lt;/script&gt;&quot;'
    """
    return html.escape(printable(str(text)))


def span_of(seconds: float) -> str:
    """Return a duration for people; below a second in milliseconds.

    Example:
        >>> span_of(0.0142), span_of(3.25)
        ('14ms', '3.2s')
    """
    return f"{seconds * 1000:.0f}ms" if 0 <= seconds < 0.9995 else format_duration(seconds)


def kind_of(outcome: str) -> str:
    """Return the class of a test's outcome: ``passed``, ``bad`` or ``other``."""
    return "passed" if outcome == "passed" else "bad" if outcome in _BAD else "other"


@dataclass(frozen=True)
class Scale:
    """A stretch of time that is as wide as what it is drawn in.

    Args:
        began: seconds.
        ended: seconds.

    Example:
        >>> Scale(10.0, 20.0).at(15.0), Scale(0.0, 60.0).ticks()[:3]
        ('50%', [0, 10, 20])
    """

    began: float
    ended: float

    @property
    def length(self) -> float:
        """Seconds, never zero."""
        return max(self.ended - self.began, 0.001)

    def at(self, moment: float) -> str:
        """Return where a moment is."""
        return _percent((min(max(moment, self.began), self.ended) - self.began) / self.length)

    def width(self, began: float, ended: float) -> str:
        """Return how wide a stretch is, as far as it is inside."""
        inside = min(ended, self.ended) - max(began, self.began)
        return _percent(max(inside, 0.0) / self.length)

    def ticks(self) -> list[float]:
        """Return the moments at which an axis has a line: round ones, not too many, none at the right end."""
        step = next((step for step in TICKS if self.length / step <= _MOST_TICKS), self.length / _MOST_TICKS)
        first = math.ceil(self.began / step - 1e-9)
        marks = [step * number for number in range(first, first + _MOST_TICKS + 1)]
        return [round(mark, 3) for mark in marks if mark < self.ended - self.length * 0.03]


def _percent(part: float) -> str:
    return f"{part * 100:.2f}".rstrip("0").rstrip(".") + "%"


def axis(scale: Scale) -> str:
    """Return the axis: a label at each line."""
    labels = "".join(
        f'<text x="{scale.at(tick)}" y="13" text-anchor="{_anchor(scale, tick)}">{format_duration(tick)}</text>'
        for tick in scale.ticks()
    )
    return f'<svg aria-hidden="true">{labels}</svg>'


def _anchor(scale: Scale, tick: float) -> str:
    return "start" if tick - scale.began < scale.length * 0.02 else "middle"


def grid(scale: Scale) -> str:
    """Return the lines that every track shows behind its bars; once for the page."""
    lines = "".join(f'<line class="grid" x1="{x}" x2="{x}" y1="0" y2="100%"/>' for x in map(scale.at, scale.ticks()))
    return f'<svg width="0" height="0" aria-hidden="true"><defs><g id="ticks">{lines}</g></defs></svg>'


def bar(scale: Scale, began: float, ended: float, name: str, title: str, y: int, height: int) -> str:
    """Return one bar.

    Args:
        scale: of its track.
        began: seconds.
        ended: seconds.
        name: its class.
        title: told when the pointer rests on it.
        y: from the top, in pixels.
        height: in pixels.
    """
    return (
        f'<rect class="{name}" x="{scale.at(began)}" y="{y}" width="{scale.width(began, ended)}" height="{height}" '
        f'rx="1.5"><title>{esc(title)}</title></rect>'
    )


def space_track(scale: Scale, space: Mapping[str, Any], tests: Sequence[Mapping[str, Any]]) -> str:
    """Return the track of a namespace: its steps, and below them the tests that used it."""
    ends = [space["ended"], *(test["ended"] for test in tests)]
    parts = ['<use href="#ticks"/>', bar(scale, space["began"], max(ends), "s-life", "", 5, 9)]
    parts += [step_bar(scale, step, 4, 11) for step in space["steps"]]
    for test in tests:
        name = {"passed": "t-passed", "bad": "t-failed"}.get(kind_of(test["outcome"]), "t-other")
        told = f"{test['id']} {test['outcome']} in {span_of(test['ended'] - test['began'])}"
        begins = _body(test)
        if begins > test["began"]:
            parts.append(bar(scale, test["began"], begins, f"{name} t-setup", f"{test['id']}: set-up", 17, 4))
        parts.append(bar(scale, begins, test["ended"], name, told, 17, 4))
    return f'<svg class="track" role="img" aria-label="{esc(_told(space, tests))}">{"".join(parts)}</svg>'


def _body(test: Mapping[str, Any]) -> float:
    """Return where the test itself begins, when its set-up took so long that the difference can be seen."""
    setup = next((phase for phase in test["phases"] if phase["when"] == "setup"), None)
    if setup is None or len(test["phases"]) == 1:
        return float(test["began"])
    took, total = setup["ended"] - test["began"], test["ended"] - test["began"]
    return float(setup["ended"]) if took > max(_SEEN, total / 4) else float(test["began"])


def step_bar(scale: Scale, step: Mapping[str, Any], y: int, height: int) -> str:
    """Return the bar of one step."""
    took = span_of(step["ended"] - step["began"])
    ending = {True: "", False: ", failed", None: ", not ended"}[step["ok"]]
    title = f"{step['what']} {took}{ending}" + (f": {step['note']}" if step["note"] else "")
    return bar(scale, step["began"], step["ended"], step_class(step["what"]), title, y, height)


def step_class(what: str) -> str:
    """Return the class of a step: ``s-guard-rails``."""
    return f"s-{what.replace(' ', '-')}"


def _told(space: Mapping[str, Any], tests: Sequence[Mapping[str, Any]]) -> str:
    steps = [f"{step['what']} {span_of(step['ended'] - step['began'])}" for step in space["steps"]]
    bad = sum(kind_of(test["outcome"]) == "bad" for test in tests)
    count = f"{len(tests)} test{'' if len(tests) == 1 else 's'}" + (f", {bad} failed" if bad else "")
    return "; ".join([", ".join(steps) or "no steps", count])


def object_track(scale: Scale, states: Sequence[Mapping[str, Any]]) -> str:
    """Return the track of one object: a bar for each of its states."""
    ends = [*(state["at"] for state in states[1:]), scale.ended]
    parts = [
        bar(scale, state["at"], end, f"o-{state['state']}", f"{state['state']}: {state['reason']}", 2, 8)
        for state, end in zip(states, ends, strict=True)
    ]
    return f'<svg aria-hidden="true">{"".join(parts)}</svg>'


def swatch(name: str) -> str:
    """Return a small square in a bar's colour, for a legend."""
    return f'<svg aria-hidden="true" width="12" height="10"><rect class="{name}" width="10" height="10" rx="2"/></svg>'


def ready_at(states: Iterable[Mapping[str, Any]]) -> float | None:
    """Return when an object was ready for good; ``None`` if its last state is another."""
    last = None
    for state in states:
        is_ready = state["state"] == "ready"
        last = (last if last is not None else state["at"]) if is_ready else None
    return last
