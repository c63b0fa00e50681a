"""Writes what was read into a folder, all or nothing, bounded; this module must never write a secret's value.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_ephemeral_ns.rules.objects import Object, Ref
from pytest_ephemeral_ns.rules.redaction import Redactor, printable
from pytest_ephemeral_ns.rules.status import fields
from pytest_ephemeral_ns.rules.status.containers import containers
from pytest_ephemeral_ns.rules.status.related import Related, first_seen, last_seen, times
from pytest_ephemeral_ns.rules.triage import LogWish, Snapshot, ended

if TYPE_CHECKING:
    from pytest_ephemeral_ns.diagnose.reading import Reader
    from pytest_ephemeral_ns.diagnose.words import Diagnosis

LIMIT = 20 << 20  # bytes of one bundle
LINES = 10_000  # of one log
_LOG = 2 << 20  # bytes of one log
_AT_ONCE = 24
_OBJECTS = 8 << 20  # bytes of all objects of one kind
_DESCRIBED = ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "Pod", "PersistentVolumeClaim", "Service")


@contextmanager
def folder(directory: Path) -> Iterator[Path]:
    """Give a folder for the length of a block, and its name when the block has ended well; else it is removed.

    Args:
        directory: what it will be called.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    root = directory.parent.parent
    ignore = root / ".gitignore"
    if root.name.startswith(".") and not ignore.exists():
        with contextlib.suppress(OSError):
            ignore.write_text("# Made by pytest-ephemeral-ns.\n*\n", "utf-8")
    begun = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    try:
        yield begun
        os.chmod(begun, 0o755)  # noqa: S103 # holds no secret, and whoever uploads it may be another user
        if directory.exists():
            shutil.rmtree(directory)
        begun.replace(directory)
    finally:
        shutil.rmtree(begun, ignore_errors=True)


def write_summary(begun: Path, told: Diagnosis) -> None:
    """Write what the report says, and which files there are; called last."""
    summary = [f"# {told.namespace}", "", f"**{told.headline}**", "", f"Taken {told.taken} in {told.seconds} s.", ""]
    files = sorted(str(path.relative_to(begun)) for path in begun.rglob("*") if path.is_file())
    summary += [
        "```text",
        told.text.replace("```", "'''"),
        "```",
        "",
        "## Files",
        "",
        *(f"- `{name}`" for name in files),
    ]
    _write(begun / "summary.md", "\n".join(summary) + "\n")


def write_objects(begun: Path, objects: Mapping[str, Sequence[Object]], names: Mapping[str, str]) -> None:
    """Write the objects as YAML, a file for each kind."""
    import yaml

    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    room = LIMIT // 2
    for kind, items in objects.items():
        if not items:
            continue
        data = yaml.dump_all(_some(items), Dumper=dumper, sort_keys=False, allow_unicode=True, width=1000)
        room -= len(data.encode())
        if room < 0:
            data = f"# {len(items)} objects were too much for the bundle\n"
        _write(begun / "objects" / f"{names.get(kind, kind.lower())}.yaml", data)


def _some(items: Sequence[Object]) -> list[Object]:
    room, found = _OBJECTS, []
    for item in items:
        room -= len(json.dumps(item))
        if room < 0:
            break
        found.append(item)
    return found


def write_events(begun: Path, events: Sequence[Object]) -> None:
    """Write all events as lines, in the order of their last time."""
    lines = [_event(event) for event in sorted(events, key=last_seen)]
    if lines:
        _write(begun / "events.txt", "\n".join(lines) + "\n")


def _event(event: Object) -> str:
    told = event.get("involvedObject") or {}
    count = f" x{times(event)}" if times(event) > 1 else ""
    message = fields.one_line(event.get("message"), 2000)
    place = f"{told.get('kind', '')}/{told.get('name', '')}"
    return printable(f"{last_seen(event):%H:%M:%S} {event.get('type')}{count} {place} {event.get('reason')}: {message}")


def write_descriptions(begun: Path, snapshot: Snapshot) -> None:
    """Write what ``kubectl describe`` would say, short: conditions, containers, events."""
    related = Related(snapshot.objects)
    parts = [_description(item, related) for kind in _DESCRIBED for item in snapshot.objects.get(kind, ())]
    if parts:
        _write(begun / "describe.txt", "\n\n".join(parts[:1000]) + "\n")


def _description(obj: Object, related: Related) -> str:
    lines = [f"{Ref.of(obj)}", f"  created: {fields.dig(obj, 'metadata', 'creationTimestamp')}"]
    if node := fields.dig(obj, "spec", "nodeName"):
        lines.append(f"  node: {node}")
    if phase := fields.dig(obj, "status", "phase"):
        lines.append(f"  phase: {phase}")
    for item in fields.dig(obj, "status", "conditions", default=()):
        told = f": {fields.one_line(item.get('message'))}" if item.get("message") else ""
        lines.append(f"  condition {item.get('type')}={item.get('status')} {item.get('reason', '')}{told}")
    if obj.get("kind") == "Pod":
        lines += [line for box in containers(obj, Ref.of(obj)) for line in _container(box.name, box.spec, box.status)]
    lines += [f"  event {_event(event)}" for event in related.events(obj)]
    return printable("\n".join(lines))


