"""What matters most in a namespace where a test failed: verdicts, stories, warnings, logs to read; never fetches.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pytest_ephemeral_ns.rules.graces import Graces
from pytest_ephemeral_ns.rules.objects import Object, Ref
from pytest_ephemeral_ns.rules.status import Cause, Related, Verdict, fields, is_stored_only, verdict
from pytest_ephemeral_ns.rules.status.containers import SIGNALS, Container, containers
from pytest_ephemeral_ns.rules.warned import Warned, warnings_of

# Judged even where something owns them; everything else that is owned is told through its owner.
_ALWAYS = {"Job"}
_NEVER = {"Event", "Namespace", "Node", "Lease", "EndpointSlice", "Endpoints", "ControllerRevision", "PodMetrics"}
_NEVER |= {"ResourceQuota"}  # how much of it is used is told apart; what it refuses, by whoever was refused
_HOPELESS = re.compile(r"(?i)\b(panic|fatal|traceback|exception|error|critical|severe|refused|denied|5\d\d)\b")


@dataclass(frozen=True)
class Snapshot:
    """What was read of a namespace at one moment.

    Args:
        objects: kind → objects, each with ``kind`` and ``apiVersion``; a kind that could not be read is absent.
        now: the time of it, on the API server's clock.
        since: when the failed test began, on the same clock; ``None`` if no test is meant.
        until: when it ended; ``None`` if it still runs.
    """

    objects: Mapping[str, Sequence[Object]]
    now: datetime
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True)
class Finding:
    """One object that is not ready, and why, from the object down to the container.

    Args:
        ref: the object.
        verdict: its verdict.
        story: lines, each a step further down, indented.
    """

    ref: Ref
    verdict: Verdict
    story: tuple[str, ...] = ()


@dataclass(frozen=True)
class LogWish:
    """A container's log that is worth reading.

    Args:
        pod: the pod's name.
        container: the container's name.
        previous: the log before its last restart.
        why: for its title: ``"not ready"``, ``"ended with exit code 1"``.
        trouble: whether it is one of those that explain a failure; the others are read for what the test did.
        node: where the pod runs, for what a node's silence explains.
    """

    pod: str
    container: str
    previous: bool = False
    why: str = ""
    trouble: bool = True
    node: str = ""


@dataclass(frozen=True)
class Triage:
    """The most telling first, everywhere.

    Args:
        findings: objects that are not ready.
        ready: objects that are.
        warnings: warning events, oldest first.
        logs: containers whose logs are worth reading.
        facts: restarts, exit codes, lack of memory: a line for each container that has a history.
        quotas: how much of which quota is used, where it is nearly all.
        unscheduled: pods without a node, and why.
        signature: the same as long as the state of the namespace is the same.
    """

    findings: tuple[Finding, ...] = ()
    ready: tuple[Ref, ...] = ()
    warnings: tuple[Warned, ...] = ()
    logs: tuple[LogWish, ...] = ()
    facts: tuple[str, ...] = ()
    quotas: tuple[str, ...] = ()
    unscheduled: tuple[str, ...] = ()
    signature: tuple[Any, ...] = field(default=(), repr=False)

    @property
    def headline(self) -> str:
        """One line: what is wrong, or that nothing is."""
        if not self.findings:
            return f"all {len(self.ready)} objects are ready" if self.ready else "it has no workload"
        first = self.findings[0]
        more = f" (and {len(self.findings) - 1} more)" if self.findings[1:] else ""
        return f"{first.ref}{more} {first.verdict.state}: {first.verdict.message or first.verdict.reason}"


def triage(snapshot: Snapshot, graces: Graces | None = None) -> Triage:
    """Return what matters most.

    Args:
        snapshot: what was read.
        graces: how long each kind of trouble may last before it counts as failed.

    Example:
        >>> from datetime import datetime, timezone
        >>> triage(Snapshot({}, datetime(2026, 1, 1, tzinfo=timezone.utc))).headline
        'it has no workload'
    """
    graces = graces or Graces()
    related = Related(snapshot.objects)
    judged = [(obj, verdict(obj, related, snapshot.now, graces)) for obj in _subjects(snapshot)]
    bad = sorted((pair for pair in judged if not pair[1].ready), key=_rank)
    pods = [*snapshot.objects.get("Pod", ())]
    boxes = [box for pod in pods for box in containers(pod, fields.ref_of(pod, "v1", "Pod"))]
    return Triage(
        findings=tuple(Finding(Ref.of(obj), found, _story(obj, found, related)) for obj, found in bad),
        ready=tuple(sorted(Ref.of(obj) for obj, found in judged if found.ready)),
        warnings=tuple(warnings_of(snapshot.objects.get("Event", ()), snapshot.since, snapshot.until)),
        logs=tuple(_wishes([cause for _, found in bad for cause in found.causes], boxes, pods)),
        facts=tuple(line for box in boxes if (line := _history(box))),
        quotas=tuple(_quotas(snapshot.objects.get("ResourceQuota", ()))),
        unscheduled=tuple(_unscheduled(pods)),
        signature=_signature(snapshot, judged, boxes),
    )


def _subjects(snapshot: Snapshot) -> Iterable[Object]:
    for kind, objects in snapshot.objects.items():
        if kind in _NEVER:
            continue
        for obj in objects:
            owned = any(owner.get("controller") for owner in fields.dig(obj, "metadata", "ownerReferences", default=()))
            stored = is_stored_only(str(obj.get("apiVersion", "")), kind)
            if not stored and (kind in _ALWAYS or not owned):
                yield obj


def _rank(pair: tuple[Object, Verdict]) -> tuple[bool, bool, bool, str]:
    # A Service only waits for its workload's pods: they say why.
    obj, found = pair
    return (not found.failed, obj.get("kind") in ("Service", "Ingress"), not found.causes, fields.name(obj))


# Stories


def _story(obj: Object, found: Verdict, related: Related) -> tuple[str, ...]:
    lines: list[str] = []
    # Furthest down is closest to the cause: "exit code 3" says more than "the Job has failed".
    for cause in sorted(found.causes[:3], key=lambda cause: not cause.container):
        lines += _chain(obj, cause, related)
    return tuple(lines)


def _chain(obj: Object, cause: Cause, related: Related) -> list[str]:
    """The way down from the object to what is wrong: each owner, the pod, the container, and its words."""
    steps = [str(Ref.of(obj))]
    place = related.named(cause.ref.kind, cause.ref.name)
    steps += [str(ref) for ref in reversed(_owners(place, obj, related))] if place else []
    if str(cause.ref) not in steps:
        steps.append(str(cause.ref))
    lines = [steps[0], *(f"{'   ' * depth}└─ {step}" for depth, step in enumerate(steps[1:]))]
    depth = len(steps)
    if place and cause.ref.kind == "Pod":
        lines[-1] += _where(place)
    if cause.container and place:
        box = next((box for box in containers(place, cause.ref) if box.name == cause.container), None)
        lines.append(f"{'   ' * (depth - 1)}└─ container {cause.container}{_image(box)}")
        depth += 1
    more = f" (and {cause.others} more like it)" if cause.others else ""
    told = f"{cause.reason}: {cause.message}" if cause.message else cause.reason
    lines.append(f"{'   ' * (depth - 1)}└─ {told}{more}")
    return lines


def _owners(place: Object, top: Object, related: Related) -> list[Ref]:
    found: list[Ref] = []
    current: Object | None = place
    for _ in range(5):
        owner = next((o for o in fields.dig(current, "metadata", "ownerReferences", default=()) if o.get("kind")), None)
        if owner is None or owner.get("uid") == fields.uid(top):
            break
        found.append(Ref(str(owner.get("apiVersion", "")), str(owner["kind"]), str(owner.get("name", ""))))
        current = related.named(str(owner["kind"]), str(owner.get("name", "")))
        if current is None:
            break
    return found


def _where(pod: Object) -> str:
    node = fields.dig(pod, "spec", "nodeName")
    return f" on node {node}" if node else " without a node"


def _image(box: Container | None) -> str:
    return f" ({box.spec['image']})" if box and box.spec.get("image") else ""


# Containers


def _history(box: Container) -> str:
    """Restarts and ends of a container, if it has any that are worth a line."""
    restarts = fields.number(box.status, "restartCount")
    ends = [
        ("ended", fields.dig(box.status, "state", "terminated", default={})),
        ("last ended", fields.dig(box.status, "lastState", "terminated", default={})),
    ]
    told = [f"{how} {ended(end)}" for how, end in ends if end and (end.get("exitCode") or box.role == "main")]
    if not restarts and not any(end.get("exitCode") for _, end in ends):
        return ""
    count = f"{restarts} restart{'' if restarts == 1 else 's'}"
    role = "" if box.role == "main" else f" ({box.role})"
    return f"{box.ref}, container {box.name}{role}: " + "; ".join([count, *told])


def ended(end: Mapping[str, Any]) -> str:
    """Return how a container ended: ``"with exit code 137 (SIGKILL), OOMKilled, after 3 s, at 12:00:03"``.

    Args:
        end: ``terminated`` of a container's state.

    Example:
        >>> ended({"exitCode": 1, "reason": "Error"})
        'with exit code 1'
    """
    code = fields.number(end, "exitCode")
    signal = SIGNALS.get(fields.number(end, "signal") or code - 128)
    told = f"with exit code {code}" + (f" ({signal})" if signal else "")
    if (reason := end.get("reason")) and reason not in ("Error", "Completed"):
        told += f", {reason}"
    begun, over = (fields.when(end.get(key), fields.EPOCH) for key in ("startedAt", "finishedAt"))
    if begun > fields.EPOCH and over >= begun:
        told += f", after {(over - begun).total_seconds():g} s"
    if over > fields.EPOCH:
        told += f", at {over:%H:%M:%S}"
    return told


def _wishes(causes: Iterable[Cause], boxes: Sequence[Container], pods: Sequence[Object]) -> list[LogWish]:
    """The containers that matter: those that causes name, those that ended badly, then the healthy ones."""
    known = {(box.ref.name, box.name): box for box in boxes}
    found: dict[tuple[str, str, bool], LogWish] = {}

    def add(box: Container, previous: bool, why: str, trouble: bool = True) -> None:
        key = (box.ref.name, box.name, previous)
        node = str(fields.dig(box.pod, "spec", "nodeName", default=""))
        found.setdefault(key, LogWish(box.ref.name, box.name, previous, why, trouble, node))

    for cause in causes:
        box = known.get((cause.ref.name, cause.container))
        if box is None or not _has_run(box):
            continue
        if cause.log == "previous" and fields.dig(box.status, "lastState", "terminated"):
            add(box, True, _why(box, cause.reason, previous=True))
        add(box, False, _why(box, cause.reason))
    for box in boxes:
        end = fields.dig(box.status, "lastState", "terminated", default={})
        if end and end.get("exitCode"):
            add(box, True, _why(box, "", previous=True))
        if fields.dig(box.status, "state", "terminated", "exitCode", default=0) or (end and end.get("exitCode")):
            add(box, False, _why(box, ""))
    for box in boxes:
        if _has_run(box):
            lagging = box.role == "main" and "running" in fields.dig(box.status, "state", default={}) and not box.up
            add(box, False, "not ready" if lagging else "", lagging)
    return sorted(found.values(), key=lambda wish: not wish.trouble)


def _has_run(box: Container) -> bool:
    return bool({"running", "terminated"} & {*fields.dig(box.status, "state", default={})}) or bool(
        fields.dig(box.status, "lastState", "terminated")
    )


def _why(box: Container, reason: str, previous: bool = False) -> str:
    end = fields.dig(box.status, "lastState" if previous else "state", "terminated", default={})
    if end:
        return f"ended {ended(end)}"
    return reason


def telling(lines: Sequence[str]) -> int:
    """Return how many lines of a log look like trouble; logs of healthy containers are ordered by it.

    Args:
        lines: of one log.

    Example:
        >>> telling(["GET / 200", "ERROR: no such order", "GET / 503"])
        2
    """
    return sum(bool(_HOPELESS.search(line)) for line in lines)


def _quotas(quotas: Iterable[Object]) -> Iterable[str]:
    from pytest_ephemeral_ns.errors import UsageError
    from pytest_ephemeral_ns.rules.quantities import parse_quantity

    for quota in quotas:
        used = fields.dig(quota, "status", "used", default={})
        full: list[str] = []
        for resource, limit in fields.dig(quota, "status", "hard", default={}).items():
            try:
                near = parse_quantity(str(used.get(resource, 0))) * 10 >= parse_quantity(str(limit)) * 9
            except UsageError:
                continue
            if near:
                full.append(f"{resource} {used.get(resource, 0)} of {limit}")
        if full:
            yield f"ResourceQuota/{fields.name(quota)}: {', '.join(full)}"


def _unscheduled(pods: Iterable[Object]) -> Iterable[str]:
    for pod in pods:
        if not fields.dig(pod, "spec", "nodeName") and fields.dig(pod, "status", "phase") == "Pending":
            told = fields.condition(pod, "PodScheduled")
            message = fields.one_line(told.get("message")) or "no scheduler has looked at it yet"
            yield f"Pod/{fields.name(pod)}: {message}"


def _signature(
    snapshot: Snapshot, judged: Iterable[tuple[Object, Verdict]], boxes: Iterable[Container]
) -> tuple[Any, ...]:
    """What a change of state changes, and the passing of time does not."""
    verdicts = sorted((str(Ref.of(obj)), found.state, found.reason) for obj, found in judged)
    states = sorted(
        (
            *(str(fields.uid(box.pod)), box.name, *fields.dig(box.status, "state", default={})),
            fields.number(box.status, "restartCount"),
        )
        for box in boxes
    )
    return (
        tuple(verdicts),
        tuple(map(str, states)),
        tuple((item.ref.kind, item.reason) for item in warnings_of(snapshot.objects.get("Event", ()), snapshot.since)),
    )
