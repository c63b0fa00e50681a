"""The sections of the page, from the report's data; this module must never put a text in without escaping it.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pytest_ephemeral_ns.report.tracks import esc, kind_of, span_of

Data = Mapping[str, Any]
_GOOD = {"passed": "good", "no tests": ""}


def plural(count: int, word: str) -> str:
    """Return a count and its word.

    Example:
        >>> plural(1, "test"), plural(2, "test")
        ('1 test', '2 tests')
    """
    return f"{count} {word}{'' if count == 1 else 's'}"


def pill(text: str, kind: str) -> str:
    """Return a word on a coloured ground."""
    return f'<span class="pill {kind}">{esc(text)}</span>'


def section(name: str, title: str, body: str, note: str = "") -> str:
    """Return a section that a link can name."""
    head = f'<header><h2 id="{name}-title">{esc(title)}</h2>{note}</header>'
    return f'<section id="{name}" aria-labelledby="{name}-title">{head}{body}</section>'


def failed(data: Data) -> list[tuple[int, Data]]:
    """Return the tests that count as failures, with their numbers."""
    return [(number, test) for number, test in enumerate(data["tests"]) if kind_of(test["outcome"]) == "bad"]


# What the run was


def hero(data: Data) -> str:
    """Return the head of the page: what was run, where, when, and how it ended."""
    run, cluster = data["run"], data["cluster"]
    title = " · ".join(part for part in (run["project"], run["ref"]) if part) or f"run {run['id']}"
    facts = [f"run <code>{esc(run['id'])}</code>", f'<time datetime="{esc(run["began"])}">{_when(run["began"])}</time>']
    facts += [f"commit <code>{esc(run['commit'][:10])}</code>"] if run["commit"] else []
    if cluster:
        nodes = "" if cluster["nodes"] in ("", "external") else f", nodes: {cluster['nodes']}"
        told = f"{cluster['provider']} {cluster['name']} {cluster['version']}".strip()
        facts.append(esc(f"on {told}{nodes}"))
    outcome = pill(run["outcome"], _GOOD.get(run["outcome"], "bad"))
    notices = []
    if run["truncated"]:
        notices.append("So much happened that not all of it was written down: details are missing on this page.")
    if cluster and cluster["error"]:
        notices.append(f"No cluster: {cluster['error']}")
    return (
        f'<div class="hero"><div class="line"><h1>{esc(title)}</h1>{outcome}</div>'
        f'<p class="facts">{"".join(f"<span>{fact}</span>" for fact in facts)}</p>'
        f"{''.join(f'<p class=notice>{esc(notice)}</p>' for notice in notices)}{_tiles(data)}</div>"
    )


def _when(text: str) -> str:
    return esc(text.replace("T", " ").replace("Z", " UTC"))


def _tiles(data: Data) -> str:
    counts, spaces = data["counts"], data["namespaces"]
    bad = sum(number for outcome, number in counts.items() if kind_of(outcome) == "bad")
    told = [f"{number} {outcome}" for outcome, number in sorted(counts.items()) if outcome != "passed"]
    tiles = [_tile("Tests", str(sum(counts.values())), ", ".join(told) or "all passed", bool(bad))]
    ready = [space for space in spaces if space["seconds_to_ready"] is not None]
    never = len(spaces) - len(ready)
    workers = plural(len(data["workers"]), "worker")
    tiles.append(_tile("Namespaces", str(len(spaces)), f"{never} never ready" if never else f"on {workers}", never > 0))
    if ready:
        slow = max(ready, key=lambda space: space["seconds_to_ready"])
        layer = slow["slowest_layer"]
        note = f"{layer['what']} {span_of(layer['seconds'])}" if layer else ""
        tiles.append(_tile("Slowest to ready", span_of(slow["seconds_to_ready"]), note))
    ending = data["ending"]
    kept, swept = len(ending["kept"]), len(ending["swept"])
    tiles.append(_tile("Left behind", str(kept), f"kept on purpose; {swept} swept" if swept else "kept on purpose"))
    tiles.append(_tile("The run took", span_of(data["run"]["seconds"]), _cluster_took(data)))
    return f'<dl class="tiles">{"".join(tiles)}</dl>'


def _cluster_took(data: Data) -> str:
    cluster = data["cluster"]
    if not cluster:
        return "no cluster was touched"
    took = span_of(cluster["ended"] - cluster["began"])
    return f"{took} to {'start' if cluster['started'] else 'reach'} the cluster"


def _tile(name: str, value: str, note: str, bad: bool = False) -> str:
    kind = ' class="bad"' if bad else ""
    return (
        f'<div class="card tile"><dt>{esc(name)}</dt><dd>{esc(value)}</dd>'
        f'<dd class="note"><span{kind}>{esc(note)}</span></dd></div>'
    )


# Failures


def failures(data: Data) -> str:
    """Return what failed: each opens to its error and to what the cluster did."""
    found = failed(data)
    if not found:
        return ""
    items = "".join(_failure(number, test, len(found) == 1) for number, test in found)
    return section("failures", "Failures", f'<div class="card failures">{items}</div>')


def _failure(number: int, test: Data, is_open: bool) -> str:
    problems = test["problems"]
    headline = next((story["headline"] for problem in problems for story in problem["stories"]), "")
    why = problems[0]["message"] if problems else "the run was interrupted while it ran"
    lines = [why] if headline[-60:] in why else [why, headline]  # an error of ours says it already
    whys = "".join(f"<span class=why>{esc(line)}</span>" for line in lines)
    side = f"{problems[0]['when']} · {test['worker']}" if problems else test["worker"]
    return (
        f'<details class="failure bad" id="f{number}" data-kind="failure"{" open" if is_open else ""}>'
        f'<summary><span class="chevron" aria-hidden="true"></span><span class="id">{esc(test["id"])}</span>'
        f'<span class="side">{esc(side)}</span>{whys}</summary>'
        f'<div class="story">{_where(test)}{"".join(_problem(problem) for problem in problems)}</div></details>'
    )


def _where(test: Data) -> str:
    took = span_of(test["ended"] - test["began"])
    attempt = f", attempt {test['attempt']}" if test["attempt"] > 1 else ""
    spaces = ", ".join(f'<a href="#n-{esc(name)}">{esc(name)}</a>' for name in test["namespaces"])
    return f'<p class="soft">{esc(test["outcome"])} after {took}{attempt}{f" in {spaces}" if spaces else ""}</p>'


def _problem(problem: Data) -> str:
    parts = [f"<div><h3>Error in {esc(problem['when'])}</h3><pre tabindex=0>{esc(problem['text'])}</pre></div>"]
    for story in problem["stories"]:
        title = f"<h3>What the cluster did in {esc(story['namespace'])}</h3>"
        parts.append(f"<div>{title}<pre tabindex=0>{esc(story['text'])}</pre></div>")
    return "".join(parts)


# Tests


def tests(data: Data) -> str:
    """Return the table of all tests."""
    if not data["tests"]:
        return section("tests", "Tests", '<p class="card none">No test ran.</p>')
    rows = "".join(_test(number, test) for number, test in enumerate(data["tests"]))
    head = (
        '<th scope="col">Outcome</th><th scope="col">Test</th><th scope="col" class="opt">Worker</th>'
        '<th scope="col" class="opt">Namespace</th><th scope="col" class="n">Took</th>'
    )
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    return section(
        "tests", "Tests", f'<div class="card scroll" tabindex="0" role="region" aria-label="Tests">{table}</div>'
    )


def _test(number: int, test: Data) -> str:
    kind = kind_of(test["outcome"])
    name = f'<a href="#f{number}">{esc(test["id"])}</a>' if kind == "bad" else esc(test["id"])
    spaces = " ".join(f'<a href="#n-{esc(name)}">{esc(name)}</a>' for name in test["namespaces"])
    return (
        f'<tr class="{kind}" data-kind="test"><td><span class="dot" aria-hidden="true"></span>{esc(test["outcome"])}'
        f'<td>{name}<td class="opt nowrap">{esc(test["worker"])}<td class="opt">{spaces}'
        f'<td class="n">{span_of(test["ended"] - test["began"])}'
    )


# The end


def ending(data: Data) -> str:
    """Return what was kept, what was swept, warnings, and the settings."""
    told, run = data["ending"], data["run"]
    parts = [_kept(one) for one in told["kept"]]
    parts += _listed("Swept: their processes did not release them", told["swept"])
    parts += _listed("Left by earlier runs", [told["leaked"]] if told["leaked"] else [])
    parts += _listed("Warnings", told["warnings"])
    parts += _listed("Settings that are not defaults", run["settings"])
    body = "".join(parts) or '<p class="soft">Nothing was left behind, and all settings are defaults.</p>'
    return section("end", "How it ended", f'<div class="card end">{body}</div>')


def _kept(one: Data) -> str:
    commands = "".join(
        f"<dt>{esc(name)}</dt><dd><code>{esc(command)}</code></dd>" for name, command in one["commands"].items()
    )
    return (
        f"<div><p>{pill('kept', 'warn')} <b>{esc(one['name'])}</b> until {_when(one['until'])}</p>"
        f'<p class="soft">{esc(one["reason"])}</p><dl class="commands">{commands}</dl></div>'
    )


def _listed(title: str, lines: Iterable[str]) -> list[str]:
    items: Sequence[str] = [f"<li>{esc(line)}</li>" for line in lines]
    return [f"<div><h3>{esc(title)}</h3><ul>{''.join(items)}</ul></div>"] if items else []
