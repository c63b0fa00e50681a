"""What the processes of one run share: the run id, the cluster, the ledger; this module must never create a namespace.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import itertools
import os
import secrets
import socket
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_ephemeral_ns.errors import ApiError, ClusterError, EphemeralNsError
from pytest_ephemeral_ns.ledger import Ledger
from pytest_ephemeral_ns.presence import PREFIX, clear_dead
from pytest_ephemeral_ns.timeline import Timeline

if TYPE_CHECKING:
    from pytest_ephemeral_ns.clusters.cluster import Cluster
    from pytest_ephemeral_ns.heartbeat import Heart
    from pytest_ephemeral_ns.kube.api import Api
    from pytest_ephemeral_ns.rules.identity import Identity
    from pytest_ephemeral_ns.settings import Settings

__tracebackhide__ = True
ALPHABET = "bcdfghjkmnpqrstvwxz23456789"  # no vowels, so no words; nothing that looks like another character
SHOWN = ("provider", "name", "nodes", "version", "started", "error")  # of the cluster; the rest is credentials
LEAK_TIMEOUT = 5.0  # seconds; a run must not wait for a look at others


@dataclass(frozen=True)
class Seat:
    """Where one process sits in a run; plain values, so that xdist can hand it on.

    Args:
        run_id: the run's id, 10 characters.
        worker_id: ``"gw0"`` …, or ``"main"`` without xdist.
        directory: folder with mode 0700 that all processes of the run share.
        owner_pid: the process whose end is the run's end; a cluster that we started stops with it.
    """

    run_id: str
    worker_id: str
    directory: str
    owner_pid: int

    @classmethod
    def first(cls, worker_id: str = "main") -> Seat:
        """Return the seat of the process that begins a run; makes the shared folder."""
        clear_dead()
        run_id = "".join(secrets.choice(ALPHABET) for _ in range(10))
        return cls(run_id, worker_id, tempfile.mkdtemp(prefix=PREFIX), os.getpid())

    def beside(self, worker_id: str) -> Seat:
        """Return the seat of another process of the same run."""
        return Seat(self.run_id, worker_id, self.directory, self.owner_pid)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self)


class Run(Ledger):
    """One process's view of a run: made without touching anything; the cluster is reached on first use.

    Args:
        settings: the run's settings.
        seat: where this process sits.
        identity: who, what and where the run is; ``None`` where no namespace will be made.
        environ: the process environment.
        progress: gets one line of text per step of something that takes long.
    """

    def __init__(
        self,
        settings: Settings,
        seat: Seat,
        identity: Identity | None,
        *,
        environ: Mapping[str, str],
        progress: Callable[[str], None],
    ) -> None:
        self.settings = settings
        self.seat = seat
        self._identity = identity
        self.environ = environ
        self.progress = progress
        super().__init__(Path(seat.directory), seat.worker_id)
        self.timeline = Timeline(self.directory, seat.worker_id, detailed=bool(settings.report))
        if identity:
            self.timeline.detail("identity", project=identity.project, ref=identity.ref, commit=identity.commit)
        self._serial = itertools.count(1)
        self._known: list[tuple[object, EphemeralNsError, str]] = []

    @property
    def identity(self) -> Identity:
        """Who, what and where the run is."""
        assert self._identity is not None, "this view of the run only ends it"
        return self._identity

    @cached_property
    def cluster(self) -> Cluster:
        """The run's cluster: the first process that asks starts or reaches it, every other one uses the same.

        Raises:
            ClusterError: there is none; every process gets the first one's error without trying again.
        """
        from pytest_ephemeral_ns.clusters.cluster import Cluster

        told = self.read("cluster") or self._reach_cluster()  # written all or nothing: who comes later needs no lock
        if "error" in told:
            raise ClusterError(told["error"], evidence=told["evidence"], command=told["command"])
        return Cluster.from_dict(told)

    def _reach_cluster(self) -> dict[str, Any]:
        with self.lock("cluster"):
            told = self.read("cluster")
            if told is None:
                with self.timeline.span("cluster") as row:
                    told = self._open_cluster()
                    row.update({key: told[key] for key in SHOWN if key in told})
                self._look_for_leaks(told)
                self.write("cluster", told)
            return told

    def _open_cluster(self) -> dict[str, Any]:
        from pytest_ephemeral_ns.clusters.choose import open_cluster

        wanted = self.settings
        try:
            cluster = open_cluster(
                wanted.cluster,
                context=wanted.context,
                kubeconfig=wanted.kubeconfig,
                nodes=wanted.nodes,
                kind_image=wanted.kind_image,
                kind_config=wanted.kind_config,
                owner_pid=self.seat.owner_pid,
                progress=self.progress,
                environ=self.environ,
                folder=self.directory,
            )
            self._load_images(cluster)
        except EphemeralNsError as error:
            return {"error": error.summary, "evidence": list(error.evidence), "command": error.command}
        return cluster.to_dict()

    def _look_for_leaks(self, told: Mapping[str, Any]) -> None:
        """Warn of what earlier runs left; where that may not be looked at, or takes long, nothing is said."""
        from pytest_ephemeral_ns.clusters.cluster import Cluster
        from pytest_ephemeral_ns.kube.api import Api
        from pytest_ephemeral_ns.reap import count_leaked

        if told.get("started") or "error" in told:
            return
        cluster = Cluster.from_dict(told)
        try:
            with Api(cluster.connection, timeout=LEAK_TIMEOUT) as api:
                count = count_leaked(api)
        except EphemeralNsError:
            return
        if count:
            what = "1 namespace of an earlier run is" if count == 1 else f"{count} namespaces of earlier runs are"
            line = f"leaked: {what} over and still there → ephemeral-ns reap --once {cluster.access}"
            self.progress(line)
            self.write("leaked", {"text": line})

    @property
    def leaked(self) -> str:
        """What was said about earlier runs when this one began; empty if they left nothing."""
        return str((self.read("leaked") or {}).get("text", ""))

    def _load_images(self, cluster: Cluster) -> None:
        from pytest_ephemeral_ns.clusters.choose import close_cluster
        from pytest_ephemeral_ns.clusters.loading import load_images

        if not self.settings.image:
            return
        try:
            load_images(cluster, self.settings.image, progress=self.progress)
        except EphemeralNsError:
            if cluster.started:
                close_cluster(cluster)
            raise

    @property
    def touched(self) -> bool:
        """Whether any process of the run reached a cluster."""
        told = self.read("cluster")
        return told is not None and "error" not in told

    @cached_property
    def api(self) -> Api:
        """The API server, with the run's own rights."""
        from pytest_ephemeral_ns.clusters.current import refresh
        from pytest_ephemeral_ns.kube.api import Api

        connection = self.cluster.connection
        renew = (lambda: refresh(connection)) if connection.refreshable else None
        return Api(connection, refresh=renew)

    @cached_property
    def heart(self) -> Heart:
        """The sign of life of the run's namespaces; the reaper does not wait for the TTL of a run that is dead."""
        from pytest_ephemeral_ns.heartbeat import Heart

        return Heart(self.api, self.seat.run_id, self.seat.worker_id, f"{socket.gethostname()}:{os.getpid()}")

    def next_extra(self) -> str:
        """Return what tells this process's next namespace from its others: nothing, ``"2"``, ``"3"``."""
        number = next(self._serial)
        return "" if number == 1 else str(number)

    @property
    def current_test(self) -> str:
        """The test that this process is in, as pytest names it; empty outside of one."""
        return self.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" (")[0]

    # Failures that trying again cannot mend, so that 500 tests do not repeat one.

    def learn(self, deploy: object, error: EphemeralNsError) -> None:
        """Remember a failure of ``deploy``, and whose it was, unless another try could end differently."""
        passing = isinstance(error, TimeoutError) or (
            isinstance(error, ApiError) and error.status in (0, 429, 500, 503)
        )
        if not passing:
            self._known.append((deploy, error, self.current_test))

    def raise_if_known(self, deploy: object) -> None:
        """Raise what :meth:`learn` remembered of ``deploy``, or of what equals it."""
        for known, error, test in self._known:
            if known == deploy:
                said = f"not tried again: it failed for good{f' in {test}' if test else ''}"
                if said not in error.evidence:
                    error.evidence = (*error.evidence, said)
                raise error.with_traceback(None)

    def close(self) -> None:
        """End this process's heartbeat and close its client. The cluster and the namespaces stay."""
        if "heart" in self.__dict__:
            self.heart.close()
        if "api" in self.__dict__:
            self.api.close()
        self.timeline.close()
