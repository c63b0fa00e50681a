from __future__ import annotations

import base64
import gzip
import json
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_ephemeral_ns.errors import ToolError
from pytest_ephemeral_ns.kube.api import Api
from pytest_ephemeral_ns.kube.helm import (
    Release,
    helm_get,
    helm_list,
    helm_template,
    helm_uninstall,
    helm_upgrade_install,
    helm_version,
)

CHART = {
    "Chart.yaml": "apiVersion: v2\nname: tiny\nversion: 1.2.3\n",
    "values.yaml": "a: from-chart\nb: from-chart\nc: from-chart\nboom: ''\n",
    "crds/crd.yaml": "apiVersion: apiextensions.k8s.io/v1\n"
    "kind: CustomResourceDefinition\nmetadata: {name: tinies.example.com}\n",
    "templates/map.yaml": """
apiVersion: v1
kind: ConfigMap
metadata: {name: "{{ .Release.Name }}-map"}
data: {a: {{ .Values.a | quote }}, b: {{ .Values.b | quote }}, c: {{ .Values.c | quote }}, kind: {{ kindOf .Values.c }}}
---
{{ if .Values.boom }}{{ fail (printf "boom %s" .Values.boom) }}{{ end }}
""",
    "templates/hook.yaml": """
apiVersion: v1
kind: ConfigMap
metadata: {name: "{{ .Release.Name }}-hook", annotations: {helm.sh/hook: post-install}}
""",
}


@pytest.fixture
def chart(tmp_path: Path) -> Path:
    folder = tmp_path / "tiny"
    for name, text in CHART.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def no_crds(chart: Path) -> Path:
    (chart / "crds/crd.yaml").unlink()
    return chart


@pytest.fixture
def api(control_plane) -> Iterator[Api]:  # type: ignore[no-untyped-def]
    with Api(control_plane.connection) as api:
        yield api


