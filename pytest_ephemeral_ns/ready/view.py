"""The watches that a wait needs, and what they show at this moment; this module must never decide what is ready.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from pytest_ephemeral_ns.deadline import Deadline
from pytest_ephemeral_ns.errors import ApiError
from pytest_ephemeral_ns.rules.objects import Object, Ref
from pytest_ephemeral_ns.rules.status import Cause, Related, Verdict, is_stored_only, needs, proof

if TYPE_CHECKING:
    from pytest_ephemeral_ns.kube.api import Api
    from pytest_ephemeral_ns.kube.discovery import Discovery
    from pytest_ephemeral_ns.kube.resource import Resource
    from pytest_ephemeral_ns.kube.watch import Store, Watcher

_VERSIONS = {
    "Pod": "v1",
    "Event": "v1",
    "PersistentVolumeClaim": "v1",
    "ResourceQuota": "v1",
    "ReplicaSet": "apps/v1",
    "Deployment": "apps/v1",
    "StatefulSet": "apps/v1",
    "DaemonSet": "apps/v1",
    "EndpointSlice": "discovery.k8s.io/v1",
    "StorageClass": "storage.k8s.io/v1",
    "IngressClass": "networking.k8s.io/v1",
}
# Asked for only when one is missing; followed one by one as what is waited for, they say nothing about the rest.
_ASKED_FOR = {"ConfigMap": "v1", "Secret": "v1"}
# Without these an object of the kind cannot be judged at all, so they are followed from the start.
_AT_ONCE = {"Service": ("EndpointSlice",)}
_ONE_BY_ONE = 3  # so many cluster-scoped objects of a kind are followed by name; of more, the whole collection
_REREAD = 1.0
_PATIENCE = 10.0

Seen = Mapping[tuple[str, str, str], Cause]


@dataclass(frozen=True)
class Sight:
    """What is to be seen of one object.

    Args:
        obj: the object; ``None`` if it is not there.
        last: its last state, if it was there and is gone.
        error: why it can't be looked at.
        unseen: why nothing can be said yet: the first list has not arrived, or the watch has not caught up with what
            the server had when the wait began; empty if it can.
    """

    obj: Object | None = None
    last: Object | None = None
    error: ApiError | None = None
    unseen: str = ""


class View:
    """Follows the collections that are needed, and no more: those of the objects first, the rest when something lags.

    Args:
        api: the API server.
        watcher: shared by all waits of a handle.
        discovery: finds paths of kinds.
        namespace: where objects without a namespace are.
        refs: what is waited for.
        deadline: first lists are not waited for longer than this.
    """

    def __init__(
        self,
        api: Api,
        watcher: Watcher,
        discovery: Discovery,
        namespace: str,
        refs: Sequence[Ref],
        deadline: Deadline,
    ) -> None:
        self._api, self._watcher, self._discovery = api, watcher, discovery
        self._namespace, self._deadline = namespace, deadline
        self._resources: dict[Ref, Resource] = {}
        self._stores: dict[Ref, Store] = {}
        self._related: dict[str, dict[str, Store]] = {}
        self._doubted: dict[Ref, float] = {}
        self._fresh: dict[Ref, Object] = {}
        self._read: dict[Ref, tuple[float, Sight]] = {}
        self._namespaces: Store | None = None
        self._unread: dict[str, ApiError] = {}
        self._begin([ref for ref in refs if not (ref.uid and is_stored_only(ref.api_version, ref.kind))])

    def follows(self, ref: Ref) -> bool:
        """Whether this object is looked at; one that was just stored, and needs nothing more, is not."""
        return ref in self._stores

    def _begin(self, refs: Sequence[Ref]) -> None:
        for ref in refs:
            self._resources[ref] = self._discovery.find(ref.api_version, ref.kind, patience=_PATIENCE)
        counts: dict[str, int] = {}
        for resource in self._resources.values():
            counts[resource.full_name] = counts.get(resource.full_name, 0) + 1
        known: list[Ref] = []
        for ref, resource in self._resources.items():
            alone = is_stored_only(ref.api_version, ref.kind) or not resource.namespaced
            alone = alone and counts[resource.full_name] <= _ONE_BY_ONE
            store = self._follow(resource, self._place(ref), ref.name if alone else "")
            if store.synced:
                known.append(ref)
            self._stores[ref] = store
            for kind in _AT_ONCE.get(ref.kind, ()):
                self._relate(self._place(ref), kind)
        self._arrived(
            [*self._stores.values(), *(store for kinds in self._related.values() for store in kinds.values())]
        )
        self._doubted = dict.fromkeys(known, 0.0)

    def _place(self, ref: Ref) -> str:
        return (ref.namespace or self._namespace) if self._resources[ref].namespaced else ""

    def _follow(self, resource: Resource, namespace: str, name: str = "") -> Store:
        selector = f"metadata.name={name}" if name else ""
        return self._watcher.follow(resource.path(namespace=namespace), field_selector=selector, wait=False)

    def _relate(self, namespace: str, kind: str) -> None:
        kinds = self._related.setdefault(namespace, {})
        if kind not in kinds:
            resource = self._discovery.find(_VERSIONS.get(kind) or _ASKED_FOR[kind], kind)
            kinds[kind] = self._follow(resource, namespace if resource.namespaced else "")

    def _arrived(self, stores: Iterable[Store]) -> None:
        """Wait for the first lists, which all travel at the same time."""
        ends = Deadline.after(self._deadline.sooner(self._api.timeout))
        for store in stores:
            seen = 0
            while not (store.synced or store.error or ends.expired):
                seen = self._watcher.changed(seen, ends.sooner(1.0))

    def _read_again(self) -> None:
        """A watch that ran before this wait may lag behind what was applied a moment ago: note what the server has."""
        due = [ref for ref, at in self._doubted.items() if time.monotonic() - at >= _REREAD]
        for store in {id(self._stores[ref]): self._stores[ref] for ref in due}.values():
            mine = [ref for ref in due if self._stores[ref] is store]
            try:
                listed = {_name(item): item for item in self._api.list(store.path)} if len(mine) > 1 else {}
                found = {ref: listed.get(ref.name) if listed else self._api.find(self._path(ref)) for ref in mine}
            except ApiError as error:
                if error.status != 403:
                    self._doubted.update(dict.fromkeys(mine, time.monotonic()))  # out of reach for a moment
                    continue
                found = {}  # who may watch but not read has to trust the watch
            self._fresh.update({ref: item for ref, item in found.items() if item is not None})
            for ref in mine:
                del self._doubted[ref]

    def _path(self, ref: Ref) -> str:
        return self._resources[ref].path(namespace=self._place(ref), name=ref.name)

    def deepen(self, verdicts: Mapping[Ref, Verdict]) -> None:
        """Follow what explains why some objects are not ready.

        Args:
            verdicts: of all objects, so far.
        """
        wanted = {ref: () if found.ready else needs(ref.kind, found) for ref, found in verdicts.items()}
        if self._namespaces is None and self._namespace:
            resource = self._discovery.find("v1", "Namespace")
            self._namespaces = self._follow(resource, "", self._namespace)
        self._relate_all(wanted)

    def prove(self, refs: Iterable[Ref]) -> bool:
        """Follow what must be looked at before "ready" is believed; return whether that is new.

        Args:
            refs: objects that look ready.
        """
        seen = {ref: self.sight(ref).obj for ref in refs if self.follows(ref)}
        return self._relate_all({ref: proof(obj) for ref, obj in seen.items() if obj is not None})

    def _relate_all(self, wanted: Mapping[Ref, Iterable[str]]) -> bool:
        before = sum(map(len, self._related.values()))
        for ref, kinds in wanted.items():
            for kind in kinds:
                self._relate(ref.namespace or self._namespace, kind)
        if sum(map(len, self._related.values())) == before:
            return False
        self._arrived(store for stores in self._related.values() for store in stores.values())
        return True

    def sight(self, ref: Ref) -> Sight:
        """Return what is to be seen of one object now.

        Args:
            ref: one of the objects that are waited for.
        """
        store = self._stores[ref]
        if not store.synced:
            if store.error is not None:
                return self._sight_by_reading(ref, store.error)
            return Sight(unseen=store.trouble.summary if store.trouble else "the first list has not arrived yet")
        if self._doubted:
            self._read_again()
        key = (self._place(ref), ref.name)
        obj = store.get(*key)
        last = None if obj is not None else store.deleted().get(key)
        if ref in self._doubted or self._lags(ref, obj or last):
            return Sight(obj, last, unseen="the watch has not caught up yet")
        return Sight(_with_kind(obj, ref) if obj is not None else None, last)

    def _lags(self, ref: Ref, known: Object | None) -> bool:
        fresh = self._fresh.get(ref)
        if fresh is None:
            return False
        if known is None or _older(known, fresh):
            return True
        del self._fresh[ref]
        return False

    def _sight_by_reading(self, ref: Ref, refused: ApiError) -> Sight:
        """Who may not list or watch a kind may perhaps still get one object of it."""
        at, sight = self._read.get(ref, (0.0, Sight()))
        if time.monotonic() - at < _REREAD:
            return sight
        try:
            obj = self._api.find(self._path(ref))
            sight = Sight(_with_kind(obj, ref)) if obj is not None else Sight(last=sight.obj or sight.last)
        except ApiError as error:
            sight = Sight(error=refused if error.status in (401, 403) else error)
        self._read[ref] = (time.monotonic(), sight)
        return sight

    @property
    def reads(self) -> bool:
        """Whether some objects can only be had by asking again and again."""
        return bool(self._read or self._doubted)

    def related(self, namespace: str, seen: Seen, calm_since: datetime | None = None) -> Related:
        """Return what surrounds the objects of a namespace now.

        Args:
            namespace: of an object; empty for the wait's own.
            seen: the causes as they were seen first.
            calm_since: since when nothing else is on its way.
        """
        objects: dict[str, list[Object]] = {}
        for kind, store in self._related.get(namespace or self._namespace, {}).items():
            if store.synced:
                objects[kind] = list(store.snapshot().values())
        for ref, store in self._stores.items():
            # Their own collections are at hand anyway.
            here = self._resources[ref].namespaced and self._place(ref) == (namespace or self._namespace)
            if here and store.synced and ref.kind in _VERSIONS and ref.kind not in objects:
                objects[ref.kind] = list(store.snapshot().values())
        return Related(objects, seen=seen, calm_since=calm_since)

    def namespace(self) -> Object | None:
        """Return the namespace itself; ``None`` when it may not be looked at, or nobody has to."""
        if self._namespaces is None or not self._namespaces.synced:
            return None
        found = self._namespaces.get("", self._namespace)
        return found or self._namespaces.deleted().get(("", self._namespace))

    def troubles(self) -> list[str]:
        """Return, for people, what could not be read, or is out of reach at the moment."""
        lines: dict[str, str] = {}
        for kinds in self._related.values():
            for kind, store in kinds.items():
                if store.error is not None:
                    lines[kind] = f"{kind} objects could not be read, causes may be missing: {store.error.summary}"
        for store in self._stores.values():
            if store.trouble is not None:
                lines[store.path] = f"out of reach: {store.trouble.summary}"
        return list(lines.values())


def _name(obj: Object) -> str:
    return str(obj["metadata"]["name"])


def _with_kind(obj: Object, ref: Ref) -> Object:
    if obj.get("kind") and obj.get("apiVersion"):
        return obj
    return {**obj, "apiVersion": ref.api_version, "kind": ref.kind}


def _older(obj: Object, fresh: Object) -> bool:
    """Resource versions are decimal numbers that grow (KEP-5504); others can only be equal or not."""
    ours, theirs = (str(item["metadata"].get("resourceVersion", "")) for item in (obj, fresh))
    if ours.isdigit() and theirs.isdigit():
        return int(ours) < int(theirs)
    return ours != theirs
