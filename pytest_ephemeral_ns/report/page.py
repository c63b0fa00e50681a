"""The report of a run as one page that needs no network; this module must never let a text of the run become code.

The page is whole without scripts: everything is in it as HTML, ``page.js`` only filters and remembers.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from pytest_ephemeral_ns.report.lanes import timeline
from pytest_ephemeral_ns.report.sections import ending, failed, failures, hero, tests
from pytest_ephemeral_ns.report.tracks import esc

_SLOT = re.compile(r"\[\[(\w+)\]\]")


def render(data: Mapping[str, Any]) -> str:
    """Return the page.

    Args:
        data: from :func:`pytest_ephemeral_ns.report.data.build`.

    Returns:
        HTML with its style and script inside; nothing else is allowed to run or to be fetched.
    """
    style, script = _part("page.css"), _part("page.js")
    name = data["run"]["project"] or data["run"]["id"]
    slots = {
        "csp": _policy(style, script),
        "title": esc(f"{name}: {data['run']['outcome']}"),
        "style": style,
        "script": script,
        "nav": _nav(data),
        "main": "\n".join([hero(data), failures(data), timeline(data), tests(data), ending(data)]),
        "footer": esc(f"Made by {data['made_by']}. The same data for programs: --ephemeral-ns-report=report.json"),
    }
    # One pass: what looks like a slot in a test's name stays as it is.
    return _SLOT.sub(lambda match: slots[match[1]], _part("page.html"))


def _part(name: str) -> str:
    return (files("pytest_ephemeral_ns.report") / name).read_text("utf-8")


def _policy(style: str, script: str) -> str:
    """Return a policy by which this style and this script are all that the page may use."""
    allowed = f"style-src '{_digest(style)}'; script-src '{_digest(script)}'"
    return f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'"


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _nav(data: Mapping[str, Any]) -> str:
    bad = len(failed(data))
    links = [("failures", "Failures", bad, "bad")] if bad else []
    links += [("timeline", "Timeline", len(data["namespaces"]), ""), ("tests", "Tests", len(data["tests"]), "")]
    found = [f'<a href="#{at}" class="{kind}">{word} <b>{count}</b></a>' for at, word, count, kind in links]
    return "".join([*found, '<a href="#end">How it ended</a>'])
