"""One Kubernetes object as data, and a reference to one; this module must never know what a kind means.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]
"""One Kubernetes object as JSON, exactly as the API server gives it."""


@dataclass(frozen=True, order=True)
class Ref:
    """Which object is meant.

    Args:
        api_version: ``"v1"``, ``"apps/v1"`` …
        kind: ``"Deployment"``.
        name: ``metadata.name``.
        namespace: empty for cluster-scoped objects.
        uid: empty when it is not known; part of the comparison, because a new object of the same name is another one.

    Example:
        >>> str(Ref("apps/v1", "Deployment", "api", "shop"))
        'Deployment/api'
    """

    api_version: str
    kind: str
    name: str
    namespace: str = ""
    uid: str = ""

    @classmethod
    def of(cls, obj: Mapping[str, Any]) -> Ref:
        """Return the reference to ``obj``; fields that it does not have are empty.

        Args:
            obj: one Kubernetes object as JSON.
        """
        metadata = obj.get("metadata") or {}
        return cls(
            api_version=str(obj.get("apiVersion") or ""),
            kind=str(obj.get("kind") or ""),
            name=str(metadata.get("name") or ""),
            namespace=str(metadata.get("namespace") or ""),
            uid=str(metadata.get("uid") or ""),
        )

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"
