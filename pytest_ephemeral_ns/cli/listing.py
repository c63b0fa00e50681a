"""``ephemeral-ns list`` and ``describe``: what is there, why, until when; this module must never change anything.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_ephemeral_ns.cli.screen import OK, Commands, add_output, note, print_json, print_table, say
from pytest_ephemeral_ns.cli.target import add_target, again, open_api
from pytest_ephemeral_ns.rules.durations import format_duration
from pytest_ephemeral_ns.rules.naming import (
    BRANCH,
    COMMIT,
    CREATED_BY,
    JOB_URL,
    OWNER,
    PR,
    PROJECT,
    REASON,
    REF,
    RUN,
    SCOPE,
    WORKER,
    format_time,
    label_value,
)

if TYPE_CHECKING:
    from pytest_ephemeral_ns.kube.api import Api
    from pytest_ephemeral_ns.reap import Found

STATES = ("active", "kept", "expired", "orphaned", "terminating", "stuck")
_COLUMNS = ("name", "state", "age", "expires", "pods", "cpu", "memory", "owner", "ref", "reason")
_WIDE = (*_COLUMNS[:-1], "commit", "run", "worker", "reason")
_SPARED = ("ref", "owner", "memory", "cpu", "age", "pods")  # in this order, where a terminal is narrow
_AT_ONCE = 8  # namespaces whose pods are asked for
_EVENTS = 10


def declare(commands: Commands) -> None:
    """Add ``list`` and ``describe``."""
    help = "namespaces of ours: state, age, expiry, owner, reason"
    listing = commands.add_parser("list", help=help, description=help, allow_abbrev=False)
    whose = listing.add_mutually_exclusive_group()
    whose.add_argument("--all", action="store_true", help="everybody's; the default")
    whose.add_argument("--mine", action="store_true", help="only those that I own")
    whose.add_argument("--owner", default="", metavar="NAME", help="only those that somebody else owns")
    listing.add_argument("--pr", default="", metavar="NUMBER", help="only those of this pull request")
    listing.add_argument("--run", default="", metavar="ID", help="only those of this run")
    listing.add_argument("--state", action="append", choices=STATES, default=[], help="only these (repeatable)")
    add_target(listing)
    add_output(listing, "json", "wide", "name")
    listing.set_defaults(handler=_list)
    help = "one namespace: who, what, until when, its pods and last events, and why it does not go"
    describe = commands.add_parser("describe", help=help, description=help, allow_abbrev=False)
    describe.add_argument("name", metavar="NAME")
    add_target(describe)
    add_output(describe, "json")
    describe.set_defaults(handler=_describe)


def _list(arguments: argparse.Namespace) -> int:
    from pytest_ephemeral_ns.reap import survey

    owner = _me() if arguments.mine else label_value(arguments.owner) if arguments.owner else ""
    wanted = ((OWNER, owner), (PR, arguments.pr.removeprefix("#")), (RUN, arguments.run))
    with open_api(arguments) as api:
        seen = survey(api, selector=",".join(f"{key}={value}" for key, value in wanted if value))
        found = [one for one in seen.found if not arguments.state or one.verdict.state in arguments.state]
        loads = _loads(api, found) if arguments.output != "name" else [{}] * len(found)
        rows = [_row(one) | load for one, load in zip(found, loads, strict=True)]
    for line in seen.notes:
        note(line)
    if arguments.output == "json":
        print_json([_full(one) | row for one, row in zip(found, rows, strict=True)])
    elif arguments.output == "name":
        for one in found:
            say(one.name)
    elif rows:
        print_table(rows, _WIDE if arguments.output else _COLUMNS, spared=() if arguments.output else _SPARED)
    else:
        note("no such namespace" if any(value for _, value in wanted) or arguments.state else "no namespace of ours")
    return OK


def _me() -> str:
    """Return the owner's label that a run of mine would get here."""
    from pytest_ephemeral_ns.facts import identity

    return label_value(identity(Path.cwd(), os.environ).actor)


def _row(one: Found) -> dict[str, str]:
    left = (one.verdict.expires - one.judged).total_seconds() if one.verdict.expires else None
    return {
        "name": one.name,
        "state": one.verdict.state,
        "age": format_duration(round(one.age)),
        "expires": "" if left is None else f"in {_short(left)}" if left > 0 else f"{_short(-left)} ago",
        "owner": one.owner,
        "ref": one.labels.get(REF, ""),
        "commit": one.labels.get(COMMIT, "")[:7],
        "run": one.labels.get(RUN, ""),
        "worker": one.labels.get(WORKER, ""),
        "reason": one.annotations.get(REASON) or one.verdict.reason,
    }


def _short(seconds: float) -> str:
    return format_duration(round(seconds))


