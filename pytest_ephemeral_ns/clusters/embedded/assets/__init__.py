"""The programs that an embedded cluster consists of, from wherever they can be had; this module must never run one.

In this order: a folder that the user names, the cache, the official release servers with their published checksums, a
build with Go from locked module lists.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from typing import Any

__all__ = ["ensure"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from pytest_ephemeral_ns.clusters.embedded.assets import obtain

    return getattr(obtain, name)
