"""Documents become manifests: lists are flattened, what every object needs is checked; this module must never edit one.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_ephemeral_ns.errors import ManifestError
from pytest_ephemeral_ns.rules.objects import Object, Ref
from pytest_ephemeral_ns.rules.yaml_dialect import Document

LIST = "List"
CONTENT = "pytest-ephemeral-ns/content"
"""Annotation: a digest of what we applied."""


@dataclass(frozen=True)
class Manifest:
    """One object that is to be applied, and where it is written.

    Args:
        object: as JSON.
        where: ``"k8s/api.yaml:12"``; for errors.
        part: which part of a deploy it belongs to; parts are applied one after the other.
        unwritten: whether its namespace comes from us, and was not written by anybody.
    """

    object: Object
    where: str
    part: int = 0
    unwritten: bool = field(default=False, repr=False)

    @property
    def ref(self) -> Ref:
        """Which object it is."""
        return Ref.of(self.object)

    @property
    def labelled(self) -> str:
        """The reference and the place, for errors: ``"Service/api (k8s/api.yaml:12)"``."""
        return f"{self.ref} ({self.where})"


def group_of(api_version: str) -> str:
    """Return the API group: ``"apps"`` for ``"apps/v1"``, empty for ``"v1"``."""
    return api_version.rpartition("/")[0]


def manifests_of(documents: Iterable[Document], name: str) -> list[Manifest]:
    """Return the objects of one file, in order: lists of any type flattened, empty documents left out.

    Args:
        documents: what the file says.
        name: what to call it in errors.

    Raises:
        ManifestError: something that is no Kubernetes object; names file, line, document and field.

    Example:
        >>> manifests_of([Document({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}}, 1, 3)], "x.yaml")
        [Manifest(object={'apiVersion': 'v1', 'kind': 'Service', 'metadata': {'name': 'a'}}, where='x.yaml:3', part=0)]
    """
    found: list[Manifest] = []
    for document in documents:
        if document.value is None:
            continue
        where = f"{name}:{document.line}"
        found.extend(Manifest(obj, where) for obj in _objects(document.value, f"{where}: document {document.number}"))
    return found


def _objects(value: Any, place: str) -> Iterator[Object]:
    if not isinstance(value, dict):
        raise ManifestError(f"{place}: not a Kubernetes object but {_type(value)}")
    for key in ("apiVersion", "kind"):
        if not value.get(key) or not isinstance(value[key], str):
            raise ManifestError(f"{place}: {key} is {_state(value, key)}", evidence=_hint(value))
    if is_list(value):
        yield from _items(value, place)
        return
    _check_name(value, place)
    yield value


def is_list(value: Mapping[str, Any]) -> bool:
    """Return whether it is a list of objects: a kind that ends in ``List`` and a field ``items``."""
    return str(value.get("kind", "")).endswith(LIST) and "items" in value


def _items(value: Object, place: str) -> Iterator[Object]:
    items = value["items"] or []
    if not isinstance(items, list):
        raise ManifestError(f"{place}: items is {_type(items)}, not a list")
    # The items of a typed list (RoleList) may leave out what the list says for all of them.
    kind = value["kind"].removesuffix(LIST)
    defaults = {"apiVersion": value["apiVersion"], "kind": kind} if kind else {}
    for index, item in enumerate(items):
        yield from _objects({**defaults, **item} if isinstance(item, dict) else item, f"{place}: items[{index}]")


def _check_name(value: Object, place: str) -> None:
    metadata = value.get("metadata")
    if not isinstance(metadata, dict):
        raise ManifestError(f"{place}: {value['kind']}: metadata is {_state(value, 'metadata')}")
    name = metadata.get("name")
    if isinstance(name, str) and name:
        return
    hint = ["generateName cannot be applied: each deploy would make one more"] if metadata.get("generateName") else []
    raise ManifestError(f"{place}: {value['kind']}: metadata.name is {_state(metadata, 'name')}", evidence=hint)


def _state(value: Mapping[str, Any], field: str) -> str:
    found = value.get(field)
    if found is None or found == "":
        return "missing"
    return f"{found!r}: {_type(found)}" if not isinstance(found, (dict, list)) else _type(found)


def _type(value: Any) -> str:
    names = {dict: "a mapping", list: "a list", str: "text", bool: "a boolean", int: "a number", float: "a number"}
    return names.get(type(value), "null")


def _hint(value: Mapping[str, Any]) -> list[str]:
    """Recognise files that lie beside manifests and are none."""
    if {"resources", "patches", "bases", "configMapGenerator"} & set(value):
        return ["it looks like a kustomization: name its folder, and call the file kustomization.yaml"]
    return [f"its fields are: {', '.join(list(value)[:8])}"] if value else []


def without_repeats(manifests: Iterable[Manifest]) -> list[Manifest]:
    """Return each object once; the same object written twice with different content is an error.

    Objects of one stage are applied at the same time: which of two would win is chance.

    Raises:
        ManifestError: names both places.
    """
    found: dict[tuple[str, str, str, str], Manifest] = {}
    for manifest in manifests:
        ref = manifest.ref
        first = found.setdefault((group_of(ref.api_version), ref.kind, ref.namespace, ref.name), manifest)
        if first is not manifest and first.object != manifest.object:
            raise ManifestError(
                f"{ref} is written twice, with different content",
                evidence=[f"first: {first.where}", f"again: {manifest.where}"],
            )
    return [*found.values()]


# What an export of a live object carries and nobody may apply.
_NOT_OURS = ("managedFields", "resourceVersion", "uid", "creationTimestamp", "selfLink", "generation")


def appliable(obj: Object, labels: Mapping[str, str]) -> Object:
    """Return what is sent to the server: labels and digest added, and without what only the server may write.

    Args:
        obj: as it is written.
        labels: ours; they win over the object's own of the same name.

    Example:
        >>> appliable({"kind": "Secret", "metadata": {"name": "a", "uid": "7"}, "status": {}}, {"x/run": "1"})
        {'kind': 'Secret', 'metadata': {'name': 'a', 'labels': {'x/run': '1'}}}
    """
    metadata = {key: value for key, value in labelled(obj, labels)["metadata"].items() if key not in _NOT_OURS}
    body = {**{key: value for key, value in obj.items() if key != "status"}, "metadata": metadata}
    if body["kind"] == "Secret":  # a digest would let those guess who may not read it
        return body
    annotations = {**(metadata.get("annotations") or {}), CONTENT: _digest(body)}
    return {**body, "metadata": {**metadata, "annotations": annotations}}


def labelled(obj: Object, labels: Mapping[str, str]) -> Object:
    """Return an object with labels of ours; they win over its own of the same name.

    Example:
        >>> labelled({"kind": "Secret", "metadata": {"name": "a"}}, {"x/run": "1"})
        {'kind': 'Secret', 'metadata': {'name': 'a', 'labels': {'x/run': '1'}}}
    """
    if not labels:
        return obj
    metadata = obj["metadata"]
    return {**obj, "metadata": {**metadata, "labels": {**(metadata.get("labels") or {}), **labels}}}


def _digest(body: Object) -> str:
    """Return what tells whether the input is the same; of a definition without labels: a run shares it."""
    part = body.get("spec") if body["kind"] == "CustomResourceDefinition" else body
    return hashlib.sha256(json.dumps(part, sort_keys=True).encode()).hexdigest()[:16]


def node_ports_of(obj: Object) -> list[int]:
    """Return the node ports that a Service asks for by number."""
    if obj["kind"] != "Service" or obj["apiVersion"] != "v1":
        return []
    return [port["nodePort"] for port in (obj.get("spec") or {}).get("ports") or () if port.get("nodePort")]


def without_node_ports(obj: Object) -> Object:
    """Return a Service that leaves its node ports to the cluster."""
    ports = [{key: value for key, value in port.items() if key != "nodePort"} for port in obj["spec"]["ports"]]
    return {**obj, "spec": {**obj["spec"], "ports": ports}}
