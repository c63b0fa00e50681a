"""``doctor --isolation``: whether a cluster enforces policies; this module must never leave anything behind.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import argparse
import os
import secrets
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_ephemeral_ns.cli.screen import note
from pytest_ephemeral_ns.errors import UsageError

if TYPE_CHECKING:
    from pytest_ephemeral_ns.cli.target import Target
    from pytest_ephemeral_ns.clusters.cluster import Cluster
    from pytest_ephemeral_ns.isolation import Proof

TIMEOUT = 180.0
EXPIRY = timedelta(minutes=15)  # when the reaper may take what a killed doctor left


def declare(parser: argparse.ArgumentParser) -> None:
    """Add the options of the proof."""
    group = parser.add_argument_group("network isolation")
    group.add_argument(
        "--isolation",
        action="store_true",
        help="prove with pods in two namespaces, made and removed, that NetworkPolicy is enforced; "
        "exit code 1 if it is not proven",
    )
    group.add_argument(
        "--unreachable",
        action="append",
        default=[],
        metavar="HOST:PORT",
        help="a host that an isolated namespace must not reach (repeatable)",
    )
    group.add_argument("--image", default="", help="image of the pods: a busybox; default: busybox:1.36")
    group.add_argument(
        "--settle",
        type=float,
        default=30.0,
        metavar="SECONDS",
        help="how long the network plugin may take; default: 30",
    )


def check(arguments: argparse.Namespace) -> None:
    """Find what is wrong with the options before anything is looked at.

    Raises:
        UsageError: a host is not ``HOST:PORT``, or an option goes with ``--isolation`` alone.
    """
    from pytest_ephemeral_ns.rules.isolation import host_and_port

    for host in arguments.unreachable:
        host_and_port(host)
    if (arguments.unreachable or arguments.image) and not arguments.isolation:
        raise UsageError("--unreachable and --image go with --isolation", command="ephemeral-ns doctor --isolation")


def prove(target: Target, arguments: argparse.Namespace) -> Proof:
    """Make an isolated namespace and try what it denies and allows.

    What it may reach is what the environment says for a run, for example ``EPHEMERAL_NS_SHARED_SERVICE``.

    Args:
        target: the cluster.
        arguments: with the options of :func:`declare`.

    Raises:
        EphemeralNsError: a namespace could not be made.
    """
    from pytest_ephemeral_ns.clusters.loading import offer_image
    from pytest_ephemeral_ns.deadline import Deadline
    from pytest_ephemeral_ns.guarding import Guard
    from pytest_ephemeral_ns.isolation import IMAGE, Probing
    from pytest_ephemeral_ns.isolation import prove as probe
    from pytest_ephemeral_ns.kube.api import Api
    from pytest_ephemeral_ns.kube.watch import Watcher
    from pytest_ephemeral_ns.provision import create_namespace, delete_namespace
    from pytest_ephemeral_ns.rules.naming import marks_of
    from pytest_ephemeral_ns.rules.pods import node_choice
    from pytest_ephemeral_ns.settings import load

    settings = load({"policy": "isolated"}, os.environ, {}, cwd=Path.cwd())
    run_id, deadline = secrets.token_hex(5), Deadline.after(TIMEOUT)
    marks = marks_of(run_id, "doctor", expires=datetime.now(timezone.utc) + EXPIRY)
    nodes = node_choice(settings.node_selector, settings.toleration)
    probing = Probing(arguments.image or IMAGE, arguments.unreachable, arguments.settle, nodes, note)
    offer_image(_cluster(target), probing.image, progress=note)
    with Api(target.connection) as api:
        record = create_namespace(api, lambda more: f"ephemeral-ns-doctor-{run_id}{more}", *marks)
        watcher = Watcher(api)
        try:
            Guard.of(settings).prepare(api, record.name, run_id, deadline, warn=note)
            return probe(api, watcher, record.name, deadline, probing, marks=marks)
        finally:
            watcher.close()
            if problem := delete_namespace(api, record):
                note(problem)


def _cluster(target: Target) -> Cluster:
    from pytest_ephemeral_ns.clusters.cluster import Cluster

    name = target.name.removeprefix("context ").removeprefix(f"{target.provider} cluster ")
    return Cluster(target.provider, name, target.connection, Path())
