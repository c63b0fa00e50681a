"""Whether a container runs at this moment, as its runtime knows it; this module must never keep what it writes.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import re
import selectors
import time
from typing import TYPE_CHECKING, Literal

from pytest_ephemeral_ns.errors import ApiError
from pytest_ephemeral_ns.kube.channels import V4, Channels
from pytest_ephemeral_ns.kube.handshake import open_channels

if TYPE_CHECKING:
    from pytest_ephemeral_ns.kube.api import Api

Life = Literal["runs", "silent", "ended", "unknown"]
# The words of kubelet, containerd, CRI-O and cri-dockerd for a container that has ended.
_ENDED = re.compile(
    r"container \S+ not found in pod|CONTAINER_EXITED|is not created or running|container (is )?not running", re.I
)
_LISTEN = 0.05, 1.0


def life(api: Api, namespace: str, pod: str, container: str, *, timeout: float) -> Life:
    """Return whether a container runs now.

    A pod's status is what its kubelet saw at its last look, a second ago or, on a busy node, several. Before anybody is
    attached to a container, the kubelet asks the runtime for its state. A runtime too learns late of an end, but the
    output of what has ended is at its end: it is listened to for a moment, and longer where answers take longer.

    Args:
        api: the API server; needs ``get`` and ``create`` on ``pods/attach``.
        namespace: of the pod.
        pod: its name.
        container: its name.
        timeout: seconds for an answer.

    Returns:
        ``"silent"`` is a container that runs as its runtime says, but has no output any more: it has just ended, or
        has redirected it. ``"unknown"`` if it can't be found out.

    Example:
        >>> life(api, "shop", "api-5d9c7-x2x4p", "app", timeout=3)  # doctest: +SKIP
        'runs'
    """
    path = f"/api/v1/namespaces/{namespace}/pods/{pod}/attach"
    params = {"container": container, "stdout": True}
    asked = time.monotonic()
    try:
        # In v5 the API server agrees to the websocket before it asks the kubelet.
        with open_channels(api, path, params, protocols=(V4,), timeout=timeout, repeatable=False) as channels:
            shortest, longest = _LISTEN
            moment = max(shortest, min(longest, 2 * (time.monotonic() - asked)))
            return "silent" if _ends_within(channels, moment) else "runs"
    except ApiError as error:
        return "ended" if _ENDED.search(" ".join([error.summary, *error.evidence])) else "unknown"


def _ends_within(channels: Channels, seconds: float) -> bool:
    until = time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        selector.register(channels, channels.interest)
        while not channels.closed and (left := until - time.monotonic()) > 0:
            selector.select(left)
            channels.receive()
    return channels.closed
