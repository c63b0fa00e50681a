"""REAP: find ours, ask the rule, delete; this module must never delete what the rule did not give it.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from itertools import islice
from typing import TYPE_CHECKING

from pytest_ephemeral_ns.errors import ApiError, EphemeralNsError
from pytest_ephemeral_ns.rules.naming import MANAGED_BY, MANAGER, OWNER, RUN, format_time
from pytest_ephemeral_ns.rules.objects import Object
from pytest_ephemeral_ns.rules.retention import Heartbeat, Verdict, heartbeats_of, judge, parse_time

if TYPE_CHECKING:
    from pytest_ephemeral_ns.kube.api import Api

NAMESPACES = "/api/v1/namespaces"
LEASES = "/apis/coordination.k8s.io/v1/leases"
EVENTS = "/api/v1/namespaces/default/events"
OURS = f"{MANAGED_BY}={MANAGER},{RUN}"
AT_ONCE = 8  # deletions; an API server takes them much faster than one after the other

Say = Callable[[str], None]


@dataclass(frozen=True)
class Found:
    """A namespace of ours and what may be done with it.

    Args:
        name: its name.
        uid: its UID, without which nothing is deleted.
        version: its resourceVersion when it was judged.
        labels: its labels.
        annotations: its annotations.
        age: seconds since it was created.
        verdict: what the rule says.
        judged: the moment for which it says so.
    """

    name: str
    uid: str
    version: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    age: float
    verdict: Verdict
    judged: datetime

    @property
    def owner(self) -> str:
        """Who is asked about it; ``"unknown"`` if nobody said."""
        return self.labels.get(OWNER) or "unknown"


@dataclass(frozen=True)
class Survey:
    """All namespaces of ours, and what could not be looked at.

    Args:
        found: sorted by name.
        notes: rights that are missing, and what that means.
        leases: the signs of life of runs, with metadata and spec.
    """

    found: tuple[Found, ...]
    notes: tuple[str, ...]
    leases: tuple[Object, ...] = ()


@dataclass
class Pass:
    """What one pass of the janitor did.

    Args:
        survey: what was there before.
        deleted: names; in a dry run those that would have been deleted.
        failed: one line per namespace that could not be deleted.
        notes: see :class:`Survey`.
        beside: what was removed beside namespaces, a clause each; in a dry run what would have been.
    """

    survey: Survey
    deleted: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    beside: list[str] = field(default_factory=list)

    @property
    def stuck(self) -> list[Found]:
        """Those that are being deleted for too long."""
        return [one for one in self.survey.found if one.verdict.state == "stuck"]


def survey(api: Api, *, selector: str = "", now: datetime | None = None) -> Survey:
    """Find every namespace of ours and judge it.

    Args:
        api: the API server; needs ``list namespaces``, and ``list leases`` to tell dead runs from live ones.
        selector: a label selector that narrows it.
        now: judge as at this moment; the API server's own time if ``None``.

    Returns:
        What was found; without the right to list Leases only the expiry counts, and a note says so.

    Raises:
        ApiError: namespaces cannot be listed.

    Example:
        >>> [one.name for one in survey(api).found if one.verdict.take]  # doctest: +SKIP
        ['shop-pr42-1a2b3c4-k3x9-gw0']
    """
    from pytest_ephemeral_ns.kube.api import METADATA_LIST

    # Names and labels only: a thousand namespaces are about a megabyte.
    items = list(api.list(NAMESPACES, label_selector=_ours(selector), accept=METADATA_LIST))
    # After the namespaces: a heartbeat that comes in between saves its run.
    leases, notes = _leases(api) if items else ((), [])
    heartbeats = heartbeats_of(leases)
    now = now or datetime.fromtimestamp(api.server_time, timezone.utc)
    found = sorted((_judged(item, now, heartbeats) for item in items), key=lambda one: one.name)
    return Survey(tuple(found), tuple(notes), leases)


def _ours(selector: str) -> str:
    return ",".join(part for part in (OURS, selector) if part)


def names(api: Api, *, limit: int) -> Iterator[str]:
    """Yield the names of namespaces of ours, at most ``limit``, in one request.

    Args:
        api: the API server.
        limit: how many.

    Raises:
        ApiError: namespaces cannot be listed.
    """
    from pytest_ephemeral_ns.kube.api import METADATA_LIST

    found = api.list(NAMESPACES, label_selector=OURS, limit=limit, accept=METADATA_LIST)
    yield from (item["metadata"]["name"] for item in islice(found, limit))


def look_at(api: Api, name: str) -> tuple[Object, Found]:
    """Return one namespace as it is now, and its verdict; it need not be ours.

    Args:
        api: the API server.
        name: which.

    Raises:
        ApiError: it does not exist, or may not be read.
    """
    item = api.get(f"{NAMESPACES}/{name}")
    leases, _ = _leases(api)
    return item, _judged(item, datetime.fromtimestamp(api.server_time, timezone.utc), heartbeats_of(leases))


def _leases(api: Api) -> tuple[tuple[Object, ...], list[str]]:
    try:
        found = [_bare(lease) for lease in api.list(LEASES, label_selector=OURS)]
    except ApiError as error:
        if error.status not in (403, 404):
            raise
        return (), [f"heartbeats cannot be read, only the expiry counts: {error.summary}"]
    return tuple(found), []


def _bare(lease: Object) -> Object:
    """Without the list of who owns which field, which is most of a Lease: there may be thousands."""
    metadata = {key: value for key, value in lease["metadata"].items() if key != "managedFields"}
    return {"metadata": metadata, "spec": lease.get("spec")}


def _judged(item: Object, now: datetime, heartbeats: Mapping[str, Heartbeat]) -> Found:
    metadata = item["metadata"]
    created = parse_time(metadata.get("creationTimestamp")) or now
    return Found(
        name=metadata["name"],
        uid=metadata["uid"],
        version=metadata["resourceVersion"],
        labels=metadata.get("labels") or {},
        annotations=metadata.get("annotations") or {},
        age=(now - created).total_seconds(),
        verdict=judge(item, now=now, heartbeats=heartbeats),
        judged=now,
    )


def reap(api: Api, *, say: Say, dry_run: bool = False, selector: str = "", now: datetime | None = None) -> Pass:
    """Delete what may go: expired namespaces, and those of dead runs.

    Each deletion carries the UID and the version at which the namespace was judged: one that somebody kept, extended
    or replaced meanwhile is left. Deletion is not waited for.

    Args:
        api: the API server; needs ``delete namespaces``, and ``create events`` in ``default`` to leave a trace.
        say: called with one line per namespace, before it is deleted; a dry run says the same.
        dry_run: whether to delete nothing.
        selector: a label selector that narrows it.
        now: see :func:`survey`.

    Returns:
        What was done.

    Raises:
        ApiError: namespaces cannot be listed.

    Example:
        >>> reap(api, say=print, dry_run=True).deleted  # doctest: +SKIP
        delete shop-pr42-1a2b3c4-k3x9-gw0: expired 2h ago (owner ada)
        ['shop-pr42-1a2b3c4-k3x9-gw0']
    """
    from concurrent.futures import ThreadPoolExecutor

    seen = survey(api, selector=selector, now=now)
    done = Pass(seen, notes=list(seen.notes))
    trace = _Trace(api, done.notes)

    def take(one: Found) -> tuple[list[str], str]:
        trace.leave(one)
        return _delete(api, one, done)

    wanted = [one for one in seen.found if one.verdict.take]
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="ephemeral-ns-reap") as pool:
        # A few at a time: what is said and then interrupted has been asked for, or nearly.
        for some in (wanted[start : start + AT_ONCE] for start in range(0, len(wanted), AT_ONCE)):
            for one in some:
                say(f"delete {one.name}: {one.verdict.reason} (owner {one.owner})")
            if dry_run:
                done.deleted += [one.name for one in some]
                continue
            for told, line in pool.map(take, some):
                told.append(line)
    return done


def _delete(api: Api, one: Found, done: Pass) -> tuple[list[str], str]:
    """Ask for one deletion; return where to write down how that went, and what."""
    try:
        api.delete(f"{NAMESPACES}/{one.name}", uid=one.uid, resource_version=one.version)
    except EphemeralNsError as error:
        if isinstance(error, ApiError) and error.status == 409:
            return done.notes, f"left {one.name}: it changed while it was looked at"
        return done.failed, f"not deleted {one.name}: {error.summary}"
    return done.deleted, one.name


class _Trace:
    """Leaves an Event for each deletion, in ``default``: those of the namespace itself would go with it."""

    def __init__(self, api: Api, notes: list[str]) -> None:
        self._api = api
        self._notes = notes
        self._allowed = True
        self._lock = threading.Lock()

    def leave(self, one: Found) -> None:
        if not self._allowed:
            return
        now = format_time(datetime.fromtimestamp(self._api.server_time, timezone.utc))
        about = {"apiVersion": "v1", "kind": "Namespace", "name": one.name, "uid": one.uid}
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"generateName": f"{one.name[:50]}.", "labels": {MANAGED_BY: MANAGER}},
            "involvedObject": about,
            "reason": "Reaped",
            "message": f"{one.verdict.reason} (owner {one.owner})",
            "type": "Normal",
            "source": {"component": MANAGER},
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        try:
            self._api.create(EVENTS, event)
        except ApiError as error:
            with self._lock:
                if self._allowed:  # several ask at once; a right that is missing is told once
                    self._notes.append(f"no event for {one.name}: {error.summary}")
                self._allowed = self._allowed and error.status not in (403, 404)


def count_leaked(api: Api, *, selector: str = "", now: datetime | None = None) -> int:
    """Count what earlier runs left and what should be gone: expired, of a dead run, or stuck on its way out.

    One request, as long as nothing has expired; a second one tells whether the runs of what has expired are alive.

    Args:
        api: the API server.
        selector: a label selector that narrows it.
        now: see :func:`survey`.

    Raises:
        ApiError: namespaces cannot be listed.

    Example:
        >>> count_leaked(api)  # doctest: +SKIP
        3
    """
    from pytest_ephemeral_ns.kube.api import METADATA_LIST

    items = list(api.list(NAMESPACES, label_selector=_ours(selector), accept=METADATA_LIST))
    now = now or datetime.fromtimestamp(api.server_time, timezone.utc)
    if not any(_is_over(judge(item, now=now, heartbeats={})) for item in items):
        return 0
    heartbeats = heartbeats_of(_leases(api)[0])
    return sum(_is_over(judge(item, now=now, heartbeats=heartbeats)) for item in items)


def _is_over(verdict: Verdict) -> bool:
    return verdict.take or verdict.state == "stuck"
