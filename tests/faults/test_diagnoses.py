"""The collector on the real control plane, while things break: what is missing is a line, never an error."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from pytest_ephemeral_ns.diagnose import Diagnoses, Diagnosis, Where, diagnose
from pytest_ephemeral_ns.diagnose.bundle import bundle
from pytest_ephemeral_ns.kube.api import Api
from tests.faults.proxy import FaultProxy

pytestmark = pytest.mark.cluster
CANARY = "canary-a1b2c3d4"
LOG = r"/log$"


@pytest.fixture
def shop(server_api: Api, namespace: str) -> str:
    """A namespace with a Secret and a pod that runs as far as the server knows, on a node that is not there."""
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db"}, "stringData": {"password": CANARY}}
    server_api.create(f"/api/v1/namespaces/{namespace}/secrets", body)
    run_pod(server_api, namespace, "api")
    return namespace


def run_pod(api: Api, namespace: str, name: str, **state: Any) -> None:
    base = f"/api/v1/namespaces/{namespace}/pods"
    spec = {"containers": [{"name": "app", "image": "shop:1"}], "automountServiceAccountToken": False}
    spec["nodeName"] = "far-away"
    while api.find(f"/api/v1/namespaces/{namespace}/serviceaccounts/default") is None:
        time.sleep(0.02)
    api.create(base, {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})
    set_state(api, namespace, name, **state)


def set_state(api: Api, namespace: str, name: str, *, ready: bool = False, **state: Any) -> None:
    box = {"name": "app", "image": "x", "imageID": "", "ready": ready, "restartCount": 0}
    box["state"] = state or {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
    status: dict[str, Any] = {"phase": "Running", "containerStatuses": [box]}
    if ready:
        status["conditions"] = [{"type": "Ready", "status": "True"}]
    api.patch(f"/api/v1/namespaces/{namespace}/pods/{name}/status", {"status": status})


def say(proxy: FaultProxy, text: bytes) -> None:
    """Play the node: every log is this text."""
    proxy._add("fail", status=200, body=text, headers={"Content-Type": "text/plain"}, path=LOG, times=None)


def look(api: Api, namespace: str, **more: Any) -> Diagnosis:
    return diagnose(api, namespace, **more)[0]


def files_of(found: Diagnosis) -> set[str]:
    return {str(path.relative_to(found.bundle)) for path in Path(found.bundle).rglob("*") if path.is_file()}


def test_verdict_log_and_bundle(proxy, api, shop, tmp_path):
    say(proxy, f"2026-01-01T00:00:00.123456789Z login {CANARY}\n".encode())
    found = look(api, shop, directory=tmp_path / "run" / shop, where=Where("kind shop", "--context kind-shop"))
    assert found.text.startswith(f"namespace {shop} on kind shop: Pod/api waiting")
    assert "  00:00:00.123 | login ***" in found.text
    assert f"kubectl --context kind-shop -n {shop} describe pod/api" in found.text
    assert found.redactions == {"Secret/db password": 2}  # told, and in the bundle
    assert found.missing == ()
    assert files_of(found) >= {"summary.md", "timeline.json", "describe.txt", "objects/pods.yaml", "logs/api/app.log"}
    documents = yaml.safe_load_all((Path(found.bundle) / "objects/secrets.yaml").read_text())
    [secret] = [document for document in documents if document["metadata"]["name"] == "db"]
    assert secret["data"] == {"password": "***"}
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and CANARY in path.read_text()]
    assert [path.name for path in tmp_path.glob("run/*")] == [shop]


def test_the_server_is_gone(proxy, api, shop):
    with proxy.down():
        found = look(api, shop, budget=3)
    assert "this diagnosis is not complete: " in found.text
    assert len(found.text.splitlines()) == 2


def test_the_server_goes_in_the_middle(proxy, api, shop, tmp_path):
    """What was read before is told; what was not is one line, however many kinds there are."""
    say(proxy, b"2026-01-01T00:00:00.5Z hello\n")
    proxy.cut("before", path=r"/apis/", times=None)
    found = look(api, shop, budget=5, directory=tmp_path / "run" / shop)
    assert "Pod/api waiting" in found.text
    assert "00:00:00.500 | hello" in found.text
    [line] = [line for line in found.missing if "Deployment" in line]
    assert "objects and" in line
    assert "objects/pods.yaml" in files_of(found)


RIGHTS = {
    "events": ("Event objects: ", "this account has no right to list them"),
    "pods/log": ("log of Pod/api, container app: ", 'cannot get resource "pods/log"'),
    "secrets": ("Secret objects: ", "this account has no right to list them"),
}


@pytest.fixture
def may_all_but(server_api: Api, shop: str) -> Callable[[str], Api]:
    """A client that may read everything in the namespace but one resource: the server itself refuses that."""
    made: list[Api] = []
    resources = [
        "pods",
        "pods/log",
        "events",
        "secrets",
        "configmaps",
        "services",
        "persistentvolumeclaims",
        "resourcequotas",
    ]

    def client(refused: str) -> Api:
        name = f"may-not-{refused.replace('/', '-')}"
        base = f"/api/v1/namespaces/{shop}/serviceaccounts"
        server_api.create(base, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}})
        allowed = [resource for resource in resources if resource != refused]
        rules = [
            {"apiGroups": [""], "resources": allowed, "verbs": ["get", "list"]},
            {"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list"]}
            if refused == "none"
            else {
                "apiGroups": ["apps", "batch", "discovery.k8s.io", "networking.k8s.io", "autoscaling", "policy"],
                "resources": ["*"],
                "verbs": ["get", "list"],
            },
        ]
        rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{shop}"
        meta = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": name}}
        server_api.create(f"{rbac}/roles", {**meta, "kind": "Role", "rules": rules})
        subject = {"kind": "ServiceAccount", "name": name, "namespace": shop}
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
        server_api.create(
            f"{rbac}/rolebindings", {**meta, "kind": "RoleBinding", "roleRef": role, "subjects": [subject]}
        )
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 600}}
        token = server_api.create(f"{base}/{name}/token", request)["status"]["token"]
        connection = replace(server_api.connection, token=token, client_cert_data="", client_key_data="")
        made.append(Api(connection))
        return made[-1]

    yield client
    for api in made:
        api.close()


@pytest.mark.parametrize("refused", RIGHTS)
def test_what_may_not_be_read_is_named_once(may_all_but, shop, refused):
    found = look(may_all_but(refused), shop)
    begin, why = RIGHTS[refused]
    [line] = [line for line in found.missing if line.startswith(begin)]
    assert why in line
    assert line[:300] in found.text
    assert "Pod/api waiting" in found.text
    told = "removed by their look only" in found.text
    assert told is (refused == "secrets")


def test_an_empty_namespace_is_told_once(api, namespace):
    assert look(api, namespace).text.count("it has no workload") == 1


def test_a_namespace_that_is_gone(api):
    assert "this diagnosis is not complete: " in look(api, "never-there").text


def test_a_kubelet_that_hangs_costs_a_part_of_the_budget(proxy, api, server_api, shop, tmp_path):
    for number in range(5):
        run_pod(server_api, shop, f"more-{number}")
    proxy.silence(path=LOG, times=None)
    found = look(api, shop, budget=12, directory=tmp_path / "run" / shop)
    assert "Pod/api" in found.text
    assert [line for line in found.missing if "node far-away gives no logs" in line or "no answer within" in line]
    assert len(found.missing) <= 4
    assert files_of(found) >= {"summary.md", "objects/pods.yaml", "timeline.json"}


def test_a_log_that_is_one_line_without_end(proxy, api, shop, tmp_path):
    say(proxy, b"x" * 2_000_000)
    found = look(api, shop, directory=tmp_path / "run" / shop)
    assert len(found.text.encode()) < 64 * 1024
    assert "(" in found.text
    assert "characters)" in found.text


def test_a_binary_log(proxy, api, shop):
    say(proxy, bytes(range(256)) * 20)
    found = look(api, shop)
    assert not any(ord(char) < 32 and char != "\n" for char in found.text.replace("\t", ""))


def test_a_pod_that_is_deleted_meanwhile(proxy, api, server_api, shop, tmp_path):
    """Between the list of pods and the log: the server says that it is gone, and so does the report."""
    server_api.delete(f"/api/v1/namespaces/{shop}/pods/api", grace_period=0)
    pods = {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": [ghost(shop)]}
    proxy._add("fail", status=200, body=json.dumps(pods).encode(), path=r"/pods$", times=None)
    found = look(api, shop, directory=tmp_path / "run" / shop)
    [line] = [line for line in found.missing if "log of Pod/api" in line]
    assert 'pods "api" not found' in line
    assert "summary.md" in files_of(found)


def ghost(namespace: str) -> dict[str, Any]:
    box = {"name": "app", "ready": False, "restartCount": 0, "state": {"running": {}}}
    spec = {"nodeName": "n1", "containers": [{"name": "app", "image": "shop:1"}]}
    metadata = {"name": "api", "uid": "u", "namespace": namespace}
    return {"metadata": metadata, "spec": spec, "status": {"phase": "Running", "containerStatuses": [box]}}


def test_nothing_is_written_twice_for_the_same_state(proxy, api, server_api, shop, tmp_path):
    """Also where two processes of a run share the namespace."""
    say(proxy, b"")
    one, two = (Diagnoses(shop, directory=tmp_path / "run" / shop, ledger=tmp_path) for _ in range(2))
    first, second = (taken.take(api, since=None, budget=20) for taken in (one, two))
    assert (first.bundle, first.signature) == (second.bundle, second.signature)
    set_state(server_api, shop, "api", waiting={"reason": "ImagePullBackOff"})
    assert two.take(api, since=None, budget=20).bundle == f"{first.bundle}-2"
    assert one.take(api, since=None, budget=20).bundle == f"{first.bundle}-2"


def test_one_process_waits_for_the_other_no_longer_than_its_budget(proxy, api, shop, tmp_path):
    import filelock

    say(proxy, b"")
    taken = Diagnoses(shop, directory=tmp_path / "run" / shop, ledger=tmp_path)
    (tmp_path / "diagnosed").mkdir()
    with filelock.FileLock(tmp_path / "diagnosed" / f"{shop}.lock"):
        done: list[Diagnosis] = []
        thread = threading.Thread(target=lambda: done.append(taken.take(api, since=None, budget=1)))
        thread.start()
        thread.join(60)
    assert "Pod/api" in done[0].text


def test_only_the_lines_of_the_tests_own_time_of_what_is_healthy(proxy, api, server_api, shop, tmp_path):
    set_state(server_api, shop, "api", ready=True)
    now = time.time()
    stamps = {word: time.gmtime(now + ago) for word, ago in (("before", -60), ("during", 1), ("after", 60))}
    text = "".join(f"{time.strftime('%Y-%m-%dT%H:%M:%S', at)}.5Z GET /{word} 500\n" for word, at in stamps.items())
    say(proxy, text.encode())
    found = look(api, shop, since=now, until=now + 2, directory=tmp_path / "run" / shop)
    assert "GET /during 500" in found.text
    assert "GET /after 500" not in found.text
    assert "sinceTime" in proxy.seen(path=LOG)[0].query  # what came before is the server's to leave out
    rows = json.loads((Path(found.bundle) / "timeline.json").read_text())
    assert [row["what"] for row in rows if row["object"] == "test"] == ["started", "ended"]


def test_a_folder_that_cannot_be_written(proxy, api, shop, tmp_path):
    say(proxy, b"")
    (tmp_path / "run").write_text("a file is in the way")
    found = look(api, shop, directory=tmp_path / "run" / shop)
    assert "Pod/api waiting" in found.text
    assert "this diagnosis is not complete: " in found.text


def test_it_can_be_handed_to_another_process(proxy, api, shop):
    say(proxy, b"")
    found = look(api, shop)
    assert Diagnosis.from_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_a_value_that_only_a_deployment_without_pods_has(api, server_api, shop, tmp_path):
    """No pod shows it, because a quota lets none be made; it is removed all the same."""
    box = {"name": "app", "image": "x", "env": [{"name": "DB_PASSWORD", "value": CANARY[::-1]}]}
    labels = {"app": "none"}
    template = {"metadata": {"labels": labels, "annotations": {"note": CANARY[::-1]}}, "spec": {"containers": [box]}}
    body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "none"}}
    body["spec"] = {"replicas": 0, "selector": {"matchLabels": labels}, "template": template}
    server_api.create(f"/apis/apps/v1/namespaces/{shop}/deployments", body)
    found = look(api, shop, directory=tmp_path / "run" / shop)
    assert "variable DB_PASSWORD" in found.redactions
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and CANARY[::-1] in path.read_text()]


def test_a_bundle_has_a_size(tmp_path):
    with bundle(tmp_path / "run" / "shop", size=10_000) as into:
        into.write("small.txt", "x" * 1000)
        into.write("big.txt", "x" * 9000)
        into.write_parts("many.txt", (f"{number:099}\n" for number in range(1000)), share=0.5)
        into.close("summary.md", "y" * 50_000)
        told = into.left_out
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "run" / "shop").iterdir()}
    assert sizes.keys() == {"small.txt", "many.txt", "summary.md"}
    assert sizes["many.txt"] == 3200
    assert sizes["summary.md"] <= 10_000 - 1000 - 3200
    assert told == [
        "big.txt: 9000 bytes have no room in the bundle",
        "many.txt: the last 968 parts of it have no room in the bundle",
    ]


def test_a_bundle_that_breaks_leaves_nothing(tmp_path):
    def breaks() -> None:
        with bundle(tmp_path / "run" / "shop") as into:
            into.write("a.txt", "a")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        breaks()
    assert [*(tmp_path / "run").iterdir()] == []
