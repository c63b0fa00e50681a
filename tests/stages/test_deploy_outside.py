"""Objects outside the namespace, on the real control plane: made, shared, refused, found again, removed."""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections import Counter

import pytest

from pytest_ephemeral_ns.deadline import Deadline
from pytest_ephemeral_ns.deploy import deploy, find_outside, remove_cluster_scoped
from pytest_ephemeral_ns.errors import ApiError, DeployError
from tests.stages.manifests import REAL, needs_real

pytestmark = pytest.mark.cluster

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
ROLES = "/apis/rbac.authorization.k8s.io/v1/clusterroles"


@pytest.fixture(scope="module")
def api(control_plane):
    from pytest_ephemeral_ns.kube.api import Api

    with Api(control_plane.connection) as api:
        yield api


@pytest.fixture(scope="module")
def discovery(api):
    from pytest_ephemeral_ns.kube.discovery import Discovery

    return Discovery(api)


@pytest.fixture
def run():
    return f"r{secrets.token_hex(3)}"


@pytest.fixture
def namespaces(api, run):
    made = []

    def make():
        name = f"deploy-{secrets.token_hex(3)}"
        labels = {"pytest-ephemeral-ns/run": run}
        made.append(api.create("/api/v1/namespaces", {"metadata": {"name": name, "labels": labels}}))
        return name

    yield make
    for namespace in made:
        api.delete(f"/api/v1/namespaces/{namespace['metadata']['name']}", uid=namespace["metadata"]["uid"])


@pytest.fixture
def own(api, run):
    tracked = []

    def own(namespace, *sources, **how):
        how = {"cluster_scoped": "own", "deadline": Deadline.after(120), "kubeconfig": lambda: None, **how}
        labels = {"pytest-ephemeral-ns/run": run}
        return deploy(
            api, namespace, sources, labels=labels, on_tracked=lambda t: tracked.append((t, namespace)), **how
        )

    yield own
    for thing, namespace in tracked:
        remove_cluster_scoped(api, [thing], namespace)
    for thing, _ in tracked:
        if thing.shared:
            with contextlib.suppress(ApiError):  # a later one of the same name
                api.delete(thing.path, uid=thing.ref.uid)


def widgets(group, **schema):
    names = {"kind": "Widget", "listKind": "WidgetList", "plural": "widgets", "singular": "widget"}
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True, **schema}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"widgets.{group}"},
        "spec": {
            "group": group,
            "names": names,
            "scope": "Namespaced",
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
        },
    }


def widget(group, name="w"):
    return {"apiVersion": f"{group}/v1", "kind": "Widget", "metadata": {"name": name}}


def cluster_role(name):
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": name},
        "rules": [],
    }


@pytest.fixture
def group():
    return f"g{secrets.token_hex(3)}.example.com"


def test_a_definition_and_its_objects_in_one_deploy(api, own, namespaces, group):
    namespace = namespaces()
    deployed = own(namespace, widget(group), widgets(group))
    assert [(str(ref), deployed.actions[ref]) for ref in deployed.refs] == [
        (f"CustomResourceDefinition/widgets.{group}", "created"),
        ("Widget/w", "created"),
    ]
    assert set(own(namespace, widget(group), widgets(group)).actions.values()) == {"unchanged"}
    assert remove_cluster_scoped(api, deployed.tracked, namespace) == []
    assert api.get(f"{DEFINITIONS}/widgets.{group}")["metadata"].get("deletionTimestamp")


