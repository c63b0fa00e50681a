"""REPORT: the run as a timeline, as a page for people and as JSON for programs; this package must never fail a run.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_ephemeral_ns.timeline import Timeline

if TYPE_CHECKING:
    from pytest_ephemeral_ns.ending import Ending
    from pytest_ephemeral_ns.namespace import Namespace
    from pytest_ephemeral_ns.report.recorder import TestRecorder
    from pytest_ephemeral_ns.run import Seat
    from pytest_ephemeral_ns.settings import Settings

__all__ = ["record", "write"]


def record(config: Any, seat: Seat, live: list[Namespace], fixtures: frozenset[str]) -> TestRecorder:
    """Return what pytest has to be given so that the tests of this process are written down.

    Args:
        config: pytest's configuration.
        seat: where this process sits.
        live: the namespaces that live; the list changes.
        fixtures: a test with one of these fixtures uses them.
    """
    from pytest_ephemeral_ns.report.recorder import TestRecorder

    timeline = Timeline(Path(seat.directory), seat.worker_id, detailed=True)
    timeline.mark("session")
    return TestRecorder(config, timeline, live, fixtures)


def write(ending: Ending, settings: Settings, *, run_id: str, exit_code: int | None) -> list[str]:
    """Write every report that was asked for, each all or nothing. Never raises.

    Args:
        ending: how the run ended.
        settings: ``report`` names the files.
        run_id: the run's id.
        exit_code: pytest's; ``None`` if the session never began.

    Returns:
        A line for each file: where it is, or why it is not there.
    """
    if not settings.report:
        return []
    from pytest_ephemeral_ns.report.data import build

    lines: list[str] = []
    try:
        data = build(ending, settings, run_id=run_id, exit_code=exit_code, now=time.time())
        for path in map(Path, settings.report):
            lines.append(_write(path, data))
    except Exception as error:  # a bug in a picture must not hide how the tests went
        lines.append(f"warning: no report of the run: {type(error).__name__}: {error}")
    return lines


def _write(path: Path, data: dict[str, Any]) -> str:
    from pytest_ephemeral_ns.report.page import render

    text = render(data) if path.suffix == ".html" else json.dumps(data, indent=1) + "\n"
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text, "utf-8", "replace")
        part.replace(path)
    except OSError as error:
        with suppress(OSError):  # its folder may be what is wrong
            part.unlink(missing_ok=True)
        return f"warning: {path} was not written: {error.strerror or error}"
    return f"report: {path}"
