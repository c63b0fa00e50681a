"""The handle in the test's hand: thin, thread-safe, every method delegates; this module must never decide anything.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_ephemeral_ns.deadline import Deadline
from pytest_ephemeral_ns.timeline import Moments

if TYPE_CHECKING:
    import kubernetes.client

    from pytest_ephemeral_ns.clusters.cluster import Cluster
    from pytest_ephemeral_ns.deploy import Deployed, Source, Tracked
    from pytest_ephemeral_ns.deploy.model import Values
    from pytest_ephemeral_ns.diagnose import Diagnoses, Diagnosis
    from pytest_ephemeral_ns.isolation import Proof
    from pytest_ephemeral_ns.kube.api import Api
    from pytest_ephemeral_ns.kube.discovery import Discovery
    from pytest_ephemeral_ns.kube.execute import ExecResult
    from pytest_ephemeral_ns.kube.forward import PortForward
    from pytest_ephemeral_ns.kube.watch import Watcher
    from pytest_ephemeral_ns.ready import ReadyReport
    from pytest_ephemeral_ns.rules.graces import Graces
    from pytest_ephemeral_ns.rules.handles import Handles
    from pytest_ephemeral_ns.rules.identity import Identity
    from pytest_ephemeral_ns.rules.objects import Object, Ref
    from pytest_ephemeral_ns.rules.redaction import Redactor
    from pytest_ephemeral_ns.settings import Settings
    from pytest_ephemeral_ns.timeline import Timeline

__tracebackhide__ = True
Objects = list[dict[str, Any]]  # inside the class, `list` is the method
APPLY_TIMEOUT = 300.0
EXEC_TIMEOUT = 60.0


@dataclass(frozen=True)
class Setting:
    """What a handle needs to know about its run; one value, so that a handle can be made in one line.

    Args:
        cluster: where it lives.
        api: the API server, with the run's own rights.
        settings: the run's settings.
        identity: who, what and where the run is.
        run_id: the run's id, also a label of the namespace.
        worker_id: ``"gw0"``, ``"main"`` without xdist, ``"shared"`` for the run's shared namespace.
        directory: private folder of the run on this machine; kubeconfigs are written there.
        timeline: where it is written down when what happened.
        progress: told how far something is that takes long, and an empty text at its end.
        warn: told what is no error and worth knowing; said once, at the end of the run.
        failed: told the node id of each test that fails in it.
        note: told of everything that is made outside the namespace, and with ``None`` before the first of it.
    """

    cluster: Cluster
    api: Api
    settings: Settings
    identity: Identity
    run_id: str
    worker_id: str
    directory: Path
    timeline: Timeline
    progress: Callable[[str], None]
    warn: Callable[[str], None]
    failed: Callable[[str], None]
    note: Callable[[Tracked | None], None] = lambda thing: None


@dataclass
class State:
    """What changes while a handle lives; guarded by the handle's lock."""

    applied: list[Ref] = field(default_factory=list)
    releases: list[str] = field(default_factory=list)
    urls: dict[tuple[str, str], PortForward] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)


