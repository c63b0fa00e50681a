"""May this namespace go, and may it stay; this module must never look at a clock or delete anything.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any, Literal

from pytest_ephemeral_ns.errors import UsageError
from pytest_ephemeral_ns.rules.durations import format_duration, parse_duration
from pytest_ephemeral_ns.rules.naming import (
    EXPIRES,
    KEEP,
    MANAGED_BY,
    MANAGER,
    REASON,
    RUN,
    TTL,
    WORKER,
    format_time,
    is_protected,
)
from pytest_ephemeral_ns.rules.objects import Object

MIN_AGE = timedelta(minutes=5)
"""Nothing younger is ever taken: its run may not have come to its first heartbeat, and clocks differ."""
HEARTBEAT = f"{MANAGER}-heartbeat"
"""Name of the Lease that says "this run is alive": one in each of its namespaces, so that it goes with the last."""
HEARTBEAT_EVERY = timedelta(seconds=60)
HEARTBEAT_LASTS = timedelta(minutes=5)
STUCK_AFTER = timedelta(minutes=10)
"""How long a namespace may be Terminating before somebody should look at it."""

Policy = Literal["never", "on-failure", "always"]
State = Literal["foreign", "active", "kept", "expired", "orphaned", "terminating", "stuck"]


@dataclass(frozen=True)
class Heartbeat:
    """The last sign of life of a run.

    Args:
        renewed: when it was given.
        lasts: how long it counts.
    """

    renewed: datetime
    lasts: timedelta

    def alive(self, now: datetime) -> bool:
        """Whether it still counts at ``now``."""
        return now - self.renewed <= self.lasts

    @property
    def end(self) -> float:
        """When it stops to count, seconds since the epoch."""
        return self.renewed.timestamp() + self.lasts.total_seconds()


@dataclass(frozen=True)
class Verdict:
    """What may be done with a namespace, and why in words for people.

    Args:
        take: whether the reaper may delete it.
        state: what it is.
        reason: one clause: ``"expired 2h ago"``.
        expires: when it may be taken; ``None`` if nothing says so.
    """

    take: bool
    state: State
    reason: str
    expires: datetime | None = None


def judge(namespace: Object, *, now: datetime, heartbeats: Mapping[str, Heartbeat]) -> Verdict:
    """Say what may be done with a namespace.

    A live run protects its namespaces even past their expiry: nobody else knows how long a run may take. A dead run's
    namespaces need not wait for it. Where no heartbeat can be read, only the expiry counts.

    Args:
        namespace: as the API server gave it.
        now: the moment, on the API server's clock.
        heartbeats: run id → its last sign of life, see :func:`heartbeats_of`.

    Returns:
        The verdict.

    Example:
        >>> judge({"metadata": {"name": "x"}}, now=datetime.now(timezone.utc), heartbeats={}).state
        'foreign'
    """
    metadata = namespace.get("metadata") or {}
    labels = metadata.get("labels") or {}
    if labels.get(MANAGED_BY) != MANAGER or not labels.get(RUN):
        return Verdict(False, "foreign", "not ours: it does not carry our labels")
    expires = expiry(namespace)
    if is_protected(str(metadata.get("name") or "")):
        return Verdict(False, "foreign", "protected: it belongs to the cluster", expires)
    if since := parse_time(metadata.get("deletionTimestamp")):
        return _terminating(now - since, expires)
    age = now - (parse_time(metadata.get("creationTimestamp")) or now)
    run = str(labels[RUN])
    verdict = _by_life_and_time(namespace, run, expires, now, heartbeats.get(run))
    if verdict.take and age < MIN_AGE:
        reason = f"{verdict.reason}, but younger than {_span(MIN_AGE)}"
        return Verdict(False, verdict.state, reason, expires)
    return verdict


def _terminating(since: timedelta, expires: datetime | None) -> Verdict:
    state: State = "stuck" if since > STUCK_AFTER else "terminating"
    return Verdict(False, state, f"being deleted since {_span(since)}", expires)


def _by_life_and_time(
    namespace: Object, run: str, expires: datetime | None, now: datetime, heartbeat: Heartbeat | None
) -> Verdict:
    expired = expires is not None and expires <= now
    ago = f"expired {_span(now - expires)} ago" if expires and expired else ""
    left = f"expires in {_span(expires - now)}" if expires else "without a readable expiry"
    if is_kept(namespace):
        why = (namespace["metadata"].get("annotations") or {}).get(REASON) or "no reason given"
        if expired:
            return Verdict(True, "expired", f"kept ({why}), {ago}", expires)
        return Verdict(False, "kept", f"kept ({why}), {left}", expires)
    if heartbeat and heartbeat.alive(now):
        beat = f"run {run} is alive, last heartbeat {_span(now - heartbeat.renewed)} ago"
        return Verdict(False, "active", f"{beat}, {ago or left}", expires)
    if heartbeat:
        reason = f"run {run} is dead, last heartbeat {_span(now - heartbeat.renewed)} ago"
        return Verdict(True, "orphaned", reason, expires)
    return Verdict(expired, "expired" if expired else "active", ago or left, expires)


def is_kept(namespace: Object) -> bool:
    """Whether somebody asked to keep it."""
    return str((namespace["metadata"].get("labels") or {}).get(KEEP, "")).lower() == "true"


def expiry(namespace: Object) -> datetime | None:
    """Return when a namespace may be taken: the earlier of ``janitor/expires`` and creation plus ``janitor/ttl``.

    The annotations and their formats are those of kube-janitor; a value that cannot be read is no expiry.

    Args:
        namespace: as the API server gave it.
    """
    metadata = namespace.get("metadata") or {}
    annotations = metadata.get("annotations") or {}
    moments = [
        parse_time(annotations.get(EXPIRES)),
        _after(parse_time(metadata.get("creationTimestamp")), annotations.get(TTL)),
    ]
    return min((moment for moment in moments if moment), default=None)


def _after(created: datetime | None, ttl: Any) -> datetime | None:
    if created is None or not ttl:
        return None
    try:
        return created + timedelta(seconds=parse_duration(str(ttl)))
    except (UsageError, OverflowError):  # "forever", nonsense, or the end of the calendar
        return None


def parse_time(text: Any) -> datetime | None:
    """Return the moment that an API server or a janitor's annotation means; ``None`` if it cannot be read.

    Args:
        text: RFC 3339, or a date, or a date with hours and minutes; UTC unless it says otherwise.

    Example:
        >>> parse_time("2026-01-01T00:00:00Z").isoformat()
        '2026-01-01T00:00:00+00:00'
    """
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def heartbeats_of(leases: Iterable[Object]) -> dict[str, Heartbeat]:
    """Return the last sign of life of each run.

    Args:
        leases: Leases, with those of others among them.

    Returns:
        Run id → the heartbeat that lasts longest.
    """
    found: dict[str, Heartbeat] = {}
    for lease in leases:
        labels = lease["metadata"].get("labels") or {}
        spec = lease.get("spec") or {}
        renewed = parse_time(spec.get("renewTime"))
        if labels.get(MANAGED_BY) != MANAGER or not labels.get(RUN) or renewed is None:
            continue
        beat = Heartbeat(renewed, timedelta(seconds=float(spec.get("leaseDurationSeconds") or 0)))
        known = found.get(labels[RUN])
        if known is None or beat.end > known.end:
            found[labels[RUN]] = beat
    return found


def heartbeat_lease(run_id: str, worker_id: str, *, holder: str, now: datetime) -> Object:
    """Return the Lease that says that a run is alive.

    Args:
        run_id: the run.
        worker_id: the worker whose process renews it.
        holder: ``host:pid``.
        now: when.

    Example:
        >>> heartbeat_lease("k3x9", "gw0", holder="me:1", now=datetime.now(timezone.utc))["metadata"]["name"]
        'pytest-ephemeral-ns-heartbeat'
    """
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": HEARTBEAT, "labels": {MANAGED_BY: MANAGER, RUN: run_id, WORKER: worker_id}},
        "spec": {
            "holderIdentity": holder,
            "leaseDurationSeconds": int(HEARTBEAT_LASTS.total_seconds()),
            # MicroTime wants all six digits.
            "renewTime": now.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        },
    }


_NO_FAILURE = frozenset({"Skipped", "XFailed", "Exit", "KeyboardInterrupt", "GeneratorExit"})


def is_failure(kinds: Iterable[str]) -> bool:
    """Say whether what ended the use of a namespace is a failure, after which it may be worth a look.

    Args:
        kinds: names of the exception's class and its bases. pytest's own outcomes are told by their names.

    Example:
        >>> is_failure(["Skipped", "OutcomeException", "BaseException"])
        False
    """
    return not _NO_FAILURE.intersection(kinds)


@dataclass(frozen=True)
class Decision:
    """Whether a namespace stays after its tests, and why in words for people."""

    keep: bool
    reason: str


def decide_keep(policy: Policy, *, failure: str, kept: int, keep_max: int) -> Decision:
    """Say whether a namespace stays when its tests are over.

    Args:
        policy: what the user asked for.
        failure: the first test that failed in it, or what failed while it was set up; empty if nothing did.
        kept: how many namespaces the run has kept already.
        keep_max: how many it may keep.

    Returns:
        The decision; its reason is what goes into the annotation, or says why nothing is kept.

    Example:
        >>> decide_keep("on-failure", failure="test_orders.py::test_a", kept=0, keep_max=5).keep
        True
    """
    wanted = policy == "always" or (policy == "on-failure" and bool(failure))
    if not wanted:
        return Decision(False, "nothing failed" if policy == "on-failure" else "namespaces are not kept")
    if kept >= keep_max:
        return Decision(False, f"{failure or 'kept always'}; not kept, because the run kept {kept} already (its limit)")
    return Decision(True, f"failed: {failure}" if failure else "kept always")


def keep_patch(expires: datetime, reason: str) -> Object:
    """Return the merge patch that keeps a namespace until ``expires``.

    Args:
        expires: when it may be taken after all.
        reason: why it is kept.
    """
    patch = extend_patch(expires)
    patch["metadata"]["labels"] = {KEEP: "true"}
    patch["metadata"]["annotations"][REASON] = reason
    return patch


def extend_patch(expires: datetime) -> Object:
    """Return the merge patch that moves a namespace's expiry.

    Args:
        expires: the new one. A ``janitor/ttl`` goes, because it counts from the creation and would win.
    """
    return {"metadata": {"annotations": {EXPIRES: format_time(expires), TTL: None}}}


def _span(duration: timedelta) -> str:
    return format_duration(max(0.0, float(round(duration.total_seconds()))))
