from __future__ import annotations

import copy

import pytest

from pytest_ephemeral_ns.rules.manifests import Manifest
from pytest_ephemeral_ns.rules.outside import settle

RBAC = "rbac.authorization.k8s.io/v1"
ADMISSION = "admissionregistration.k8s.io/v1"


def thing(kind, name, namespace="", api_version="v1", **more):
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return Manifest({"apiVersion": api_version, "kind": kind, "metadata": metadata, **more}, f"{name}.yaml:1")


def settled(*manifests):
    before = copy.deepcopy(manifests)
    found, _ = settle(manifests, "ns")
    assert manifests == before
    return [m.object for m in found]


@pytest.mark.parametrize(
    ("kind", "api_version", "name"),
    [
        ("ClusterRole", RBAC, "a-ns"),
        ("ClusterRoleBinding", RBAC, "a-ns"),
        ("PriorityClass", "scheduling.k8s.io/v1", "a-ns"),
        ("StorageClass", "storage.k8s.io/v1", "a-ns"),
        ("MutatingWebhookConfiguration", ADMISSION, "a-ns"),
        ("CustomResourceDefinition", "apiextensions.k8s.io/v1", "a"),
        ("APIService", "apiregistration.k8s.io/v1", "a"),
        ("ClusterIssuer", "cert-manager.io/v1", "a"),
        ("Namespace", "v1", "a"),
    ],
)
def test_names_get_a_suffix_where_any_name_will_do(kind, api_version, name):
    assert settled(thing(kind, "a", api_version=api_version))[0]["metadata"]["name"] == name


def test_names_inside_stay_and_long_ones_are_cut():
    inside, outside = settled(thing("Role", "a", "ns", RBAC), thing("ClusterRole", "a" * 253, "", RBAC))
    assert inside["metadata"]["name"] == "a"
    assert len(outside["metadata"]["name"]) == 253
    assert outside["metadata"]["name"].endswith("a-ns")


@pytest.mark.parametrize(
    ("binding", "role", "namespace", "name"),
    [
        ("ClusterRoleBinding", "ClusterRole", "", "a-ns"),
        ("RoleBinding", "ClusterRole", "ns", "a-ns"),
        ("RoleBinding", "Role", "ns", "a"),
        ("RoleBinding", "Role", "kube-system", "a-ns"),
    ],
)
def test_bindings_follow_their_role(binding, role, namespace, name):
    roles = [
        thing("ClusterRole", "a", "", RBAC),
        thing("Role", "a", "ns", RBAC),
        thing("Role", "a", "kube-system", RBAC),
    ]
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": role, "name": "a"}
    *_, found = settled(*roles, thing(binding, "b", namespace, RBAC, roleRef=reference))
    assert found["roleRef"]["name"] == name


def test_a_binding_to_a_role_of_the_cluster_stays():
    found = settled(thing("ClusterRoleBinding", "b", "", RBAC, roleRef={"kind": "ClusterRole", "name": "view"}))
    assert found[0]["roleRef"]["name"] == "view"


def test_classes_are_followed_by_their_users():
    pod = {"priorityClassName": "high", "runtimeClassName": "gvisor", "containers": []}
    claims = [{"spec": {"storageClassName": "fast"}}, {"spec": {"storageClassName": "standard"}}]
    *_, found = settled(
        thing("PriorityClass", "high", "", "scheduling.k8s.io/v1"),
        thing("RuntimeClass", "gvisor", "", "node.k8s.io/v1"),
        thing("StorageClass", "fast", "", "storage.k8s.io/v1"),
        thing("StatefulSet", "s", "ns", "apps/v1", spec={"template": {"spec": pod}, "volumeClaimTemplates": claims}),
    )
    spec = found["spec"]
    assert spec["template"]["spec"] == {**pod, "priorityClassName": "high-ns", "runtimeClassName": "gvisor-ns"}
    assert [c["spec"]["storageClassName"] for c in spec["volumeClaimTemplates"]] == ["fast-ns", "standard"]


def test_webhooks_see_this_namespace_alone():
    hooks = [{"name": "a"}, {"name": "b", "namespaceSelector": {"matchLabels": {"x": "y"}}}]
    found = settled(thing("ValidatingWebhookConfiguration", "w", "", ADMISSION, webhooks=hooks))[0]
    only = {"kubernetes.io/metadata.name": "ns"}
    assert [h["namespaceSelector"]["matchLabels"] for h in found["webhooks"]] == [only, {"x": "y", **only}]


def test_policy_bindings_see_this_namespace_alone_and_follow_their_policy():
    _, found = settled(
        thing("ValidatingAdmissionPolicy", "p", "", ADMISSION, spec={}),
        thing("ValidatingAdmissionPolicyBinding", "b", "", ADMISSION, spec={"policyName": "p"}),
    )
    assert found["spec"]["policyName"] == "p-ns"
    assert found["spec"]["matchResources"]["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "ns"}


def test_what_others_will_notice_is_a_warning():
    role = thing("ClusterRole", "a", "", RBAC)
    role.object["metadata"]["labels"] = {"rbac.authorization.k8s.io/aggregate-to-view": "true"}
    _, warnings = settle([role, thing("APIService", "v1.x.io", "", "apiregistration.k8s.io/v1")], "ns")
    assert warnings == [
        "ClusterRole/a (a.yaml:1) adds to a ClusterRole of the whole cluster while it exists",
        "APIService/v1.x.io (v1.x.io.yaml:1) serves the whole cluster while it exists",
    ]
