"""A quota that refused a pod: whether there is room by now, or will be; this module must never count pods itself.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from pytest_ephemeral_ns.errors import UsageError
from pytest_ephemeral_ns.rules.graces import Graces
from pytest_ephemeral_ns.rules.quantities import parse_quantity
from pytest_ephemeral_ns.rules.status import fields
from pytest_ephemeral_ns.rules.status.related import Related

_REFUSED = re.compile(r"exceeded quota: (?P<name>[^,\s]+), requested: (?P<asked>.*?), used: .*, limited: ")


def quota_grace(message: str, related: Related, graces: Graces) -> float:
    """Return how long a refusal by a quota may last.

    A controller tries again after pauses that grow. So when there is room by now, the next try gets it, however long
    that takes; when there is none and every pod runs on, nobody makes room.

    Args:
        message: ``"… exceeded quota: few, requested: pods=1, used: pods=2, limited: pods=2"``.
        related: the namespace's quotas and pods.
        graces: ``quota`` and ``quota_full``.
    """
    match = _REFUSED.search(message)
    quota = related.named("ResourceQuota", match["name"]) if match else None
    if match is None or quota is None:
        return graces.quota
    if _fits(match["asked"], quota):
        return math.inf
    return graces.quota_full if _calm(related) else graces.quota


def _fits(asked: str, quota: Mapping[str, object]) -> bool:
    hard, used = fields.dig(quota, "status", "hard", default={}), fields.dig(quota, "status", "used", default={})
    try:
        for part in asked.split(","):
            name, _, amount = part.partition("=")
            if parse_quantity(used.get(name, "0")) + parse_quantity(amount) > parse_quantity(hard.get(name, "0")):
                return False
    except UsageError:
        return False
    return True


def _calm(related: Related) -> bool:
    """Whether all pods that there are run on: then none of them gives its share back."""
    return related.knows("Pod") and all(
        fields.is_true(pod, "Ready") and not fields.deleting_since(pod) for pod in related.all("Pod")
    )
