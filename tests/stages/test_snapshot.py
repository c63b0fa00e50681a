"""What an apply has changed, told from the metadata before and after it."""

from __future__ import annotations

import pytest

from pytest_ephemeral_ns.deploy.snapshot import Before

OURS = {"manager": "pytest-ephemeral-ns", "operation": "Apply", "time": "2026-01-01T00:00:01Z", "fieldsV1": {"a": {}}}
OTHER = {"manager": "kube-controller-manager", "operation": "Update", "time": "2026-01-01T00:00:01Z"}


def seen(version, generation=None, ours=OURS, others=()):
    entries = [*([ours] if ours else []), *others]
    metadata = {"resourceVersion": version, "generation": generation, "managedFields": entries}
    return Before.of({"metadata": {key: value for key, value in metadata.items() if value is not None}})


@pytest.mark.parametrize(
    ("before", "after", "action"),
    [
        (seen("1"), seen("1"), "unchanged"),
        (seen("1"), seen("2", ours={**OURS, "time": "2026-01-01T00:00:09Z"}), "configured"),
        (seen("1", ours=None), seen("2"), "configured"),
        # within one second
        (seen("1"), seen("2"), "configured"),
        (seen("1", 1), seen("2", 2), "configured"),
        (seen("1", 1), seen("2", 1), "unchanged"),
        (seen("1"), seen("2", others=[OTHER]), "unchanged"),
        (seen("1", 1), seen("2", 2, others=[OTHER]), "unchanged"),
    ],
)
def test_action(before, after, action):
    assert before.action(after) == action