def _container(name: str, spec: Mapping[str, Any], status: Mapping[str, Any]) -> list[str]:
    lines = [f"  container {name}: {spec.get('image', '')}, restarts {status.get('restartCount', 0)}"]
    for title in ("state", "lastState"):
        for state, told in fields.dig(status, title, default={}).items():
            words = ended(told) if state == "terminated" else f"{told.get('reason', '')} {told.get('message', '')}"
            lines.append(f"    {title}: {state} {words.strip()}".rstrip())
    return lines


def write_releases(begun: Path, secrets: Sequence[Object], redactor: Redactor) -> None:
    """Write status and values of the Helm releases of the namespace."""
    found = [_release(secret) for secret in secrets if secret.get("type") == "helm.sh/release.v1"]
    told = [redactor.clean_tree(release) for release in found if release]
    if told:
        _write(begun / "helm.json", json.dumps(told, indent=2, ensure_ascii=False) + "\n")


def _release(secret: Object) -> dict[str, Any] | None:
    try:
        packed = base64.b64decode(base64.b64decode(secret["data"]["release"]))
        release = json.loads(gzip.decompress(packed))
    except (KeyError, ValueError, OSError, EOFError):
        return None
    info, chart = release.get("info") or {}, (release.get("chart") or {}).get("metadata") or {}
    return {
        "name": release.get("name"),
        "revision": release.get("version"),
        "status": info.get("status"),
        "description": info.get("description"),
        "chart": f"{chart.get('name')}-{chart.get('version')}",
        "values": release.get("config") or {},
    }


def write_timeline(begun: Path, snapshot: Snapshot, namespace: str) -> None:
    """Write what happened when, oldest first, as JSON."""
    rows: list[dict[str, Any]] = []
    for kind, items in snapshot.objects.items():
        for item in items if kind != "Event" else ():
            rows.append({"time": _iso(fields.created(item)), "object": str(Ref.of(item)), "what": "created"})
        for item in items if kind == "Pod" else ():
            rows += _ends(item)
    for event in snapshot.objects.get("Event", ()):
        told = event.get("involvedObject") or {}
        rows.append(
            {
                "time": _iso(first_seen(event)),
                "until": _iso(last_seen(event)),
                "count": times(event),
                "object": f"{told.get('kind', '')}/{told.get('name', '')}",
                "what": str(event.get("reason", "")),
                "type": str(event.get("type", "")),
                "message": printable(fields.one_line(event.get("message"))),
            }
        )
    if snapshot.since is not None:
        rows.append({"time": _iso(snapshot.since), "object": "test", "what": "started"})
    rows.append({"time": _iso(snapshot.now), "object": f"Namespace/{namespace}", "what": "diagnosed"})
    _write(begun / "timeline.json", json.dumps(sorted(rows, key=lambda row: row["time"]), indent=1) + "\n")


def _ends(pod: Object) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for box in containers(pod, Ref.of(pod)):
        place = f"{box.ref}, container {box.name}"
        for state in (fields.dig(box.status, key, default={}) for key in ("lastState", "state")):
            for told in state.values():
                if begun := told.get("startedAt"):
                    found.append({"time": begun, "object": place, "what": "started"})
                if over := told.get("finishedAt"):
                    found.append({"time": over, "object": place, "what": f"ended {ended(told)}"})
    return found


def _iso(when: Any) -> str:
    return f"{when:%Y-%m-%dT%H:%M:%SZ}"


def write_logs(begun: Path, wishes: Sequence[LogWish], reader: Reader, redactor: Redactor) -> None:
    """Write the logs of all containers, those in trouble first, until the time or the room is used up."""
    room = LIMIT - sum(path.stat().st_size for path in begun.rglob("*") if path.is_file())
    todo = list(dict.fromkeys(replace(wish, why="", trouble=True) for wish in wishes))
    while todo and room > 0 and not reader.deadline.expired:
        some, todo = todo[:_AT_ONCE], todo[_AT_ONCE:]
        for wish, text in reader.logs(some, tail=LINES, limit=min(_LOG, max(room, 1024))).items():
            data = redactor.clean(printable(text))
            room -= len(data.encode())
            if room < 0:
                todo.append(wish)
            elif data:
                name = f"{wish.container}{'.previous' if wish.previous else ''}.log"
                _write(begun / "logs" / wish.pod / name, data)
    if todo:
        why = "the time" if reader.deadline.expired else "the room of the bundle"
        reader.missing.append(f"logs of {len(todo)} containers: {why} was used up")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8", errors="replace")