@pytest.fixture
def place(api: Api, control_plane) -> Iterator[dict[str, Any]]:  # type: ignore[no-untyped-def]
    """A namespace of the test's own, as the arguments that every call takes."""
    name = f"streams-helm-{uuid.uuid4().hex[:8]}"
    api.create("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    yield {"namespace": name, "kubeconfig": control_plane.kubeconfig, "timeout": 60.0}
    api.delete(f"/api/v1/namespaces/{name}")


def stored(api: Api, place: dict[str, Any], revision: int) -> tuple[str, dict[str, Any]]:
    path = f"/api/v1/namespaces/{place['namespace']}/secrets/sh.helm.release.v1.shop.v{revision}"
    data = base64.b64decode(api.get(path)["data"]["release"])
    return path, json.loads(gzip.decompress(base64.b64decode(data)))


def leave_unfinished(api: Api, place: dict[str, Any], revision: int, status: str) -> None:
    """Write what a Helm that was killed in the middle leaves behind."""
    path, release = stored(api, place, revision)
    release["info"]["status"] = status
    data = base64.b64encode(base64.b64encode(gzip.compress(json.dumps(release).encode()))).decode()
    api.patch(path, {"data": {"release": data}, "metadata": {"labels": {"status": status}}})


def config_map(api: Api, place: dict[str, Any], name: str = "shop-map") -> dict[str, str]:
    return dict(api.get(f"/api/v1/namespaces/{place['namespace']}/configmaps/{name}").get("data") or {})


pytestmark = pytest.mark.cluster  # the real Helm comes with the cluster's programs


def test_version() -> None:
    assert (3, 0) < helm_version() < (5, 0)


def test_install_upgrade_list_get_uninstall(api: Api, place: dict[str, Any], no_crds: Path, tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    values.write_text("a: from-file\nb: from-file\n")
    how = {"values": [values, {"b": "from-mapping"}], "set_string": ["c=1"], **place}
    release = helm_upgrade_install("shop", no_crds, **how)
    assert (release.name, release.revision, release.status, release.chart) == ("shop", 1, "deployed", "tiny-1.2.3")
    assert "shop-map" in release.manifest
    assert "shop-hook" in release.hooks
    assert config_map(api, place) == {"a": "from-file", "b": "from-mapping", "c": "1", "kind": "string"}
    assert config_map(api, place, "shop-hook") == {}

    again = helm_upgrade_install("shop", no_crds, set=["c=2", "a={x,y}"], **place)
    assert again.revision == 2
    assert config_map(api, place)["kind"] == "int64"

    where = {key: place[key] for key in ("namespace", "kubeconfig")}
    assert helm_get("shop", **where) == replace(again, chart="")
    assert helm_list(**where) == (Release("shop", place["namespace"], 2, "deployed", "tiny-1.2.3"),)
    assert helm_uninstall("shop", **place)
    assert not helm_uninstall("shop", **place)
    assert helm_list(**where) == ()


@pytest.mark.parametrize("status", ["pending-install", "uninstalling"])
def test_a_release_that_was_never_deployed_is_made_anew(
    api: Api, place: dict[str, Any], no_crds: Path, status: str
) -> None:
    helm_upgrade_install("shop", no_crds, **place)
    leave_unfinished(api, place, 1, status)
    said: list[str] = []
    release = helm_upgrade_install("shop", no_crds, set=["a=new"], on_recovery=said.append, **place)
    assert said == [f"release shop was {status} and never deployed: uninstalled"]
    assert (release.revision, release.status) == (1, "deployed")
    assert config_map(api, place)["a"] == "new"


@pytest.mark.parametrize("status", ["pending-upgrade", "pending-rollback"])
def test_a_release_that_was_deployed_once_is_rolled_back_and_upgraded(
    api: Api, place: dict[str, Any], no_crds: Path, status: str
) -> None:
    helm_upgrade_install("shop", no_crds, set=["a=first"], **place)
    helm_upgrade_install("shop", no_crds, set=["a=killed"], **place)
    leave_unfinished(api, place, 2, status)
    assert [r.status for r in helm_list(namespace=place["namespace"], kubeconfig=place["kubeconfig"])] == [status]
    said: list[str] = []
    release = helm_upgrade_install("shop", no_crds, on_recovery=said.append, **place)
    assert said == [f"release shop was {status}: rolled back to revision 1"]
    assert (release.revision, release.status) == (4, "deployed")
    assert config_map(api, place)["a"] == "from-chart"


def test_helms_own_error_is_shown_whole_but_without_the_secret(place: dict[str, Any], no_crds: Path) -> None:
    with pytest.raises(ToolError) as caught:
        helm_upgrade_install("shop", no_crds, values=[{"boom": "s3cr3t"}], redact=["s3cr3t"], **place)
    text = str(caught.value)
    assert text.startswith("helm upgrade --install shop tiny failed with exit code 1")
    assert "boom [redacted]" in text
    assert "tiny/templates/map.yaml" in text
    assert "s3cr3t" not in text


def test_template_renders_without_a_cluster(chart: Path) -> None:
    text = helm_template("shop", chart, namespace="x", timeout=60, set=["a=set"], kube_version="v1.30.0")
    assert "shop-map" in text
    assert "shop-hook" in text
    assert "tinies.example.com" in text
    assert "tinies.example.com" not in helm_template("shop", chart, namespace="x", timeout=60, include_crds=False)


def test_a_home_of_its_own_leaves_the_users_alone(
    no_crds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (no_crds / "templates/env.yaml").write_text("# nothing\n")
    monkeypatch.setenv("HOME", "/nonexistent")
    assert "shop-map" in helm_template("shop", no_crds, namespace="x", timeout=60, home=tmp_path / "home")


def test_a_chart_that_does_not_exist(place: dict[str, Any]) -> None:
    with pytest.raises(ToolError, match=r'path "\./no/such/chart" not found'):
        helm_upgrade_install("shop", "./no/such/chart", **place)
