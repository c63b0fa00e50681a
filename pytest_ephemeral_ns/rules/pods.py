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


def node_choice(selector: Sequence[str], taints: Sequence[str]) -> dict[str, Any]:
    """Return the options of a node pool as what :func:`pinned` takes.

    Args:
        selector: ``KEY=VALUE`` each.
        taints: ``KEY=VALUE:EFFECT`` each, see :func:`toleration_of`.

    Example:
        >>> node_choice(["pool=ci"], ["pool"])
        {'node_selector': {'pool': 'ci'}, 'tolerations': [{'key': 'pool', 'operator': 'Exists'}]}
    """
    pairs = [item.partition("=") for item in selector]
    return {
        "node_selector": {key: value for key, _, value in pairs},
        "tolerations": [toleration_of(taint) for taint in taints],
    }


def toleration_of(taint: str) -> dict[str, str]:
    """Return the toleration of a taint as ``kubectl taint`` writes it.

    Args:
        taint: ``"KEY=VALUE:EFFECT"``; without a value every value is tolerated, without an effect every effect.

    Example:
        >>> toleration_of("pool=ci:NoSchedule")
        {'key': 'pool', 'operator': 'Equal', 'value': 'ci', 'effect': 'NoSchedule'}
        >>> toleration_of("pool")
        {'key': 'pool', 'operator': 'Exists'}
    """
    left, _, effect = taint.partition(":")
    key, equal, value = left.partition("=")
    how = {"operator": "Equal", "value": value} if equal else {"operator": "Exists"}
    return {"key": key, **how, **({"effect": effect} if effect else {})}


def _with(value: Object, path: Sequence[str], leaf: Object) -> Object:
    if not path:
        return leaf
    return {**value, path[0]: _with(value[path[0]], path[1:], leaf)}
