"""Objects are applied stage by stage, those of one stage together; this module must never take others' fields unasked.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

from pytest_ephemeral_ns.deploy.definitions import Definitions
from pytest_ephemeral_ns.deploy.model import Tracked
from pytest_ephemeral_ns.deploy.snapshot import HOME, Snapshot, action_of, look, refuse_others
from pytest_ephemeral_ns.errors import ApiError, DeployError, EphemeralNsError
from pytest_ephemeral_ns.rules.manifests import Manifest, appliable, node_ports_of, without_node_ports
from pytest_ephemeral_ns.rules.objects import Object, Ref
from pytest_ephemeral_ns.rules.outside import DEFINITION
from pytest_ephemeral_ns.rules.refusals import explain, is_scaled_by_another
from pytest_ephemeral_ns.rules.stages import in_stages

if TYPE_CHECKING:
    from pytest_ephemeral_ns.deadline import Deadline
    from pytest_ephemeral_ns.deploy.kinds import Kinds
    from pytest_ephemeral_ns.kube.api import Api

AT_ONCE = 8
LONGEST_CALL = 60.0

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Manner:
    """How objects are applied.

    Args:
        namespace: the ephemeral one; objects of any other, or of none, are outside.
        deadline: for everything.
        labels: put on every object.
        uid: of the namespace: it owns what is outside, so that the cluster itself removes that after a killed run.
        force_conflicts: whether fields are taken from other managers.
        say: called with one line now and then.
        track: called with everything that was made outside, at once.
    """

    namespace: str
    deadline: Deadline
    labels: Mapping[str, str] = field(default_factory=dict)
    uid: str = ""
    force_conflicts: bool = False
    say: Callable[[str], None] = lambda line: None
    track: Callable[[Tracked], None] = lambda tracked: None

    @property
    def owned(self) -> Object:
        """The metadata of everything outside that belongs to this namespace alone."""
        owner = {"apiVersion": "v1", "kind": "Namespace", "name": self.namespace, "uid": self.uid}
        return {
            "labels": {**self.labels, HOME: self.namespace},
            **({"ownerReferences": [owner]} if self.uid else {}),
        }


class Applier:
    """Applies sets of objects to one server.

    Args:
        api: the server.
        kinds: where objects are found.
        manner: how.

    Attributes:
        actions: what happened to each object so far, in order.
        warnings: the API server's, and what was found to be there already.
    """

    def __init__(self, api: Api, kinds: Kinds, manner: Manner) -> None:
        self._api, self._kinds, self._manner = api, kinds, manner
        self._lock = threading.Lock()
        self.actions: dict[Ref, str] = {}
        self.warnings: list[str] = []

    def run(self, manifests: Sequence[Manifest]) -> list[Ref]:
        """Apply a set; an error stops it after the stage in which it came.

        Returns:
            The objects, in the order in which they were applied.

        Raises:
            DeployError: names what was refused and why, and what was created.
        """
        stages = in_stages(manifests)
        done: list[Ref] = []
        with _pool() as pool:
            before = self._look(pool, manifests)
            outside = [m for m in manifests if self._is_outside(m)]
            refuse_others([(m, before[self._path(m, "")].get(m.ref.name)) for m in outside], self._manner.namespace)
            for number, (stage, members) in enumerate(stages, 1):
                self._manner.say(f"applying {stage} ({number}/{len(stages)}): {len(members)} objects")
                done += self._stage(pool, members, before)
        return done

    def _look(self, pool: ThreadPoolExecutor, manifests: Sequence[Manifest]) -> Snapshot:
        collections = sorted({self._path(manifest, "") for manifest in manifests})
        found = _each(pool, lambda path: look(self._api, path), collections)
        snapshot = {}
        for path, answer in zip(collections, found, strict=True):
            if isinstance(answer, EphemeralNsError):
                raise answer
            snapshot[path] = answer
        return snapshot

    def _stage(self, pool: ThreadPoolExecutor, members: Sequence[Manifest], before: Snapshot) -> list[Ref]:
        if self._manner.deadline.expired:
            late = DeployError(f"not applied: the deadline of {self._manner.deadline.budget:.0f} s passed")
            raise self._failed([(members[0], late)])
        outcomes = _each(pool, self._apply, members)
        problems, done = [], []
        for member, outcome in zip(members, outcomes, strict=True):
            if isinstance(outcome, EphemeralNsError):
                problems.append((member, outcome))
                continue
            ref = replace(member.ref, uid=outcome["metadata"]["uid"])
            self.actions[ref] = action_of(before[self._path(member, "")].get(ref.name), outcome)
            done.append(ref)
        if problems:
            raise self._failed(problems)
        return done

    def _is_outside(self, manifest: Manifest) -> bool:
        return manifest.ref.namespace != self._manner.namespace

    def path_of(self, manifest: Manifest) -> str:
        """Return the path of an object."""
        return self._path(manifest)

    def any_exists(self, manifests: Sequence[Manifest]) -> bool:
        """Return whether one of the objects is there already."""
        with _pool() as pool:
            before = self._look(pool, manifests)
        return any(manifest.ref.name in before[self._path(manifest, "")] for manifest in manifests)

    def _path(self, manifest: Manifest, name: str | None = None) -> str:
        """Return the path of an object, or of its collection when ``name`` is empty."""
        ref = manifest.ref
        resource = self._kinds.resource(ref.api_version, ref.kind)
        return resource.path(namespace=ref.namespace, name=ref.name if name is None else name)

    def _apply(self, manifest: Manifest) -> Object:
        warnings: list[str] = []
        if not self._is_outside(manifest):
            answer = self._send(manifest, appliable(manifest.object, self._manner.labels), warnings)
        elif manifest.ref.kind == DEFINITION:
            answer = self._define(manifest, warnings)
        else:
            owned = dict(self._manner.owned)
            body = appliable(manifest.object, owned.pop("labels"))
            body["metadata"] = {**body["metadata"], **owned}
            answer = self._send(manifest, body, warnings)
            self._track(manifest, answer, shared=False)
        with self._lock:
            self.warnings += [f"{manifest.ref}: {warning}" for warning in warnings]
        return answer

    def _define(self, manifest: Manifest, warnings: list[str]) -> Object:
        def made(answer: Object) -> None:
            self._track(manifest, answer, shared=True)

        manner = self._manner
        definitions = Definitions(self._api, self._path(manifest, ""), manner.namespace, manner.deadline, made)
        used = definitions.use(appliable(manifest.object, manner.labels), warnings)
        if used.ours:
            made(used.object)
        else:
            warnings.append("exists already and is not of this run: it is used as it is")
        return used.object

    def _track(self, manifest: Manifest, answer: Object, *, shared: bool) -> None:
        ref = replace(manifest.ref, uid=answer["metadata"]["uid"])
        self._manner.track(Tracked(ref, self._path(manifest), shared, "" if shared else self._manner.namespace))

    def _send(self, manifest: Manifest, body: Object, warnings: list[str]) -> Object:
        try:
            return self._send_as_written(manifest, body, warnings)
        except ApiError as error:
            if is_scaled_by_another(error.status, error.body):
                # Once an autoscaler has the number of replicas, it is nobody else's.
                without = {key: value for key, value in body["spec"].items() if key != "replicas"}
                return self._send_as_written(manifest, {**body, "spec": without}, warnings)
            ports = node_ports_of(body)
            if error.status != 422 or not ports or "port is already allocated" not in str(error.body.get("message")):
                raise
            # The only thing in a Service that a whole cluster can have once. Nobody needs it where a port-forward does.
            warnings.append(f"node port {' or '.join(map(str, ports))} is taken: the cluster chose another")
            return self._send_as_written(manifest, without_node_ports(body), warnings)

    def _send_as_written(self, manifest: Manifest, body: Object, warnings: list[str]) -> Object:
        def send() -> Object:
            return self._api.apply(
                self._path(manifest),
                body,
                force=self._manner.force_conflicts,
                timeout=self._manner.deadline.sooner(LONGEST_CALL),
                warnings=warnings,
            )

        if not self._kinds.is_defined_here(body["apiVersion"], body["kind"]):
            return send()
        import tenacity

        # An established definition is served by every handler of the server a moment later.
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(_not_served_yet),
            wait=tenacity.wait_exponential(multiplier=0.02, max=0.5),
            stop=tenacity.stop_after_delay(self._manner.deadline.sooner(10.0)),
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
            evidence += [f"  {line}" for line in error.evidence if not status]
            commands += [command for command in (why.command, error.command) if command]
        first = problems[0][0].ref
        done = ", ".join(f"{ref} {action}" for ref, action in self.actions.items())
        summary = f"{first} was refused" if len(problems) == 1 else f"{len(problems)} objects were refused"
        evidence.append(f"before that: {done}" if done else "nothing was created before that")
        return DeployError(summary, evidence=evidence, command=commands[0] if commands else None)


def _not_served_yet(error: BaseException) -> bool:
    """Whether the path is unknown, not the object or its namespace: those are named in the answer."""
    if not isinstance(error, ApiError) or error.status != 404:
        return False
    details = error.body.get("details")
    return not (isinstance(details, dict) and details.get("name"))


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
