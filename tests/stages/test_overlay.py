"""Kustomizations are built through an overlay; its outcome is what placing alone would have given."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from pytest_ephemeral_ns import paths
from pytest_ephemeral_ns.deploy import overlay, plan
from pytest_ephemeral_ns.deploy.overlay import render
from pytest_ephemeral_ns.errors import ManifestError
from pytest_ephemeral_ns.kube import tools
from tests.stages.manifests import REAL, needs_real

LABELS = {"pytest-ephemeral-ns/run": "r1"}
RBAC = "rbac.authorization.k8s.io"


def _found(tool):
    return shutil.which(tool, path=str(paths.bin_dir())) or shutil.which(tool)


@pytest.fixture(params=["kustomize", "kubectl"], autouse=True)
def program(request, monkeypatch):
    """Both programs that build kustomizations, one after the other."""
    found = _found(request.param)
    if not found:
        pytest.skip(f"{request.param} is not installed")
    argv = (found, "build" if request.param == "kustomize" else "kustomize")
    monkeypatch.setattr(tools, "_kustomize", lambda: argv)
    return argv


def thing(kind, name, namespace="", api_version="v1", **more):
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **more}


def subject(name, namespace):
    return {"kind": "ServiceAccount", "name": name, "namespace": namespace}


def binding(name, *subjects, namespace=""):
    kind = "RoleBinding" if namespace else "ClusterRoleBinding"
    role = {"apiGroup": RBAC, "kind": "ClusterRole", "name": "view"}
    return thing(kind, name, namespace, f"{RBAC}/v1", roleRef=role, subjects=[*subjects])


def kustomization(folder: Path, *objects, **fields):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "all.json").write_text("\n---\n".join(map(json.dumps, objects)))
    (folder / "kustomization.yaml").write_text(json.dumps({"resources": ["all.json"], **fields}))
    return folder


def planned(folder, **how):
    made = plan([folder], namespace="ns", labels=LABELS, **how)
    return [manifest.object for part in made.parts for manifest in part.manifests]


def named(found, kind):
    return next(obj for obj in found if obj["kind"] == kind)


POD = {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "a", "image": "i"}]}}
WORKLOAD = thing("Deployment", "a", "", "apps/v1", spec={"selector": {"matchLabels": {"app": "a"}}, "template": POD})
HOOK = {"name": "a.b.c", "clientConfig": {"service": {"name": "s", "namespace": "shop"}}}
CONVERSION = {"strategy": "Webhook", "webhook": {"clientConfig": {"service": {"name": "s", "namespace": "shop"}}}}
DEFINITION = {
    "group": "a.io",
    "names": {"kind": "Wide", "plural": "wides"},
    "scope": "Cluster",
    "conversion": CONVERSION,
    "versions": [{"name": "v1", "served": True, "storage": True}],
}


@pytest.mark.parametrize(
    ("objects", "kind", "path", "expected"),
    [
        ([thing("Service", "s")], "Service", "metadata.namespace", "ns"),
        ([thing("Service", "s", "shop")], "Service", "metadata.namespace", "ns"),
        ([thing("Service", "s", "shop"), thing("Secret", "t")], "Secret", "metadata.namespace", "ns"),
        ([thing("Service", "s")], "Service", "metadata.labels", LABELS),
        ([WORKLOAD], "Deployment", "spec.selector", {"matchLabels": {"app": "a"}}),
        ([WORKLOAD], "Deployment", "spec.template.metadata", {"labels": {"app": "a"}}),
        # kustomize's own "namespace:" leaves these as they are: our account, our Service, our namespace
        ([thing("ServiceAccount", "acc", "shop"), binding("b", subject("acc", "shop"), namespace="shop")],
         "RoleBinding", "subjects", [subject("acc", "ns")]),
        ([thing("ServiceAccount", "acc"), binding("b", subject("acc", "elsewhere"), subject("other", "elsewhere"))],
         "ClusterRoleBinding", "subjects", [subject("acc", "ns"), subject("other", "elsewhere")]),
        ([thing("Service", "s", "shop"), thing("ConfigMap", "c", "shop", data={"url": "http://s.shop.svc"})],
         "ConfigMap", "data.url", "http://s.ns.svc"),
        ([thing("Service", "s", "shop"), thing("ValidatingWebhookConfiguration", "h", "",
          "admissionregistration.k8s.io/v1", webhooks=[HOOK])],
         "ValidatingWebhookConfiguration", "webhooks.0.clientConfig.service.namespace", "ns"),
        ([thing("Service", "s", "shop"), thing("CustomResourceDefinition", "wides.a.io", "",
          "apiextensions.k8s.io/v1", spec=DEFINITION)],
         "CustomResourceDefinition", "spec.conversion.webhook.clientConfig.service.namespace", "ns"),
        # kustomize takes every kind that it does not know for one with namespaces
        ([thing("CustomResourceDefinition", "wides.a.io", "", "apiextensions.k8s.io/v1", spec=DEFINITION),
          thing("Wide", "w", "", "a.io/v1")], "Wide", "metadata", {"name": "w", "labels": LABELS}),
        ([thing("ClusterRole", "c", "", f"{RBAC}/v1", rules=[])], "ClusterRole", "metadata",
         {"name": "c-ns", "labels": LABELS}),
    ],
)  # fmt: skip
def test_what_an_object_says_afterwards(tmp_path, objects, kind, path, expected):
    value = named(planned(kustomization(tmp_path / "k", *objects), cluster_scoped="own"), kind)
    for key in path.split("."):
        value = value[int(key) if isinstance(value, list) else key]
    assert value == expected


def test_it_is_the_overlay_that_gives_namespace_and_labels(tmp_path, program):
    folder = kustomization(tmp_path / "k", thing("Service", "s"), thing("Secret", "t", "shop"))
    text, placed = render(folder / "kustomization.yaml", "ns", LABELS, 60)
    assert placed
    assert [obj["metadata"] for obj in yaml.safe_load_all(text)] == [
        {"name": "t", "namespace": "shop", "labels": LABELS},
        {"name": "s", "namespace": "ns", "labels": LABELS},
    ]


def test_several_namespaces_are_not_folded_into_one(tmp_path):
    folder = kustomization(tmp_path / "k", thing("Service", "s", "a"), thing("Service", "s", "b"), thing("Secret", "t"))
    with pytest.raises(ManifestError, match="the set spans several namespaces: a, b") as caught:
        planned(folder)
    assert caught.value.evidence[:3] == ("(none written): 1 objects", "a: 1 objects", "b: 1 objects")
    found = planned(folder, namespaces={"a": None, "b": "b"}, cluster_scoped="own")
    assert [(obj["kind"], obj["metadata"]["namespace"]) for obj in found] == [
        ("Secret", "ns"),
        ("Service", "ns"),
        ("Service", "b"),
    ]


def test_our_namespace_by_name_is_one_of_several(tmp_path):
    """Who writes it means it: only what has no namespace goes wherever the rest goes."""
    with pytest.raises(ManifestError, match="spans several namespaces: ns, shop"):
        planned(
            kustomization(tmp_path / "k", thing("Service", "s", "${NAMESPACE}"), thing("Service", "s", "shop")),
            variables={},
        )


def test_what_is_outside_is_refused(tmp_path):
    with pytest.raises(ManifestError, match="1 object would be outside"):
        planned(kustomization(tmp_path / "k", thing("ClusterRole", "c", "", f"{RBAC}/v1", rules=[])))


def test_the_same_object_beside_the_kustomization_is_no_other(tmp_path):
    folder = kustomization(tmp_path / "k", thing("Service", "s"))
    assert len(plan([folder, thing("Service", "s")], namespace="ns", labels=LABELS).parts[0].manifests) == 1


FIELDS = [
    {"namePrefix": "p-", "configMapGenerator": [{"name": "settings", "literals": ["a=b"]}]},
    {"sortOptions": {"order": "fifo"}},
    {"buildMetadata": ["managedByLabel"]},
    {"apiVersion": "kustomize.config.k8s.io/v1alpha1", "kind": "Component"},
    {"namespace": "written"},
    {"labels": [{"pairs": {"team": "a"}, "includeSelectors": True}]},
]


@pytest.mark.parametrize("fields", FIELDS, ids=[",".join(fields) for fields in FIELDS])
@pytest.mark.parametrize("where", ["k", "github.com/an owner/repo", "a?ref=b", "a:b@c"])
def test_all_else_is_as_it_is_built_without_an_overlay(tmp_path, monkeypatch, fields, where):
    folder = kustomization(tmp_path / where, thing("Service", "s"), thing("ConfigMap", "c"), WORKLOAD, **fields)
    with_overlay = planned(folder)
    monkeypatch.setattr(overlay, "kustomize_version", lambda: (4, 5))
    assert planned(folder) == with_overlay


@needs_real
def test_a_real_kustomization_is_as_it_is_built_without_an_overlay(monkeypatch):
    folder = REAL / "podinfo/kustomize"
    with_overlay = planned(folder)
    monkeypatch.setattr(overlay, "kustomize_version", lambda: (0, 0))
    assert planned(folder) == with_overlay


def test_errors_name_the_users_folder_alone(tmp_path):
    folder = kustomization(tmp_path / "k", resources=["missing.yaml"])
    with pytest.raises(ManifestError) as caught:
        planned(folder)
    assert caught.value.summary == f"kustomization {folder} does not build"
    assert "missing.yaml" in str(caught.value)
    assert "overlay" not in str(caught.value)
