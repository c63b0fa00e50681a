"""A real Kubernetes without Docker: control plane and node as processes of this machine; never a fake of anything.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from typing import Any

__all__ = ["down", "load", "names", "status", "up"]


def __getattr__(name: str) -> Any:
    # Lazy, so that the supervisor and the assets, which are started as modules of this package, stay quick.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from pytest_ephemeral_ns.clusters.embedded import cluster

    return getattr(cluster, name)
