from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from pytest_ephemeral_ns.errors import UsageError
from pytest_ephemeral_ns.rules.quantities import Requested, parse_quantity, requested


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1", 1),
        (2, 2),
        ("0.5", Decimal("0.5")),
        (".5", Decimal("0.5")),
        ("250m", Decimal("0.25")),
        ("100u", Decimal("0.0001")),
        ("10n", Decimal("0.00000001")),
        ("1k", 1000),
        ("1Ki", 1024),
        ("128Mi", 128 * 1024**2),
        ("1.5Gi", 1536 * 1024**2),
        ("1E", 10**18),
        ("1e3", 1000),
        ("12E2", 1200),
    ],
)
def test_a_quantity_is_read(text: Any, number: Any) -> None:
    assert parse_quantity(text) == number


@pytest.mark.parametrize("text", ["", "m", "1 Gi", "1gi", "1KiB", "--1", "1e"])
def test_everything_else_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a quantity"):
        parse_quantity(text)


def container(cpu: str = "", memory: str = "", **rest: Any) -> dict[str, Any]:
    requests = {key: value for key, value in (("cpu", cpu), ("memory", memory)) if value}
    return {"resources": {"requests": requests}, **rest}


def pod(*containers: dict[str, Any], phase: str = "Running", **spec: Any) -> dict[str, Any]:
    return {"spec": {"containers": list(containers), **spec}, "status": {"phase": phase}}


@pytest.mark.parametrize(
    ("pods", "shown"),
    [
        ([], ("0", "0")),
        ([pod({}), pod(container())], ("0", "0")),
        ([pod(container("250m", "64Mi"), container("250m", "64Mi"))], ("500m", "128Mi")),
        ([pod(container("500m")), pod(container("500m"))], ("1", "0")),
        ([pod(container("1", "1Gi"), phase="Succeeded")], ("0", "0")),
        ([pod(container("100m"), initContainers=[container("1"), container("200m")])], ("1", "0")),
        ([pod(container("100m"), initContainers=[container("200m", restartPolicy="Always")])], ("300m", "0")),
        ([pod(container("100m", "1536Mi"), overhead={"cpu": "50m"})], ("150m", "1.5Gi")),
        ([pod(container(memory="100"))], ("0", "100")),
    ],
)
def test_what_pods_ask_for(pods: list[dict[str, Any]], shown: tuple[str, str]) -> None:
    assert requested(pods).shown() == shown


def test_nothing_is_zero() -> None:
    assert requested([]) == Requested()
