"""Deploys into the real control plane; no node is needed for any of it."""

from __future__ import annotations

import json
import secrets
import shutil

import pytest

from pytest_ephemeral_ns import paths
from pytest_ephemeral_ns.deadline import Deadline
from pytest_ephemeral_ns.deploy import attach_pull_secrets, copy_config_map, copy_secret, deploy
from pytest_ephemeral_ns.errors import DeployError, ManifestError, UsageError
from tests.stages.manifests import REAL, needs_real

pytestmark = pytest.mark.cluster

LABELS = {"pytest-ephemeral-ns/run": "r1"}


@pytest.fixture(scope="module")
def api(control_plane):
    from pytest_ephemeral_ns.kube.api import Api

    with Api(control_plane.connection) as api:
        yield api


@pytest.fixture
def namespace(api):
    name = f"deploy-{secrets.token_hex(3)}"
    uid = api.create("/api/v1/namespaces", {"metadata": {"name": name}})["metadata"]["uid"]
    yield name
    api.delete(f"/api/v1/namespaces/{name}", uid=uid)


@pytest.fixture
def apply(api, namespace, control_plane):
    def apply(*sources, **how):
        how = {"labels": LABELS, "deadline": Deadline.after(120), "kubeconfig": lambda: control_plane.kubeconfig, **how}
        return deploy(api, namespace, sources, **how)

    return apply


def needs(tool):
    found = shutil.which(tool) or shutil.which(tool, path=str(paths.bin_dir()))
    return pytest.mark.skipif(not found, reason=f"{tool} is not installed")


def config_map(name, **data):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def deployment(name, **spec):
    labels = {"app": name}
    pod = {"containers": [{"name": "a", "image": "busybox:1.36"}]}
    template = {"metadata": {"labels": labels}, "spec": pod}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": labels}, "template": template, **spec},
    }


def counted(deployed):
    actions = list(deployed.actions.values())
    return {action: actions.count(action) for action in set(actions)}


def test_created_unchanged_configured(api, apply, namespace):
    first = apply(config_map("a", x="1"), deployment("api"))
    assert counted(first) == {"created": 2}
    assert [str(ref) for ref in first.refs] == ["ConfigMap/a", "Deployment/api"]
    assert all(ref.uid and ref.namespace == namespace for ref in first.refs)
    found = api.get(f"/api/v1/namespaces/{namespace}/configmaps/a")
    assert found["metadata"]["labels"] == LABELS
    assert counted(apply(config_map("a", x="1"), deployment("api"))) == {"unchanged": 2}
    again = apply(config_map("a", x="2"), deployment("api"))
    assert {str(ref): action for ref, action in again.actions.items()} == {
        "ConfigMap/a": "configured",
        "Deployment/api": "unchanged",
    }
    assert [ref.uid for ref in again.refs] == [ref.uid for ref in first.refs]


def test_the_labels_of_an_application_stay_its_own(api, apply, namespace):
    thing = config_map("a")
    thing["metadata"]["labels"] = {"app.kubernetes.io/managed-by": "somebody"}
    apply(thing)
    labels = api.get(f"/api/v1/namespaces/{namespace}/configmaps/a")["metadata"]["labels"]
    assert labels == {"app.kubernetes.io/managed-by": "somebody", **LABELS}


@needs_real
@pytest.mark.parametrize(
    ("path", "count"),
    [("voting-app/k8s-specifications", 9), ("guestbook/web/guestbook", 6), ("podinfo/kustomize", 3)],
)
def test_real_manifests_are_applied_and_stay_unchanged(apply, path, count):
    assert counted(apply(REAL / path)) == {"created": count}
    assert counted(apply(REAL / path)) == {"unchanged": count}


@needs_real
@needs("helm")
def test_a_real_chart_is_installed_and_upgraded(apply, namespace):
    first = apply(str(REAL / "podinfo/charts/podinfo"), helm_set=["replicaCount=2"])
    assert first.releases == ("podinfo",)
    assert [(str(ref), ref.namespace) for ref in first.refs] == [
        ("Service/podinfo", namespace),
        ("Deployment/podinfo", namespace),
    ]
    assert apply(str(REAL / "podinfo/charts/podinfo"), release="podinfo").releases == ("podinfo",)


def test_unknown_kinds_stop_it_before_anything_is_created(api, apply, namespace):
    widget = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}}
    with pytest.raises(ManifestError, match=r"the cluster has no Widget \(example.com/v1\)"):
        apply(config_map("a"), widget)
    assert api.find(f"/api/v1/namespaces/{namespace}/configmaps/a") is None


