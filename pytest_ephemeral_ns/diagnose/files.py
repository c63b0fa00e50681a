"""What a bundle consists of: objects, events, descriptions, releases, logs; this module must never write a secret.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pytest_ephemeral_ns.diagnose.bundle import Bundle
from pytest_ephemeral_ns.rules.known_secrets import release_of
from pytest_ephemeral_ns.rules.objects import Object, Ref
from pytest_ephemeral_ns.rules.redaction import Redactor, printable
from pytest_ephemeral_ns.rules.status import fields
from pytest_ephemeral_ns.rules.status.containers import containers
from pytest_ephemeral_ns.rules.status.related import Related, last_seen, times
from pytest_ephemeral_ns.rules.triage import LogWish, Snapshot, ended

if TYPE_CHECKING:
    from pytest_ephemeral_ns.deadline import Deadline
    from pytest_ephemeral_ns.diagnose.reading import Reader
    from pytest_ephemeral_ns.diagnose.words import Diagnosis

LINES = 10_000  # of one log
LOG_SIZE = 2_000_000  # bytes of one log
_AT_ONCE = 24
_OBJECTS = 0.5  # of the bundle's room
_DESCRIBED = (
    *("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "CronJob", "Job", "Pod", "PersistentVolumeClaim"),
    *("Service", "Ingress", "HorizontalPodAutoscaler", "PodDisruptionBudget", "ResourceQuota"),
)


def write_summary(into: Bundle, told: Diagnosis) -> None:
    """Write what the report says, and which files there are; called last."""
    summary = [f"# {told.namespace}", "", f"**{told.headline}**", "", f"Taken {told.taken} in {told.seconds} s.", ""]
    summary += ["```text", told.text.replace("```", "'''"), "```", "", "## Files", ""]
    into.close("summary.md", "\n".join([*summary, *(f"- `{name}`" for name in into.files())]) + "\n")


def write_objects(
    into: Bundle, objects: Mapping[str, Sequence[Object]], names: Mapping[str, str], deadline: Deadline
) -> None:
    """Write the objects as YAML, a file for each kind; those of Secrets come without their data.

    What there is little of comes first: the Deployment of a thousand pods says more than the last of them.
    """
    room = int(into.room * _OBJECTS)
    late: dict[str, int] = {}
    for kind, items in sorted(objects.items(), key=lambda pair: len(pair[1])):
        name = names.get(kind, kind.lower())
        before = into.room
        if items:
            documents = _documents(name, items, late, deadline)
            into.write_parts(f"objects/{name}.yaml", documents, share=room / max(1, into.room))
        room = max(0, room - (before - into.room))
    if late:
        told = ", ".join(f"{count} of {name}" for name, count in late.items())
        into.left_out.append(f"objects/: {told} are not there, because the time was used up")


def _documents(name: str, items: Sequence[Object], late: dict[str, int], deadline: Deadline) -> Iterator[str]:
    import yaml

    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    for number, item in enumerate(items):
        if deadline.expired:
            late[name] = len(items) - number
            return
        text = yaml.dump(item, Dumper=dumper, sort_keys=False, allow_unicode=True, width=1000)
        yield f"---\n{text}" if number else text


def write_events(into: Bundle, events: Sequence[Object]) -> None:
    """Write all events as lines, in the order of their last time."""
    into.write_parts("events.txt", (f"{_event(event)}\n" for event in sorted(events, key=last_seen)))


def _event(event: Object) -> str:
    told = event.get("involvedObject") or {}
    count = f" x{times(event)}" if times(event) > 1 else ""
    message = fields.one_line(event.get("message"), 2000)
    place = f"{told.get('kind', '')}/{told.get('name', '')}"
    return printable(f"{last_seen(event):%H:%M:%S} {event.get('type')}{count} {place} {event.get('reason')}: {message}")


def write_descriptions(into: Bundle, snapshot: Snapshot) -> None:
    """Write what ``kubectl describe`` would say, short: state, conditions, containers, events."""
    related = Related(snapshot.objects)
    found = (_description(item, related) for kind in _DESCRIBED for item in snapshot.objects.get(kind, ()))
    into.write_parts("describe.txt", (f"{text}\n\n" for text in found), share=0.5)


def _description(obj: Object, related: Related) -> str:
    lines = [f"{Ref.of(obj)}", f"  created: {fields.dig(obj, 'metadata', 'creationTimestamp')}"]
    if owner := next(iter(fields.dig(obj, "metadata", "ownerReferences", default=())), None):
        lines.append(f"  controlled by: {owner.get('kind')}/{owner.get('name')}")
    for title, path in _FIELDS:
        value = fields.dig(obj, *path)
        if value not in (None, {}, []):
            lines.append(f"  {title}: {_told(value)}")
    for item in fields.dig(obj, "status", "conditions", default=()):
        told = f": {fields.one_line(item.get('message'))}" if item.get("message") else ""
        lines.append(f"  condition {item.get('type')}={item.get('status')} {item.get('reason', '')}{told}")
    if obj.get("kind") == "Pod":
        lines += [line for box in containers(obj, Ref.of(obj)) for line in _container(box.name, box.spec, box.status)]
    lines += [f"  event {_event(event)}" for event in related.events(obj)]
    return printable("\n".join(lines))


_FIELDS = (
    ("node", ("spec", "nodeName")),
    ("service account", ("spec", "serviceAccountName")),
    ("selector", ("spec", "selector")),
    ("ports", ("spec", "ports")),
    ("volumes", ("spec", "volumes")),
    ("storage class", ("spec", "storageClassName")),
    ("schedule", ("spec", "schedule")),
    ("phase", ("status", "phase")),
    ("replicas", ("status", "replicas")),
    ("ready", ("status", "readyReplicas")),
    ("unavailable", ("status", "unavailableReplicas")),
    ("active", ("status", "active")),
    ("succeeded", ("status", "succeeded")),
    ("failed", ("status", "failed")),
    ("hard", ("status", "hard")),
    ("used", ("status", "used")),
)
_BOX_FIELDS = (
    "command",
    "args",
    "ports",
    "resources",
    "startupProbe",
    "readinessProbe",
    "livenessProbe",
    "volumeMounts",
)


def _told(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return fields.one_line(text, 1000)


def _container(name: str, spec: Mapping[str, Any], status: Mapping[str, Any]) -> list[str]:
    lines = [f"  container {name}: {spec.get('image', '')}, restarts {status.get('restartCount', 0)}"]
    for title in ("state", "lastState"):
        for state, told in fields.dig(status, title, default={}).items():
            words = ended(told) if state == "terminated" else f"{told.get('reason', '')} {told.get('message', '')}"
            lines.append(f"    {title}: {state} {words.strip()}".rstrip())
    lines += [f"    {field}: {_told(spec[field])}" for field in _BOX_FIELDS if spec.get(field)]
    if names := [str(variable.get("name")) for variable in spec.get("env") or ()]:
        lines.append(f"    environment: {', '.join(names)}")
    return lines


def write_releases(into: Bundle, secrets: Sequence[Object], redactor: Redactor) -> None:
    """Write status and values of the Helm releases of the namespace, without what is secret in them."""
    told = [redactor.clean_tree(release) for secret in secrets if (release := release_of(secret))]
    if told:
        into.write("helm.json", json.dumps(told, indent=2, ensure_ascii=False) + "\n")


def write_logs(into: Bundle, wishes: Sequence[LogWish], reader: Reader, redactor: Redactor) -> None:
    """Write the logs of all containers, those in trouble first, until the time or the room is used up."""
    todo = list(dict.fromkeys(replace(wish, why="", trouble=True) for wish in wishes))
    too_big = 0
    while todo and into.room > LOG_SIZE // 4 and not reader.deadline.expired:
        some, todo = todo[:_AT_ONCE], todo[_AT_ONCE:]
        found = reader.logs(some, tail=LINES, limit=LOG_SIZE)
        for wish, text in found.items():
            if reader.deadline.expired:
                todo.append(wish)
            elif text:
                name = f"logs/{wish.pod}/{wish.container}{'.previous' if wish.previous else ''}.log"
                too_big += not into.put(name, redactor.clean(printable(text)))
    if left := len(todo) + too_big:
        why = "the time" if todo and reader.deadline.expired else "the room of the bundle"
        into.left_out.append(f"logs of {left} containers: {why} was used up")
