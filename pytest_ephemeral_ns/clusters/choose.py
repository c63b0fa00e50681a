"""WHERE: the one place that decides which cluster a run uses; this module must never use one that nobody allowed.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pytest_ephemeral_ns.clusters.cluster import Cluster
from pytest_ephemeral_ns.clusters.contexts import IN_CLUSTER, choose_context, looks_local, require_permission
from pytest_ephemeral_ns.clusters.current import connect, load_config, write_kubeconfig
from pytest_ephemeral_ns.clusters.kubeconfig import Config
from pytest_ephemeral_ns.clusters.loading import load_images
from pytest_ephemeral_ns.clusters.probe import PROBE_TIMEOUT, answers
from pytest_ephemeral_ns.clusters.users import alive, this_process
from pytest_ephemeral_ns.connection import Connection
from pytest_ephemeral_ns.deadline import Deadline
from pytest_ephemeral_ns.errors import ClusterError, EphemeralNsError, UsageError

__all__ = ["CHOICES", "close_cluster", "leave_running", "load_images", "open_cluster"]

CHOICES = ("auto", "current", "kind", "embedded")
TIMEOUT = 300.0  # seconds
_LEAST = 60.0  # seconds that the embedded cluster gets in any case
_FOLDER = "ephemeral-ns-current-"
_RUN = "run-"  # prefix of embedded clusters that end with their run


def _silent(line: str) -> None:
    return None


@dataclass(frozen=True)
class _Wish:
    """What the user asked for, in one value, so that each way to a cluster takes the same argument."""

    context: str
    kubeconfig: str
    nodes: str
    kind_image: str
    kind_config: str
    owner_pid: int | None
    progress: Callable[[str], None]
    deadline: Deadline
    environ: Mapping[str, str]
    folder: Path | None = None


def open_cluster(
    choice: str = "auto",
    *,
    context: str | None = None,
    kubeconfig: str | os.PathLike[str] | None = None,
    nodes: str = "auto",
    kind_image: str = "",
    kind_config: str = "",
    owner_pid: int | None = None,
    progress: Callable[[str], None] = _silent,
    timeout: float = TIMEOUT,
    environ: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Cluster:
    """Find or start the cluster that a run uses.

    ``auto`` is the first of: the context that was named, or a current context that looks local and answers; kind, if
    Docker answers; the embedded cluster. Whatever was *named* (a context, a kubeconfig) is used or is an error, never
    passed over. The service account of a pod is used with ``current`` only: a CI runner in a pod has one without
    anybody having meant it for tests.

    Args:
        choice: ``auto``, ``current``, ``kind`` or ``embedded``.
        context: a kubeconfig context, for ``auto`` and ``current``; naming it is also the permission to use one that
            does not look local.
        kubeconfig: a kubeconfig file instead of those that kubectl would use, for ``auto`` and ``current``.
        nodes: embedded only: ``auto``, ``real``, ``simulated`` or ``none``.
        kind_image: node image of a kind cluster that is created.
        kind_config: configuration file of a kind cluster that is created.
        owner_pid: the process whose end is the end of a cluster that is started.
        progress: called with one line for each step.
        timeout: seconds for everything.
        environ: the environment; ours if ``None``.
        folder: private folder of the caller, for a kubeconfig with the resolved credentials; by default a new one,
            which :func:`close_cluster` removes.

    Returns:
        A cluster that answered. Hand it to :func:`close_cluster` when the run is over.

    Raises:
        UsageError: an option is wrong, or a context would need to be named.
        ClusterError: there is none; says what was tried and why each was not taken.
        ToolError: kind was asked for and is not installed.

    Example:
        >>> cluster = open_cluster("embedded", nodes="none")  # doctest: +SKIP
        >>> cluster.connection.server  # doctest: +SKIP
        'https://127.0.0.1:34567'
    """
    if choice not in CHOICES:
        raise UsageError(f"cluster {choice} is unknown", evidence=[f"known are {', '.join(CHOICES)}"])
    environ = os.environ if environ is None else environ
    wish = _Wish(
        context or "",
        os.fspath(kubeconfig or ""),
        nodes,
        kind_image,
        kind_config,
        owner_pid,
        progress,
        Deadline.after(timeout),
        environ,
        folder,
    )
    if choice == "auto":
        return _auto(wish)
    return {"current": _current, "kind": _kind, "embedded": _embedded}[choice](wish)


def close_cluster(cluster: Cluster) -> None:
    """Give a cluster back: stop it if :func:`open_cluster` started it, and remove the credentials written for it.

    Call it for every cluster, started or not, in the process whose id was ``owner_pid``. Doing it twice is no error.

    Args:
        cluster: from :func:`open_cluster`, perhaps in another process.

    Raises:
        ClusterError: it could not be stopped.

    Example:
        >>> close_cluster(cluster)  # doctest: +SKIP
    """
    if cluster.provider == "current":
        folder = cluster.kubeconfig.parent
        if folder.name.startswith(_FOLDER):
            shutil.rmtree(folder, ignore_errors=True)
    elif not cluster.started:
        return
    elif cluster.provider == "kind":
        from pytest_ephemeral_ns.clusters import kind

        kind.release(cluster.name)
    elif cluster.provider == "embedded":
        from pytest_ephemeral_ns.clusters.embedded import cluster as embedded

        embedded.down(cluster.name)


def leave_running(cluster: Cluster) -> None:
    """Let a cluster that :func:`open_cluster` started outlive its run, because something was kept in it.

    Args:
        cluster: from :func:`open_cluster`; it runs until ``ephemeral-ns cluster down``.
    """
    if cluster.provider == "kind":
        from pytest_ephemeral_ns.clusters import kind

        kind.disown(cluster.name)
    elif cluster.provider == "embedded":
        from pytest_ephemeral_ns.clusters.embedded import cluster as embedded

        embedded.disown(cluster.name)


# The ways to a cluster.


def _auto(wish: _Wish) -> Cluster:
    tried: list[str] = []
    try:
        config = load_config(wish.kubeconfig, environ=wish.environ)
    except EphemeralNsError as error:
        if wish.context or wish.kubeconfig:
            raise
        tried.append(f"current: {_short(error)}")
    else:
        if wish.context or config.named:
            return _use(config, wish, named=bool(wish.context))
        reason = _why_not_current(config)
        if not reason:
            try:
                return _use(config, wish, named=False)
            except EphemeralNsError as error:
                reason = _short(error)
        tried.append(f"current: {reason}")
    for name, way in (("kind", _kind), ("embedded", _embedded)):
        wish.progress(tried[-1] + f"; trying {name}")
        try:
            return way(wish)
        except EphemeralNsError as error:
            tried.append(f"{name}: {_short(error)}")
    raise ClusterError("no cluster could be used or started", evidence=tried, command="ephemeral-ns doctor")


def _why_not_current(config: Config) -> str:
    """Return why the current context is not used unasked; empty when it is. Reads no credential."""
    try:
        chosen = choose_context(config)
    except EphemeralNsError as error:
        return _short(error)
    if chosen.context == IN_CLUSTER:
        return "the service account of this pod is used only when asked for: --ephemeral-ns-cluster=current"
    if not looks_local(chosen.context, chosen.server):
        return (
            f"context {chosen.context} does not look local; to use it, name it: --ephemeral-ns-context={chosen.context}"
        )
    return ""


def _current(wish: _Wish) -> Cluster:
    return _use(load_config(wish.kubeconfig, environ=wish.environ), wish, named=bool(wish.context))


def _use(config: Config, wish: _Wish, *, named: bool) -> Cluster:
    chosen = choose_context(config, wish.context)
    if not named:
        require_permission(config, chosen)
    connection = connect(config, wish.context, environ=wish.environ, timeout=wish.deadline.sooner(60.0))
    version = _asked(connection, chosen.context, wish.deadline)
    kubeconfig = write_kubeconfig(connection, (wish.folder or _private_folder(wish.owner_pid)) / "kubeconfig")
    return Cluster("current", chosen.context, connection, kubeconfig, "external", False, version)


def _private_folder(owner_pid: int | None) -> Path:
    """Make a folder that only this user can enter; remove those of runs that were killed, with their credentials."""
    for left in Path(tempfile.gettempdir()).glob(f"{_FOLDER}*"):
        pid, _, started = left.name.removeprefix(_FOLDER).rpartition("-")[0].partition("-")
        if pid.isdigit() and not alive((int(pid), started)):
            shutil.rmtree(left, ignore_errors=True)  # another user's stays: we may not
    pid_and_start = "-".join(map(str, this_process(owner_pid)))
    return Path(tempfile.mkdtemp(prefix=f"{_FOLDER}{pid_and_start}-"))


def _asked(connection: Connection, context: str, deadline: Deadline) -> str:
    seen = answers(connection, timeout=deadline.sooner(PROBE_TIMEOUT))
    if seen.reached and seen.accepted:
        return seen.version
    what = "does not accept its credential" if seen.reached else "does not answer"
    raise ClusterError(
        f"context {context}: {connection.server} {what}: {seen.why}",
        evidence=[f"kubeconfig: {os.pathsep.join(connection.kubeconfig)}"] if connection.kubeconfig else [],
        command=f"kubectl auth whoami{f' --context {connection.context}' if connection.context else ''}",
    )


def _kind(wish: _Wish) -> Cluster:
    from pytest_ephemeral_ns.clusters import kind

    return kind.up(
        kind.NAME,
        image=wish.kind_image,
        config=wish.kind_config,
        timeout=wish.deadline.remaining(),
        owner_pid=wish.owner_pid,
        progress=wish.progress,
    )


def _embedded(wish: _Wish) -> Cluster:
    from pytest_ephemeral_ns.clusters.embedded import cluster as embedded

    return embedded.up(
        _embedded_name(wish),
        nodes=wish.nodes,
        owner_pid=wish.owner_pid,
        progress=wish.progress,
        # What kind used up in vain before is not the embedded cluster's fault.
        timeout=max(_LEAST, wish.deadline.remaining()),
    )


def _embedded_name(wish: _Wish) -> str:
    """Return the cluster that ``ephemeral-ns cluster up`` keeps running, else a name that only this run has.

    Two runs at once must not share a cluster that ends with one of them.
    """
    from pytest_ephemeral_ns.clusters.embedded import cluster as embedded

    embedded.clear_away(_RUN)
    if wish.owner_pid is None or embedded.stays(embedded.DEFAULT):
        return embedded.DEFAULT
    return f"{_RUN}{wish.owner_pid}"


def _short(error: EphemeralNsError) -> str:
    """Return an error on one line: what, and the first line of why."""
    return " | ".join([error.summary, *error.evidence[:1]])
