"""One whole pass of the janitor: namespaces first, then what dead runs left beside them; must never decide what goes.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from pytest_ephemeral_ns.deploy import find_outside, remove_cluster_scoped
from pytest_ephemeral_ns.errors import ApiError, EphemeralNsError
from pytest_ephemeral_ns.reap import NAMESPACES, Pass, Say, reap
from pytest_ephemeral_ns.rules.leftovers import Living, dead_heartbeats, over
from pytest_ephemeral_ns.rules.naming import HOME, RUN
from pytest_ephemeral_ns.rules.objects import Object
from pytest_ephemeral_ns.rules.permissions import OUTSIDE_RIGHTS
from pytest_ephemeral_ns.rules.retention import heartbeats_of

if TYPE_CHECKING:
    from pytest_ephemeral_ns.kube.api import Api

_KNOWN = frozenset(
    f"{resource}.{right.group}" if right.group else resource for right in OUTSIDE_RIGHTS for resource in right.resources
)


def clean(
    api: Api,
    *,
    say: Say,
    dry_run: bool = False,
    namespaces_only: bool = False,
    run: str = "",
    now: datetime | None = None,
) -> Pass:
    """Delete what is over: namespaces, then what was made outside them, and heartbeats that nobody gives any more.

    Args:
        api: the API server. Rights that are missing are notes.
        say: called with one line for each deletion, before it; a dry run says the same.
        dry_run: whether to delete nothing.
        namespaces_only: whether to leave alone what is outside namespaces.
        run: only what belongs to this run.
        now: judge as at this moment; the API server's own time if ``None``.

    Returns:
        What was done.

    Raises:
        ApiError: namespaces cannot be listed.

    Example:
        >>> clean(api, say=print, dry_run=True).beside  # doctest: +SKIP
        ['ClusterRole/reader-shop-gw0: its namespace shop-gw0 is gone']
    """
    done = reap(api, say=say, dry_run=dry_run, selector=f"{RUN}={run}" if run else "", now=now)
    moment = now or datetime.fromtimestamp(api.server_time, timezone.utc)
    _remove_heartbeats(api, done, moment, say, dry_run)
    if not namespaces_only:
        _remove_outside(api, done, run, moment, say, dry_run)
    return done


def _remove_heartbeats(api: Api, done: Pass, now: datetime, say: Say, dry_run: bool) -> None:
    kept = frozenset(one.name for one in done.survey.found if one.verdict.state == "kept")
    for lease in dead_heartbeats(done.survey.leases, now=now, staying=kept):
        metadata = lease["metadata"]
        clause = f"heartbeat of run {metadata['labels'][RUN]} in {metadata['namespace']}: the run is dead"
        say(f"delete {clause}")
        path = f"/apis/coordination.k8s.io/v1/namespaces/{metadata['namespace']}/leases/{metadata['name']}"
        try:
            if not dry_run:  # one that was renewed meanwhile has another version
                api.delete(path, uid=metadata["uid"], resource_version=metadata["resourceVersion"])
            done.beside.append(clause)
        except ApiError as error:
            done.notes.append(f"left {clause}: {error.summary}")


def _remove_outside(api: Api, done: Pass, run: str, now: datetime, say: Say, dry_run: bool) -> None:
    from pytest_ephemeral_ns.kube.discovery import Discovery

    living = _living(done, now)
    homes: dict[str, str] = {}  # UID → home
    why: dict[str, str] = {}  # UID → reason

    def wanted(obj: Object) -> bool:
        metadata = obj["metadata"]
        reason = over(obj, now=now, living=living)
        home = (metadata.get("labels") or {}).get(HOME, "")
        if not reason or not _really_gone(api, home, done):
            return False
        homes[metadata["uid"]], why[metadata["uid"]] = home, reason
        return True

    refused: list[str] = []
    try:
        found = find_outside(api, Discovery(api), run=run, wanted=wanted, refused=refused)
    except EphemeralNsError as error:
        done.notes.append(f"what is outside namespaces could not be looked at: {error.summary}")
        return
    if unseen := sorted(_KNOWN.intersection(refused)):
        done.notes.append(f"could not be looked at, so what dead runs left of them stays: {', '.join(unseen)}")
    groups = defaultdict(list)
    for thing in found:
        groups[homes[thing.ref.uid]].append(thing)
        clause = f"{thing.ref}: {why[thing.ref.uid]}"
        say(f"delete {clause}")
        done.beside.append(clause)
    for home, things in groups.items():
        if not dry_run:
            done.failed += remove_cluster_scoped(api, things, home)


def _living(done: Pass, now: datetime) -> Living:
    """What stays: not what this pass deleted, nor what is on its way out already."""
    going = {one.name for one in done.survey.found if one.verdict.state in ("terminating", "stuck")}
    staying = [one for one in done.survey.found if one.name not in going and one.name not in done.deleted]
    alive = {run for run, beat in heartbeats_of(done.survey.leases).items() if beat.alive(now)}
    return Living(
        frozenset(one.name for one in staying), frozenset({*alive, *(one.labels.get(RUN, "") for one in staying)})
    )


def _really_gone(api: Api, home: str, done: Pass) -> bool:
    """Whether a namespace that was not found is gone: one that only lost its labels is not."""
    if not home or any(one.name == home for one in done.survey.found):
        return True
    try:
        return api.find(f"{NAMESPACES}/{home}") is None
    except EphemeralNsError as error:
        done.notes.append(f"what belongs to namespace {home} stays: {error.summary}")
        return False
