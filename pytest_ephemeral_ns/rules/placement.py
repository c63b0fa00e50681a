"""Into this namespace and nowhere else: where each object goes; this module must never change an object in place.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from pytest_ephemeral_ns.errors import ManifestError, UsageError
from pytest_ephemeral_ns.rules.follow import follow
from pytest_ephemeral_ns.rules.manifests import Manifest, group_of

REFUSE = "refuse"
OWN = "own"

IsNamespaced = Callable[[str, str], bool]
"""From apiVersion and kind."""

_CLUSTER_SCOPED = {
    "": {"Namespace", "Node", "PersistentVolume"},
    "admissionregistration.k8s.io": {
        "MutatingAdmissionPolicy",
        "MutatingAdmissionPolicyBinding",
        "MutatingWebhookConfiguration",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
        "ValidatingWebhookConfiguration",
    },
    "apiextensions.k8s.io": {"CustomResourceDefinition"},
    "apiregistration.k8s.io": {"APIService"},
    "certificates.k8s.io": {"CertificateSigningRequest", "ClusterTrustBundle"},
    "flowcontrol.apiserver.k8s.io": {"FlowSchema", "PriorityLevelConfiguration"},
    "networking.k8s.io": {"IngressClass", "IPAddress", "ServiceCIDR"},
    "node.k8s.io": {"RuntimeClass"},
    "rbac.authorization.k8s.io": {"ClusterRole", "ClusterRoleBinding"},
    "resource.k8s.io": {"DeviceClass", "ResourceSlice"},
    "scheduling.k8s.io": {"PriorityClass"},
    "storage.k8s.io": {"CSIDriver", "CSINode", "StorageClass", "VolumeAttachment", "VolumeAttributesClass"},
    "gateway.networking.k8s.io": {"GatewayClass"},
}


@dataclass(frozen=True)
class Placement:
    """Where everything goes.

    Args:
        inside: objects for the ephemeral namespace, with every reference rewritten.
        outside: cluster-scoped objects and objects of other namespaces; empty unless they may be owned.
        warnings: what was left out or changed and is worth knowing.
    """

    inside: tuple[Manifest, ...]
    outside: tuple[Manifest, ...] = ()
    warnings: tuple[str, ...] = ()


def is_namespaced(api_version: str, kind: str, definitions: Mapping[tuple[str, str], bool]) -> bool | None:
    """Return whether a kind lives in namespaces, as far as that can be known without a cluster.

    Args:
        api_version: of the object.
        kind: of the object.
        definitions: (group, kind) → namespaced, from the CustomResourceDefinitions of the same set.

    Returns:
        ``None`` for a kind of a group that is not Kubernetes' own and that the set does not define.

    Example:
        >>> is_namespaced("v1", "Pod", {}), is_namespaced("v1", "Node", {}), is_namespaced("a.io/v1", "X", {})
        (True, False, None)
    """
    group = group_of(api_version)
    if (group, kind) in definitions:
        return definitions[group, kind]
    if kind in _CLUSTER_SCOPED.get(group, ()):
        return False
    built_in = "." not in group or group in _CLUSTER_SCOPED or group in _ONLY_NAMESPACED
    return True if built_in else None


_ONLY_NAMESPACED = {"coordination.k8s.io", "discovery.k8s.io", "events.k8s.io"}


def definitions_in(manifests: Iterable[Manifest]) -> dict[tuple[str, str], bool]:
    """Return (group, kind) → namespaced for the CustomResourceDefinitions of a set."""
    found: dict[tuple[str, str], bool] = {}
    for manifest in manifests:
        if manifest.object["kind"] == "CustomResourceDefinition":
            spec = manifest.object.get("spec") or {}
            kind = (spec.get("names") or {}).get("kind") or ""
            found[str(spec.get("group") or ""), str(kind)] = spec.get("scope") != "Cluster"
    return found


def place(
    manifests: Sequence[Manifest],
    namespace: str,
    is_namespaced: IsNamespaced,
    *,
    cluster_scoped: str = REFUSE,
    namespaces: Mapping[str, str | None] | None = None,
) -> Placement:
    """Decide where each object goes, and rewrite what names a namespace that is now another one.

    Args:
        manifests: of one deploy.
        namespace: the ephemeral one.
        is_namespaced: tells about a kind.
        cluster_scoped: ``"refuse"``: an object that would be outside the namespace is an error. ``"own"``: it is ours.
        namespaces: what to do with the objects of a named namespace: ``None`` puts them into the ephemeral one,
            another name into that one (which counts as outside).

    Raises:
        ManifestError: the set spans several namespaces, or has objects outside and they are refused; lists them.

    Example:
        >>> place([], "shop-gw0", lambda api_version, kind: True)
        Placement(inside=(), outside=(), warnings=())
    """
    if cluster_scoped not in (REFUSE, OWN):
        raise UsageError(f"cluster_scoped is {cluster_scoped!r}, not {REFUSE!r} or {OWN!r}")
    homes = {id(m): _home(m, is_namespaced) for m in manifests}
    if namespaces is not None:
        namespaces = {name: None if target == namespace else target for name, target in namespaces.items()}
    ours, elsewhere = _mapping([home for home in homes.values() if home is not None], namespaces, cluster_scoped)
    inside, outside, warnings = [], [], []
    for manifest in manifests:
        home = homes[id(manifest)]
        if manifest.object["kind"] == "Namespace" and manifest.ref.name in {*ours, namespace}:
            warnings.append(f"Namespace/{manifest.ref.name} ({manifest.where}) is left out: {namespace} stands for it")
        elif home is None or home in elsewhere:
            outside.append(_moved(manifest, elsewhere.get(home or "", "")))
        else:
            inside.append(_moved(manifest, namespace))
    if outside and cluster_scoped == REFUSE:
        raise _refusal(outside)
    rewrite = follow([*inside, *outside], namespace, frozenset(ours))
    return Placement(tuple(map(rewrite, inside)), tuple(map(rewrite, outside)), tuple(warnings))


def _home(manifest: Manifest, is_namespaced: IsNamespaced) -> str | None:
    """Return the namespace that is written in an object, empty if none is; None when its kind has none."""
    ref = manifest.ref
    written = "" if manifest.unwritten else ref.namespace
    return written if is_namespaced(ref.api_version, ref.kind) else None


def _mapping(
    homes: Sequence[str], namespaces: Mapping[str, str | None] | None, cluster_scoped: str
) -> tuple[set[str], dict[str, str]]:
    """Return the names that the ephemeral namespace stands for, and where the others' objects go."""
    found = Counter(homes)
    named = [name for name in found if name]
    if namespaces is None:
        if len(named) > 1:
            raise _several(found)
        return set(named), {}
    ours = {name for name, target in namespaces.items() if target is None}
    elsewhere = {name: target for name, target in namespaces.items() if target is not None}
    left = [name for name in named if name not in namespaces]
    if left and cluster_scoped == REFUSE:
        raise _several(found)
    return ours, {**{name: name for name in left}, **elsewhere}


