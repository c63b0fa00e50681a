"""Whether a container runs at this moment, as its runtime knows it; this module must never read what it writes.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pytest_ephemeral_ns.errors import ApiError
from pytest_ephemeral_ns.kube.channels import V4
from pytest_ephemeral_ns.kube.handshake import open_channels

if TYPE_CHECKING:
    from pytest_ephemeral_ns.kube.api import Api

# The words of kubelet, containerd, CRI-O and cri-dockerd for a container that has ended.
_ENDED = re.compile(
    r"container \S+ not found in pod|CONTAINER_EXITED|is not created or running|container (is )?not running", re.I
)


def runs(api: Api, namespace: str, pod: str, container: str, *, timeout: float) -> bool | None:
    """Return whether a container runs now; ``None`` if that can't be found out.

    A pod's status is what its kubelet saw at its last look, a second ago or, on a busy node, several. Before anybody is
    attached to a container, the kubelet asks the runtime for its state. Nothing is attached for longer than that.

    Args:
        api: the API server; needs ``get`` and ``create`` on ``pods/attach``.
        namespace: of the pod.
        pod: its name.
        container: its name.
        timeout: seconds.

    Example:
        >>> runs(api, "shop", "api-5d9c7-x2x4p", "app", timeout=3)  # doctest: +SKIP
        True
    """
    path = f"/api/v1/namespaces/{namespace}/pods/{pod}/attach"
    params = {"container": container, "stdout": True}
    try:
        # In v5 the API server agrees to the websocket before it asks the kubelet.
        with open_channels(api, path, params, protocols=(V4,), timeout=timeout, repeatable=False):
            return True
    except ApiError as error:
        return False if _ENDED.search(" ".join([error.summary, *error.evidence])) else None
