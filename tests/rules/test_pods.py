from __future__ import annotations

import copy

import pytest

from pytest_ephemeral_ns.rules.pods import node_choice, pinned, pod_spec_of, toleration_of

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


@pytest.mark.parametrize(
    ("taint", "toleration"),
    [
        ("pool", {"key": "pool", "operator": "Exists"}),
        ("pool:NoExecute", {"key": "pool", "operator": "Exists", "effect": "NoExecute"}),
        ("pool=ci", {"key": "pool", "operator": "Equal", "value": "ci"}),
        ("x.io/p=ci:NoSchedule", {"key": "x.io/p", "operator": "Equal", "value": "ci", "effect": "NoSchedule"}),
    ],
)
def test_taints_as_kubectl_writes_them(taint, toleration):
    assert toleration_of(taint) == toleration


def test_a_choice_of_nodes_is_what_pinned_takes():
    choice = node_choice(["pool=ci", "disk=ssd"], ["pool"])
    pod = {"apiVersion": "v1", "kind": "Pod", "spec": {}}
    assert pinned(pod, **choice)["spec"] == {
        "nodeSelector": {"pool": "ci", "disk": "ssd"},
        "tolerations": [{"key": "pool", "operator": "Exists"}],
    }
    assert pinned(pod, **node_choice([], [])) is pod