def _several(found: Mapping[str, int]) -> ManifestError:
    counts = [f"{name or '(none written)'}: {count} objects" for name, count in sorted(found.items())]
    names = sorted(name for name in found if name)
    everything = ", ".join(f'"{name}": None' for name in names)
    return ManifestError(
        f"the set spans several namespaces: {', '.join(names)}",
        evidence=[*counts, "None puts a namespace's objects into the ephemeral one"],
        command=f"apply(..., namespaces={{{everything}}})",
    )


def _moved(manifest: Manifest, namespace: str) -> Manifest:
    metadata = {key: value for key, value in manifest.object["metadata"].items() if key != "namespace"}
    if namespace:
        metadata["namespace"] = namespace
    return replace(manifest, object={**manifest.object, "metadata": metadata})


def refuse_outside(manifests: Iterable[Manifest], namespace: str, is_namespaced: IsNamespaced) -> None:
    """Refuse what would be outside a namespace, for objects that somebody else places: those of a Helm release.

    Args:
        manifests: as Helm renders them.
        namespace: the release's.
        is_namespaced: tells about a kind.

    Raises:
        ManifestError: lists what would be outside.
    """
    outside = [m for m in manifests if _home(m, is_namespaced) not in ("", namespace)]
    if outside:
        raise _refusal(outside)


def _refusal(outside: Sequence[Manifest]) -> ManifestError:
    shown = [_outside_line(manifest) for manifest in outside]
    count = "1 object" if len(outside) == 1 else f"{len(outside)} objects"
    return ManifestError(
        f"{count} would be outside the namespace",
        evidence=shown,
        command='leave them out, or let the deploy create and delete them: apply(..., cluster_scoped="own")',
    )


def _outside_line(manifest: Manifest) -> str:
    where = manifest.object["metadata"].get("namespace")
    return f"{manifest.labelled}{f' in namespace {where}' if where else ''}"
