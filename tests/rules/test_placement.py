from __future__ import annotations

import copy

import pytest

from pytest_ephemeral_ns.errors import ManifestError, UsageError
from pytest_ephemeral_ns.rules.manifests import Manifest
from pytest_ephemeral_ns.rules.placement import definitions_in, is_namespaced, place

RBAC = "rbac.authorization.k8s.io/v1"


def thing(kind, name, namespace=None, api_version="v1", **more):
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return Manifest({"apiVersion": api_version, "kind": kind, "metadata": metadata, **more}, f"{name}.yaml:1")


def placed(*manifests, **how):
    before = copy.deepcopy(manifests)
    result = place(manifests, "ns", lambda v, k: is_namespaced(v, k, {}) is not False, **how)
    assert manifests == before  # nothing is edited in place
    return result


@pytest.mark.parametrize(
    ("api_version", "kind", "verdict"),
    [
        ("v1", "Pod", True),
        ("v1", "Namespace", False),
        ("apps/v1", "Deployment", True),
        (RBAC, "Role", True),
        (RBAC, "ClusterRole", False),
        ("storage.k8s.io/v1", "StorageClass", False),
        ("events.k8s.io/v1", "Event", True),
        ("example.com/v1", "Widget", None),
        ("here.io/v1", "Wide", False),
    ],
)
def test_scope(api_version, kind, verdict):
    spec = {"group": "here.io", "names": {"kind": "Wide"}, "scope": "Cluster"}
    definition = thing("CustomResourceDefinition", "wides.here.io", api_version="apiextensions.k8s.io/v1", spec=spec)
    assert is_namespaced(api_version, kind, definitions_in([definition])) is verdict


def test_objects_without_a_namespace_and_of_one_namespace_go_into_ours():
    result = placed(thing("Service", "a"), thing("Service", "b", "shop"), thing("Namespace", "shop"))
    assert [m.object["metadata"]["namespace"] for m in result.inside] == ["ns", "ns"]
    assert "Namespace/shop (shop.yaml:1) is left out: ns stands for it" in result.warnings


def test_several_namespaces_are_an_error_that_lists_them():
    with pytest.raises(ManifestError) as caught:
        placed(thing("Service", "a", "shop"), thing("Service", "b", "shop"), thing("Service", "c", "db"))
    assert caught.value.summary == "the set spans several namespaces: db, shop"
    assert caught.value.evidence[:2] == ("db: 1 objects", "shop: 2 objects")
    assert caught.value.command == 'apply(..., namespaces={"db": None, "shop": None})'


def test_several_namespaces_may_be_mapped():
    result = placed(thing("Service", "a", "shop"), thing("Service", "b", "db"), namespaces={"shop": None, "db": None})
    assert {m.ref.namespace for m in result.inside} == {"ns"}


def test_a_mapping_must_be_whole():
    with pytest.raises(ManifestError, match="several namespaces"):
        placed(thing("Service", "a", "shop"), thing("Service", "b", "db"), namespaces={"shop": None})


def test_what_is_outside_is_refused_with_a_list():
    with pytest.raises(ManifestError) as caught:
        placed(thing("ClusterRole", "a", api_version=RBAC), thing("PersistentVolume", "b"), thing("Service", "c"))
    assert caught.value.summary == "2 objects would be outside the namespace"
    assert caught.value.evidence == ("ClusterRole/a (a.yaml:1)", "PersistentVolume/b (b.yaml:1)")


def test_another_namespace_by_name_is_outside():
    how = {"namespaces": {"shop": None, "kube-system": "kube-system"}}
    set_ = (thing("Service", "a", "shop"), thing("Role", "r", "kube-system", api_version=RBAC))
    with pytest.raises(ManifestError, match=r"Role/r \(r.yaml:1\) in namespace kube-system"):
        placed(*set_, **how)
    result = placed(*set_, **how, cluster_scoped="own")
    assert [(m.ref.name, m.ref.namespace) for m in result.outside] == [("r", "kube-system")]


def test_an_unknown_choice_is_refused():
    with pytest.raises(UsageError, match="cluster_scoped is 'yes'"):
        placed(cluster_scoped="yes")


def binding(**subject):
    return thing("RoleBinding", "b", api_version=RBAC, subjects=[subject], roleRef={"kind": "Role", "name": "r"})


@pytest.mark.parametrize(
    ("subject", "rewritten"),
    [
        ({"kind": "ServiceAccount", "name": "a"}, {"namespace": "ns"}),
        ({"kind": "ServiceAccount", "name": "a", "namespace": "shop"}, {"namespace": "ns"}),
        ({"kind": "ServiceAccount", "name": "a", "namespace": "kube-system"}, {"namespace": "kube-system"}),
        ({"kind": "Group", "name": "system:serviceaccounts:shop"}, {"name": "system:serviceaccounts:ns"}),
        ({"kind": "Group", "name": "system:serviceaccounts"}, {"name": "system:serviceaccounts"}),
        ({"kind": "User", "name": "system:serviceaccount:shop:a"}, {"name": "system:serviceaccount:ns:a"}),
        ({"kind": "User", "name": "shop"}, {"name": "shop"}),
    ],
)
def test_subjects_follow(subject, rewritten):
    result = placed(thing("ServiceAccount", "a", "shop"), binding(**subject))
    assert result.inside[1].object["subjects"] == [{**subject, **rewritten}]


