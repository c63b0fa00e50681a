from __future__ import annotations

import copy

import pytest

from pytest_ephemeral_ns.rules.pods import pinned, pod_spec_of

POD = {"containers": []}


@pytest.mark.parametrize(
    ("api_version", "kind", "spec"),
    [
        ("v1", "Pod", POD),
        ("apps/v1", "Deployment", {"template": {"spec": POD}}),
        ("apps/v1", "StatefulSet", {"template": {"spec": POD}}),
        ("apps/v1", "DaemonSet", {"template": {"spec": POD}}),
        ("batch/v1", "Job", {"template": {"spec": POD}}),
        ("batch/v1", "CronJob", {"jobTemplate": {"spec": {"template": {"spec": POD}}}}),
        ("v1", "ReplicationController", {"template": {"spec": POD}}),
    ],
)
def test_every_workload_has_a_pod(api_version, kind, spec):
    obj = {"apiVersion": api_version, "kind": kind, "spec": spec}
    before = copy.deepcopy(obj)
    assert pod_spec_of(obj) == POD
    changed = pinned(obj, {"pool": "ci"}, [{"key": "ci", "operator": "Exists"}])
    assert pod_spec_of(changed) == {
        "containers": [],
        "nodeSelector": {"pool": "ci"},
        "tolerations": [{"key": "ci", "operator": "Exists"}],
    }
    assert obj == before


@pytest.mark.parametrize(
    "obj", [{"apiVersion": "v1", "kind": "Service", "spec": {}}, {"apiVersion": "x/v1", "kind": "Pod"}]
)
def test_other_things_stay(obj):
    assert pod_spec_of(obj) is None
    assert pinned(obj, {"pool": "ci"}, []) is obj


def test_what_is_there_already_stays():
    own = [{"key": "ci", "operator": "Exists"}]
    obj = {"apiVersion": "v1", "kind": "Pod", "spec": {"nodeSelector": {"a": "b", "pool": "x"}, "tolerations": own}}
    assert pinned(obj, {"pool": "ci"}, own)["spec"] == {"nodeSelector": {"a": "b", "pool": "ci"}, "tolerations": own}
