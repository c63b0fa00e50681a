"""What a test's own handle offers to deploy with, on the real control plane; and what is gone with the namespace."""

from __future__ import annotations

import logging
import subprocess
from pathlib import Path

import pytest

from pytest_ephemeral_ns import Chart, DeployError, ManifestError, UsageError, ephemeral
from pytest_ephemeral_ns.kube.api import Api

pytestmark = pytest.mark.cluster
ROLES = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
VOLUMES = "/api/v1/persistentvolumes"


@pytest.fixture(scope="module")
def api(control_plane):
    with Api(control_plane.connection) as api:
        yield api


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A repository with a commit on a branch whose name means something to ``--set``."""
    folder = tmp_path_factory.mktemp("shop")

    def git(*args):
        who = ["-c", "user.name=ada", "-c", "user.email=ada@example.test"]
        return subprocess.run(["git", "-C", folder, *who, *args], capture_output=True, text=True, check=True).stdout

    git("init", "--initial-branch", "fix/a,b")
    git("commit", "--allow-empty", "--message", "a")
    return folder, git("rev-parse", "HEAD").strip()


@pytest.fixture(scope="module")
def make(control_plane, project):
    def make(*deploy, **options):
        return ephemeral(
            *deploy, rootdir=project[0], cluster="current", kubeconfig=str(control_plane.kubeconfig), **options
        )

    return make


@pytest.fixture(scope="module")
def shared(make):
    with make() as namespace:
        yield namespace


@pytest.fixture
def chart(tmp_path):
    files = {
        "Chart.yaml": "apiVersion: v2\nname: shop\nversion: 1.0.0\n",
        "templates/c.yaml": "{{ if not .Values.quiet }}apiVersion: v1\nkind: ConfigMap\n"
        "metadata: {name: {{ .Release.Name }}}\ndata: {values: {{ toJson .Values | quote }}}\n{{ end }}",
        "templates/r.yaml": "{{ if .Values.role }}apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\n"
        "metadata: {name: {{ .Values.role }}}\n{{ end }}",
    }
    for name, text in files.items():
        (tmp_path / "chart" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "chart" / name).write_text(text)
    return tmp_path / "chart"


def values_in(namespace, release="shop"):
    import json

    return json.loads(namespace.get(f"cm/{release}")["data"]["values"])


def role(name):
    return {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name}}


def definition(group):
    names = {"kind": "Widget", "listKind": "WidgetList", "plural": "widgets", "singular": "widget"}
    schema = {"openAPIV3Schema": {"type": "object"}}
    versions = [{"name": "v1", "served": True, "storage": True, "schema": schema}]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"widgets.{group}"},
        "spec": {"group": group, "names": names, "scope": "Namespaced", "versions": versions},
    }


def test_variables_of_the_identity_and_the_handles(shared, tmp_path, project):
    known = ["NAMESPACE", "RUN_ID", "WORKER_ID", "BRANCH", "COMMIT", "PR_NUMBER", "TENANT", "DATABASE", "TAG"]
    lines = "".join(f'  {name}: "${{{name}}}"\n' for name in known)
    text = (
        f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: variables}}\ndata:\n{lines}  braces: '{{{{NAMESPACE}}}}'\n"
    )
    (tmp_path / "c.yaml").write_text(text)
    shared.apply(tmp_path / "c.yaml", variables={"TAG": "1.2"})
    assert shared.get("cm/variables")["data"] == {
        "NAMESPACE": shared.name,
        "RUN_ID": shared.run_id,
        "WORKER_ID": "main",
        "BRANCH": "fix/a,b",
        "COMMIT": project[1],
        "PR_NUMBER": "",
        "TENANT": shared.handles.tenant,
        "DATABASE": shared.handles.database,
        "TAG": "1.2",
        "braces": shared.name,
    }
    with pytest.raises(ManifestError, match=r"c\.yaml:13: unknown variable \$\{TAG\}"):
        shared.apply(tmp_path / "c.yaml", variables={})
    shared.apply(tmp_path / "c.yaml")  # nothing is replaced unless asked for
    assert shared.get("cm/variables")["data"]["NAMESPACE"] == "${NAMESPACE}"


def test_helm_values_of_every_kind_may_name_fields(shared, chart, tmp_path, project):
    (tmp_path / "v.yaml").write_text('image: {tag: "{commit_short}"}\nfrom: file\n')
    shared.helm(
        chart,
        "fields",
        [tmp_path / "v.yaml", {"db": {"schema": "{schema}"}}],
        {"branch": "{branch}", "hosts": ["{hostname}", "b"], "n": 3, "on": True, "none": None},
        set_string={"text": 3, "email": "{email}"},
    )
    assert values_in(shared, "fields") == {
        "image": {"tag": project[1][:7]},
        "from": "file",
        "db": {"schema": shared.handles.schema},
        "branch": "fix/a,b",
        "hosts": [shared.handles.hostname("localhost"), "b"],
        "n": 3,
        "on": True,
        "none": None,
        "text": "3",
        "email": shared.handles.email(),
    }
    (tmp_path / "v.yaml").write_text("image:\n  tag: {commit}\n")
    with pytest.raises(UsageError, match=r'v\.yaml:2: \{commit\} needs quotes: "\{commit\}"'):
        shared.helm(chart, values=tmp_path / "v.yaml")


def test_settings_may_name_fields_too(make, chart, tmp_path):
    (tmp_path / "v.yaml").write_text('tenant: "{tenant}"\n')
    with make(chart, helm_set=["host={hostname},tag=v-{commit}"], helm_values=[str(tmp_path / "v.yaml")]) as namespace:
        assert values_in(namespace)["host"] == f"{namespace.handles.tenant}.localhost"
        assert values_in(namespace)["tenant"] == namespace.handles.tenant
        assert values_in(namespace)["tag"] == f"v-{namespace.identity.commit}"


def test_a_chart_in_a_list_with_what_belongs_to_it(shared, chart):
    given = Chart(chart, "listed", values=({"a": "{namespace}"},), mode="template")
    deployed = shared.apply(given, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "beside"}})
    assert [str(ref) for ref in deployed.refs] == ["ConfigMap/listed", "ConfigMap/beside"]
    assert deployed.releases == ()
    assert values_in(shared, "listed")["a"] == shared.name
    with pytest.raises(UsageError, match="mode is 'never'"):
        shared.helm(chart, mode="never")


def test_a_release_that_is_rendered_and_one_that_helm_installs(shared, chart):
    assert shared.helm(chart, "installed").releases == ("installed",)
    assert shared.helm(chart, "rendered", mode="template").releases == ()
    assert shared.get("cm/rendered")["metadata"]["labels"] == {"pytest-ephemeral-ns/run": shared.run_id}


def test_kustomize_with_variables(shared, tmp_path):
    (tmp_path / "kustomization.yaml").write_text("resources: [c.yaml]\nnamePrefix: k-\n")
    (tmp_path / "c.yaml").write_text('apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {x: "${TAG}"}\n')
    shared.kustomize(tmp_path, {"TAG": "7"})
    assert shared.get("cm/k-a")["data"] == {"x": "7"}


def test_what_is_outside_is_refused_unless_it_may_be_our_own(shared):
    with pytest.raises(ManifestError, match="ClusterRole/handle-refused"):
        shared.apply(role("handle-refused"))


def test_what_is_outside_goes_with_the_namespace(api, make, chart):
    """Made, owned by the namespace, gone at its release; the definition at the end of the run."""
    with make() as namespace:
        group = f"{namespace.handles.tenant}.example.com"
        deployed = namespace.apply(role("handle-own"), definition(group), cluster_scoped="own")
        namespace.helm(chart, set={"role": namespace.handles.tenant}, cluster_scoped="own")
        paths = [f"{ROLES}/handle-own-{namespace.name}", f"{ROLES}/{namespace.handles.tenant}"]
        for path in paths:
            metadata = api.get(path)["metadata"]
            assert metadata["ownerReferences"][0]["uid"] == namespace.uid
            assert metadata["labels"]["pytest-ephemeral-ns/run"] == namespace.run_id
        assert str(deployed.refs[0]) == f"CustomResourceDefinition/widgets.{group}"
    assert [api.find(path) for path in paths] == [None, None]
    left = api.find(f"{DEFINITIONS}/widgets.{group}")
    assert left is None or left["metadata"]["deletionTimestamp"]


def test_settings_may_own_too(api, make, tmp_path):
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: monitoring}\n---\n"
    text += "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b, namespace: other}\n---\n"
    text += "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: handle-ini}\n"
    (tmp_path / "set.yaml").write_text(text)
    with pytest.raises(ManifestError, match="several namespaces"), make(tmp_path / "set.yaml"):
        raise AssertionError("not reached")
    how = {"cluster_scoped": "own", "map_namespace": ["monitoring", "other"]}
    with make(tmp_path / "set.yaml", **how) as namespace:
        assert {m["metadata"]["name"] for m in namespace.list("cm")} == {"a", "b", "kube-root-ca.crt"}
        assert api.find(f"{ROLES}/handle-ini-{namespace.name}")
    assert api.find(f"{ROLES}/handle-ini-{namespace.name}") is None


def test_what_a_failed_deploy_made_outside_goes_too(api, make):
    bad = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"type": "Never"}}
    with pytest.raises(DeployError), make() as namespace:
        namespace.apply(role("handle-half"), bad, cluster_scoped="own")
    assert api.find(f"{ROLES}/handle-half-{namespace.name}") is None


def test_somebody_elses_object_of_the_same_name_is_left_alone(api, make):
    with make() as namespace:
        name = f"handle-taken-{namespace.name}"
        theirs = api.create(ROLES, role(name))
        with pytest.raises(DeployError, match=f"ClusterRole/{name} exists already and is not ours"):
            namespace.apply(role("handle-taken"), cluster_scoped="own")
    assert api.get(f"{ROLES}/{name}")["metadata"]["uid"] == theirs["metadata"]["uid"]
    api.delete(f"{ROLES}/{name}")


def test_a_volume_that_outlives_its_claim_is_told(api, make, caplog):
    """A volume whose policy is Retain stays for ever: the end of the run names it, and the command."""
    with caplog.at_level(logging.WARNING), make() as namespace:
        claim = {"namespace": namespace.name, "name": "data"}
        spec = {"capacity": {"storage": "1Mi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/tmp/x"}}
        spec |= {"persistentVolumeReclaimPolicy": "Retain", "claimRef": claim}
        volume = {"apiVersion": "v1", "kind": "PersistentVolume", "spec": spec}
        name = f"handle-{namespace.handles.tenant}"
        api.create(VOLUMES, {**volume, "metadata": {"name": name}})
    api.delete(f"{VOLUMES}/{name}")
    (line,) = [record.message for record in caplog.records if "PersistentVolume" in record.message]
    assert line.startswith(f"remains: PersistentVolume/{name} of claim {namespace.name}/data")
    assert line.endswith(f"kubectl delete persistentvolume {name}")


def test_secrets_are_never_in_an_argument_of_helm(shared, chart, tmp_path, monkeypatch):
    """The real Helm behind a script that writes down how it was called."""
    from pytest_ephemeral_ns.kube.tools import find

    helm, calls = find("helm"), tmp_path / "calls"
    script = tmp_path / "bin" / "helm"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\necho "$@" >> {calls}\nexec {helm} "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(script.parent), prepend=":")
    how = {"set": {"db.password": "hunter2!"}, "set_string": ["a.b=c0mma\\,token"]}
    shared.helm(chart, "secret", {"key": "v4lue"}, **how)
    assert values_in(shared, "secret") == {"db": {"password": "hunter2!"}, "a": {"b": "c0mma,token"}, "key": "v4lue"}
    text = Path(calls).read_text()
    assert "upgrade secret" in text
    assert not any(secret in text for secret in ("hunter2", "c0mma", "v4lue"))
