"""Everything that can be wrong with sources is found before a cluster is asked."""

from __future__ import annotations

import shutil

import pytest

from pytest_ephemeral_ns import paths
from pytest_ephemeral_ns.deploy import Chart, plan
from pytest_ephemeral_ns.errors import ManifestError, UsageError

SERVICE = "apiVersion: v1\nkind: Service\nmetadata:\n  name: {}\n"


def needs(tool):
    found = shutil.which(tool) or shutil.which(tool, path=str(paths.bin_dir()))
    return pytest.mark.skipif(not found, reason=f"{tool} is not installed")


@pytest.fixture
def write(tmp_path):
    def write(**files):
        for name, text in files.items():
            path = tmp_path / name.replace("__", "/").replace("_dot_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    return write


def names(planned):
    return [str(m.ref) for part in planned.parts for m in part.manifests]


def test_files_folders_and_objects(tmp_path, write):
    write(
        k8s__b_dot_yaml=SERVICE.format("b"),
        k8s__a_dot_yml=SERVICE.format("a") + "---\n" + SERVICE.format("a2"),
        k8s__c_dot_json='{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "c"}}',
        k8s__README_dot_md="# not a manifest",
        k8s__more__d_dot_yaml=SERVICE.format("d"),
        one_dot_txt=SERVICE.format("one"),
    )
    given = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "given"}}
    planned = plan(["k8s", "one.txt", given, tmp_path / "k8s" / "more"], base_dir=tmp_path)
    assert names(planned) == [
        "Service/a",
        "Service/a2",
        "Service/b",
        "Secret/c",
        "Service/one",
        "ConfigMap/given",
        "Service/d",
    ]
    assert len(planned.parts) == 1
    assert planned.parts[0].manifests[1].where == "k8s/a.yml:6"
    assert given == {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "given"}}


def test_nothing_to_deploy_is_a_plan():
    assert plan([]).parts == ()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere", "nowhere does not exist"),
        ("empty", "empty: nothing to deploy"),
        ("comments.yaml", "comments.yaml holds no object"),
        ("parent", "name the ones that you mean: child, other"),
        ("both", "both is a chart and a kustomization"),
        ("latin.yaml", "latin.yaml is not UTF-8 text"),
        ("broken.yaml", 'broken.yaml:6: document 2: duplicate key "kind"'),
        (5, "5 cannot be deployed"),
        (Chart("parent"), "parent is not a chart: it has no Chart.yaml"),
        (Chart("nowhere"), "chart nowhere does not exist"),
    ],
)
def test_what_cannot_be_deployed(tmp_path, write, source, message):
    write(
        empty__x_dot_txt="",
        comments_dot_yaml="# nothing\n---\n",
        parent__child__a_dot_yaml=SERVICE.format("a"),
        parent__other__a_dot_yaml=SERVICE.format("a"),
        both__Chart_dot_yaml="name: a",
        both__kustomization_dot_yaml="resources: []",
        broken_dot_yaml="a: 1\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: a}\nkind: Pod\n",
    )
    (tmp_path / "latin.yaml").write_bytes(b"a: \xe9\n")
    with pytest.raises(UsageError) as caught:
        plan([source], base_dir=tmp_path)
    assert message in str(caught.value)


def test_one_source_is_not_a_list_of_sources():
    with pytest.raises(UsageError, match="not a list of sources"):
        plan("k8s/")


def test_variables_are_replaced_only_when_asked_for(tmp_path, write):
    write(a_dot_yaml=SERVICE.format("api-${TAG}") + "  namespace: {{NAMESPACE}}\n")
    planned = plan(["a.yaml"], base_dir=tmp_path, variables={"TAG": "7"}, namespace="shop-gw0")
    assert names(planned) == ["Service/api-7"]
    with pytest.raises(ManifestError, match="unknown variable"):
        plan(["a.yaml"], base_dir=tmp_path, variables={})
    write(b_dot_yaml=SERVICE.format("b") + "  annotations: {x: '${HOME}'}\n")
    assert plan(["b.yaml"], base_dir=tmp_path).parts[0].manifests[0].object["metadata"]["annotations"] == {
        "x": "${HOME}"
    }


def test_identity_fields_are_variables(tmp_path, write):
    write(a_dot_yaml=SERVICE.format("api-${COMMIT}"))
    assert names(plan(["a.yaml"], base_dir=tmp_path, variables={}, fields={"commit": "1a2b"})) == ["Service/api-1a2b"]


