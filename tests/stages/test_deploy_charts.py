"""Charts on the real control plane: Helm's own way and ours, with definitions, hooks and things outside."""

from __future__ import annotations

import secrets
import shutil
import threading

import pytest

from pytest_ephemeral_ns import paths
from pytest_ephemeral_ns.deadline import Deadline
from pytest_ephemeral_ns.deploy import Chart, deploy, find_outside, remove_cluster_scoped
from pytest_ephemeral_ns.errors import DeployError, ManifestError

HELM = shutil.which("helm") or shutil.which("helm", path=str(paths.bin_dir()))
pytestmark = [pytest.mark.cluster, pytest.mark.skipif(not HELM, reason="helm is not installed")]

RBAC = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


@pytest.fixture(scope="module")
def api(control_plane):
    from pytest_ephemeral_ns.kube.api import Api

    with Api(control_plane.connection) as api:
        yield api


@pytest.fixture
def namespace(api):
    name = f"charts-{secrets.token_hex(3)}"
    created = api.create(
        "/api/v1/namespaces", {"metadata": {"name": name, "labels": {"pytest-ephemeral-ns/run": name}}}
    )
    yield name
    api.delete(f"/api/v1/namespaces/{name}", uid=created["metadata"]["uid"])


@pytest.fixture
def install(api, namespace, control_plane, tmp_path):
    tracked = []

    def install(*sources, **how):
        return deploy(
            api,
            namespace,
            sources,
            base_dir=tmp_path,
            labels={"pytest-ephemeral-ns/run": namespace},
            kubeconfig=lambda: control_plane.kubeconfig,
            on_tracked=tracked.append,
            **{"deadline": Deadline.after(120), **how},
        )

    yield install
    assert remove_cluster_scoped(api, tracked, namespace) == []


@pytest.fixture
def chart(tmp_path):
    def chart(name="shop", **files):
        files = {"Chart.yaml": f"apiVersion: v2\nname: {name}\nversion: 1.0.0\n", **files}
        for file, text in files.items():
            path = tmp_path / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return name

    return chart


CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {}\n"
ROLE = "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata:\n  name: {}\n"
POD = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {}\nspec:\n  containers: [{{name: a, image: a}}]\n"


def definition(group):
    return f"""
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {{name: things.{group}}}
spec:
  group: {group}
  scope: Namespaced
  names: {{kind: Thing, listKind: ThingList, plural: things, singular: thing}}
  versions:
  - {{name: v1, served: true, storage: true, schema: {{openAPIV3Schema: {{type: object}}}}}}
"""


def hook(text, events, **annotations):
    lines = {"helm.sh/hook": events, **{key.replace("_", "."): value for key, value in annotations.items()}}
    written = "".join(f"    {key}: {value!r}\n" for key, value in lines.items())
    return (
        text.replace("spec:", f"  annotations:\n{written}spec:")
        if "spec:" in text
        else f"{text}  annotations:\n{written}"
    )


def test_a_release_that_makes_something_outside_is_refused(api, install, chart, namespace):
    name = chart(
        **{"templates/r.yaml": ROLE.format("{{ .Release.Namespace }}"), "templates/c.yaml": CONFIG.format("a")}
    )
    with pytest.raises(ManifestError, match=f"ClusterRole/{namespace}"):
        install(name)
    assert api.find(f"/api/v1/namespaces/{namespace}/configmaps/a") is None


def test_a_hook_outside_is_refused_too(install, chart):
    name = chart(**{"templates/r.yaml": hook(ROLE.format("charts-hook"), "pre-install")})
    with pytest.raises(ManifestError, match="ClusterRole/charts-hook"):
        install(name)


def test_what_a_release_makes_outside_is_tracked_and_removed(api, install, chart, namespace):
    from pytest_ephemeral_ns.kube.discovery import Discovery

    group = f"{namespace}.example.com"
    name = chart(
        **{
            "templates/r.yaml": ROLE.format("{{ .Release.Namespace }}"),
            "templates/t.yaml": f"apiVersion: {group}/v1\nkind: Thing\nmetadata:\n  name: t\n",
            "crds/d.yaml": definition(group),
        }
    )
    deployed = install(name, cluster_scoped="own")
    assert {str(ref) for ref in deployed.refs} == {
        f"CustomResourceDefinition/things.{group}",
        f"ClusterRole/{namespace}",
        "Thing/t",
    }
    assert {t.path for t in deployed.tracked} == {f"{RBAC}/{namespace}", f"{DEFINITIONS}/things.{group}"}
    assert {t.path for t in find_outside(api, Discovery(api), run=namespace)} == {t.path for t in deployed.tracked}
    again = install(name, cluster_scoped="own")
    assert {t.path for t in again.tracked} == {t.path for t in deployed.tracked}
    assert remove_cluster_scoped(api, deployed.tracked, namespace) == []
    assert api.find(f"{RBAC}/{namespace}") is None


def test_definitions_that_the_cluster_has_already_are_no_reason_to_refuse(api, install, chart, namespace):
    import yaml

    from pytest_ephemeral_ns.kube.discovery import Discovery

    group = f"{namespace}.example.com"
    api.create(DEFINITIONS, yaml.safe_load(definition(group)))
    Discovery(api).find(f"{group}/v1", "Thing", patience=30.0)
    try:
        name = chart(**{"templates/c.yaml": CONFIG.format("a"), "crds/d.yaml": definition(group)})
        assert install(name).tracked == ()
    finally:
        api.delete(f"{DEFINITIONS}/things.{group}")


