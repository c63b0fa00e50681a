"""The timeline: a lane for each worker, a row for each namespace, which opens to its steps and objects.

This module must never put a text in without escaping it.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pytest_ephemeral_ns.report.sections import Data, pill, plural, section
from pytest_ephemeral_ns.report.tracks import (
    Scale,
    axis,
    bar,
    esc,
    grid,
    kind_of,
    object_track,
    ready_at,
    space_track,
    span_of,
    step_class,
    swatch,
)

Numbered = tuple[int, Mapping[str, Any]]
Tests = dict[str, list[Numbered]]

LEGEND = ("create", "guard rails", "deploy", "infrastructure", "application", "contract", "diagnosis", "release")
_OBJECTS, _TESTS = 60, 40
_LOUD = ("kept", "swept", "left")


def timeline(data: Data) -> str:
    """Return the timeline of the whole run."""
    scale = _scale(data)
    tests = _tests_by_space(data)
    lanes = [_cluster(data, scale), *(_lane(data, worker, scale, tests) for worker in data["workers"])]
    body = "".join(lane for lane in lanes if lane)
    if not body:
        return section("timeline", "Timeline", '<p class="card none">No namespace was asked for.</p>')
    head = f'<div class="axis"><span>Namespace</span>{axis(scale)}<span>to ready</span></div>'
    return section("timeline", "Timeline", f'<div class="card">{grid(scale)}{head}{body}</div>', _legend(data))


def _tests_by_space(data: Data) -> Tests:
    found: Tests = {}
    for number, test in enumerate(data["tests"]):
        for name in test["namespaces"]:
            found.setdefault(name, []).append((number, test))
    return found


def _scale(data: Data) -> Scale:
    """The run from its begin, or from where it got going when it was slow to."""
    end = max(float(data["run"]["seconds"]), 0.1)
    starts = [item["began"] for item in (*data["namespaces"], *data["tests"])]
    starts += [data["cluster"]["began"]] if data["cluster"] else []
    first = min(starts, default=0.0)
    return Scale(first if first > end / 10 else 0.0, end)


def _legend(data: Data) -> str:
    seen = {step["what"] for space in data["namespaces"] for step in space["steps"]}
    items = [(step_class(what), what) for what in LEGEND if what in seen]
    outcomes = {kind_of(test["outcome"]) for test in data["tests"]}
    names = {"passed": ("t-passed", "test passed"), "bad": ("t-failed", "failed"), "other": ("t-other", "skipped")}
    items += [names[kind] for kind in names if kind in outcomes]
    told = "".join(f"<li><span>{swatch(name)}</span>{esc(word)}</li>" for name, word in items)
    return f'<ul class="legend" aria-label="Colours">{told}</ul>'


def _cluster(data: Data, scale: Scale) -> str:
    cluster = data["cluster"]
    if not cluster:
        return ""
    took = span_of(cluster["ended"] - cluster["began"])
    what = "started" if cluster["started"] else "reached"
    track = bar(scale, cluster["began"], cluster["ended"], "s-cluster", f"cluster {what} in {took}", 4, 11)
    label = esc(f"cluster {cluster['provider']} {cluster['name']} {what} in {took}")
    row = (
        f'<span class="name">cluster {what}</span><svg class="track" role="img" aria-label="{label}">'
        f'<use href="#ticks"/>{track}</svg><span class="took">{took}</span>'
    )
    return f'<div class="lane" data-always="yes"><div class="space"><div class="row">{row}</div></div></div>'


def _lane(data: Data, worker: str, scale: Scale, tests: Tests) -> str:
    spaces = [space for space in data["namespaces"] if space["worker"] == worker]
    ran = [test for test in data["tests"] if test["worker"] == worker]
    if not spaces and not ran:
        return ""
    note = f"{plural(len(spaces), 'namespace')}, {plural(len(ran), 'test')}"
    rows = "".join(_space(space, scale, tests.get(space["name"], [])) for space in spaces)
    others = [test for test in ran if not test["namespaces"]]
    if others:
        rows += _without(others, scale)
    return f'<div class="lane"><h3>{esc(worker)} <span class="soft">{note}</span></h3>{rows}</div>'


def _without(tests: Sequence[Data], scale: Scale) -> str:
    """The tests of a worker that used no namespace, as one row."""
    nothing = {"began": tests[0]["began"], "ended": tests[0]["began"], "steps": ()}
    row = f'<span class="name soft">without a namespace</span>{space_track(scale, nothing, tests)}<span></span>'
    return f'<div class="space"><div class="row">{row}</div></div>'


def _space(space: Data, scale: Scale, tests: Sequence[Numbered]) -> str:
    if space["fate"] == "reused":
        tests = [pair for pair in tests if pair[1]["worker"] == space["worker"]]
    bad = bool(space["error"]) or any(kind_of(test["outcome"]) == "bad" for _, test in tests)
    seconds = space["seconds_to_ready"]
    took = "never" if seconds is None else span_of(seconds)
    track = space_track(scale, space, [test for _, test in tests])
    name = esc(space["name"])
    summary = (
        f'<span class="name" title="{name}"><span class="chevron" aria-hidden="true"></span>{name}{_mark(space)}</span>'
        f'{track}<span class="took">{took}</span>'
    )
    return (
        f'<details class="space{" bad" if bad else ""}" id="n-{name}" data-kind="namespace" '
        f'data-words="{esc(space["worker"])}"><summary>{summary}</summary>{_inside(space, tests)}</details>'
    )


def _mark(space: Data) -> str:
    return f" {pill(space['fate'], 'warn')}" if space["fate"] in _LOUD else ""


def _inside(space: Data, tests: Sequence[Numbered]) -> str:
    parts = [f"<div><h3>Steps</h3>{_steps(space)}</div>", _tests(tests)]
    if space["error"]:
        parts.insert(0, f'<p class="notice wide">{esc(space["error"])}</p>')
    parts.append(_objects(space))
    seconds = space["seconds_to_ready"]
    ready = "never ready" if seconds is None else f"ready after {span_of(seconds)}"
    told = f"{ready}, {space['fate']} at the end · uid {space['uid']}"
    return f'<div class="inside"><p class="wide soft">{esc(told)}</p>{"".join(parts)}</div>'


def _steps(space: Data) -> str:
    rows = "".join(
        f"<dt>{swatch(step_class(step['what']))}{esc(step['what'])}</dt>"
        f'<dd class="n">{span_of(step["ended"] - step["began"])}</dd>'
        f'<dd class="soft">{_ending(step)}{esc(step["note"])}</dd>'
        for step in space["steps"]
    )
    return f'<dl class="steps">{rows}</dl>'


def _ending(step: Data) -> str:
    return {True: "", False: "failed. ", None: "not ended. "}[step["ok"]]


def _tests(tests: Sequence[Numbered]) -> str:
    if not tests:
        return ""
    # What failed first: the list is cut.
    ordered = sorted(tests, key=lambda pair: kind_of(pair[1]["outcome"]) != "bad")
    items = "".join(_item(number, test) for number, test in ordered[:_TESTS])
    more = f"<li class=soft>and {len(tests) - _TESTS} more</li>" if len(tests) > _TESTS else ""
    return f"<div><h3>Tests</h3><ul>{items}{more}</ul></div>"


def _item(number: int, test: Mapping[str, Any]) -> str:
    kind = kind_of(test["outcome"])
    name = f'<a href="#f{number}">{esc(test["id"])}</a>' if kind == "bad" else esc(test["id"])
    outcome = "" if kind == "passed" else f' <span class="soft">{esc(test["outcome"])}</span>'
    return (
        f'<li class="{kind}"><span class="dot" aria-hidden="true"></span><span class="id">{name}{outcome}</span></li>'
    )


def _objects(space: Data) -> str:
    """The objects on a scale of their own, the last that was ready first: it held up the rest."""
    found = space["objects"]
    if not found:
        return ""
    until = space["ended"] if space["ready"] is None else space["ready"]
    starts = [item["states"][0]["at"] for item in found if item["states"]]
    scale = Scale(min(starts), max(until, max(starts)))

    def late(item: Mapping[str, Any]) -> float:
        at = ready_at(item["states"])
        return float("inf") if at is None else at

    ordered = sorted(found, key=late, reverse=True)
    rows = "".join(_object(item, scale) for item in ordered[:_OBJECTS])
    more = f'<p class="soft">and {len(found) - _OBJECTS} more</p>' if len(found) > _OBJECTS else ""
    return f'<div class="wide"><h3>Objects, the last one first</h3><div class="objects">{rows}</div>{more}</div>'


def _object(item: Mapping[str, Any], scale: Scale) -> str:
    at = ready_at(item["states"])
    last = item["states"][-1]
    took = span_of(max(0.0, at - scale.began)) if at is not None else last["reason"] or last["state"]
    name = esc(item["name"])
    return f'<span title="{name}">{name}</span>{object_track(scale, item["states"])}<span class="n">{esc(took)}</span>'
