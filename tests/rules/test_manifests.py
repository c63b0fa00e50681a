from __future__ import annotations

import pytest

from pytest_ephemeral_ns.errors import ManifestError
from pytest_ephemeral_ns.rules.manifests import Manifest, appliable, manifests_of, without_repeats
from pytest_ephemeral_ns.rules.yaml_dialect import read_documents


def read(text):
    return manifests_of(read_documents(text, "x.yaml"), "x.yaml")


def test_lists_of_every_kind_are_flattened():
    found = read(
        """
# nothing but a comment
---
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Secret, metadata: {name: a}}
- {apiVersion: v1, kind: ConfigMapList, items: [{metadata: {name: b}}]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleList
items:
- {metadata: {name: c}}
- {kind: Role, metadata: {name: d}}
---
{apiVersion: v1, kind: List, items: null}
"""
    )
    assert [str(m.ref) for m in found] == ["Secret/a", "ConfigMap/b", "Role/c", "Role/d"]
    assert found[2].object["apiVersion"] == "rbac.authorization.k8s.io/v1"
    assert found[0].where == "x.yaml:4"


def test_a_kind_that_ends_in_list_without_items_is_an_object():
    assert [str(m.ref) for m in read("{apiVersion: a.io/v1, kind: AllowList, metadata: {name: a}}")] == ["AllowList/a"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n", "x.yaml:1: document 1: not a Kubernetes object but a list"),
        ("hello\n", "x.yaml:1: document 1: not a Kubernetes object but text"),
        ("kind: Pod\n", "x.yaml:1: document 1: apiVersion is missing"),
        ("apiVersion: v1\n", "x.yaml:1: document 1: kind is missing"),
        ("apiVersion: 1\nkind: Pod\n", "x.yaml:1: document 1: apiVersion is 1: a number"),
        ("apiVersion: v1\nkind: Pod\n", "x.yaml:1: document 1: Pod: metadata is missing"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {}\n", "x.yaml:1: document 1: Pod: metadata.name is missing"),
        ("a: 1\n---\n\n", "x.yaml:1: document 1: apiVersion is missing"),
        ("{apiVersion: v1, kind: Pod, metadata: {name: 5}}", "x.yaml:1: document 1: Pod: metadata.name is 5: a number"),
        ("{apiVersion: v1, kind: List, items: {}}", None),
        ("{apiVersion: v1, kind: List, items: [5]}", "x.yaml:1: document 1: items[0]: not a Kubernetes object"),
        ("{apiVersion: v1, kind: List, items: a}", "x.yaml:1: document 1: items is text, not a list"),
    ],
)
def test_what_is_no_object_is_an_error_with_its_place(text, message):
    if message is None:
        assert read(text) == []
        return
    with pytest.raises(ManifestError) as caught:
        read(text)
    assert caught.value.summary.startswith(message)


def test_files_that_lie_beside_manifests_are_recognised():
    with pytest.raises(ManifestError, match="looks like a kustomization"):
        read("resources: [a.yaml]")
    with pytest.raises(ManifestError, match="its fields are: replicaCount, image"):
        read("replicaCount: 1\nimage: x\n")


def test_generated_names_are_refused():
    with pytest.raises(ManifestError, match="generateName cannot be applied"):
        read("{apiVersion: v1, kind: Pod, metadata: {generateName: a-}}")


def test_the_same_object_twice():
    one = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}}
    assert len(without_repeats([Manifest(one, "x:1"), Manifest(dict(one), "y:1")])) == 1
    with pytest.raises(ManifestError) as caught:
        without_repeats([Manifest(one, "x:1"), Manifest({**one, "spec": {}}, "y:9")])
    assert caught.value.evidence == ("first: x:1", "again: y:9")


def test_what_only_the_server_may_write_is_not_sent():
    exported = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "a", "uid": "1", "resourceVersion": "7", "managedFields": [], "labels": None},
        "status": {"phase": "Running"},
    }
    sent = appliable(exported, {"run": "1"})["metadata"]
    assert sent.pop("annotations").keys() == {"pytest-ephemeral-ns/content"}
    assert sent == {"name": "a", "labels": {"run": "1"}}
    assert "status" not in appliable(exported, {})
    assert exported["metadata"]["uid"] == "1"


def digest(obj, labels):
    return appliable(obj, labels)["metadata"]["annotations"]["pytest-ephemeral-ns/content"]


def test_the_digest_tells_one_input_from_another():
    one = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"b": "1", "c": "2"}}
    assert digest(one, {}) == digest({**one, "data": {"c": "2", "b": "1"}}, {})
    assert digest(one, {}) != digest({**one, "data": {"b": "2"}}, {})
    assert digest(one, {}) != digest(one, {"x": "y"})
    definition = {**one, "kind": "CustomResourceDefinition", "spec": {}}
    assert digest(definition, {}) == digest(definition, {"x": "y"})
    assert "annotations" not in appliable({**one, "kind": "Secret"}, {})["metadata"]
