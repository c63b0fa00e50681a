"""What a run made outside its namespaces: noted at once, removed with them, told when it stays.

This module must never remove what the run did not make: everything is named by its UID.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pytest_ephemeral_ns.errors import ApiError, EphemeralNsError
from pytest_ephemeral_ns.rules.naming import RUN
from pytest_ephemeral_ns.rules.objects import Ref

if TYPE_CHECKING:
    from pytest_ephemeral_ns.deadline import Deadline
    from pytest_ephemeral_ns.deploy import Tracked
    from pytest_ephemeral_ns.kube.api import Api
    from pytest_ephemeral_ns.reap import Found
    from pytest_ephemeral_ns.run import Run

__tracebackhide__ = True
BEGAN = "outside-began"
NOTED = "outside"
VOLUMES = "/api/v1/persistentvolumes"


def noter(run: Run) -> Callable[[Tracked | None], None]:
    """Return what a handle tells of things outside: ``None`` before the first one is made, then each at once.

    Args:
        run: whose ledger it is written into.
    """

    def note(thing: Tracked | None) -> None:
        if thing is None:
            run.write(BEGAN, {})
        else:
            run.write(f"{NOTED}/{thing.ref.uid}", asdict(thing))

    return note


def _things(notes: Iterable[dict[str, Any]]) -> list[Tracked]:
    from pytest_ephemeral_ns.deploy import Tracked

    return [Tracked(**{**told, "ref": Ref(**told["ref"])}) for told in notes]


def remove_outside(run: Run, namespace: str) -> list[str]:
    """Remove what belongs to one namespace, before that is deleted: nothing must stand in its way.

    What the namespaces of a run share stays until the end of the run.

    Args:
        run: the run.
        namespace: its name.

    Returns:
        One sentence for everything that could not be removed, with the command that removes it.
    """
    notes = [told for told in run.read_all(NOTED) if told["home"] == namespace]
    if not notes:
        return []
    from pytest_ephemeral_ns.deploy import remove_cluster_scoped

    mine = _things(notes)
    problems = remove_cluster_scoped(run.api, mine, namespace)
    for thing in mine:
        run.forget(f"{NOTED}/{thing.ref.uid}")
    return problems


def remove_rest(run: Run, kept: Collection[str]) -> list[str]:
    """Remove what no process of the run removed, and what its namespaces shared; called once, at its end.

    Args:
        run: the run.
        kept: names of the namespaces that stay: theirs stays too.

    Returns:
        See :func:`remove_outside`.
    """
    if run.read(BEGAN) is None:
        return []
    from pytest_ephemeral_ns.deploy import remove_cluster_scoped

    # The ledger knows what may not be listed; the labels know what was made just before a process was killed.
    things = {thing.ref.uid: thing for thing in (*_found(run), *_things(run.read_all(NOTED))) if thing.home not in kept}
    return remove_cluster_scoped(run.api, things.values())


def _found(run: Run, **which: Any) -> list[Tracked]:
    from pytest_ephemeral_ns.deploy import find_outside
    from pytest_ephemeral_ns.kube.discovery import Discovery

    return find_outside(run.api, Discovery(run.api), run=run.seat.run_id, **which)


def remaining(run: Run, kept: Collection[str]) -> list[str]:
    """Return a line for everything of the run that is left outside its namespaces at its end.

    Args:
        run: the run.
        kept: names of the namespaces that stay; theirs is not told.
    """
    try:
        left = _found(run, going=False) if run.read(BEGAN) is not None else []
        return [*map(_line, _unkept(left, kept)), *_volumes(run, kept)]
    except EphemeralNsError as error:
        return [f"what is left outside the namespaces could not be looked up: {error.summary}"]


def _unkept(things: Iterable[Tracked], kept: Collection[str]) -> list[Tracked]:
    return [thing for thing in things if thing.home not in kept and not (thing.shared and kept)]


def wait_outside_gone(run: Run, kept: Collection[str], deadline: Deadline) -> list[str]:
    """Wait until what is being deleted outside is gone, for ``--ephemeral-ns-wait-deleted``.

    Args:
        run: the run.
        kept: names of the namespaces that stay; theirs stays too.
        deadline: when to stop waiting.

    Returns:
        A line for everything that is still there, with what holds it.
    """
    if run.read(BEGAN) is None:
        return []
    try:
        going = _found(run, wanted=lambda obj: bool(obj["metadata"].get("deletionTimestamp")))
        return [line for thing in _unkept(going, kept) if (line := _held(run.api, thing, deadline))]
    except EphemeralNsError as error:
        return [f"that all is gone outside the namespaces could not be confirmed: {error.summary}"]


def _held(api: Api, thing: Tracked, deadline: Deadline) -> str:
    """Look until an object is gone; return what holds it at the deadline."""
    import tenacity

    def look() -> dict[str, Any]:
        metadata: dict[str, Any] = (api.find(thing.path) or {}).get("metadata") or {}
        return metadata if metadata.get("uid") == thing.ref.uid else {}

    looking = tenacity.Retrying(
        retry=tenacity.retry_if_result(bool),
        wait=tenacity.wait_exponential(multiplier=0.1, max=1),
        stop=tenacity.stop_after_delay(deadline.remaining()),
        retry_error_callback=lambda state: state.outcome.result() if state.outcome else {},
    )
    metadata = looking(look)
    if not metadata:
        return ""
    by = ", ".join(metadata.get("finalizers") or ()) or "nothing that it names"
    command = f"{_kubectl('get', thing.ref)} --output yaml"
    return f"remains: {thing.ref}: it is being deleted since {metadata['deletionTimestamp']}, held by {by}; → {command}"


def _line(thing: Tracked) -> str:
    return f"remains: {thing.ref}; → {_kubectl('delete', thing.ref)}"


def _kubectl(verb: str, ref: Ref) -> str:
    return f"kubectl {verb} {ref.kind.lower()} {ref.name}{f' --namespace {ref.namespace}' if ref.namespace else ''}"


def _volumes(run: Run, kept: Collection[str]) -> Iterator[str]:
    """Yield the volumes that their reclaim policy lets outlive their claims."""
    ours = {record.name for record in run.created()} - {*kept}
    try:
        volumes = [*run.api.list(VOLUMES)] if ours else []
    except ApiError as error:
        if error.status != 403:
            raise
        return
    for volume in volumes:
        spec: dict[str, Any] = volume.get("spec") or {}
        claim = spec.get("claimRef") or {}
        if spec.get("persistentVolumeReclaimPolicy") == "Retain" and claim.get("namespace") in ours:
            name = volume["metadata"]["name"]
            yield (
                f"remains: PersistentVolume/{name} of claim {claim['namespace']}/{claim.get('name')}: "
                f"its reclaim policy is Retain; → kubectl delete persistentvolume {name}"
            )


def remove_of(api: Api, deleted: Collection[Found]) -> list[str]:
    """Remove what belongs to namespaces that were just deleted, and definitions whose run has no other.

    For whoever has no ledger: the command and the janitor.

    Args:
        api: the server.
        deleted: the namespaces.

    Returns:
        See :func:`remove_outside`.
    """
    if not deleted:
        return []
    from pytest_ephemeral_ns.deploy import find_outside, remove_cluster_scoped
    from pytest_ephemeral_ns.kube.discovery import Discovery

    names = {one.name for one in deleted}
    try:
        found = find_outside(api, Discovery(api), run={one.labels[RUN] for one in deleted}, going=False)
    except EphemeralNsError as error:
        return [f"what is left outside {', '.join(sorted(names))} could not be looked up: {error.summary}"]
    return remove_cluster_scoped(api, [t for t in found if t.shared or t.home in names], *names)
