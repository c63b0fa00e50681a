"""``ephemeral-ns keep``, ``extend`` and ``delete``; this module must never change what is not ours.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import argparse
import sys
from datetime import timedelta
from typing import TYPE_CHECKING

from pytest_ephemeral_ns.cli.screen import FAILED, OK, Commands, add_duration, note, say
from pytest_ephemeral_ns.cli.target import add_target, again, open_api, our_namespace
from pytest_ephemeral_ns.errors import ApiError, EphemeralNsError, UsageError
from pytest_ephemeral_ns.rules.durations import format_duration
from pytest_ephemeral_ns.rules.naming import format_time
from pytest_ephemeral_ns.rules.objects import Object

if TYPE_CHECKING:
    from pytest_ephemeral_ns.kube.api import Api
    from pytest_ephemeral_ns.reap import Found

NAMESPACES = "/api/v1/namespaces"
_DAY = 86400.0


def declare(commands: Commands) -> None:
    """Add ``keep``, ``extend`` and ``delete``."""
    help = "keep a namespace for a while, whatever becomes of its run"
    keep = commands.add_parser("keep", help=help, description=help, allow_abbrev=False)
    keep.add_argument("name", metavar="NAME")
    add_duration(keep, "--ttl", default=_DAY, help="for how long, from now; default: 24h")
    keep.add_argument("--reason", default="kept by hand", help="shown by list and describe")
    help = "move the expiry of a namespace further away"
    extend = commands.add_parser("extend", help=help, description=help, allow_abbrev=False)
    extend.add_argument("name", metavar="NAME")
    add_duration(extend, "by", help="added to its expiry, or to now if that has passed: 4h")
    help = "delete namespaces of ours, after a question"
    delete = commands.add_parser("delete", help=help, description=help, allow_abbrev=False)
    delete.add_argument("names", metavar="NAME", nargs="+")
    delete.add_argument("-y", "--yes", action="store_true", help="do not ask; needed where nobody can answer")
    delete.add_argument("--wait", action="store_true", help="wait until they are gone")
    add_duration(delete, "--timeout", default=300.0, help="for --wait; default: 5m")
    for parser, handler in ((keep, _keep), (extend, _extend), (delete, _delete)):
        add_target(parser)
        parser.set_defaults(handler=handler)


def _keep(arguments: argparse.Namespace) -> int:
    from pytest_ephemeral_ns.rules.retention import keep_patch

    with open_api(arguments) as api:
        one = our_namespace(api, arguments.name)
        expires = one.judged + timedelta(seconds=arguments.ttl)
        _patch(api, one, keep_patch(expires, arguments.reason))
    say(f"{one.name} is kept until {format_time(expires)} (for {format_duration(arguments.ttl)})")
    return OK


def _extend(arguments: argparse.Namespace) -> int:
    from pytest_ephemeral_ns.rules.retention import extend_patch

    with open_api(arguments) as api:
        one = our_namespace(api, arguments.name)
        start = max(one.judged, one.verdict.expires or one.judged)
        expires = start + timedelta(seconds=arguments.by)
        _patch(api, one, extend_patch(expires))
    left = format_duration(round((expires - one.judged).total_seconds()))
    say(f"{one.name} expires at {format_time(expires)} (in {left})")
    return OK


def _patch(api: Api, one: Found, patch: Object) -> None:
    if one.verdict.state in ("terminating", "stuck"):
        raise EphemeralNsError(f"namespace {one.name} is on its way out: {one.verdict.reason}")
    # A namesake that was made meanwhile has another UID, and the server refuses to change that.
    patch["metadata"]["uid"] = one.uid
    api.patch(f"{NAMESPACES}/{one.name}", patch)


def _delete(arguments: argparse.Namespace) -> int:
    from pytest_ephemeral_ns.belongings import remove_of

    with open_api(arguments) as api:
        found = [our_namespace(api, name) for name in dict.fromkeys(arguments.names)]
        if not arguments.yes:
            if not sys.stdin.isatty():
                raise UsageError(
                    "nobody can answer whether to delete: standard input is not a terminal",
                    command=f"ephemeral-ns delete --yes {' '.join(arguments.names)}{again(arguments)}",
                )
            if not _agreed(found):
                note("nothing was deleted")
                return FAILED
        outcomes = [(one, _delete_one(api, one)) for one in found]
        problems = [problem for _, problem in outcomes if problem]
        problems += remove_of(api, [one for one, problem in outcomes if not problem])
        if arguments.wait:
            problems += _still_there(api, found, arguments.timeout)
    for problem in problems:
        note(problem)
    return FAILED if problems else OK


def _agreed(found: list[Found]) -> bool:
    for one in found:
        sys.stderr.write(f"{one.name}: {one.verdict.state}, owner {one.owner}, {one.verdict.reason}\n")
    sys.stderr.write(f"Delete {'it' if len(found) == 1 else f'these {len(found)}'}? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _delete_one(api: Api, one: Found) -> str:
    try:
        api.delete(f"{NAMESPACES}/{one.name}", uid=one.uid)
    except ApiError as error:
        return f"{one.name} was not deleted: {error.summary}"
    say(f"{one.name} is being deleted")
    return ""


def _still_there(api: Api, found: list[Found], timeout: float) -> list[str]:
    from pytest_ephemeral_ns.deadline import Deadline
    from pytest_ephemeral_ns.provision import Record, wait_deleted
    from pytest_ephemeral_ns.stuck import explain_stuck

    left = wait_deleted(api, [Record(one.name, one.uid) for one in found], Deadline.after(timeout))
    return [*left, *(line for one in found if left for line in explain_stuck(api, one.name))]
