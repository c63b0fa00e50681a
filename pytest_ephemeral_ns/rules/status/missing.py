"""A ConfigMap or Secret that a pod wants and that does not exist; this module must never look into one.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import re

from pytest_ephemeral_ns.rules.graces import Graces
from pytest_ephemeral_ns.rules.status.related import Related

_MISSING = re.compile(r"(?P<kind>configmap|secret) \"(?P<name>(?!kube-root-ca\.crt)[^\"]*)\" not found")
_KINDS = {"configmap": "ConfigMap", "secret": "Secret"}


def missing_kind(message: str) -> str:
    """Return the kind of the object that a kubelet has not found; empty if it says nothing of the sort.

    Args:
        message: the kubelet's words.

    Example:
        >>> missing_kind('MountVolume.SetUp failed for volume "tls" : secret "tls" not found')
        'Secret'
    """
    match = _MISSING.search(message)
    return _KINDS[match["kind"]] if match else ""


def missing_grace(message: str, related: Related, graces: Graces) -> float | None:
    """Return how long a missing object may stay away; ``None`` if the message is about something else.

    A kubelet tries again after pauses that grow: when the object has come meanwhile, the next try finds it.

    Args:
        message: the kubelet's words.
        related: the namespace's ConfigMaps and Secrets, if they may be read.
        graces: ``config_object``, and ``mount`` for the time until the kubelet has looked again.
    """
    match = _MISSING.search(message)
    if match is None:
        return None
    there = related.named(_KINDS[match["kind"]], match["name"]) is not None
    return max(graces.mount, graces.config_object) if there else graces.config_object
