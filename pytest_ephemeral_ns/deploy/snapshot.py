"""What is there before anything is applied; this module must never change it.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pytest_ephemeral_ns.deploy.model import CONFIGURED, CREATED, UNCHANGED
from pytest_ephemeral_ns.errors import ApiError, DeployError
from pytest_ephemeral_ns.kube.api import FIELD_MANAGER, METADATA_LIST
from pytest_ephemeral_ns.rules.manifests import CONTENT, Manifest
from pytest_ephemeral_ns.rules.naming import HOME as HOME
from pytest_ephemeral_ns.rules.objects import Object
from pytest_ephemeral_ns.rules.outside import DEFINITION

if TYPE_CHECKING:
    from pytest_ephemeral_ns.kube.api import Api


@dataclass(frozen=True)
class Before:
    """What one object was like.

    Args:
        version: its resourceVersion.
        content: the digest of what we applied last; empty if there is none.
        ours: our entry among its field managers.
        labels: its labels.
    """

    version: str
    content: str = ""
    ours: Object | None = None
    labels: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, obj: Mapping[str, Any]) -> Before:
        """Return it for an object or its metadata."""
        metadata = obj["metadata"]
        return cls(
            str(metadata.get("resourceVersion") or ""),
            str((metadata.get("annotations") or {}).get(CONTENT) or ""),
            next(filter(_is_ours, metadata.get("managedFields") or ()), None),
            metadata.get("labels") or {},
        )

    def action(self, after: Before) -> str:
        """Return what an apply has changed, by what the object is like now.

        The version alone does not tell: a controller may have written to the object meanwhile, and some kinds are
        stored anew without any difference. Our entry does not tell either, because its time is in whole seconds.
        """
        if self.version == after.version:
            return UNCHANGED
        same = bool(self.content) and self.content == after.content
        return UNCHANGED if same and self.ours == after.ours else CONFIGURED


def _is_ours(entry: Mapping[str, Any]) -> bool:
    return entry.get("manager") == FIELD_MANAGER and entry.get("operation") == "Apply"


Snapshot = Mapping[str, Mapping[str, Before]]
"""By path of the collection, then by name."""


def look(api: Api, collection: str) -> dict[str, Before]:
    """Return what a collection holds, its metadata alone; nothing when there is no such collection yet."""
    try:
        return {obj["metadata"]["name"]: Before.of(obj) for obj in api.list(collection, accept=METADATA_LIST)}
    except ApiError as error:
        if error.status in (403, 404):  # may not list it, or the kind is about to be defined
            return {}
        raise


def action_of(before: Before | None, answer: Mapping[str, Any]) -> str:
    """Return what happened to an object: created, configured or unchanged."""
    return CREATED if before is None else before.action(Before.of(answer))


def refuse_others(outside: Sequence[tuple[Manifest, Before | None]], namespace: str) -> None:
    """Make sure that nothing is changed that exists already and is not of this namespace; definitions are shared.

    Raises:
        DeployError: lists every object that exists already.
    """
    taken = [
        manifest
        for manifest, before in outside
        if before is not None and manifest.object["kind"] != DEFINITION and before.labels.get(HOME) != namespace
    ]
    if taken:
        names = [f"{m.labelled}{f' in namespace {m.ref.namespace}' if m.ref.namespace else ''}" for m in taken]
        raise DeployError(
            f"{taken[0].ref} exists already and is not ours"
            if len(taken) == 1
            else f"{len(taken)} objects exist already and are not ours",
            evidence=[*names, "nothing was created"],
            command=f"kubectl get {taken[0].ref.kind.lower()} {taken[0].ref.name} --show-labels",
        )