def test_what_a_failed_release_made_outside_is_tracked(api, install, chart, namespace):
    bad = "apiVersion: v1\nkind: Service\nmetadata:\n  name: a\nspec: {type: Never}\n"
    name = chart(**{"templates/r.yaml": ROLE.format("{{ .Release.Namespace }}"), "templates/s.yaml": bad})
    with pytest.raises(DeployError, match="release shop of chart"):
        install(name, cluster_scoped="own")
    # the fixture removes what was tracked
    assert api.find(f"{RBAC}/{namespace}")


def test_a_release_that_would_be_the_same_is_left_alone(api, install, chart, namespace):
    text = CONFIG.format("a") + "data: {x: '{{ .Values.x }}'}\n---\n" + CONFIG.format("b")
    later = hook(CONFIG.format("hook"), "pre-install,pre-upgrade")
    name = chart(
        **{"templates/c.yaml": text, "templates/h.yaml": later, "templates/t.yaml": hook(POD.format("t"), "test")}
    )

    def revisions():
        return len([*api.list(f"/api/v1/namespaces/{namespace}/secrets", label_selector="owner=helm")])

    def actions(x):
        deployed = install(Chart(name, set=(f"x={x}",)))
        assert deployed.releases == ("shop",)
        return {str(ref): action for ref, action in deployed.actions.items()}

    assert actions(1) == {"ConfigMap/a": "created", "ConfigMap/b": "created"}
    assert actions(1) == {"ConfigMap/a": "unchanged", "ConfigMap/b": "unchanged"}
    assert revisions() == 1
    assert actions(2) == {"ConfigMap/a": "configured", "ConfigMap/b": "unchanged"}
    assert revisions() == 2
    assert actions(2) == {"ConfigMap/a": "unchanged", "ConfigMap/b": "unchanged"}


def test_helms_words_are_shown_without_secrets(install, chart):
    name = chart(**{"templates/c.yaml": "{{ fail (printf `bad: %s` .Values.db.password) }}"})
    with pytest.raises(ManifestError) as caught:
        install(Chart(name, values=({"db": {"password": "hunter2hunter2"}},)))
    assert "bad: [redacted]" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_capabilities_are_those_of_the_server(install, chart):
    text = (
        "{{ if .Capabilities.APIVersions.Has `discovery.k8s.io/v1/EndpointSlice` }}" + CONFIG.format("a") + "{{ end }}"
    )
    name = chart(**{"templates/c.yaml": text})
    assert [str(ref) for ref in install(name).refs] == ["ConfigMap/a"]


def end(api, namespace, pod, phase):
    """Say that a pod has ended, as a kubelet would."""
    path = f"/api/v1/namespaces/{namespace}/pods/{pod}"
    for _ in range(300):
        if api.find(path):
            api.patch(f"{path}/status", {"status": {"phase": phase}})
            return
        threading.Event().wait(0.05)


@pytest.fixture
def ending(api, namespace):
    threads = []

    def ending(pod, phase):
        threads.append(threading.Thread(target=end, args=(api, namespace, pod, phase)))
        threads[-1].start()

    yield ending
    for thread in threads:
        thread.join()


def hooked(chart):
    return chart(
        **{
            "templates/c.yaml": CONFIG.format("main"),
            "templates/late.yaml": hook(POD.format("late"), "post-install"),
            "templates/early.yaml": hook(
                POD.format("early"),
                "pre-install",
                **{"helm.sh/hook-weight": "5", "helm.sh/hook-delete-policy": "hook-succeeded"},
            ),
            "templates/first.yaml": hook(
                CONFIG.format("first"), "pre-install,pre-upgrade", **{"helm.sh/hook-weight": "-5"}
            ),
            "templates/test.yaml": hook(POD.format("test"), "test"),
        }
    )


def test_hooks_of_a_rendered_chart_run_in_order(api, install, chart, namespace, ending):
    name = hooked(chart)
    lines = []
    ending("early", "Succeeded")
    ending("late", "Succeeded")
    deployed = install(Chart(name, mode="template"), on_progress=lines.append)
    assert [str(ref) for ref in deployed.refs] == ["ConfigMap/main"]
    assert [str(ref) for ref in deployed.actions] == ["ConfigMap/first", "Pod/early", "ConfigMap/main", "Pod/late"]
    assert api.find(f"/api/v1/namespaces/{namespace}/pods/early") is None
    assert api.find(f"/api/v1/namespaces/{namespace}/pods/late")
    assert api.find(f"/api/v1/namespaces/{namespace}/pods/test") is None
    again = install(Chart(name, mode="template"), on_progress=lines.append)
    assert [str(ref) for ref in again.actions] == ["ConfigMap/first", "ConfigMap/main"]
    assert "running the pre-install hooks of shop: 2" in lines
    assert "running the pre-upgrade hooks of shop: 1" in lines


def test_a_hook_that_fails_stops_the_deploy(api, install, chart, namespace, ending):
    name = hooked(chart)
    ending("early", "Failed")
    with pytest.raises(DeployError, match="hook Pod/early failed"):
        install(Chart(name, mode="template"))
    assert api.find(f"/api/v1/namespaces/{namespace}/configmaps/main") is None


def test_a_hook_that_never_ends(install, chart):
    with pytest.raises(DeployError, match="hook Pod/early has not ended after 2 s"):
        install(Chart(hooked(chart), mode="template"), deadline=Deadline.after(2))


def test_a_rendered_chart_has_names_of_its_own_outside(api, install, chart, namespace):
    name = chart(**{"templates/r.yaml": ROLE.format("charts-same"), "templates/c.yaml": CONFIG.format("a")})
    deployed = install(Chart(name, mode="template"), cluster_scoped="own")
    assert [t.path for t in deployed.tracked] == [f"{RBAC}/charts-same-{namespace}"]
    assert deployed.releases == ()
