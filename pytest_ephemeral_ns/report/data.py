"""The report of a run as plain values, the same for the page and for JSON; this module must never let a secret in.

The format is described in ``docs/report.md``.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import is_dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from pytest_ephemeral_ns.rules.redaction import Redactor
from pytest_ephemeral_ns.rules.timeline import Row, Space, Test, attempts_of, spaces_of, zero

if TYPE_CHECKING:
    from pytest_ephemeral_ns.ending import Ending
    from pytest_ephemeral_ns.settings import Settings

FORMAT = "pytest-ephemeral-ns/report"
VERSION = 1
_OUTCOMES = {0: "passed", 1: "failed", 2: "interrupted", 3: "internal error", 4: "usage error", 5: "no tests"}


def build(ending: Ending, settings: Settings, *, run_id: str, exit_code: int | None, now: float) -> dict[str, Any]:
    """Return the report of a run.

    Args:
        ending: how the run ended, with everything that its processes wrote down.
        settings: of the run.
        run_id: its id.
        exit_code: pytest's; ``None`` if the session never began.
        now: seconds since the epoch.

    Returns:
        Mappings, lists, texts and numbers; times are seconds since the run began. Texts that look like secrets are
        masked.
    """
    rows = ending.rows
    start = zero(rows) or now
    spaces = spaces_of(rows)
    tests = attempts_of(rows, spaces)
    run = {
        "id": run_id,
        "began": f"{datetime.fromtimestamp(start, timezone.utc):%Y-%m-%dT%H:%M:%SZ}",
        "seconds": round(max(0.0, now - start), 3),
        "outcome": "interrupted" if exit_code is None else _OUTCOMES.get(exit_code, "failed"),
        "exit_code": exit_code,
        "truncated": any(row.get("what") == "truncated" for row in rows),
        **_identity(rows),
        "settings": _settings(settings),
    }
    found = {
        "format": FORMAT,
        "version": VERSION,
        "made_by": f"pytest-ephemeral-ns {version('pytest-ephemeral-ns')}",
        "run": run,
        "cluster": _cluster(rows, start),
        "counts": dict(Counter(test.outcome for test in tests)),
        "workers": _workers(spaces, tests),
        "namespaces": [_space(space) for space in spaces],
        "tests": tests,
        "ending": _ending(ending),
    }
    cleaned: dict[str, Any] = Redactor({}).clean_tree(_plain(found))
    return cleaned


def _identity(rows: Sequence[Row]) -> dict[str, str]:
    told: Row = next((row for row in rows if row.get("what") == "identity"), {})
    return {key: str(told.get(key) or "") for key in ("project", "ref", "commit")}


def _settings(settings: Settings) -> list[str]:
    """Return what is not a default; of Helm's values the names only."""
    names = ", ".join(item.partition("=")[0] for item in settings.helm_set)
    return [
        f"helm_set: {names} ({settings.provenance['helm_set']})" if line.startswith("helm_set: ") else line
        for line in settings.describe()
    ]


def _cluster(rows: Sequence[Row], start: float) -> dict[str, Any] | None:
    told = [row for row in rows if row.get("what") == "cluster"]
    if not told:
        return None
    last = told[-1]
    known = {key: last.get(key, "") for key in ("provider", "name", "nodes", "version", "error")}
    times = {"began": float(told[0]["at"]) - start, "ended": float(last["at"]) - start}
    return {**known, "started": bool(last.get("started")), **times}


def _workers(spaces: Sequence[Space], tests: Sequence[Test]) -> list[str]:
    """Return all that ran something, ``gw10`` after ``gw9``."""
    names = {space.worker for space in spaces} | {test.worker for test in tests}
    return sorted(names, key=lambda name: (len(name), name) if name.startswith("gw") else (0, name))


def _space(space: Space) -> dict[str, Any]:
    slowest = space.slowest()
    return {
        "name": space.name,
        "uid": space.uid,
        "worker": space.worker,
        "began": space.began,
        "ready": space.ready,
        "ended": space.ended,
        "seconds_to_ready": space.seconds,
        "slowest_layer": {"what": slowest.what, "seconds": slowest.seconds} if slowest else None,
        "fate": space.fate,
        "error": space.error,
        "steps": space.steps,
        "objects": [{"name": name, "states": states} for name, states in space.objects.items()],
    }


def _ending(ending: Ending) -> dict[str, Any]:
    kept = [
        {"name": one.name, "reason": one.reason, "until": one.until, "commands": one.commands()} for one in ending.kept
    ]
    warnings = [*ending.warnings, *ending.sweep.warnings]
    return {"kept": kept, "swept": ending.unreleased(), "leaked": ending.leftovers, "warnings": warnings}


def _plain(value: Any) -> Any:
    """Return values as mappings and lists, times to the millisecond; ``asdict`` copies all of it ten times slower."""
    if isinstance(value, float):
        return round(value, 3)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return _plain(vars(value)) if is_dataclass(value) else value