class Namespace:
    """A Kubernetes namespace that belongs to one worker, run, module, class or test.

    Every method may be called from several threads at once. Methods are named as in kubectl.

    Args:
        name: its name.
        uid: its UID.
        setting: the run that it belongs to.
        deadline: when it must be ready.

    Example:
        >>> def test_orders(ephemeral_ns):  # doctest: +SKIP
        ...     ephemeral_ns.apply("k8s/")
        ...     ephemeral_ns.wait_ready()
        ...     httpx.get(ephemeral_ns.url("svc/api", 8080))
    """

    def __init__(self, name: str, uid: str, setting: Setting, deadline: Deadline) -> None:
        self.name = name
        self.uid = uid
        self.deadline = deadline
        self._setting = setting
        self._state = State()
        self._lock = threading.RLock()
        self._closing = ExitStack()
        self._made: dict[str, Any] = {}

    def __repr__(self) -> str:
        return f"<Namespace {self.name} on {self._setting.cluster.provider} {self._setting.cluster.name}>"

    # Who it is

    @property
    def run_id(self) -> str:
        """The run's id; the value of the label ``pytest-ephemeral-ns/run``."""
        return self._setting.run_id

    @property
    def worker_id(self) -> str:
        """``"gw0"`` …, ``"main"`` without xdist, ``"shared"`` for the run's shared namespace."""
        return self._setting.worker_id

    @property
    def identity(self) -> Identity:
        """Project, branch or pull request, commit, CI run: what the name is made from."""
        return self._setting.identity

    @property
    def cluster_name(self) -> str:
        """The cluster as people call it: ``"embedded default"``, ``"kind-shop"``."""
        cluster = self._setting.cluster
        return cluster.name if cluster.provider == "current" else f"{cluster.provider} {cluster.name}"

    @property
    def handles(self) -> Handles:
        """Names for what a test mutates outside Kubernetes, unique to this namespace: buckets, topics, schemas."""
        from pytest_ephemeral_ns.rules.handles import Handles

        return Handles(self.name, self.uid)

    @property
    def failures(self) -> tuple[str, ...]:
        """The node ids of the tests that failed while they used this namespace."""
        with self._lock:
            return tuple(self._state.failures)

    def mark_failed(self, reason: str) -> None:
        """Remember that a test failed here; ``reason`` is its node id."""
        with self._lock:
            self._state.failures.append(reason)
        self._setting.failed(reason)

    # Ways to reach it

    @property
    def kubeconfig(self) -> Path:
        """Path of a kubeconfig, mode 0600, whose credentials can touch this namespace only; made on first use."""
        return Path(self._once("kubeconfig", self._write_kubeconfig))

    @property
    def env(self) -> dict[str, str]:
        """Variables for a subprocess: ``subprocess.run(…, env={**os.environ, **ns.env})``."""
        return {
            "KUBECONFIG": str(self.kubeconfig),
            "NAMESPACE": self.name,
            "EPHEMERAL_NS_NAMESPACE": self.name,
            "EPHEMERAL_NS_RUN_ID": self.run_id,
            "EPHEMERAL_NS_WORKER_ID": self.worker_id,
        }

    @property
    def api_client(self) -> kubernetes.client.ApiClient:
        """A ``kubernetes.client.ApiClient`` with the rights of :attr:`kubeconfig`; made, and imported, on first use."""
        client: kubernetes.client.ApiClient = self._once("api_client", self._make_api_client)
        return client

    def _write_kubeconfig(self) -> Path:
        from pytest_ephemeral_ns.access import namespace_connection
        from pytest_ephemeral_ns.clusters.current import write_kubeconfig

        setting = self._setting
        connection = namespace_connection(setting.api, self.name, seconds=setting.settings.ttl)
        self._diagnoses().learn(dict.fromkeys(connection.secrets(), "credential of the namespace"))
        return write_kubeconfig(connection, setting.directory / f"{self.name}.kubeconfig", namespace=self.name)

    def _make_api_client(self) -> kubernetes.client.ApiClient:
        # A private configuration: the library's global default is never touched, so two clusters can be used at once.
        from kubernetes import config

        client: kubernetes.client.ApiClient
        client = config.new_client_from_config(config_file=str(self.kubeconfig))  # type: ignore[no-untyped-call]
        self._closing.callback(client.close)
        return client

    def _once(self, key: str, make: Callable[[], Any]) -> Any:
        with self._lock:
            if key not in self._made:
                self._made[key] = make()
            return self._made[key]

    @property
    def _api(self) -> Api:
        return self._setting.api

    @property
    def _discovery(self) -> Discovery:
        from pytest_ephemeral_ns.kube.discovery import Discovery

        found: Discovery = self._once("discovery", lambda: Discovery(self._api))
        return found

    @property
    def _watcher(self) -> Watcher:
        return self._once("watcher", self._make_watcher)  # type: ignore[no-any-return]

    def _make_watcher(self) -> Watcher:
        from pytest_ephemeral_ns.kube.watch import Watcher

        watcher = Watcher(self._api)
        self._closing.callback(watcher.close)
        return watcher

    @contextmanager
    def _telling(self) -> Iterator[Callable[[str], None]]:
        """Give what tells how far a wait is; at its end that is of no interest any more."""
        try:
            yield self._setting.progress
        finally:
            self._setting.progress("")

    @property
    def _graces(self) -> Graces:
        from pytest_ephemeral_ns.rules.graces import Graces

        graces = Graces().changed(self._setting.settings.grace)
        fixed = self._setting.cluster.provider in ("kind", "embedded")
        return graces.with_fixed_nodes() if fixed else graces

    # Put things into it

    def apply(
        self,
        *sources: Source,
        variables: Mapping[str, str] | None = None,
        cluster_scoped: str | None = None,
        namespaces: Mapping[str, str | None] | None = None,
        force_conflicts: bool = False,
        timeout: float = APPLY_TIMEOUT,
    ) -> Deployed:
        """Apply charts, kustomizations, directories, files or objects; does not wait until they are ready.

        Args:
            sources: paths, told apart by what is inside, objects as mappings, or :class:`pytest_ephemeral_ns.Chart`.
            variables: ``${NAME}`` → value; nothing is replaced when it is ``None``. Known besides, when it is not:
                ``NAMESPACE``, ``RUN_ID``, ``WORKER_ID``, the identity (``BRANCH``, ``COMMIT``, ``PR_NUMBER`` …) and
                the handles (``TENANT``, ``DATABASE``, ``HOSTNAME`` …).
            cluster_scoped: ``"refuse"``: an object that would be outside the namespace is an error; ``"own"``: it is
                made with a name of its own and goes with the namespace. Default: ``--ephemeral-ns-cluster-scoped``.
            namespaces: what to do with objects that name a namespace: ``{"monitoring": None}`` puts them into this
                one, ``{"kube-system": "kube-system"}`` leaves them. Default: ``--ephemeral-ns-map-namespace``.
            force_conflicts: whether fields that somebody else changed are taken over.
            timeout: seconds for all of it.

        Returns:
            What was created, configured or left unchanged.

        Raises:
            ManifestError: something cannot be read or rendered; nothing was applied.
            DeployError: the API server refused an object; names it.

        Example:
            >>> ns.apply("k8s/", variables={"IMAGE_TAG": "1.2.3"})  # doctest: +SKIP
        """
        return self._deploy(
            sources,
            Deadline.after(timeout),
            variables=variables,
            cluster_scoped=cluster_scoped,
            namespaces=namespaces,
            force_conflicts=force_conflicts,
        )

    def kustomize(self, path: str | Path, variables: Mapping[str, str] | None = None, **how: Any) -> Deployed:
        """Build a kustomization and apply it; ``how`` is as for :meth:`apply`."""
        return self.apply(path, variables=variables, **how)

    def helm(
        self,
        chart: str | Path,
        release: str | None = None,
        values: Values | Sequence[Values] | None = None,
        set: Mapping[str, Any] | Sequence[str] | None = None,
        *,
        set_string: Mapping[str, Any] | Sequence[str] | None = None,
        version: str = "",
        repo: str = "",
        mode: str = "install",
        cluster_scoped: str | None = None,
        timeout: float = APPLY_TIMEOUT,
    ) -> Deployed:
        """Install or upgrade a chart; does not wait until it is ready.

        Everywhere in values ``{commit}``, ``{branch}``, ``{namespace}``, ``{tenant}``, ``{hostname}`` … are filled in:
        every field of :attr:`identity` and every handle. No value is ever seen in an argument of Helm.

        Args:
            chart: folder, archive, ``oci://`` reference, URL, ``repository/chart``, or a name when ``repo`` is given.
            release: its name; default: the chart's name.
            values: values file or files, or values as a mapping; later ones win.
            set: ``{"image.tag": "{commit}"}``, as ``helm --set`` takes them; lists and maps as they are.
            set_string: the same, kept as strings.
            version: of the chart, for repositories and registries.
            repo: URL of the chart's repository.
            mode: ``"install"`` for ``helm upgrade --install``; ``"template"`` renders it and applies the objects as
                :meth:`apply` does, hooks in order.
            cluster_scoped: see :meth:`apply`.
            timeout: seconds for all of it, hooks included.

        Returns:
            What the release contains.

        Raises:
            DeployError: Helm failed; carries its own words.

        Example:
            >>> ns.helm("deploy/chart", values="ci.yaml", set={"replicas": 1})  # doctest: +SKIP
        """
        from pytest_ephemeral_ns.deploy import chart_of

        given = chart_of(chart, release, values, set, set_string, version=version, repo=repo, mode=mode)
        return self._deploy([given], Deadline.after(timeout), cluster_scoped=cluster_scoped)

    def deploy_and_wait(self, sources: Sequence[Source], values: Sequence[str] = (), set: Sequence[str] = ()) -> None:
        """Apply sources and wait until all of it is ready, on the one deadline that began with the namespace.

        What the default of the fixture ``ephemeral_ns_deploy`` does.

        Args:
            sources: as for :meth:`apply`.
            values: values files for charts.
            set: ``KEY=VALUE`` pairs for charts.

        Raises:
            DeployError: the API server refused an object.
            WaitFailed: something can never become ready; raised at once.
            WaitTimeout: the deadline passed.
        """
        with self._telling() as tell:
            deployed = self._deploy(sources, self.deadline, helm_values=values, helm_set=set, on_progress=tell)
            self._wait_ready(deployed.refs, self.deadline, tell)

    def _deploy(
        self,
        sources: Sequence[Source],
        deadline: Deadline,
        *,
        cluster_scoped: str | None = None,
        namespaces: Mapping[str, str | None] | None = None,
        **how: Any,
    ) -> Deployed:
        from pytest_ephemeral_ns.deploy import deploy

        setting = self._setting
        scoped = cluster_scoped or setting.settings.cluster_scoped
        if scoped == "own":
            setting.note(None)
        with self._span("deploy") as row:
            deployed = deploy(
                self._api,
                self.name,
                sources,
                deadline=deadline,
                kubeconfig=lambda: setting.cluster.kubeconfig,
                labels=self._object_labels(),
                uid=self.uid,
                on_tracked=setting.note,
                fields=self._fields(),
                cluster_scoped=scoped,
                namespaces=setting.settings.namespaces if namespaces is None else namespaces,
                **self._nodes(),
                **how,
            )
            row["count"] = len(deployed.refs)
        for warning in deployed.warnings:
            setting.warn(warning)
        with self._lock:
            self._state.applied.extend(ref for ref in deployed.refs if ref not in self._state.applied)
            self._state.releases.extend(deployed.releases)
        return deployed

    def _nodes(self) -> dict[str, Any]:
        from pytest_ephemeral_ns.rules.pods import node_choice

        settings = self._setting.settings
        return node_choice(settings.node_selector, settings.toleration)

    def _fields(self) -> dict[str, str]:
        from pytest_ephemeral_ns.rules.fields import fields_of

        return fields_of(self.identity, self.handles, namespace=self.name, run_id=self.run_id, worker_id=self.worker_id)

    def _object_labels(self) -> dict[str, str]:
        from pytest_ephemeral_ns.rules.naming import RUN

        return {RUN: self.run_id}

    def delete(self, target: str, name: str | None = None, *, grace_period: int | None = None) -> bool:
        """Delete one object: ``ns.delete("deploy/api")`` or ``ns.delete("deployment", "api")``.

        Args:
            target: ``kind/name``, or the kind when ``name`` is given; short and plural names work.
            name: the object's name.
            grace_period: seconds; default: the object's own.

        Returns:
            Whether it was there.
        """
        return self._api.delete(self._path(target, name), grace_period=grace_period) is not None

    # Look at it

    def get(self, target: str, name: str | None = None) -> Object:
        """Return one object as JSON: ``ns.get("deploy/api")["status"]``.

        Raises:
            ApiError: it does not exist (``status`` 404), or reading it is not allowed.
        """
        return self._api.get(self._path(target, name))

    def list(self, kind: str, *, selector: str = "") -> Objects:
        """Return all objects of one kind in the namespace; ``selector`` is a label selector."""
        path = self._discovery.by_name(kind).path(namespace=self.name)
        return [*self._api.list(path, label_selector=selector)]

    def _path(self, target: str, name: str | None) -> str:
        kind, _, tail = target.partition("/")
        return self._discovery.by_name(kind).path(namespace=self.name, name=name or tail)

    def events(self) -> Objects:
        """Return the namespace's events, oldest first."""
        found = self._api.list(f"/api/v1/namespaces/{self.name}/events")
        return sorted(found, key=lambda e: str(e.get("lastTimestamp") or e.get("eventTime") or ""))

    def logs(
        self,
        target: str,
        *,
        container: str = "",
        previous: bool = False,
        tail: int | None = None,
        since: float | None = None,
    ) -> str:
        """Return a pod's log: ``ns.logs("deploy/api", tail=50)``.

        Args:
            target: ``pod/x``, ``deploy/x``, ``job/x`` …: the first pod of it.
            container: default: the only or first one.
            previous: the log of the container before its last restart.
            tail: last lines only.
            since: last seconds only.
        """
        from pytest_ephemeral_ns.kube.logs import read_logs

        return read_logs(self._api, self.name, target, container=container, previous=previous, tail=tail, since=since)

    def exec(
        self,
        target: str,
        command: Sequence[str],
        *,
        container: str = "",
        stdin: bytes | str | None = None,
        timeout: float = EXEC_TIMEOUT,
    ) -> ExecResult:
        """Run a command in a container: ``ns.exec("deploy/api", ["id", "-u"]).stdout``.

        Args:
            target: ``pod/x``, ``deploy/x`` …: a ready pod of it.
            command: program and arguments; no shell unless you name one.
            container: default: the only or first one.
            stdin: what it reads.
            timeout: seconds.

        Returns:
            ``returncode``, ``stdout``, ``stderr``. A non-zero exit code is not an exception.

        Raises:
            ApiError: there is no such pod or container, or exec is not allowed.
            WaitTimeout: it did not end in time.
        """
        from pytest_ephemeral_ns.kube.execute import execute
        from pytest_ephemeral_ns.kube.target import resolve_pod

        pod = resolve_pod(self._api, self.name, target)
        return execute(self._api, self.name, pod, command, container=container, stdin=stdin, timeout=timeout)

    def kubectl(self, *args: str, timeout: float = EXEC_TIMEOUT) -> str:
        """Run the real kubectl on this namespace and return what it printed.

        Raises:
            ToolError: kubectl is missing, failed or did not end in time; carries what it printed.

        Example:
            >>> ns.kubectl("get", "pods", "-o", "name")  # doctest: +SKIP
        """
        from pytest_ephemeral_ns.kube.tools import kubectl

        done = kubectl(args, kubeconfig=self.kubeconfig, namespace=self.name, timeout=timeout)
        return str(done.stdout)

    def run(
        self, image: str, command: Sequence[str], *, env: Mapping[str, str] | None = None, timeout: float = 300.0
    ) -> int:
        """Run a command as a Job in the namespace, stream its log to standard output and return its exit code.

        Args:
            image: container image.
            command: program and arguments.
            env: environment variables.
            timeout: seconds until the Job must have ended.

        Raises:
            WaitFailed: its pod can never start; says why.
            WaitTimeout: it did not end in time.

        Example:
            >>> ns.run("myapp:test", ["./run-tests.sh"])  # doctest: +SKIP
        """
        from pytest_ephemeral_ns.job import run_job

        with_limits: dict[str, Any] = {"deadline": Deadline.after(timeout), "graces": self._graces}
        return run_job(
            self._api, self._watcher, self.name, image, command, env=env or {}, nodes=self._nodes(), **with_limits
        )

    def copy_secret(self, source: str, *, name: str | None = None) -> None:
        """Copy a Secret in from another namespace: ``ns.copy_secret("ci/registry")``.

        Args:
            source: ``namespace/name``.
            name: its name here; default: the same.
        """
        from pytest_ephemeral_ns.deploy import copy_secret

        copy_secret(self._api, source, self.name, name=name, labels=self._object_labels())

    def copy_config_map(self, source: str, *, name: str | None = None) -> None:
        """Copy a ConfigMap in from another namespace: ``ns.copy_config_map("ci/company-ca", name="ca")``.

        Args:
            source: ``namespace/name``.
            name: its name here; default: the same.
        """
        from pytest_ephemeral_ns.deploy import copy_config_map

        copy_config_map(self._api, source, self.name, name=name, labels=self._object_labels())

    # Reach what runs in it

    def port_forward(self, target: str, port: int | str, *, local_port: int = 0) -> PortForward:
        """Open a listener on 127.0.0.1 that forwards to a port of a pod; closed with the namespace at the latest.

        Args:
            target: ``svc/x``, ``deploy/x``, ``pod/x`` …
            port: number or name, of the Service for a Service.
            local_port: 0 takes a free one.

        Returns:
            An object with ``port`` and ``close()``; also a context manager.

        Raises:
            UsageError: ``local_port`` is taken.
            ApiError: the target does not exist.
        """
        from pytest_ephemeral_ns.kube.forward import PortForward
        from pytest_ephemeral_ns.kube.target import resolve_target

        forward = PortForward(
            self._api, self.name, lambda: resolve_target(self._api, self.name, target, port), local_port=local_port
        )
        with self._lock:
            self._closing.callback(forward.close)
        return forward

    def url(self, target: str, port: int | str, scheme: str = "http") -> str:
        """Return a URL on 127.0.0.1 that reaches a port of ``target``; the same one each time.

        Example:
            >>> ns.url("svc/api", 8080)  # doctest: +SKIP
            'http://127.0.0.1:41235'
        """
        key = (target, str(port))
        with self._lock:
            if key not in self._state.urls:
                self._state.urls[key] = self.port_forward(target, port)
            return f"{scheme}://127.0.0.1:{self._state.urls[key].port}"

    # Wait for it

    def wait_ready(self, *targets: str, timeout: float | None = None) -> ReadyReport:
        """Wait until objects are ready: those named, or everything that was applied through this handle.

        Args:
            targets: ``"deploy/api"`` …
            timeout: seconds; default: ``--ephemeral-ns-timeout``.

        Returns:
            The verdict of each object and how long it took.

        Raises:
            WaitFailed: one of them can never become ready; names the cause. Raised at once.
            WaitTimeout: the deadline passed.
            UsageError: there is nothing to wait for.
        """
        seconds = self._setting.settings.timeout if timeout is None else timeout
        return self._wait_ready(self._refs(targets), Deadline.after(seconds))

    def _refs(self, targets: Sequence[str]) -> Sequence[Ref]:
        from pytest_ephemeral_ns.rules.objects import Ref

        if not targets:
            with self._lock:
                return tuple(self._state.applied)
        pairs = [target.partition("/") for target in targets]
        found = [(self._discovery.by_name(kind), name) for kind, _, name in pairs]
        return [Ref(r.api_version, r.kind, name, self.name) for r, name in found]

    def _wait_ready(self, refs: Sequence[Ref], deadline: Deadline, on_progress: Any = None) -> ReadyReport:
        from pytest_ephemeral_ns.ready import wait_ready

        moments = Moments(self._setting.timeline, self.name)
        with self._span("infrastructure", count=len(refs)) as row:
            try:
                return wait_ready(
                    self._api,
                    self._watcher,
                    self.name,
                    refs,
                    deadline=deadline,
                    graces=self._graces,
                    discovery=self._discovery,
                    on_progress=on_progress,
                    on_look=moments,
                )
            finally:
                row["last"] = moments.last

    def _span(self, what: str, **more: Any) -> AbstractContextManager[dict[str, Any]]:
        """Write down when a step of this namespace begins and ends."""
        return self._setting.timeline.span(what, self.name, **more)

    def wait_for_gates(self, *gates: str, timeout: float | Deadline | None = None) -> None:
        """Wait until what stands above the objects holds, one gate after the other.

        Args:
            gates: ``"job/migrate"``, ``"http://svc/api:8080/healthz"``, ``"tcp://svc/db:5432"``,
                ``"log/deploy/api:listening"``.
            timeout: seconds for all of them, or a deadline; default: ``--ephemeral-ns-timeout``.

        Raises:
            WaitFailed: a gate can never open, or an object that was applied through this handle failed meanwhile.
            WaitTimeout: the time is over; names the gate, what was seen, and how the objects are.
            UsageError: a gate is not understood.
        """
        from pytest_ephemeral_ns.ready import wait_for_gates

        seconds = self._setting.settings.timeout if timeout is None else timeout
        with self._span("application", on=", ".join(gates)), self._telling() as tell:
            wait_for_gates(
                self._api,
                self._watcher,
                self.name,
                gates,
                deadline=seconds if isinstance(seconds, Deadline) else Deadline.after(seconds),
                below=self._refs(()),
                graces=self._graces,
                on_progress=tell,
                discovery=self._discovery,
            )

    def wait_for_job(self, name: str, *, timeout: float = 300.0) -> None:
        """Wait until a Job is complete; a failed Job raises :class:`WaitFailed` at once."""
        from pytest_ephemeral_ns.ready import wait_for_job

        deadline = Deadline.after(timeout)
        with self._span("application", on=f"job/{name}"):
            wait_for_job(self._api, self._watcher, self.name, name, deadline=deadline, graces=self._graces)

    def wait_for_log(self, target: str, pattern: str, *, timeout: float = 60.0, container: str = "") -> str:
        """Wait until a line of a pod's log matches a regular expression; returns the line."""
        from pytest_ephemeral_ns.ready import wait_for_log

        deadline, graces = Deadline.after(timeout), self._graces
        with self._span("application", on=f"log of {target}"):
            return wait_for_log(
                self._api, self.name, target, pattern, deadline=deadline, container=container, graces=graces
            )

    def wait_for(self, check: Callable[[], Any], *, timeout: float = 60.0, interval: float = 0.5) -> Any:
        """Call ``check`` until it returns something true; an AssertionError means not yet, NeverReady means never."""
        from pytest_ephemeral_ns.ready import wait_for

        with self._span("application"):
            return wait_for(check, timeout=timeout, interval=interval)

    def wait_for_contract(self, target: str | Callable[[], Any], *, until: Callable[[Any], Any], **how: Any) -> Any:
        """Wait until the business action works; see :func:`pytest_ephemeral_ns.wait_for_contract`."""
        from pytest_ephemeral_ns.ready import wait_for_contract

        with self._span("contract"):
            return wait_for_contract(target, until=until, **how)

    def prove_isolation(
        self, *, unreachable: Sequence[str] = (), image: str = "", timeout: float = 180.0, settle: float = 30.0
    ) -> Proof:
        """Prove with real pods that what the namespace's policies deny is dropped, and that what they allow works.

        Two pods in the namespace and two in another one try each other, until the network plugin has carried the
        policies out, and once more.

        Args:
            unreachable: ``HOST:PORT`` outside, each to be proven out of reach.
            image: a busybox, or another with ``sh``, ``nc``, ``httpd``, ``awk`` and ``sed``; default: busybox:1.36.
            timeout: seconds for all of it.
            settle: seconds that the network plugin may take.

        Returns:
            The proof with its evidence.

        Raises:
            NotEnforced: this cluster ignores policies; under pytest the test is skipped with that reason.
            IsolationError: a host of ``unreachable`` can be reached, or it could not be found out; has the evidence.
            UsageError: the namespace has no default-deny: it was not made with the policy ``isolated``.

        Example:
            >>> ns.prove_isolation(unreachable=["prod.internal:443"])  # doctest: +SKIP
        """
        from pytest_ephemeral_ns.clusters.loading import offer_image
        from pytest_ephemeral_ns.isolation import IMAGE, Probing, prove
        from pytest_ephemeral_ns.rules.naming import marks_of

        offer_image(self._setting.cluster, image or IMAGE, progress=self._setting.progress)
        probing = Probing(image or IMAGE, unreachable, settle, self._nodes(), self._setting.progress)
        deadline = Deadline.after(timeout)
        marks = marks_of(
            self.run_id, self.worker_id, expires=datetime.now(timezone.utc) + timedelta(seconds=2 * timeout)
        )
        proof = prove(self._api, self._watcher, self.name, deadline, probing, marks=marks)
        proof.check()
        return proof

    # Say what happened in it

    def diagnose(self, *, since: float | None = None, until: float | None = None, budget: float = 20.0) -> Diagnosis:
        """Take down the cluster's side of the story: verdicts, causes, warnings, logs; never raises.

        Done by itself when a test fails. The bundle is written below ``--ephemeral-ns-artifacts``, again only when
        something has changed.

        Args:
            since: when the test began, seconds since the epoch: its events and log lines are what matters.
            until: when it ended; default: now.
            budget: seconds.

        Returns:
            ``text`` for people, ``headline``, ``bundle`` …; secrets are removed.

        Example:
            >>> print(ns.diagnose())  # doctest: +SKIP
        """
        taken = self._diagnoses()
        with self._span("diagnosis") as row:
            found = taken.take(self._api, since=since, until=until, budget=budget)
            row["headline"] = found.headline
        return found

    def redactor(self) -> Redactor:
        """Return what removes the values of this namespace's Secrets from text; asks for them, never raises."""
        return self._diagnoses().know(self._api)

    def _diagnoses(self) -> Diagnoses:
        from pytest_ephemeral_ns.diagnose import Diagnoses

        made: Diagnoses = self._once("diagnoses", lambda: Diagnoses(self.name, **self._evidence()))
        return made

    def clean(self, text: str) -> str:
        """Return the text without the values of this namespace's Secrets."""
        return self.redactor().clean_sure(text)

    def _evidence(self) -> dict[str, Any]:
        from pytest_ephemeral_ns.diagnose import Where

        settings, cluster = self._setting.settings, self._setting.cluster
        stays = settings.keep != "never" or bool(settings.reuse)
        hint = "the namespace goes when its tests are over; to keep it: pytest --ephemeral-ns --keep-on-failure"
        return {
            "where": Where(self.cluster_name, cluster.access, stays, hint),
            "directory": Path(settings.artifacts) / self.run_id / self.name,
            "log_lines": settings.log_lines,
            "ledger": self._setting.directory,
        }

    # Its end

    def close(self) -> None:
        """Close listeners, watches and clients; the namespace itself stays. Called by whoever made the handle."""
        with self._lock:
            closing = self._closing.pop_all()
            self._state.urls.clear()
        closing.close()