def test_a_refusal_says_what_was_created_before(apply):
    bad = deployment("api", replica=1)
    with pytest.raises(DeployError) as caught:
        apply(config_map("a"), bad)
    assert caught.value.summary == "Deployment/api was refused"
    assert "unknown field .spec.replica" in caught.value.evidence[0]
    assert caught.value.evidence[-1] == "before that: ConfigMap/a created"


def test_all_refusals_of_a_stage_are_told(apply):
    with pytest.raises(DeployError) as caught:
        apply(deployment("a", replicas=-1), deployment("b", strategy={"type": "Never"}), deployment("c"))
    assert caught.value.summary == "2 objects were refused"
    assert caught.value.evidence[-1] == "before that: Deployment/c created"


def test_an_immutable_field_names_object_and_field(apply):
    apply(deployment("api"))
    other = deployment("api")
    other["spec"]["selector"] = {"matchLabels": {"app": "other"}}
    other["spec"]["template"]["metadata"]["labels"] = {"app": "other"}
    with pytest.raises(DeployError) as caught:
        apply(other)
    assert "immutable field spec.selector differs from what exists" in str(caught.value)
    assert caught.value.command.startswith("kubectl delete deployment api --namespace ")


def test_a_conflict_names_the_other_manager_and_the_way_out(api, apply, namespace):
    apply(deployment("api", replicas=1))
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments/api"
    api.patch(path, {"spec": {"replicas": 3}}, params={"fieldManager": "somebody"})
    with pytest.raises(DeployError) as caught:
        apply(deployment("api", replicas=2))
    assert "fields are managed by somebody" in str(caught.value)
    assert "somebody manages .spec.replicas" in str(caught.value)
    assert "force_conflicts=True" in caught.value.command
    assert counted(apply(deployment("api", replicas=2), force_conflicts=True)) == {"configured": 1}


def test_nothing_is_applied_after_the_deadline(api, apply, namespace):
    with pytest.raises(DeployError, match="deadline"):
        apply(config_map("a"), deadline=Deadline.after(0))
    assert api.find(f"/api/v1/namespaces/{namespace}/configmaps/a") is None


def test_what_is_outside_is_refused(api, apply):
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "deploy-never"}}
    with pytest.raises(ManifestError, match="1 object would be outside the namespace"):
        apply(role, config_map("a"))
    assert api.find("/apis/rbac.authorization.k8s.io/v1/clusterroles/deploy-never") is None


@pytest.fixture
def elsewhere(api):
    name = f"deploy-src-{secrets.token_hex(3)}"
    uid = api.create("/api/v1/namespaces", {"metadata": {"name": name}})["metadata"]["uid"]
    yield name
    api.delete(f"/api/v1/namespaces/{name}", uid=uid)


def make_secret(api, namespace, name, kind, **data):
    body = {"apiVersion": "v1", "kind": "Secret", "type": kind, "metadata": {"name": name}, "stringData": data}
    api.create(f"/api/v1/namespaces/{namespace}/secrets", body)


def test_copies(api, namespace, elsewhere):
    make_secret(api, elsewhere, "db", "Opaque", password="p")
    api.create(f"/api/v1/namespaces/{elsewhere}/configmaps", config_map("ca", pem="x"))
    assert copy_secret(api, f"{elsewhere}/db", namespace, name="database").name == "database"
    assert copy_config_map(api, f"{elsewhere}/ca", namespace, labels=LABELS).name == "ca"
    assert api.get(f"/api/v1/namespaces/{namespace}/secrets/database")["data"] == {"password": "cA=="}
    assert api.get(f"/api/v1/namespaces/{namespace}/configmaps/ca")["data"] == {"pem": "x"}


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("db", UsageError, "'db' is not NAMESPACE/NAME"),
        (
            "{elsewhere}/none",
            DeployError,
            "kubectl create secret generic none --from-file FILE --namespace {elsewhere}",
        ),
    ],
)
def test_copies_that_cannot_be_made(api, namespace, elsewhere, source, error, message):
    with pytest.raises(error) as caught:
        copy_secret(api, source.format(elsewhere=elsewhere), namespace)
    assert message.format(elsewhere=elsewhere) in str(caught.value)


