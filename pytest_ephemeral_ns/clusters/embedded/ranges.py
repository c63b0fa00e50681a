"""Address ranges that no other cluster of this machine has, for a cluster with a node; this module must never free one.

A range is free again when its link is gone, which the kernel sees to when the node's sandbox ends.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pytest_ephemeral_ns.errors import ClusterError

_MOST = 64
_LOCK_TIMEOUT = 60.0  # seconds; it is held for as long as it takes to make a link


@dataclass(frozen=True)
class Ranges:
    """What one cluster may use.

    Args:
        index: 0 to 63.

    Example:
        >>> Ranges(3).pods, Ranges(3).host_ip, Ranges(3).node_ip
        ('10.244.12.0/22', '10.97.3.1', '10.97.3.2')
    """

    index: int

    @property
    def pods(self) -> str:
        """Addresses of pods: 1022 of them."""
        return f"10.244.{4 * self.index}.0/22"

    @property
    def host_ip(self) -> str:
        """This machine's end of the link to the node."""
        return f"10.97.{self.index}.1"

    @property
    def node_ip(self) -> str:
        """The node's end of the link."""
        return f"10.97.{self.index}.2"


def claim(take: Callable[[Ranges], None]) -> Ranges:
    """Find ranges that nobody uses, and take them.

    Args:
        take: makes the link, which is what marks ranges as taken; raises :class:`ClusterError` if they are in use.

    Returns:
        The ranges that were taken.

    Raises:
        ClusterError: all are in use; the evidence is why the last one could not be taken.
    """
    import filelock

    refused: list[str] = []
    with filelock.FileLock(_lock(), timeout=_LOCK_TIMEOUT):
        for index in range(_MOST):
            if Path(f"/sys/class/net/epns{index}h").exists():
                continue
            ranges = Ranges(index)
            try:
                take(ranges)
            except ClusterError as error:
                refused = [str(error)]
                continue
            return ranges
    raise ClusterError(
        f"no address range is left for another node: all {_MOST} are in use",
        evidence=refused,
        command="ip route show table all",
    )


def _lock() -> Path:
    """Return one place for all users and state folders of this machine."""
    folder = Path("/run/lock")
    return (folder if os.access(folder, os.W_OK) else Path(tempfile.gettempdir())) / "pytest-ephemeral-ns-ranges.lock"
