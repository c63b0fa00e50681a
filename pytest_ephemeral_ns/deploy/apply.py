"""Objects are applied stage by stage, those of one stage together; this module must never take others' fields unasked.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

from pytest_ephemeral_ns.deploy.definitions import DEFINITION, await_established
from pytest_ephemeral_ns.deploy.model import CONFIGURED, CREATED, UNCHANGED
from pytest_ephemeral_ns.errors import ApiError, DeployError, EphemeralNsError
from pytest_ephemeral_ns.kube.api import FIELD_MANAGER, METADATA_LIST
from pytest_ephemeral_ns.rules.manifests import Manifest, appliable
from pytest_ephemeral_ns.rules.objects import Object, Ref
from pytest_ephemeral_ns.rules.refusals import explain
from pytest_ephemeral_ns.rules.stages import in_stages

if TYPE_CHECKING:
    from pytest_ephemeral_ns.deadline import Deadline
    from pytest_ephemeral_ns.deploy.kinds import Kinds
    from pytest_ephemeral_ns.kube.api import Api

AT_ONCE = 8
LONGEST_CALL = 60.0

Progress = Callable[[str], None]
T = TypeVar("T")
R = TypeVar("R")


@dataclass
class Applied:
    """What was applied so far.

    Args:
        actions: by object, in order.
        warnings: the API server's.
    """

    actions: dict[Ref, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Before:
    """What an object was like before it was applied."""

    version: str
    generation: int | None
    ours: Object | None

    @classmethod
    def of(cls, obj: Mapping[str, Any]) -> Before:
        """Return it for an object or its metadata."""
        metadata = obj["metadata"]
        entries = metadata.get("managedFields") or ()
        ours = next((e for e in entries if e.get("manager") == FIELD_MANAGER and e.get("operation") == "Apply"), None)
        return cls(str(metadata.get("resourceVersion") or ""), metadata.get("generation"), ours)


class Applier:
    """Applies sets of objects to one server.

    Args:
        api: the server.
        kinds: where objects are found.
        labels: put on every object.
        deadline: for everything.
        force_conflicts: whether fields are taken from other managers.
        on_progress: called with one line now and then.
    """

    def __init__(
        self,
        api: Api,
        kinds: Kinds,
        labels: Mapping[str, str],
        deadline: Deadline,
        *,
        force_conflicts: bool = False,
        on_progress: Progress | None = None,
    ) -> None:
        self._api, self._kinds, self._labels, self._deadline = api, kinds, labels, deadline
        self._force = force_conflicts
        self._say = on_progress or (lambda line: None)
        self._lock = threading.Lock()
        self.applied = Applied()

    def run(self, manifests: Sequence[Manifest]) -> Applied:
        """Apply a set; an error stops it after the stage in which it came.

        Raises:
            DeployError: names what was refused and why, and what was created.
        """
        stages = in_stages(manifests)
        with _pool() as pool:
            for number, (stage, members) in enumerate(stages, 1):
                self._say(f"applying {stage} ({number}/{len(stages)}): {len(members)} objects")
                self._stage(pool, members)
        return self.applied

    def _stage(self, pool: ThreadPoolExecutor, members: Sequence[Manifest]) -> None:
        if self._deadline.expired:
            raise self._failed([(members[0], _too_late(self._deadline))])
        before: dict[str, dict[str, Before]] = {}
        collections = sorted({self._path(member, collection=True) for member in members})
        for path, found in zip(collections, _each(pool, self._existing, collections), strict=True):
            if isinstance(found, EphemeralNsError):
                raise found
            before[path] = found
        outcomes = _each(pool, lambda member: self._apply(member, before), members)
        problems = []
        for member, outcome in zip(members, outcomes, strict=True):
            if isinstance(outcome, EphemeralNsError):
                problems.append((member, outcome))
            else:
                self.applied.actions[outcome[0]] = outcome[1]
        if problems:
            raise self._failed(problems)

    def _path(self, manifest: Manifest, *, collection: bool = False) -> str:
        ref = manifest.ref
        resource = self._kinds.resource(ref.api_version, ref.kind)
        return resource.path(namespace=ref.namespace, name="" if collection else ref.name)

    def _existing(self, path: str) -> dict[str, Before]:
        try:
            return {o["metadata"]["name"]: Before.of(o) for o in self._api.list(path, accept=METADATA_LIST)}
        except ApiError as error:
            if error.status in (403, 404):  # may not list, or the kind has only just been defined
                return {}
            raise

    def _apply(self, manifest: Manifest, before: Mapping[str, Mapping[str, Before]]) -> tuple[Ref, str]:
        body = appliable(manifest.object, self._labels)
        warnings: list[str] = []
        answer = self._send(manifest, body, warnings)
        if body["kind"] == DEFINITION:
            await_established(self._api, self._path(manifest, collection=True), answer, self._deadline)
        with self._lock:
            self.applied.warnings += [f"{manifest.ref}: {warning}" for warning in warnings]
        ref = replace(manifest.ref, uid=answer["metadata"]["uid"])
        return ref, _action(before[self._path(manifest, collection=True)].get(ref.name), Before.of(answer))

    def _send(self, manifest: Manifest, body: Object, warnings: list[str]) -> Object:
        def send() -> Object:
            timeout = self._deadline.sooner(LONGEST_CALL)
            path = self._path(manifest)
            return self._api.apply(path, body, force=self._force, timeout=timeout, warnings=warnings)

        if not self._kinds.is_defined_here(body["apiVersion"], body["kind"]):
            return send()
        import tenacity

        # An established definition is served by every handler of the server a moment later.
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(_not_served_yet),
            wait=tenacity.wait_exponential(multiplier=0.02, max=0.5),
            stop=tenacity.stop_after_delay(self._deadline.sooner(10.0)),
            reraise=True,
        )
        return retrying(send)

    def _failed(self, problems: Sequence[tuple[Manifest, EphemeralNsError]]) -> DeployError:
        evidence: list[str] = []
        commands: list[str] = []
        for manifest, error in problems:
            status, body = (error.status, error.body) if isinstance(error, ApiError) else (0, {})
            why = explain(manifest.ref, status, body, error.summary)
            evidence += [f"{manifest.labelled}: {why.reason}", *(f"  {line}" for line in why.evidence)]
            commands += [command for command in (why.command, error.command) if command]
        first = problems[0][0].ref
        done = ", ".join(f"{ref} {action}" for ref, action in self.applied.actions.items())
        summary = f"{first} was refused" if len(problems) == 1 else f"{len(problems)} objects were refused"
        evidence.append(f"before that: {done}" if done else "nothing was created before that")
        return DeployError(summary, evidence=evidence, command=commands[0] if commands else None)


def _action(before: Before | None, after: Before) -> str:
    if before is None:
        return CREATED
    if before.version == after.version:
        return UNCHANGED
    # A controller may have written to it meanwhile: our own entry and the generation tell whether this call changed
    # anything. The entry alone does not, because its time is in whole seconds.
    same = before.ours is not None and before.ours == after.ours
    return UNCHANGED if same and after.generation is not None and before.generation == after.generation else CONFIGURED


def _not_served_yet(error: BaseException) -> bool:
    details = error.body.get("details") if isinstance(error, ApiError) and error.status == 404 else None
    return (
        isinstance(error, ApiError) and error.status == 404 and not (isinstance(details, dict) and details.get("name"))
    )


def _too_late(deadline: Deadline) -> DeployError:
    return DeployError(f"not applied: the deadline of {deadline.budget:.0f} s passed")


@contextmanager
def _pool() -> Iterator[ThreadPoolExecutor]:
    pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="ephemeral-ns-apply")
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _each(pool: ThreadPoolExecutor, work: Callable[[T], R], items: Sequence[T]) -> list[R | EphemeralNsError]:
    """Do the work for every item at the same time; return results and errors of ours in the order of the items."""

    def guarded(item: T) -> R | EphemeralNsError:
        try:
            return work(item)
        except EphemeralNsError as error:
            return error

    return [guarded(items[0])] if len(items) == 1 else [*pool.map(guarded, items)]
