"""What happened when in a namespace, as rows for programs; this module must never decide what matters.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from pytest_ephemeral_ns.diagnose.bundle import Bundle
from pytest_ephemeral_ns.rules.objects import Object, Ref
from pytest_ephemeral_ns.rules.redaction import printable
from pytest_ephemeral_ns.rules.status import fields
from pytest_ephemeral_ns.rules.status.containers import containers
from pytest_ephemeral_ns.rules.status.related import first_seen, last_seen, times
from pytest_ephemeral_ns.rules.triage import Snapshot, ended

Row = dict[str, Any]


def write_timeline(into: Bundle, snapshot: Snapshot, namespace: str) -> None:
    """Write what happened when, oldest first, as a JSON list.

    Args:
        into: the bundle.
        snapshot: without secrets.
        namespace: its name.
    """
    rows = [*_objects(snapshot), *map(_event, snapshot.objects.get("Event", ()))]
    if snapshot.since is not None:
        rows.append({"time": _iso(snapshot.since), "object": "test", "what": "started"})
    if snapshot.until is not None:
        rows.append({"time": _iso(snapshot.until), "object": "test", "what": "ended"})
    rows.append({"time": _iso(snapshot.now), "object": f"Namespace/{namespace}", "what": "diagnosed"})
    into.write("timeline.json", json.dumps(sorted(rows, key=lambda row: str(row["time"])), indent=1) + "\n")


def _objects(snapshot: Snapshot) -> list[Row]:
    rows: list[Row] = []
    for kind, items in snapshot.objects.items():
        for item in items if kind != "Event" else ():
            rows.append({"time": _iso(fields.created(item)), "object": str(Ref.of(item)), "what": "created"})
            rows += _containers(item) if kind == "Pod" else ()
    return rows


def _event(event: Object) -> Row:
    told = event.get("involvedObject") or {}
    return {
        "time": _iso(first_seen(event)),
        "until": _iso(last_seen(event)),
        "count": times(event),
        "object": f"{told.get('kind', '')}/{told.get('name', '')}",
        "what": str(event.get("reason", "")),
        "type": str(event.get("type", "")),
        "message": printable(fields.one_line(event.get("message"))),
    }


def _containers(pod: Object) -> list[Row]:
    found: list[Row] = []
    for box in containers(pod, Ref.of(pod)):
        place = f"{box.ref}, container {box.name}"
        for state in (fields.dig(box.status, key, default={}) for key in ("lastState", "state")):
            for told in state.values():
                if begun := told.get("startedAt"):
                    found.append({"time": begun, "object": place, "what": "started"})
                if over := told.get("finishedAt"):
                    found.append({"time": over, "object": place, "what": f"ended {ended(told)}"})
    return found


def _iso(when: datetime) -> str:
    return f"{when:%Y-%m-%dT%H:%M:%SZ}"
