"""KIND: a cluster in containers, by the real kind; this module must never delete one that was not made here.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_ephemeral_ns.clusters import kind_program as program
from pytest_ephemeral_ns.clusters.cluster import Cluster
from pytest_ephemeral_ns.clusters.kind_ready import wait_ready
from pytest_ephemeral_ns.clusters.private import write_private
from pytest_ephemeral_ns.clusters.users import alive, this_process
from pytest_ephemeral_ns.deadline import Deadline
from pytest_ephemeral_ns.errors import ClusterError, UsageError
from pytest_ephemeral_ns.paths import state_dir

if TYPE_CHECKING:
    from pytest_ephemeral_ns.connection import Connection

NAME = "ephemeral-ns"
CREATE_TIMEOUT = 300.0
LOAD_TIMEOUT = 300.0
_LOOKS, _BETWEEN_LOOKS = 7, 0.5  # times and seconds, for what an interrupted creation leaves late

docker_answers = program.engine_answers
names = program.clusters


def exists(name: str) -> bool:
    """Return whether there is a kind cluster of this name, ready or not."""
    return name in names()


def up(
    name: str = NAME,
    *,
    image: str = "",
    config: str = "",
    timeout: float = CREATE_TIMEOUT,
    owner_pid: int | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> Cluster:
    """Create a kind cluster, or use the one of this name, and wait until its node, kube-proxy and DNS work.

    The user's own kubeconfig is left alone: the credentials go to a file of ours. One process at a time does this; what
    was half-made, because creation failed or its process was killed, is deleted.

    Args:
        name: the cluster; its context is called ``kind-NAME``.
        image: node image for a cluster that is created; kind's own if empty.
        config: configuration file for a cluster that is created; none if empty.
        timeout: seconds for everything.
        owner_pid: the process whose end is the cluster's; ``None`` for a cluster that stays until :func:`down`.
        progress: called with one line for each step.

    Returns:
        The cluster; ``started`` says that the caller is the one who stops it.

    Raises:
        UsageError: the configuration file does not exist.
        ToolError: kind is not installed.
        ClusterError: Docker does not answer, the image is not to be had, or the cluster did not become ready.

    Example:
        >>> up("shop", owner_pid=os.getpid(), progress=print).kubeconfig  # doctest: +SKIP
        PosixPath('/home/me/.local/state/pytest-ephemeral-ns/.kind/shop.kubeconfig')
    """
    deadline = Deadline.after(timeout)
    _check(config)
    with _lock(name, deadline, progress):
        record = _Record.read(name)
        users = [user for user in record.users if alive(user)]
        present = name in names()
        if present and _is_leftover(name, record, users):
            progress(f"kind: deleting cluster {name}, which was left half-made or broken")
            _forget_half_made(name)
            present = False
        if present:
            progress(f"kind: using cluster {name}, which exists")
            program.export_kubeconfig(name, _kubeconfig(name))
            # Its owner has gone without deleting it, so this run takes that over.
            started = record.temporary and not users
        else:
            record, users, started = _Record(temporary=owner_pid is not None), [], True
            _create(name, record, image=image, config=config, deadline=deadline, progress=progress)
        connection, version = _connect(name, deadline, progress, ours=not present)
        mine = [this_process(owner_pid)] if owner_pid is not None else []
        users = [*(user for user in users if user not in mine), *mine]
        _Record("ready", record.temporary and owner_pid is not None, users).write(name)
    return Cluster("kind", name, connection, _kubeconfig(name), "real", started, version)


def down(name: str = NAME) -> bool:
    """Delete a kind cluster and our files about it.

    Args:
        name: the cluster.

    Returns:
        Whether there was one.

    Raises:
        ClusterError: Docker does not answer or kind failed.

    Example:
        >>> down("shop")  # doctest: +SKIP
        True
    """
    with _lock(name, Deadline.after(CREATE_TIMEOUT), lambda line: None):
        present = name in names()
        _forget(name)
    return present


def release(name: str) -> bool:
    """Delete a cluster that this process no longer needs, unless another run uses it: then that one's successor does.

    Args:
        name: the cluster, from :func:`up` with ``started``.

    Returns:
        Whether it was deleted.

    Raises:
        ClusterError: kind failed.

    Example:
        >>> release("shop")  # doctest: +SKIP
        True
    """
    with _lock(name, Deadline.after(CREATE_TIMEOUT), lambda line: None):
        record = _Record.read(name)
        others = [user for user in record.users if alive(user) and user != this_process()]
        if others:
            _Record(record.stage, record.temporary, others).write(name)
            return False
        _forget(name)
    return True


def disown(name: str) -> None:
    """Let a cluster outlive the runs that it would end with; it runs until :func:`down`."""
    with _lock(name, Deadline.after(CREATE_TIMEOUT), lambda line: None):
        record = _Record.read(name)
        _Record(record.stage, temporary=False).write(name)


def load(name: str, sources: Sequence[str | os.PathLike[str]], *, timeout: float = LOAD_TIMEOUT) -> None:
    """Load images into every node of a cluster.

    Args:
        name: the cluster.
        sources: archives as ``docker save`` writes them, or names of images that Docker has.
        timeout: seconds for each of the two kinds.

    Raises:
        UsageError: a source is neither.
        ClusterError: kind failed.

    Example:
        >>> load("shop", ["images/api.tar", "worker:dev"])  # doctest: +SKIP
    """
    archives = [os.fspath(source) for source in sources if Path(source).is_file()]
    images = [os.fspath(source) for source in sources if os.fspath(source) not in archives]
    for image in images:
        if not program.has_image(image):
            raise UsageError(
                f"image {image} is neither an archive nor an image that {program.engine()} has",
                command=f"{program.engine()} pull {image}, or docker save -o FILE and load that",
            )
    if archives:
        program.load(name, "image-archive", archives, timeout)
    if images:
        program.load(name, "docker-image", images, timeout)


def _connect(name: str, deadline: Deadline, progress: Callable[[str], None], *, ours: bool) -> tuple[Connection, str]:
    """Return the connection and the version once the cluster is ready; delete it when that fails and it is new."""
    from pytest_ephemeral_ns.clusters.current import connect, load_config
    from pytest_ephemeral_ns.clusters.probe import answers

    try:
        connection = connect(load_config(_kubeconfig(name)), f"kind-{name}")
        progress(f"kind: waiting for node, kube-proxy and DNS of cluster {name}")
        if missing := wait_ready(connection, deadline):
            raise ClusterError(
                f"kind cluster {name} is not ready after {deadline.elapsed():.0f} s",
                evidence=[*missing, *_remote_engine(connection)],
                command=f"kind export logs --name {name}",
            )
        return connection, answers(connection).version
    except BaseException:
        if ours:
            _forget(name)
        raise


def _remote_engine(connection: Connection) -> list[str]:
    host = os.environ.get("DOCKER_HOST", "")
    if not host.startswith(("tcp:", "ssh:")):
        return []
    return [
        f"DOCKER_HOST is {host}: the API server ({connection.server}) listens on that machine, not on this one; "
        "a kind configuration with networking.apiServerAddress and a kubeadm patch for certSANs is needed"
    ]


# What is written down about a cluster.


@dataclass(frozen=True)
class _Record:
    """What we know about a cluster: how far it got, whether it ends with its users, and who they are."""

    stage: str = ""
    temporary: bool = False
    users: Sequence[Any] = ()

    @classmethod
    def read(cls, name: str) -> _Record:
        try:
            value = json.loads(_file(name, "json").read_text(encoding="utf-8"))
            return cls(str(value["stage"]), bool(value["temporary"]), [tuple(user) for user in value["users"]])
        except (OSError, ValueError, KeyError, TypeError):
            return cls()

    def write(self, name: str) -> None:
        value = {"stage": self.stage, "temporary": self.temporary, "users": list(self.users)}
        write_private(_file(name, "json"), json.dumps(value))


def _file(name: str, kind: str) -> Path:
    # Beside the embedded clusters' folders; a name with a dot in front cannot be that of a cluster.
    return state_dir() / ".kind" / f"{name}.{kind}"


def _kubeconfig(name: str) -> Path:
    return _file(name, "kubeconfig")


@contextmanager
def _lock(name: str, deadline: Deadline, progress: Callable[[str], None]) -> Iterator[None]:
    import filelock

    path = _file(name, "lock")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        progress(f"kind: waiting for another process that is busy with cluster {name}")
        try:
            lock.acquire(timeout=deadline.remaining(), poll_interval=0.2)
        except filelock.Timeout:
            raise ClusterError(
                f"kind cluster {name}: another process was busy with it for {deadline.budget:g} s",
                command=f"fuser {path}",
            ) from None
    try:
        yield
    finally:
        lock.release()


def _check(config: str) -> None:
    if config and not Path(config).is_file():
        raise UsageError(f"kind configuration {config} does not exist", command=f"ls -l {config}")
    answered, why = docker_answers()
    if not answered:
        raise ClusterError(
            f"kind needs {program.engine()}, which does not answer",
            evidence=[why],
            command=f"{program.engine()} info, or --ephemeral-ns-cluster=embedded, which needs none",
        )


def _is_leftover(name: str, record: _Record, users: Sequence[Any]) -> bool:
    """Whether a cluster is ours and of no use: never finished (we hold the lock, so nobody is at it), or broken."""
    if record.stage == "creating":
        return True
    if not record.temporary or users:
        return False
    try:
        program.export_kubeconfig(name, _kubeconfig(name))
    except ClusterError:
        return True
    return False


def _create(
    name: str, record: _Record, *, image: str, config: str, deadline: Deadline, progress: Callable[[str], None]
) -> None:
    progress(f"kind: creating cluster {name} with node image {image or 'of kind itself'}")
    _Record("creating", record.temporary).write(name)
    try:
        program.create(name, _kubeconfig(name), image=image, config=config, timeout=deadline.remaining())
    except BaseException:
        _forget_half_made(name)
        raise


def _forget_half_made(name: str) -> None:
    """Delete what was made, and look again: the engine goes on with what kind, ended by us, had asked it for."""
    import tenacity

    def look_again() -> bool:
        if name in names():
            program.delete(name, _kubeconfig(name))
        return True

    program.delete(name, _kubeconfig(name))
    tenacity.Retrying(
        retry=tenacity.retry_if_result(bool),
        stop=tenacity.stop_after_attempt(_LOOKS),
        wait=tenacity.wait_fixed(_BETWEEN_LOOKS),
        retry_error_callback=lambda state: None,
    )(look_again)
    _forget(name)


def _forget(name: str) -> None:
    """Delete the cluster first, so that what is known about it outlives a failure to do so."""
    program.delete(name, _kubeconfig(name))
    for kind in ("kubeconfig", "json"):
        _file(name, kind).unlink(missing_ok=True)
