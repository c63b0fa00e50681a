"""The names that a user may import, and nothing else; nothing is imported until it is asked for.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_ephemeral_ns.deploy import Chart
    from pytest_ephemeral_ns.errors import (
        ApiError,
        ClusterError,
        DeployError,
        EphemeralNsError,
        IsolationError,
        ManifestError,
        NeverReady,
        NotEnforced,
        NotReady,
        ToolError,
        UsageError,
        WaitFailed,
        WaitTimeout,
    )
    from pytest_ephemeral_ns.lifecycle import ephemeral
    from pytest_ephemeral_ns.namespace import Namespace
    from pytest_ephemeral_ns.ready import await_contract, wait_for_contract

__all__ = [
    "ApiError",
    "Chart",
    "ClusterError",
    "DeployError",
    "EphemeralNsError",
    "IsolationError",
    "ManifestError",
    "Namespace",
    "NeverReady",
    "NotEnforced",
    "NotReady",
    "ToolError",
    "UsageError",
    "WaitFailed",
    "WaitTimeout",
    "await_contract",
    "ephemeral",
    "wait_for_contract",
]

_HOME = {
    "Chart": "deploy.model",
    "Namespace": "namespace",
    "await_contract": "ready",
    "ephemeral": "lifecycle",
    "wait_for_contract": "ready",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOME.get(name, 'errors')}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
