"""The facts behind warnings, asked for only when somebody needs them; this module must never fail a deploy.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytest_ephemeral_ns.errors import ApiError
from pytest_ephemeral_ns.rules.manifests import Manifest
from pytest_ephemeral_ns.rules.objects import Object
from pytest_ephemeral_ns.rules.warnings import Facts, claims_of, warnings_for

if TYPE_CHECKING:
    from pytest_ephemeral_ns.kube.api import Api


def advise(api: Api, manifests: Sequence[Manifest]) -> list[str]:
    """Return warnings about what is going to be deployed.

    Args:
        api: the server; asked for StorageClasses only if there are claims, for nodes only if there are balancers.
        manifests: all objects.

    Example:
        >>> def example(api):
        ...     return advise(api, [])
    """
    claims = any(True for manifest in manifests for _ in claims_of(manifest.object))
    balancers = any(
        (m.object.get("spec") or {}).get("type") == "LoadBalancer" for m in manifests if m.ref.kind == "Service"
    )
    classes = _listed(api, "/apis/storage.k8s.io/v1/storageclasses") if claims else None
    nodes = _listed(api, "/api/v1/nodes") if balancers else None
    services = _listed(api, "/api/v1/services") if nodes is not None else None
    return warnings_for(
        manifests,
        Facts(
            classes,
            None if nodes is None else [str((node.get("spec") or {}).get("providerID") or "") for node in nodes],
            any(((s.get("status") or {}).get("loadBalancer") or {}).get("ingress") for s in services or ()),
        ),
    )


def _listed(api: Api, path: str) -> list[Object] | None:
    """Return a list, or None when it cannot be had: a warning less is no reason to fail."""
    try:
        return [*api.list(path)]
    except ApiError:
        return None
