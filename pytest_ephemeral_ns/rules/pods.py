"""The pod inside of any workload; this module must never change an object in place.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pytest_ephemeral_ns.rules.manifests import group_of
from pytest_ephemeral_ns.rules.objects import Object

_PATHS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("", "Pod"): ("spec",),
    ("", "ReplicationController"): ("spec", "template", "spec"),
    ("apps", "Deployment"): ("spec", "template", "spec"),
    ("apps", "StatefulSet"): ("spec", "template", "spec"),
    ("apps", "DaemonSet"): ("spec", "template", "spec"),
    ("apps", "ReplicaSet"): ("spec", "template", "spec"),
    ("batch", "Job"): ("spec", "template", "spec"),
    ("batch", "CronJob"): ("spec", "jobTemplate", "spec", "template", "spec"),
}


def pod_spec_of(obj: Mapping[str, Any]) -> Object | None:
    """Return the pod spec of a workload; ``None`` for anything else.

    Example:
        >>> pod_spec_of({"apiVersion": "v1", "kind": "Pod", "spec": {"containers": []}})
        {'containers': []}
    """
    path = _PATHS.get((group_of(str(obj.get("apiVersion"))), str(obj.get("kind"))))
    found: Any = obj if path else None
    for key in path or ():
        found = found.get(key) if isinstance(found, Mapping) else None
    return found if isinstance(found, dict) else None


def containers_of(spec: Mapping[str, Any]) -> Iterator[Object]:
    """Yield the containers of a pod spec, those of its start included."""
    for field in ("initContainers", "containers"):
        yield from (container for container in spec.get(field) or () if isinstance(container, dict))


def pinned(obj: Object, node_selector: Mapping[str, str], tolerations: Sequence[Mapping[str, Any]]) -> Object:
    """Return a workload whose pods go to certain nodes; what is no workload stays as it is.

    Args:
        obj: any object.
        node_selector: labels of the nodes; they win over the object's own of the same name.
        tolerations: added to the object's own.

    Example:
        >>> pinned({"apiVersion": "v1", "kind": "Pod", "spec": {}}, {"pool": "ci"}, [])["spec"]
        {'nodeSelector': {'pool': 'ci'}}
    """
    spec = pod_spec_of(obj)
    if spec is None or not (node_selector or tolerations):
        return obj
    changed = dict(spec)
    if node_selector:
        changed["nodeSelector"] = {**(spec.get("nodeSelector") or {}), **node_selector}
    if tolerations:
        own = spec.get("tolerations") or []
        changed["tolerations"] = [*own, *(dict(t) for t in tolerations if t not in own)]
    return _with(obj, _PATHS[group_of(obj["apiVersion"]), obj["kind"]], changed)


def _with(value: Object, path: Sequence[str], leaf: Object) -> Object:
    if not path:
        return leaf
    return {**value, path[0]: _with(value[path[0]], path[1:], leaf)}