def test_a_definition_is_shared_by_a_run_and_removed_by_the_last(api, own, namespaces, group):
    first, second = namespaces(), namespaces()
    results = {}

    def work(namespace):
        results[namespace] = own(namespace, widgets(group), widget(group))

    threads = [threading.Thread(target=work, args=(namespace,)) for namespace in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    uids = {thing.ref.uid for deployed in results.values() for thing in deployed.tracked}
    assert len(uids) == 1
    path = f"{DEFINITIONS}/widgets.{group}"
    remove_cluster_scoped(api, results[first].tracked, first)
    assert "deletionTimestamp" not in api.get(path)["metadata"]
    api.delete(f"/api/v1/namespaces/{first}")
    remove_cluster_scoped(api, results[second].tracked, second)
    found = api.find(path)
    assert found is None or "deletionTimestamp" in found["metadata"]


def test_a_definition_with_other_content_in_the_same_run_is_an_error(own, namespaces, group):
    own(namespaces(), widgets(group))
    with pytest.raises(DeployError, match="has other content in another namespace of this run"):
        own(namespaces(), widgets(group, description="other"))


def test_a_definition_that_nobody_shares_may_change(api, own, namespaces, group):
    namespace = namespaces()
    own(namespace, widgets(group))
    changed = own(namespace, widgets(group, description="new"), widget(group))
    assert [*changed.actions.values()] == ["configured", "created"]
    version = api.get(f"{DEFINITIONS}/widgets.{group}")["spec"]["versions"][0]
    assert version["schema"]["openAPIV3Schema"]["description"] == "new"


def test_a_definition_that_is_being_removed_is_awaited_and_made_again(api, own, namespaces, group):
    namespace = namespaces()
    first = own(namespace, widgets(group), widget(group))
    api.delete(f"{DEFINITIONS}/widgets.{group}")
    second = own(namespace, widgets(group), widget(group))
    assert first.tracked[0].ref.uid != second.tracked[0].ref.uid


def test_somebody_elses_definition_is_used_and_never_changed(api, own, namespaces, group):
    theirs = api.create(DEFINITIONS, widgets(group))
    try:
        namespace = namespaces()
        deployed = own(namespace, widgets(group, description="other"), widget(group))
        assert deployed.tracked == ()
        assert any("exists already and is not of this run" in warning for warning in deployed.warnings)
        found = api.get(f"{DEFINITIONS}/widgets.{group}")
        assert found["spec"] == theirs["spec"] | {"conversion": {"strategy": "None"}}
        assert not found["metadata"].get("labels")
    finally:
        api.delete(f"{DEFINITIONS}/widgets.{group}", uid=theirs["metadata"]["uid"])


def test_names_are_our_own_and_references_follow(api, own, namespaces, run):
    namespace = namespaces()
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "deploy-test"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "deploy-test"},
        "subjects": [{"kind": "ServiceAccount", "name": "a", "namespace": "anywhere"}],
    }
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "a"}}
    deployed = own(namespace, cluster_role("deploy-test"), binding, account)
    role = api.get(f"{ROLES}/deploy-test-{namespace}")
    assert role["metadata"]["labels"] == {
        "pytest-ephemeral-ns/run": run,
        "pytest-ephemeral-ns/namespace": namespace,
    }
    path = f"/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/deploy-test-{namespace}"
    found = api.get(path)
    assert found["roleRef"]["name"] == f"deploy-test-{namespace}"
    assert found["subjects"] == [{"kind": "ServiceAccount", "name": "a", "namespace": namespace}]
    assert {t.ref.kind for t in deployed.tracked} == {"ClusterRole", "ClusterRoleBinding"}
    assert remove_cluster_scoped(api, deployed.tracked, namespace) == []
    assert api.find(path) is None


def namespace_object(name):
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def test_what_exists_and_is_not_ours_is_refused_before_anything_is_created(api, own, namespaces):
    namespace, taken = namespaces(), namespaces()
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}
    with pytest.raises(DeployError, match=f"Namespace/{taken} exists already and is not ours"):
        own(namespace, namespace_object(taken), config)
    assert api.find(f"/api/v1/namespaces/{namespace}/configmaps/a") is None


def test_a_later_object_of_the_same_name_is_not_removed(api, own, namespaces):
    namespace = namespaces()
    deployed = own(namespace, cluster_role("deploy-later"))
    path = deployed.tracked[0].path
    api.delete(path)
    theirs = api.create(ROLES, cluster_role(deployed.tracked[0].ref.name))
    assert remove_cluster_scoped(api, deployed.tracked, namespace) == []
    assert api.get(path)["metadata"]["uid"] == theirs["metadata"]["uid"]
    api.delete(path)


def test_what_was_made_before_a_failure_is_tracked(api, own, namespaces):
    namespace = namespaces()
    tracked = []
    bad = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"type": "Never"}}
    with pytest.raises(DeployError):
        deploy(
            api,
            namespace,
            [cluster_role("deploy-half"), bad],
            deadline=Deadline.after(60),
            kubeconfig=lambda: None,
            cluster_scoped="own",
            on_tracked=tracked.append,
        )
    assert [str(t.ref) for t in tracked] == [f"ClusterRole/deploy-half-{namespace}"]
    remove_cluster_scoped(api, tracked, namespace)


def test_everything_outside_is_found_again_by_its_labels(api, own, discovery, namespaces, group, run):
    namespace = namespaces()
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "r", "namespace": "default"},
    }
    deployed = own(namespace, cluster_role("deploy-find"), widgets(group), role, namespaces={"default": "default"})
    found = find_outside(api, discovery, run=run)
    assert {t.ref.uid for t in found} == {t.ref.uid for t in deployed.tracked}
    assert {t.path for t in found} == {t.path for t in deployed.tracked}
    assert len(found) == 3
    assert remove_cluster_scoped(api, found, namespace) == []


@needs_real
@pytest.mark.slow
def test_kube_prometheus_in_one_call(api, own, discovery, namespaces, run):
    namespace = namespaces()
    sources = (REAL / "kube-prometheus/manifests/setup", REAL / "kube-prometheus/manifests")
    how = {"namespaces": {"monitoring": None}, "deadline": Deadline.after(300)}
    deployed = own(namespace, *sources, **how)
    assert Counter(deployed.actions.values()) == {"created": 130}
    assert Counter(own(namespace, *sources, **how).actions.values()) == {"unchanged": 130}
    assert remove_cluster_scoped(api, deployed.tracked, namespace) == []
    left = [t for t in find_outside(api, discovery, run=run) if t.ref.kind != "CustomResourceDefinition"]
    assert left == []
