"""Objects outside the namespace, so that many have theirs side by side; this module must never decide what is outside.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pytest_ephemeral_ns.rules.follow import NAME_LABEL
from pytest_ephemeral_ns.rules.manifests import Manifest, group_of
from pytest_ephemeral_ns.rules.objects import Object

ADMISSION = "admissionregistration.k8s.io"
RBAC = "rbac.authorization.k8s.io"
DEFINITION = "CustomResourceDefinition"

# Kinds whose name may be any, with the field (or roleRef) by which other objects refer to them.
_RENAMED: Mapping[tuple[str, str], tuple[str, ...]] = {
    (RBAC, "ClusterRole"): (),
    (RBAC, "ClusterRoleBinding"): (),
    (RBAC, "Role"): (),
    (RBAC, "RoleBinding"): (),
    ("scheduling.k8s.io", "PriorityClass"): ("priorityClassName",),
    ("storage.k8s.io", "StorageClass"): ("storageClassName", "volume.beta.kubernetes.io/storage-class"),
    ("networking.k8s.io", "IngressClass"): ("ingressClassName", "kubernetes.io/ingress.class"),
    ("gateway.networking.k8s.io", "GatewayClass"): ("gatewayClassName",),
    ("node.k8s.io", "RuntimeClass"): ("runtimeClassName",),
    ("", "PersistentVolume"): ("volumeName",),
    (ADMISSION, "ValidatingWebhookConfiguration"): (),
    (ADMISSION, "MutatingWebhookConfiguration"): (),
    (ADMISSION, "ValidatingAdmissionPolicy"): ("policyName",),
    (ADMISSION, "ValidatingAdmissionPolicyBinding"): (),
    (ADMISSION, "MutatingAdmissionPolicy"): ("policyName",),
    (ADMISSION, "MutatingAdmissionPolicyBinding"): (),
}
_LONGEST_NAME = 253
_AGGREGATES = "rbac.authorization.k8s.io/aggregate-to-"


def settle(manifests: Sequence[Manifest], namespace: str) -> tuple[list[Manifest], list[str]]:
    """Return the set with names outside the namespace made its own, and webhooks that see this namespace alone.

    Names get the namespace's name as a suffix where the kind allows any name, and references follow. The names of
    CustomResourceDefinitions and APIServices mean something, so they stay.

    Args:
        manifests: placed already; those whose namespace is not ``namespace`` are outside.
        namespace: the ephemeral one.

    Returns:
        The set in the same order, and warnings about what others will notice.

    Example:
        >>> settle([], "shop-gw0")
        ([], [])
    """
    renamed: dict[tuple[str, str, str], dict[str, str]] = {}
    for manifest in manifests:
        ref = manifest.ref
        if ref.namespace != namespace and (group_of(ref.api_version), ref.kind) in _RENAMED:
            names = renamed.setdefault((group_of(ref.api_version), ref.kind, ref.namespace), {})
            names[ref.name] = _suffixed(ref.name, namespace)
    fields = {field: names for (group, kind, _), names in renamed.items() for field in _RENAMED[group, kind]}
    settled = [replace(m, object=_settled(m, namespace, renamed, fields)) for m in manifests]
    warnings = [warning for m in manifests if m.ref.namespace != namespace for warning in _noticed(m)]
    return settled, warnings


def _suffixed(name: str, namespace: str) -> str:
    return f"{name[: _LONGEST_NAME - len(namespace) - 1].rstrip('.-')}-{namespace}"


def _settled(
    manifest: Manifest,
    namespace: str,
    renamed: Mapping[tuple[str, str, str], Mapping[str, str]],
    fields: Mapping[str, Mapping[str, str]],
) -> Object:
    ref, obj = manifest.ref, manifest.object
    if ref.kind != DEFINITION and fields:
        obj = _followed(obj, fields)
    name = renamed.get((group_of(ref.api_version), ref.kind, ref.namespace), {}).get(ref.name)
    if name and ref.namespace != namespace:
        obj = {**obj, "metadata": {**obj["metadata"], "name": name}}
    if role := obj.get("roleRef"):
        home = "" if role.get("kind") == "ClusterRole" else ref.namespace
        target = renamed.get((RBAC, str(role.get("kind")), home), {}).get(str(role.get("name")))
        obj = {**obj, "roleRef": {**role, "name": target}} if target else obj
    if group_of(ref.api_version) == ADMISSION:
        obj = _confined(obj, namespace)
    return obj


def _followed(value: Any, fields: Mapping[str, Mapping[str, str]]) -> Any:
    if isinstance(value, list):
        return [_followed(entry, fields) for entry in value]
    if not isinstance(value, dict):
        return value
    return {
        key: fields[key].get(entry, entry) if key in fields and isinstance(entry, str) else _followed(entry, fields)
        for key, entry in value.items()
    }


def _confined(obj: Object, namespace: str) -> Object:
    """Return webhooks and policy bindings that look at objects of this namespace only."""
    if isinstance(obj.get("webhooks"), list):
        return {**obj, "webhooks": [_selecting(hook, namespace) for hook in obj["webhooks"]]}
    if obj["kind"].endswith("PolicyBinding"):
        spec = obj.get("spec") or {}
        return {**obj, "spec": {**spec, "matchResources": _selecting(spec.get("matchResources") or {}, namespace)}}
    return obj


def _selecting(holder: Mapping[str, Any], namespace: str) -> Object:
    selector = holder.get("namespaceSelector") or {}
    labels = {**(selector.get("matchLabels") or {}), NAME_LABEL: namespace}
    return {**holder, "namespaceSelector": {**selector, "matchLabels": labels}}


def _noticed(manifest: Manifest) -> Iterable[str]:
    labels = manifest.object["metadata"].get("labels") or {}
    if any(str(label).startswith(_AGGREGATES) for label in labels):
        yield f"{manifest.labelled} adds to a ClusterRole of the whole cluster while it exists"
    if manifest.object["kind"] == "APIService":
        yield f"{manifest.labelled} serves the whole cluster while it exists"
