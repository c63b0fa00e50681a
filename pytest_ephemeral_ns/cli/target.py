"""Which cluster the command works on; this module must never start one, nor use one that nobody allowed.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_ephemeral_ns.errors import ClusterError, EphemeralNsError, UsageError

if TYPE_CHECKING:
    from pytest_ephemeral_ns.connection import Connection
    from pytest_ephemeral_ns.kube.api import Api
    from pytest_ephemeral_ns.reap import Found

CHOICES = ("auto", "current", "kind", "embedded")


@dataclass(frozen=True)
class Target:
    """A cluster that exists, and how it was found.

    Args:
        name: ``"context kind-shop"``, ``"embedded cluster default"``.
        connection: how it is reached.
        provider: ``"current"``, ``"kind"`` or ``"embedded"``.
    """

    name: str
    connection: Connection
    provider: str


def add_target(parser: argparse.ArgumentParser) -> None:
    """Declare the options that say which cluster is meant."""
    group = parser.add_argument_group("cluster")
    group.add_argument("--context", default="", metavar="NAME", help="kubeconfig context; naming it is the permission")
    group.add_argument("--kubeconfig", default="", metavar="FILE", help="kubeconfig file, instead of kubectl's")
    group.add_argument(
        "--cluster",
        choices=CHOICES,
        default="",
        help="auto (default), current (context or service account of this pod), kind or embedded",
    )


def find_target(arguments: argparse.Namespace) -> Target:
    """Find the cluster: named, or a current context that looks local, or one of ours that runs.

    Args:
        arguments: with the options of :func:`add_target`.

    Returns:
        Where to connect to; it was not asked whether it answers, except where it is our own.

    Raises:
        UsageError: a context or file is wrong, or would need to be named.
        ClusterError: there is none; says what was tried.
    """
    context = arguments.context or os.environ.get("EPHEMERAL_NS_CONTEXT", "")
    kubeconfig = arguments.kubeconfig or os.environ.get("EPHEMERAL_NS_KUBECONFIG", "")
    choice = arguments.cluster or os.environ.get("EPHEMERAL_NS_CLUSTER", "") or "auto"
    if choice not in CHOICES:
        raise UsageError(f"EPHEMERAL_NS_CLUSTER={choice} is not one of {', '.join(CHOICES)}")
    if (context or kubeconfig) and choice in ("kind", "embedded"):
        raise UsageError(f"--cluster={choice} does not go with a context or a kubeconfig")
    if context or kubeconfig or choice == "current":
        return _current(context, kubeconfig, asked=True)
    ways: dict[str, Callable[[], Target]] = {"current": _local, "kind": _kind, "embedded": _embedded}
    if choice != "auto":
        return ways[choice]()
    tried: list[str] = []
    for name, way in ways.items():
        try:
            return way()
        except EphemeralNsError as error:
            tried.append(f"{name}: {error.summary}")
    raise ClusterError(
        "no cluster is running that may be used",
        evidence=tried,
        command="name one with --context, or start one: ephemeral-ns cluster up",
    )


def open_api(arguments: argparse.Namespace, *, timeout: float = 30.0) -> Api:
    """Return a client for :func:`find_target`'s cluster; close it."""
    return api_of(find_target(arguments), timeout=timeout)


def api_of(target: Target, *, timeout: float = 30.0) -> Api:
    """Return a client for a cluster; close it.

    Args:
        target: from :func:`find_target`.
        timeout: seconds for one call.
    """
    from pytest_ephemeral_ns.clusters.current import refresh
    from pytest_ephemeral_ns.kube.api import Api

    connection = target.connection
    renew = (lambda: refresh(connection)) if connection.refreshable else None
    return Api(connection, refresh=renew, timeout=timeout)


def access_of(target: Target, arguments: argparse.Namespace) -> str:
    """Return the options by which kubectl reaches the cluster: ``"--context shop"``; empty in a pod."""
    files, context = target.connection.kubeconfig, target.connection.context
    named = arguments.kubeconfig or (files[0] if files and target.provider != "current" else "")
    given = (("--kubeconfig", named), ("--context", context))
    return " ".join(f"{option} {shlex.quote(value)}" for option, value in given if value)


def again(arguments: argparse.Namespace) -> str:
    """Return the options that say which cluster is meant, as they were typed, for the next command to type."""
    given = (("--context", arguments.context), ("--kubeconfig", arguments.kubeconfig), ("--cluster", arguments.cluster))
    return "".join(f" {option} {shlex.quote(value)}" for option, value in given if value)


def our_namespace(api: Api, name: str) -> Found:
    """Return a namespace of ours as it is now.

    Args:
        api: the API server.
        name: which.

    Raises:
        UsageError: it is not ours, so it is left alone.
        ApiError: it does not exist, or may not be read.
    """
    from pytest_ephemeral_ns.reap import look_at

    _, one = look_at(api, name)
    if one.verdict.state == "foreign":
        raise UsageError(f"namespace {name} is left alone: {one.verdict.reason}")
    return one


def _local() -> Target:
    return _current("", "", asked=False)


def _current(context: str, kubeconfig: str, *, asked: bool) -> Target:
    from pytest_ephemeral_ns.clusters.contexts import IN_CLUSTER, choose_context, looks_local
    from pytest_ephemeral_ns.clusters.current import connect, load_config

    config = load_config(kubeconfig)
    chosen = choose_context(config, context)
    if chosen.context == IN_CLUSTER and not asked:
        raise ClusterError("the service account of this pod is used only when asked for: --cluster=current")
    if not context and chosen.context != IN_CLUSTER and not looks_local(chosen.context, chosen.server):
        raise UsageError(
            f"context {chosen.context} ({chosen.server}) does not look local, so it is used only when it is named",
            command=f"--context {chosen.context}",
        )
    return Target(f"context {chosen.context}", connect(config, context), "current")


def _kind() -> Target:
    from pytest_ephemeral_ns.clusters import kind

    return _of_ours("kind", kind.NAME, kind_kubeconfig(kind.NAME))


def _embedded() -> Target:
    from pytest_ephemeral_ns.clusters import embedded

    running = [name for name in embedded.names() if embedded.status(name)["phase"] == "ready"]
    if len(running) > 1 and "default" not in running:
        raise UsageError(
            f"several embedded clusters run: {', '.join(running)}",
            command=f"--kubeconfig $(ephemeral-ns cluster kubeconfig --name {running[0]})",
        )
    name = "default" if "default" in running else next(iter(running), "default")
    known = embedded.status(name)
    return _of_ours("embedded", name, Path(known["kubeconfig"]) if name in running else None)


def kind_kubeconfig(name: str) -> Path | None:
    """Return the kubeconfig that was written for a kind cluster of ours, or ``None``."""
    from pytest_ephemeral_ns.paths import state_dir

    path = state_dir() / ".kind" / f"{name}.kubeconfig"
    return path if path.exists() else None


def _of_ours(provider: str, name: str, kubeconfig: Path | None) -> Target:
    from pytest_ephemeral_ns.clusters.current import connect, load_config

    if kubeconfig is None:
        raise ClusterError(f"no {provider} cluster {name} is running", command="ephemeral-ns cluster up")
    return Target(f"{provider} cluster {name}", connect(load_config(kubeconfig)), provider)