def test_the_same_object_in_two_files(tmp_path, write):
    write(k__a_dot_yaml=SERVICE.format("a"), k__b_dot_yaml=SERVICE.format("a") + "spec: {}\n")
    with pytest.raises(ManifestError, match="Service/a is written twice"):
        plan(["k"], base_dir=tmp_path)


@needs("kubectl")
def test_kustomizations(tmp_path, write):
    write(
        base__kustomization_dot_yaml="resources: [a.yaml]\nnamePrefix: x-\n",
        base__a_dot_yaml=SERVICE.format("a"),
        bad__Kustomization="resources: [missing.yaml]\n",
    )
    assert names(plan(["base"], base_dir=tmp_path)) == ["Service/x-a"]
    assert names(plan(["base/kustomization.yaml"], base_dir=tmp_path)) == ["Service/x-a"]
    with pytest.raises(ManifestError, match=r"missing\.yaml"):
        plan(["bad"], base_dir=tmp_path)


DEPENDS = "dependencies: [{name: redis, version: 1.0.0, repository: 'file://../r'}]\n"
CHART = "apiVersion: v2\nname: shop\nversion: 1.0.0\n"
TEMPLATE = SERVICE.format("{{ .Release.Name }}-{{ .Values.tag }}")


@needs("helm")
def test_charts(tmp_path, write):
    hook = SERVICE.format("hook") + "  annotations: {helm.sh/hook: pre-install}\n"
    write(
        c__Chart_dot_yaml=CHART,
        c__templates__s_dot_yaml=TEMPLATE,
        c__templates__h_dot_yaml=hook,
        values_dot_yaml="tag: '{commit}'\n",
    )
    fields = {"commit": "1a2b"}
    planned = plan(["c"], base_dir=tmp_path, helm_values=["values.yaml"], fields=fields)
    assert planned.parts[0].name == "shop"
    assert names(planned) == ["Service/shop-1a2b"]
    planned = plan(["c"], base_dir=tmp_path, helm_set=["tag=v-{commit}"], fields=fields, release="r")
    assert names(planned) == ["Service/r-v-1a2b"]
    one, two = Chart("c", release="one", set=("tag=1",)), Chart("c/", release="two", values=({"tag": 2},))
    assert names(plan([one, two], base_dir=tmp_path)) == ["Service/one-1", "Service/two-2"]


@needs("helm")
@pytest.mark.parametrize(
    ("files", "how", "message"),
    [
        ({"c__Chart_dot_yaml": CHART + "type: library\n"}, {}, "is a library chart"),
        ({"c__templates__s_dot_yaml": "{{ fail `no such luck` }}"}, {}, "no such luck"),
        ({"c__templates__s_dot_yaml": "a: 1\n a: 2\n"}, {}, "does not render"),
        ({}, {"helm_values": ["gone.yaml"]}, "values file gone.yaml does not exist"),
        ({}, {"helm_set": ["tag"]}, "--set: key 'tag' has no value"),
        ({"c__Chart_dot_yaml": CHART + DEPENDS}, {}, "helm dependency build"),
        ({"c__templates__s_dot_yaml": TEMPLATE.replace("Service", "Namespace")}, {}, "would be outside the namespace"),
        ({}, {"release": "x" * 60}, "Helm allows 53"),
    ],
)  # fmt: skip
def test_charts_that_cannot_be_installed(tmp_path, write, files, how, message):
    write(**{"c__Chart_dot_yaml": CHART, "c__templates__s_dot_yaml": TEMPLATE, "c__values_dot_yaml": "tag: a", **files})
    with pytest.raises(UsageError) as caught:
        plan(["c"], base_dir=tmp_path, **how)
    assert message in str(caught.value)


@needs("helm")
def test_a_chart_of_a_repository_is_helms_to_find(tmp_path, monkeypatch):
    monkeypatch.setenv("HELM_CONFIG_HOME", str(tmp_path))
    with pytest.raises(ManifestError, match="nowhere/shop does not render") as caught:
        plan([Chart("nowhere/shop", version="1.0.0")], base_dir=tmp_path)
    assert "repo nowhere not found" in str(caught.value)


@pytest.mark.parametrize(
    "chart",
    [
        Chart("shop", repo="https://ada:hunter2@charts.example.com"),
        Chart("https://ada:hunter2@charts.example.com/s.tgz"),
    ],
)
def test_a_password_in_a_url_would_be_seen_among_the_arguments(chart):
    with pytest.raises(UsageError, match=r"https://…@charts\.example\.com.* has a password in it") as caught:
        plan([chart])
    assert "hunter2" not in str(caught.value)
