"""Amounts of CPU and memory as Kubernetes writes them; this module must never round what it sums.

Source: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from pytest_ephemeral_ns.errors import UsageError
from pytest_ephemeral_ns.rules.objects import Object

_QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:([eE][+-]?\d+)|([KMGTPE]i|[numkMGTPE]))?")
_FACTORS = {
    **{suffix: Decimal(10) ** power for suffix, power in zip("num", (-9, -6, -3), strict=True)},
    **{suffix: Decimal(1000) ** power for power, suffix in enumerate("kMGTPE", start=1)},
    **{f"{suffix}i": Decimal(1024) ** power for power, suffix in enumerate("KMGTPE", start=1)},
}


def parse_quantity(text: str | int | float) -> Decimal:
    """Return the number that a quantity stands for.

    Args:
        text: ``"250m"``, ``"1.5"``, ``"128Mi"``, ``"1e3"``.

    Returns:
        Cores, bytes or pieces.

    Raises:
        UsageError: it is no quantity.

    Example:
        >>> parse_quantity("250m"), parse_quantity("1Ki")
        (Decimal('0.250'), Decimal('1024'))
    """
    match = _QUANTITY.fullmatch(str(text).strip())
    if not match:
        raise UsageError(f"{text!r} is not a quantity such as 250m, 1.5 or 128Mi")
    number, exponent, suffix = match.groups()
    return Decimal(number + (exponent or "")) * _FACTORS.get(suffix or "", Decimal(1))


@dataclass(frozen=True)
class Requested:
    """What pods ask the scheduler for: cores and bytes."""

    cpu: Decimal = Decimal(0)
    memory: Decimal = Decimal(0)

    def shown(self) -> tuple[str, str]:
        """Return both for people: ``("250m", "128Mi")``."""
        return _cpu(self.cpu), _memory(self.memory)


def requested(pods: Iterable[Object]) -> Requested:
    """Return what pods that have not ended ask for together.

    A pod asks for the sum of its containers and sidecars, or for its greediest init container if that is more
    (https://kubernetes.io/docs/concepts/workloads/pods/init-containers/#resource-sharing-within-containers).

    Args:
        pods: as the API server gave them.
    """
    waiting = [pod for pod in pods if (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")]
    return Requested(*(sum((_of_pod(pod, what) for pod in waiting), Decimal(0)) for what in ("cpu", "memory")))


def _of_pod(pod: Object, what: str) -> Decimal:
    spec = pod.get("spec") or {}
    inits = spec.get("initContainers") or []
    sidecars = [one for one in inits if one.get("restartPolicy") == "Always"]
    together = sum((_of_container(one, what) for one in [*(spec.get("containers") or []), *sidecars]), Decimal(0))
    overhead = parse_quantity((spec.get("overhead") or {}).get(what, 0))
    return max([together, *(_of_container(one, what) for one in inits)]) + overhead


def _of_container(container: Object, what: str) -> Decimal:
    return parse_quantity(((container.get("resources") or {}).get("requests") or {}).get(what, 0))


def _cpu(cores: Decimal) -> str:
    return str(int(cores)) if cores == int(cores) else f"{int(cores * 1000)}m"


def _memory(amount: Decimal) -> str:
    for suffix in ("Ti", "Gi", "Mi", "Ki"):
        if amount >= _FACTORS[suffix]:
            return f"{amount / _FACTORS[suffix]:.1f}".removesuffix(".0") + suffix
    return str(int(amount))