def test_pull_secrets_are_attached_to_the_default_account(api, namespace, elsewhere):
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/default"
    make_secret(api, elsewhere, "wrong", "Opaque", a="b")
    make_secret(
        api, elsewhere, "pull", "kubernetes.io/dockerconfigjson", **{".dockerconfigjson": json.dumps({"auths": {}})}
    )
    with pytest.raises(UsageError, match="is of type Opaque, not a registry Secret"):
        attach_pull_secrets(api, [f"{elsewhere}/pull", f"{elsewhere}/wrong"], namespace)
    assert api.find(f"/api/v1/namespaces/{namespace}/secrets/pull") is None
    attach_pull_secrets(api, [f"{elsewhere}/pull"], namespace)
    assert api.get(path)["imagePullSecrets"] == [{"name": "pull"}]


def test_warnings_worth_having(api, apply):
    from tests.stages.test_guard import pod

    ports = [{"port": 80}]
    balancer = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "b"},
        "spec": {"type": "LoadBalancer", "ports": ports},
    }
    moving = pod("moving")
    moving["spec"]["containers"][0]["image"] = "busybox"
    warnings = "\n".join(apply(balancer, moving).warnings)
    assert "Service/b (given as an object): type LoadBalancer, and nothing here seems to hand out addresses" in warnings
    assert "image busybox is a moving target" in warnings


def test_a_node_port_that_is_taken_is_no_reason_to_fail(api, namespace, elsewhere, apply):
    spec = {"type": "NodePort", "ports": [{"port": 80, "nodePort": 32123}]}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": spec}
    api.create(f"/api/v1/namespaces/{elsewhere}/services", service)
    for action in ("created", "unchanged"):
        deployed = apply(service)
        assert [*deployed.actions.values()] == [action]
        assert "Service/a: node port 32123 is taken: the cluster chose another" in deployed.warnings
    assert api.get(f"/api/v1/namespaces/{namespace}/services/a")["spec"]["ports"][0]["nodePort"] != 32123


def test_everything_goes_to_a_node_pool(api, namespace, apply):
    apply(deployment("api"), node_selector={"pool": "ci"}, tolerations=[{"key": "ci", "operator": "Exists"}])
    found = api.get(f"/apis/apps/v1/namespaces/{namespace}/deployments/api")["spec"]["template"]["spec"]
    assert found["nodeSelector"] == {"pool": "ci"}
    assert found["tolerations"] == [{"key": "ci", "operator": "Exists"}]


def test_the_same_deploy_again_changes_nothing_of_any_kind(api, apply, namespace):
    import yaml

    everything = [*yaml.safe_load_all(EVERYTHING)]
    assert counted(apply(*everything)) == {"created": len(everything)}
    assert counted(apply(*everything)) == {"unchanged": len(everything)}


EVERYTHING = """
{apiVersion: v1, kind: ServiceAccount, metadata: {name: a}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: a}
rules: [{apiGroups: [""], resources: [pods], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: a}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: a}
subjects: [{kind: ServiceAccount, name: a}]
---
{apiVersion: v1, kind: Secret, metadata: {name: a}, stringData: {password: p}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: a}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1024Mi}}}
---
{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {type: NodePort, selector: {app: a}, ports: [{port: 80}]}}
---
apiVersion: batch/v1
kind: Job
metadata: {name: a}
spec:
  template:
    spec: {restartPolicy: Never, containers: [{name: a, image: "a:1", resources: {requests: {cpu: 1000m}}}]}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: a}
spec:
  schedule: "@hourly"
  jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: a, image: "a:1"}]}}}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: a}
spec:
  serviceName: a
  selector: {matchLabels: {app: a}}
  template: {metadata: {labels: {app: a}}, spec: {containers: [{name: a, image: "a:1", env: [{name: X, value: "1"}]}]}}
  volumeClaimTemplates:
  - {metadata: {name: d}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: a}
spec: {minAvailable: 1, selector: {matchLabels: {app: a}}}
---
{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: a}, spec: {podSelector: {}}}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: a}
spec: {defaultBackend: {service: {name: a, port: {number: 80}}}}
---
{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: a, image: "a:1"}]}}
"""


def test_the_number_of_replicas_is_left_to_an_autoscaler(api, apply, namespace):
    apply(deployment("api", replicas=1))
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments/api"
    scale = {"spec": {"replicas": 3}}
    api.patch(f"{path}/scale", scale, params={"fieldManager": "kube-controller-manager"})
    apply(deployment("api", replicas=1))
    assert api.get(path)["spec"]["replicas"] == 3
    apply(deployment("api", replicas=1))
    assert api.get(path)["spec"]["replicas"] == 3
