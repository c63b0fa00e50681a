"""What a dead run left beside its namespaces, and whether it may go; this module must never look at a clock.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from pytest_ephemeral_ns.rules.naming import HOME, MANAGED_BY, MANAGER, RUN
from pytest_ephemeral_ns.rules.objects import Object
from pytest_ephemeral_ns.rules.retention import HEARTBEAT, MIN_AGE, heartbeats_of, parse_time


@dataclass(frozen=True)
class Living:
    """What must not lose anything.

    Args:
        namespaces: names of those that stay.
        runs: ids of runs that have a namespace that stays, or are alive.
    """

    namespaces: frozenset[str]
    runs: frozenset[str]


def over(obj: Object, *, now: datetime, living: Living) -> str:
    """Say why an object outside any namespace of ours may go.

    Args:
        obj: with its metadata; what a deploy made carries the labels of its run and of its namespace, a definition
            that the namespaces of a run share only the run's.
        now: the moment, on the API server's clock.
        living: what stays.

    Returns:
        One clause, or nothing if it stays.

    Example:
        >>> over({"metadata": {"name": "x"}}, now=datetime.now(), living=Living(frozenset(), frozenset()))
        ''
    """
    metadata = obj["metadata"]
    labels = metadata.get("labels") or {}
    run, home = str(labels.get(RUN) or ""), str(labels.get(HOME) or "")
    created = parse_time(metadata.get("creationTimestamp"))
    if not run or metadata.get("deletionTimestamp") or created is None or now - created < MIN_AGE:
        return ""
    if home:
        return "" if home in living.namespaces else f"its namespace {home} is gone"
    return "" if run in living.runs else f"no namespace of its run {run} is left"


def dead_heartbeats(leases: Iterable[Object], *, now: datetime, staying: frozenset[str]) -> list[Object]:
    """Return the heartbeats of dead runs in namespaces that stay: elsewhere they go with their namespace.

    Args:
        leases: with those of others among them.
        now: the moment, on the API server's clock.
        staying: names of namespaces that somebody keeps.

    Returns:
        The Leases that may go.
    """
    mine = [lease for lease in leases if _is_heartbeat(lease)]
    beats = heartbeats_of(mine)
    dead = {run for run, beat in beats.items() if not beat.alive(now)}
    return [
        lease
        for lease in mine
        if lease["metadata"]["labels"][RUN] in dead and lease["metadata"].get("namespace") in staying
    ]


def _is_heartbeat(lease: Object) -> bool:
    labels = lease["metadata"].get("labels") or {}
    return lease["metadata"]["name"] == HEARTBEAT and labels.get(MANAGED_BY) == MANAGER and bool(labels.get(RUN))
