"""PROVISION → RELEASE: one context manager, a table of contents; this module must never leak what it made.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import copy
import logging
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_ephemeral_ns.belongings import noter
from pytest_ephemeral_ns.deadline import Deadline
from pytest_ephemeral_ns.ending import leave, let_go
from pytest_ephemeral_ns.errors import EphemeralNsError, UsageError
from pytest_ephemeral_ns.evidence import note_failure, take_evidence, tell_error, told_error, translated
from pytest_ephemeral_ns.facts import identity
from pytest_ephemeral_ns.guarding import Guard
from pytest_ephemeral_ns.interrupt import undisturbed
from pytest_ephemeral_ns.namespace import Namespace, Setting
from pytest_ephemeral_ns.presence import Presence
from pytest_ephemeral_ns.progress import Lines, status
from pytest_ephemeral_ns.provision import (
    NAMESPACES,
    Record,
    create_namespace,
)
from pytest_ephemeral_ns.rules.identity import Identity
from pytest_ephemeral_ns.rules.retention import is_failure
from pytest_ephemeral_ns.run import Run, Seat
from pytest_ephemeral_ns.settings import BY_NAME, Settings, load

if TYPE_CHECKING:
    from pytest_ephemeral_ns.deploy import Source

__tracebackhide__ = True
log = logging.getLogger("pytest_ephemeral_ns")

RELEASE_PATIENCE = 4.0  # seconds after an interrupt; an interrupted xdist worker has less than five
Deploy = Callable[[Namespace], Any]


@contextmanager
def provisioned(run: Run, deploy: Deploy, policy: str | None = None, *, gates: bool = True) -> Iterator[Namespace]:
    """Give a namespace for the length of a block: created, usable, deployed, ready; then released.

    Args:
        run: the run that it belongs to.
        deploy: fills the namespace and waits; when it failed for good once, it is not tried again in this process.
        policy: guard rails of this namespace; default: what the settings say.
        gates: whether the gates of the settings are waited for; they stand above what ``ephemeral_ns_deploy`` puts.

    Yields:
        The handle.

    Raises:
        EphemeralNsError: it could not be created, deployed or made ready; what was created is released.
    """
    attempt = (deploy, policy)  # what one policy refuses may be right for another
    run.raise_if_known(attempt)
    guard = Guard.of(run.settings, policy)
    namespace = _reused(run) if run.settings.reuse else _provision(run, run.seat.worker_id, run.next_extra())
    try:
        with _learning(run, attempt):
            _make_ready(run, namespace, guard, deploy, gates)
        yield namespace
    except BaseException as error:
        take_evidence(namespace, error, run.settings.diagnostics)
        note_failure(run.timeline, namespace, error)
        _mark_failed(run, namespace, error)
        raise
    finally:
        release(run, namespace)


def _failed(error: BaseException) -> bool:
    return is_failure([kind.__name__ for kind in type(error).__mro__])


def _mark_failed(run: Run, namespace: Namespace, error: BaseException) -> None:
    """Remember what failed while a namespace was set up or used in a block, and in which test."""
    if _failed(error):
        test = run.current_test
        namespace.mark_failed(f"{test}: {type(error).__name__}" if test else type(error).__name__)


def _reused(run: Run) -> Namespace:
    """Return a handle of the namespace that the user named: naming it is the permission to deploy into it."""
    found = run.api.get(f"{NAMESPACES}/{run.settings.reuse}")["metadata"]
    if found.get("deletionTimestamp"):
        raise UsageError(f"namespace {run.settings.reuse} is being deleted since {found['deletionTimestamp']}")
    deadline = Deadline.after(run.settings.timeout)
    run.timeline.mark("reused", found["name"], uid=found["uid"], lane=run.seat.worker_id)
    return _handle(run, Record(found["name"], found["uid"]), run.seat.worker_id, deadline)


@contextmanager
def _learning(run: Run, attempt: object) -> Iterator[None]:
    try:
        yield
    except EphemeralNsError as error:
        run.learn(attempt, error)
        raise


def _make_ready(run: Run, namespace: Namespace, guard: Guard, deploy: Deploy, gates: bool = True) -> None:
    def step(what: str) -> AbstractContextManager[object]:
        return run.timeline.span(what, namespace.name)

    guard.prepare(run.api, namespace.name, run.seat.run_id, namespace.deadline, warn=run.warn, step=step)
    deploy(namespace)
    if gates and run.settings.gate:
        namespace.wait_for_gates(*run.settings.gate, timeout=namespace.deadline)
    run.timeline.mark("ready", namespace.name)


def _provision(run: Run, worker_id: str, extra: str) -> Namespace:
    from pytest_ephemeral_ns.rules import naming
    from pytest_ephemeral_ns.rules.guardrails import pod_security_labels

    settings, seat = run.settings, run.seat
    deadline = Deadline.after(settings.timeout)

    def name_of(more: str) -> str:
        tail = "-".join(part for part in (extra, more) if part)
        return naming.namespace_name(settings.name, run.identity, run=seat.run_id[:4], worker=worker_id, extra=tail)

    labels = pod_security_labels(settings.pod_security) | naming.labels_of(
        run.identity, run_id=seat.run_id, worker_id=worker_id, scope=settings.scope, owner=run.identity.actor
    )
    annotations = naming.annotations_of(run.identity, expires=_expiry(settings.ttl), created_by=_host())

    def intended(more: str) -> str:
        name = name_of(more)
        run.remember(Record(name, ""), worker_id)  # an interrupt may come before its UID is known
        return name

    api = run.api  # reaching the cluster is a step of its own
    with run.timeline.span("create", lane=worker_id) as row:
        record = create_namespace(api, intended, labels, annotations)
        row.update(namespace=record.name, uid=record.uid)
    run.remember(record, worker_id)
    run.heart.add(record.name)
    return _handle(run, record, worker_id, deadline)


def _handle(run: Run, record: Record, worker_id: str, deadline: Deadline) -> Namespace:
    setting = Setting(
        cluster=run.cluster,
        api=run.api,
        settings=run.settings,
        identity=run.identity,
        run_id=run.seat.run_id,
        worker_id=worker_id,
        directory=run.directory,
        timeline=run.timeline,
        progress=lambda text: run.progress(status(f"{worker_id} {record.name}", text)),
        warn=run.warn,
        note=noter(run),
        failed=lambda why: run.mark_failed(record.name, why),
    )
    return Namespace(record.name, record.uid, setting, deadline)


def _expiry(seconds: float) -> datetime:
    return datetime.now(timezone.utc) + timedelta(seconds=seconds)


def _host() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


def release(run: Run, namespace: Namespace) -> None:
    """Close the handle and keep the namespace or send it away.

    A tear-down that goes wrong is a warning at the end of the run, never another test's error. An interrupt is passed
    on after the namespace is let go.
    """
    try:
        if run.settings.diagnostics == "always" and not namespace.failures:
            namespace.diagnose()
        namespace.close()
    except Exception as error:
        run.warn(f"namespace {namespace.name}: its handle did not close: {type(error).__name__}: {error}")
    finally:
        if not run.settings.reuse:
            run.heart.remove(namespace.name)
            record = Record(namespace.name, namespace.uid)
            undisturbed(lambda: let_go(run, record), patience=RELEASE_PATIENCE)


@contextmanager
def shared(run: Run, deploy: Deploy) -> Iterator[Namespace]:
    """Give the one namespace that all workers of the run share; the first that asks fills it, the sweep deletes it.

    Args:
        run: the run.
        deploy: fills the namespace and waits.

    Yields:
        A handle of this process's own; it is closed at the end of the block, the namespace stays.

    Raises:
        EphemeralNsError: it could not be made; every worker gets the first one's error without trying again. What the
            user's own deploy raised is raised as it is where it happened.
    """
    deadline = Deadline.after(run.settings.timeout)
    with run.lock("shared"):
        told = run.read("shared")
        if told is None:
            told = _make_shared(run, deploy)
    if "error" in told:
        raise told_error(told)
    namespace = _handle(run, Record(**told), "shared", deadline)
    run.heart.add(namespace.name)
    try:
        yield namespace
    finally:
        namespace.close()


def _make_shared(run: Run, deploy: Deploy) -> dict[str, Any]:
    """Make it, and write down how that went: also of an error that is not ours, which goes on from here."""
    try:
        namespace = _provision(run, "shared", "")
        try:
            _make_ready(run, namespace, Guard.of(run.settings), deploy)
        except BaseException as error:
            take_evidence(namespace, error, run.settings.diagnostics)
            note_failure(run.timeline, namespace, error)
            _mark_failed(run, namespace, error)
            if not isinstance(error, EphemeralNsError) and _failed(error):
                run.write("shared", tell_error(translated(error, namespace)))
            raise
        finally:
            namespace.close()
        told: dict[str, Any] = asdict(Record(namespace.name, namespace.uid))
    except EphemeralNsError as error:
        told = tell_error(error)
    run.write("shared", told)
    return told


def default_deploy(settings: Settings) -> Deploy:
    """Return the function that deploys what the settings list and waits until all of it is ready.

    Args:
        settings: ``deploy``, ``helm_values`` and ``helm_set`` are used here; the handle knows the others.

    Returns:
        A function of the namespace; with nothing to deploy it does nothing.
    """

    def deploy(namespace: Namespace) -> None:
        if settings.deploy:
            namespace.deploy_and_wait(settings.deploy, values=settings.helm_values, set=settings.helm_set)

    return deploy


def filler(deploy: Sequence[Source] | Deploy | None, default: Deploy) -> Deploy:
    """Return the function that fills a namespace of the factory.

    Args:
        deploy: sources, a function of the namespace, or ``None``.
        default: what ``None`` stands for.
    """
    if deploy is None:
        return default
    if callable(deploy):
        return deploy
    from pytest_ephemeral_ns.deploy.fingerprint import fingerprint

    return _Filling(copy.deepcopy(tuple(deploy)), fingerprint(deploy, Path.cwd()))


@dataclass(frozen=True)
class _Filling:
    """Sources as a function of the namespace: equal to those of another test while no file of them has changed."""

    sources: tuple[Source, ...]
    files: tuple[object, ...]

    def __call__(self, namespace: Namespace) -> None:
        if self.sources:
            namespace.deploy_and_wait(self.sources)


def check(settings: Settings, identity: Identity) -> None:
    """Find everything that is wrong with the settings and sources before a cluster is touched.

    Args:
        settings: the run's.
        identity: its fields may be named in Helm values.

    Raises:
        UsageError: the name's template, a path, a manifest, a chart; names file, document and line or field.
    """
    from pytest_ephemeral_ns.rules.naming import check_template

    check_template(settings.name)
    about_sources = (settings.deploy, settings.helm_values, settings.helm_set, settings.namespaces)
    if any((*about_sources, settings.node_selector, settings.toleration)):
        _check_sources(settings, identity)


def _check_sources(settings: Settings, identity: Identity) -> None:
    from pytest_ephemeral_ns.deploy import plan
    from pytest_ephemeral_ns.rules.fields import fields_of
    from pytest_ephemeral_ns.rules.handles import Handles
    from pytest_ephemeral_ns.rules.pods import node_choice

    plan(
        settings.deploy,
        helm_values=settings.helm_values,
        helm_set=settings.helm_set,
        cluster_scoped=settings.cluster_scoped,
        namespaces=settings.namespaces,
        fields=fields_of(identity, Handles("ns"), namespace="ns", run_id="run", worker_id="worker"),
        **node_choice(settings.node_selector, settings.toleration),
    )


@contextmanager
def ephemeral(*deploy: str | os.PathLike[str], rootdir: str | Path = ".", **options: Any) -> Iterator[Namespace]:
    """Give a namespace for the length of a block, without pytest.

    Args:
        deploy: charts, kustomizations, directories or files to deploy first.
        rootdir: the project's folder, for its name and git.
        options: any option of the plugin by its name, as its flag takes it: ``cluster="embedded"``, ``timeout="90s"``.

    Yields:
        The handle, deployed and ready.

    Raises:
        UsageError: an option or a source is wrong; nothing was created.
        EphemeralNsError: it could not be made.

    Example:
        >>> with ephemeral("k8s/", cluster="embedded") as ns:  # doctest: +SKIP
        ...     print(ns.name, ns.url("svc/api", 8080))
    """
    unknown = sorted(set(options) - set(BY_NAME))
    if unknown:
        raise TypeError(f"ephemeral() got unknown options: {', '.join(unknown)}")
    if deploy:
        options["deploy"] = [os.fspath(source) for source in deploy]
    settings = load(options, os.environ, {}, cwd=Path.cwd())
    who = identity(Path(rootdir).absolute(), os.environ)
    check(settings, who)
    seat = Seat.first()
    presence = Presence(Path(seat.directory), first=True)
    run = Run(settings, seat, who, environ=os.environ, progress=Lines(log.info))
    try:
        with provisioned(run, default_deploy(settings)) as namespace:
            yield namespace
    finally:
        ending = undisturbed(lambda: leave(run, presence, worker=False), patience=RELEASE_PATIENCE)
        for line in (*ending.warnings, *ending.sweep.warnings, *ending.outside) if ending else ():
            log.warning(line)
