"""What an apply has changed, told from the metadata before and after it."""

from __future__ import annotations

import pytest

from pytest_ephemeral_ns.deploy.snapshot import Before

OURS = {"manager": "pytest-ephemeral-ns", "operation": "Apply", "time": "2026-01-01T00:00:01Z", "fieldsV1": {"a": {}}}
LATER = {**OURS, "time": "2026-01-01T00:00:09Z"}
OTHER = {"manager": "kube-controller-manager", "operation": "Update"}


def seen(version, content="x", ours=OURS):
    annotations = {"pytest-ephemeral-ns/content": content} if content else {}
    metadata = {
        "resourceVersion": version,
        "annotations": annotations,
        "managedFields": [OTHER, *([ours] if ours else [])],
    }
    return Before.of({"metadata": metadata})


@pytest.mark.parametrize(
    ("before", "after", "action"),
    [
        (seen("1"), seen("1"), "unchanged"),
        (seen("1"), seen("2"), "unchanged"),  # a controller wrote to it, or it was stored anew
        (seen("1"), seen("2", "y"), "configured"),
        (seen("1"), seen("2", ours=LATER), "configured"),  # what somebody had changed was put right
        (seen("1", ours=None), seen("2"), "configured"),
        (seen("1", ""), seen("2", ""), "configured"),  # a Secret
        (seen("1", ""), seen("1", ""), "unchanged"),
    ],
)
def test_action(before, after, action):
    assert before.action(after) == action