def _loads(api: Api, found: Sequence[Found]) -> list[dict[str, str]]:
    """Ask for the pods of some namespaces at a time: a list of hundreds must not take minutes on a far cluster."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(lambda one: _load(api, one.name), found))


def _load(api: Api, namespace: str) -> dict[str, str]:
    from pytest_ephemeral_ns.errors import ApiError
    from pytest_ephemeral_ns.rules.quantities import requested

    try:
        pods = list(api.list(f"/api/v1/namespaces/{namespace}/pods"))
    except ApiError as error:
        return {"pods": f"? ({error.status})"}
    cpu, memory = requested(pods).shown()
    ready = sum(_is_ready(pod) for pod in pods)
    return {"pods": f"{ready}/{len(pods)}", "cpu": cpu, "memory": memory}


def _full(one: Found) -> dict[str, Any]:
    return {
        "uid": one.uid,
        "expiresAt": format_time(one.verdict.expires) if one.verdict.expires else None,
        "ageSeconds": round(one.age),
        "verdict": one.verdict.reason,
        "labels": dict(one.labels),
        "annotations": dict(one.annotations),
    }


def _is_ready(pod: dict[str, Any]) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)


def _describe(arguments: argparse.Namespace) -> int:
    from pytest_ephemeral_ns.reap import look_at
    from pytest_ephemeral_ns.stuck import explain_stuck

    with open_api(arguments) as api:
        item, one = look_at(api, arguments.name)
        if arguments.output:
            print_json(_row(one) | _load(api, one.name) | _full(one))
            return OK
        _say_facts(one)
        _section("pods", lambda: _pods(api, one.name), ("name", "ready", "phase", "restarts", "node", "reason"))
        _section("events", lambda: _events(api, one.name), ("ago", "type", "object", "reason", "message"))
        if item["metadata"].get("deletionTimestamp"):
            say("\nwhy it is still there")
            for line in explain_stuck(api, one.name):
                say(f"  {line}")
        elif one.verdict.state != "foreign":
            say("")
            for command in ("shell", "logs", "diagnose", "extend", "delete"):
                more = " 4h" if command == "extend" else ""
                say(f"→ ephemeral-ns {command} {one.name}{more}{again(arguments)}")
    return OK


def _say_facts(one: Found) -> None:
    facts = (
        ("name", one.name),
        ("state", f"{one.verdict.state}: {one.verdict.reason}"),
        ("expires", format_time(one.verdict.expires) if one.verdict.expires else "never"),
        ("owner", one.labels.get(OWNER)),
        ("project", one.labels.get(PROJECT)),
        ("ref", one.labels.get(REF)),
        ("branch", one.annotations.get(BRANCH)),
        ("commit", one.labels.get(COMMIT)),
        ("run", one.labels.get(RUN)),
        ("worker", one.labels.get(WORKER)),
        ("scope", one.labels.get(SCOPE)),
        ("kept because", one.annotations.get(REASON)),
        ("created by", one.annotations.get(CREATED_BY)),
        ("job", one.annotations.get(JOB_URL)),
    )
    for name, value in facts:
        if value:
            say(f"{name + ':':<14}{value}")


def _section(title: str, rows: Callable[[], Sequence[dict[str, str]]], columns: Sequence[str]) -> None:
    """One that may not be read says so and does not hide the others."""
    from pytest_ephemeral_ns.errors import ApiError

    say(f"\n{title}")
    try:
        found = rows()
    except ApiError as error:
        say(f"  {error.summary}")
        return
    if found:
        print_table(found, columns)
    else:
        say("  none")


def _pods(api: Api, namespace: str) -> list[dict[str, str]]:
    rows = []
    for pod in api.list(f"/api/v1/namespaces/{namespace}/pods"):
        status = pod.get("status") or {}
        containers = status.get("containerStatuses") or []
        rows.append(
            {
                "name": pod["metadata"]["name"],
                "ready": f"{sum(bool(one.get('ready')) for one in containers)}/{len(pod['spec']['containers'])}",
                "phase": str(status.get("phase") or ""),
                "restarts": str(sum(int(one.get("restartCount") or 0) for one in containers)),
                "node": pod["spec"].get("nodeName", ""),
                "reason": _why(status),
            }
        )
    return rows


def _why(status: dict[str, Any]) -> str:
    """The most telling reason: a container's, else the scheduler's, else the pod's own."""
    for one in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
        state = one.get("state") or {}
        for phase in ("waiting", "terminated"):
            if (reason := (state.get(phase) or {}).get("reason")) and reason != "Completed":
                return str(reason)
    refused = [c for c in status.get("conditions") or [] if c.get("status") == "False" and c.get("message")]
    return str(status.get("reason") or (refused[0]["message"] if refused else ""))


def _events(api: Api, namespace: str) -> list[dict[str, str]]:
    from pytest_ephemeral_ns.rules.retention import parse_time

    def moment(event: dict[str, Any]) -> str:
        return str(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"]["creationTimestamp"])

    events = sorted(api.list(f"/api/v1/namespaces/{namespace}/events"), key=moment)[-_EVENTS:]
    rows = []
    for event in events:
        about = event.get("involvedObject") or {}
        seen = parse_time(moment(event))
        rows.append(
            {
                "ago": _short(max(0.0, api.server_time - seen.timestamp())) if seen else "",
                "type": str(event.get("type") or ""),
                "object": f"{about.get('kind')}/{about.get('name')}",
                "reason": str(event.get("reason") or ""),
                "message": " ".join(str(event.get("message") or "").split()),
            }
        )
    return rows