def test_without_a_namespace_in_the_set_references_to_its_own_objects_follow():
    hook = {"clientConfig": {"service": {"name": "hook", "namespace": "anywhere", "port": 443}}}
    other = {"clientConfig": {"service": {"name": "other", "namespace": "anywhere"}}}
    result = placed(
        thing("ServiceAccount", "a"),
        thing("Service", "hook"),
        binding(kind="ServiceAccount", name="a", namespace="default"),
        binding(kind="ServiceAccount", name="not-ours", namespace="default"),
        thing("Thing", "x", api_version="example.com/v1", webhooks=[hook, other], url="http://hook.default.svc:80/"),
    )
    assert result.inside[2].object["subjects"][0]["namespace"] == "ns"
    assert result.inside[3].object["subjects"][0]["namespace"] == "default"
    thing_ = result.inside[4].object
    assert [h["clientConfig"]["service"]["namespace"] for h in thing_["webhooks"]] == ["ns", "anywhere"]
    assert thing_["url"] == "http://hook.ns.svc:80/"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("http://db.shop.svc.cluster.local:80/", "http://db.ns.svc.cluster.local:80/"),
        ("db.shop.svc", "db.ns.svc"),
        ("pod-0.db.shop.svc", "pod-0.db.ns.svc"),
        ("http://api.shop:80", "http://api.ns:80"),
        ("redis.shop", "redis.shop"),  # no Service of the set: maybe a host in a real domain
        ("api.shop.example.com", "api.shop.example.com"),
        ("workshop.svc", "workshop.svc"),
        ("db.shop.svcs", "db.shop.svcs"),
        ("shop", "shop"),
        ("--namespace=shop", "--namespace=ns"),
        ("--watch-namespaces=a,shop", "--watch-namespaces=a,ns"),
        ('up{namespace="shop",job="x"}', 'up{namespace="ns",job="x"}'),
        ('{\\"expr\\": \\"up{namespace=\\\\"shop\\\\"}\\"}', '{\\"expr\\": \\"up{namespace=\\\\"ns\\\\"}\\"}'),
    ],
)
def test_names_inside_of_text_follow(before, after):
    result = placed(thing("Service", "api", "shop"), thing("ConfigMap", "c", data={"text": before}))
    assert result.inside[1].object["data"]["text"] == after


def test_the_api_server_of_the_default_namespace_stays():
    text = "https://kubernetes.default.svc and http://db.default.svc"
    result = placed(thing("ConfigMap", "c", "default", data={"x": text}))
    assert result.inside[0].object["data"]["x"] == "https://kubernetes.default.svc and http://db.ns.svc"


def test_hard_coded_fields_follow():
    spec = {
        "namespaceSelector": {"matchNames": ["shop", "other"]},
        "selector": {"matchLabels": {"kubernetes.io/metadata.name": "shop"}},
        "matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["shop"]}],
        "alertmanagers": [{"name": "a", "namespace": "shop"}],
        "env": [{"name": "WATCH_NAMESPACE", "value": "shop"}, {"name": "OTHER", "value": "shop"}],
        "args": ["--namespace", "shop", "shop"],
        "parentRefs": [{"name": "g", "namespace": "gateway"}],
    }
    result = placed(thing("Prometheus", "p", "shop", api_version="monitoring.coreos.com/v1", spec=spec))
    found = result.inside[0].object["spec"]
    assert found["namespaceSelector"]["matchNames"] == ["ns", "other"]
    assert found["selector"]["matchLabels"] == {"kubernetes.io/metadata.name": "ns"}
    assert found["matchExpressions"][0]["values"] == ["ns"]
    assert found["alertmanagers"][0]["namespace"] == "ns"
    assert [e["value"] for e in found["env"]] == ["ns", "shop"]
    assert found["args"] == ["--namespace", "ns", "shop"]
    assert found["parentRefs"][0]["namespace"] == "gateway"


def test_annotations_of_cert_manager_follow():
    manifest = thing("Secret", "s", "shop")
    manifest.object["metadata"]["annotations"] = {"cert-manager.io/inject-ca-from": "shop/cert"}
    assert placed(manifest).inside[0].object["metadata"]["annotations"]["cert-manager.io/inject-ca-from"] == "ns/cert"


def test_a_name_that_equals_the_namespace_stays():
    result = placed(thing("Service", "shop", "shop"), thing("Deployment", "shop", "shop", api_version="apps/v1"))
    assert [m.ref.name for m in result.inside] == ["shop", "shop"]
