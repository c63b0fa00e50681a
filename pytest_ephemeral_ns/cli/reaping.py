"""``ephemeral-ns reap``: the janitor; this module must never decide what goes (the rule does).

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import argparse
import os
import select
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_ephemeral_ns.cli.screen import FAILED, OK, Commands, add_duration, note, say
from pytest_ephemeral_ns.cli.target import add_target, open_api
from pytest_ephemeral_ns.errors import EphemeralNsError, UsageError

if TYPE_CHECKING:
    from pytest_ephemeral_ns.kube.api import Api
    from pytest_ephemeral_ns.reap import Pass

_EPILOG = """\
A namespace goes when it carries our labels, is older than 5 minutes and
  - its expiry (janitor/expires, or janitor/ttl) has passed, or
  - its run is dead: the heartbeat in its namespaces is older than 5 minutes, and nobody asked to keep it.
A run that is alive keeps its namespaces past their expiry. kube-*, default and openshift-* are never touched.
With them goes what deploys made outside them (ClusterRoles, definitions, PersistentVolumes …, told by our labels),
and the heartbeat of a dead run in a namespace that is kept.

Exit code 1: a namespace could not be deleted, or one is being deleted for more than 10 minutes; it says why.
"""


def declare(commands: Commands) -> None:
    """Add ``reap``."""
    help = "the janitor: delete what has expired or whose run is dead"
    parser = commands.add_parser(
        "reap",
        help=help,
        description=help,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--dry-run", action="store_true", help="say the same and delete nothing; one pass")
    parser.add_argument(
        "--namespaces-only",
        action="store_true",
        help="leave alone what deploys of dead runs left outside their namespaces",
    )
    parser.add_argument("--once", action="store_true", help="one pass, then end")
    add_duration(parser, "--interval", default=300.0, help="between two passes; default: 5m")
    parser.add_argument("--metrics", type=Path, metavar="FILE", help="write figures for Prometheus after each pass")
    parser.add_argument(
        "--force-finalizers",
        action="append",
        default=[],
        metavar="KIND",
        help="in namespaces of ours that are stuck, remove the finalizers of objects of this kind (repeatable)",
    )
    cronjob = parser.add_argument_group("in the cluster")
    cronjob.add_argument("--print-cronjob", action="store_true", help="print manifests of a CronJob, with its rights")
    cronjob.add_argument("--image", default="", metavar="IMAGE", help="an image that has this package")
    cronjob.add_argument("--namespace", default="pytest-ephemeral-ns", metavar="NAME", help="where it runs")
    cronjob.add_argument("--schedule", default="*/10 * * * *", metavar="CRON", help="default: every 10 minutes")
    add_target(parser)
    parser.set_defaults(handler=_reap)


def _reap(arguments: argparse.Namespace) -> int:
    if arguments.print_cronjob:
        return _print_cronjob(arguments)
    if arguments.interval <= 0:
        raise UsageError("--interval must be longer than 0 seconds")
    with open_api(arguments) as api:
        if arguments.once or arguments.dry_run:
            return _pass(api, arguments)
        return _loop(api, arguments)


def _loop(api: Api, arguments: argparse.Namespace) -> int:
    """Pass after pass until SIGTERM or Ctrl-C; a pass that fails is said, and the next one tries again."""
    # Python runs handlers between its own instructions: a signal that comes just before a wait begins would be seen
    # after it. The wake-up socket is written by the C handler, so that no signal is ever missed.
    woken, waker = socket.socketpair()
    waker.setblocking(False)
    before = {number: signal.signal(number, _noticed) for number in (signal.SIGTERM, signal.SIGINT)}
    wakeup_before = signal.set_wakeup_fd(waker.fileno())
    try:
        while True:
            try:
                _pass(api, arguments)
            except EphemeralNsError as error:
                note(str(error))
            if select.select([woken], [], [], arguments.interval)[0]:
                return OK
    finally:
        signal.set_wakeup_fd(wakeup_before)
        for number, handler in before.items():
            signal.signal(number, handler)
        woken.close()
        waker.close()


def _noticed(number: int, frame: Any) -> None:
    """Take the place of the default, which would end the process in the middle of a pass."""


def _pass(api: Api, arguments: argparse.Namespace) -> int:
    from pytest_ephemeral_ns.janitor import clean

    done = clean(api, say=say, dry_run=arguments.dry_run, namespaces_only=arguments.namespaces_only)
    problems = [*done.failed, *_look_after(api, done, arguments)]
    for line in [*done.notes, *problems]:
        note(line)
    if arguments.dry_run:
        note("dry run: nothing was deleted")
    if arguments.metrics:
        _write(arguments.metrics, _figures(api, done, arguments.dry_run))
    return FAILED if done.failed or done.stuck else OK


def _look_after(api: Api, done: Pass, arguments: argparse.Namespace) -> list[str]:
    """Say why stuck namespaces are stuck, and help only with what was named."""
    from pytest_ephemeral_ns.stuck import explain_stuck, force_finalizers

    lines: list[str] = []
    for one in done.stuck:
        try:
            lines += explain_stuck(api, one.name)
            if kinds := arguments.force_finalizers:
                lines += force_finalizers(api, one.name, kinds, say=say, dry_run=arguments.dry_run)
        except UsageError:
            raise
        except EphemeralNsError as error:
            lines.append(f"{one.name}: {error.summary}")
    return lines


def _figures(api: Api, done: Pass, dry_run: bool) -> str:
    from pytest_ephemeral_ns.rules.metrics import Counted, prometheus

    found = [
        Counted(one.verdict.state, one.owner, one.age, one.verdict.state in ("expired", "orphaned"))
        for one in done.survey.found
    ]
    reaped, outside = (0, 0) if dry_run else (len(done.deleted), len(done.beside))
    return prometheus(found, reaped=reaped, failed=len(done.failed), now=api.server_time, outside=outside)


def _write(path: Path, text: str) -> None:
    """Replace the file as a whole: the collector may read at any moment, and it reads ``*.prom`` only."""
    part = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        part.write_text(text, "utf-8")
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise EphemeralNsError(f"{path} could not be written: {error.strerror}") from error


def _print_cronjob(arguments: argparse.Namespace) -> int:
    import yaml

    from pytest_ephemeral_ns.rules.janitor import cronjob

    if not arguments.image:
        raise UsageError(
            "--print-cronjob needs the image that the CronJob runs",
            evidence=["any image with Python and this package: pip install pytest-ephemeral-ns"],
            command="ephemeral-ns reap --print-cronjob --image REGISTRY/IMAGE:TAG | kubectl apply -f -",
        )
    objects = cronjob(
        image=arguments.image,
        namespace=arguments.namespace,
        schedule=arguments.schedule,
        namespaces_only=arguments.namespaces_only,
    )
    say(yaml.safe_dump_all(objects, sort_keys=False).rstrip("\n"))
    return OK
