"""Manifests that nobody of this project wrote, deployed and made ready on the real node as their users would."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections import Counter

import httpx
import pytest

from pytest_ephemeral_ns import WaitFailed, ephemeral
from pytest_ephemeral_ns.paths import bin_dir
from tests.stages.manifests import REAL, needs_real

pytestmark = [pytest.mark.node, needs_real]
OVERLAY = """
resources: [{resources}]
images: [{images}]
patches:
- target: {{kind: Deployment}}
  patch: |-
    - {{op: add, path: /spec/template/spec/containers/0/imagePullPolicy, value: IfNotPresent}}
    - {{op: add, path: /spec/template/spec/containers/0/command, value: [sleep, "86400"]}}
"""


@pytest.fixture(scope="module")
def here(node_cluster):
    def here(*deploy, **options):
        return ephemeral(*deploy, cluster="current", kubeconfig=str(node_cluster.kubeconfig), **options)

    return here


@pytest.fixture(scope="module")
def kubectl(node_cluster):
    """A kubectl that knows nothing of us: what it prints as decoded JSON."""

    def kubectl(*args):
        command = [str(bin_dir() / "kubectl"), "--kubeconfig", str(node_cluster.kubeconfig), *args, "-o", "json"]
        return json.loads(subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout)

    return kubectl


def test_podinfos_kustomization_is_ready_although_nothing_gives_its_autoscaler_metrics(here):
    with here(REAL / "podinfo/kustomize", grace=["metrics=1s"]) as namespace:
        assert namespace.get("hpa/podinfo")["spec"]["minReplicas"] == 2
        assert namespace.get("deploy/podinfo")["status"]["readyReplicas"] >= 1
        assert httpx.get(f"{namespace.url('svc/podinfo', 9898)}/healthz", timeout=30).status_code == 200


@pytest.mark.parametrize(
    ("folder", "workloads"),
    [("voting-app/k8s-specifications", 5), ("guestbook/web/guestbook", 3)],
    ids=["voting-app", "guestbook"],
)
def test_a_real_set_with_images_that_stand_in(here, tmp_path, folder, workloads):
    from pytest_ephemeral_ns.rules.yaml_dialect import read_documents

    files = sorted((REAL / folder).glob("*.yaml"))
    names = set()
    for file in files:
        shutil.copy(file, tmp_path)
        for document in read_documents(file.read_text(), file.name):
            if document.value["kind"] == "Deployment":
                names |= {c["image"] for c in document.value["spec"]["template"]["spec"]["containers"]}
    images = ", ".join(
        f"{{name: {name.rpartition(':')[0] or name}, newName: busybox, newTag: '1.36'}}" for name in sorted(names)
    )
    text = OVERLAY.format(resources=", ".join(file.name for file in files), images=images)
    (tmp_path / "kustomization.yaml").write_text(text)
    with here(tmp_path) as namespace:
        found = namespace.list("deployments")
        assert len(found) == workloads
        assert all(one["status"]["readyReplicas"] == one["spec"]["replicas"] for one in found)


@pytest.mark.slow
def test_kube_prometheus_in_one_call_and_gone_without_a_stuck_namespace(here, kubectl):
    manifests = REAL / "kube-prometheus/manifests"
    how = {"cluster_scoped": "own", "map_namespace": ["monitoring"], "policy": "none", "wait_deleted": True}
    with here(**how) as namespace:
        deployed = namespace.apply(manifests / "setup", manifests)
        assert Counter(deployed.actions.values()) == {"created": 130}
        # Its images are nowhere here: each workload is named with that cause, at once and together.
        with pytest.raises(WaitFailed) as error:
            namespace.wait_ready(timeout=120)
        text = str(error.value)
        workloads = [ref for ref in deployed.refs if ref.kind in ("Deployment", "DaemonSet")]
        assert len(workloads) == 6
        named = [ref for ref in workloads if ref.name in text]
        assert named, text
    found = kubectl("get", "namespaces")["items"]
    assert namespace.name not in [one["metadata"]["name"] for one in found]
    kinds = "clusterroles,clusterrolebindings,apiservices,customresourcedefinitions"
    of_run = f"pytest-ephemeral-ns/run={namespace.run_id}"
    left = kubectl("get", kinds, "-l", of_run)["items"]
    assert [one["metadata"]["name"] for one in left if not one["metadata"].get("deletionTimestamp")] == []
    assert kubectl("get", "roles,rolebindings", "--all-namespaces", "-l", of_run)["items"] == []
