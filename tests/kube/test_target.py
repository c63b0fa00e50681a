"""On the real control plane: pods are written with the status that a kubelet would write, the rest is Kubernetes."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pytest_ephemeral_ns.errors import ApiError, NotReady, UsageError
from pytest_ephemeral_ns.kube.api import Api
from pytest_ephemeral_ns.kube.target import pod_state, pods_of, resolve_pod, resolve_target

pytestmark = pytest.mark.cluster
LABELS = {"app": "api"}
NODE = f"nobody-{uuid.uuid4().hex[:8]}"


@pytest.fixture(scope="module")
def api(control_plane) -> Iterator[Api]:  # type: ignore[no-untyped-def]
    with Api(control_plane.connection) as api:
        # EndpointSlices hold only pods whose node exists. Nothing is ever scheduled to this one.
        taint = {"key": "example.com/nobody", "effect": "NoSchedule"}
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}, "spec": {"taints": [taint]}}
        api.create("/api/v1/nodes", node)
        yield api
        api.delete(f"/api/v1/nodes/{NODE}")


class Place:
    """A namespace, and short words to fill it."""

    def __init__(self, api: Api) -> None:
        self.api, self.name, self.made = api, f"streams-target-{uuid.uuid4().hex[:8]}", 0
        self.path = f"/api/v1/namespaces/{self.name}"
        api.create("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.name}})

    def pod(
        self, name: str, *, phase: str = "Running", ready: bool = True, labels: Any = LABELS, **metadata: Any
    ) -> str:
        port = {"name": "web", "containerPort": 8080}
        spec = {
            "nodeName": NODE,
            "automountServiceAccountToken": False,
            "containers": [{"name": "app", "image": "i", "ports": [port]}],
        }
        self._until_account()
        self.api.create(
            f"{self.path}/pods",
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels, **metadata}, "spec": spec},
        )
        self.made += 1
        self.status(name, phase=phase, ready=ready)
        return name

    def status(self, name: str, *, phase: str = "Running", ready: bool = True) -> None:
        ip = f"10.9.0.{self.made}"
        conditions = [{"type": "Ready", "status": str(ready), "lastTransitionTime": "2026-01-01T00:00:00Z"}]
        state = {"name": "app", "ready": ready, "image": "i", "imageID": "", "restartCount": 0}
        state["state"] = {"running": {}} if ready else {"waiting": {"reason": "CrashLoopBackOff"}}
        status = {"phase": phase, "podIP": ip, "podIPs": [{"ip": ip}], "conditions": conditions}
        self.api.patch(f"{self.path}/pods/{name}/status", {"status": {**status, "containerStatuses": [state]}})

    def service(self, name: str = "api", **spec: Any) -> None:
        default = {"selector": LABELS, "ports": [{"name": "http", "port": 80, "targetPort": "web"}]}
        body = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {**default, **spec}}
        self.api.create(f"{self.path}/services", body)

    def workload(self, kind: str, name: str = "api") -> str:
        template = {"metadata": {"labels": LABELS}, "spec": {"containers": [{"name": "app", "image": "i"}]}}
        spec: dict[str, Any] = {"template": template}
        if kind != "Job":
            spec |= {"replicas": 0, "selector": {"matchLabels": LABELS}}
        else:
            template["spec"]["restartPolicy"] = "Never"  # type: ignore[index]
            spec["suspend"] = True
        group = "batch/v1" if kind == "Job" else "apps/v1"
        body = {"apiVersion": group, "kind": kind, "metadata": {"name": name}, "spec": spec}
        path = f"/apis/{group}/namespaces/{self.name}/{kind.lower()}s"
        return str(self.api.create(path, body)["metadata"]["uid"])

    def resolve(self, target: str, port: int | str) -> tuple[str, int]:
        return resolve_target(self.api, self.name, target, port)

    def _until_account(self) -> None:
        eventually(lambda: self.api.find(f"{self.path}/serviceaccounts/default") is not None)


def eventually(check: Callable[[], Any]) -> Any:
    """The controllers of the control plane need a moment."""
    ends = time.monotonic() + 10
    while True:
        try:
            if found := check():
                return found
        except NotReady:
            pass
        assert time.monotonic() < ends
        time.sleep(0.05)


@pytest.fixture
def place(api: Api) -> Iterator[Place]:
    place = Place(api)
    yield place
    for pod in api.list(f"{place.path}/pods"):
        api.delete(f"{place.path}/pods/{pod['metadata']['name']}", grace_period=0)
    api.delete(f"/api/v1/namespaces/{place.name}")


# Services


def test_a_service_leads_to_a_ready_pod_and_its_target_port(place: Place) -> None:
    place.service()
    place.pod("api-a", ready=False)
    place.pod("api-b")
    assert eventually(lambda: place.resolve("svc/api", 80)) == ("api-b", 8080)
    for word, port in (("service/api", "http"), ("services/api", "80"), ("SVC/api", 80)):
        assert place.resolve(word, port) == ("api-b", 8080)


def test_the_same_pod_every_time_until_it_is_not_ready(place: Place) -> None:
    place.service()
    for name in ("api-c", "api-a", "api-b"):
        place.pod(name)
    eventually(lambda: place.resolve("svc/api", 80) == ("api-a", 8080))
    assert {place.resolve("svc/api", 80) for _ in range(5)} == {("api-a", 8080)}
    place.status("api-a", ready=False)
    eventually(lambda: place.resolve("svc/api", 80) == ("api-b", 8080))


def test_a_service_without_a_ready_pod_says_what_its_pods_do(place: Place) -> None:
    place.service()
    with pytest.raises(NotReady, match="has no ready pod") as caught:
        place.resolve("svc/api", 80)
    assert caught.value.evidence == ("no pod matches its selector",)
    place.pod("api-a", ready=False)
    with pytest.raises(NotReady) as caught:
        place.resolve("svc/api", 80)
    assert caught.value.evidence == ("Pod/api-a: Running, container app waiting: CrashLoopBackOff",)


def test_a_headless_service_takes_any_port_number(place: Place) -> None:
    place.service(clusterIP="None")
    place.pod("api-a")
    assert eventually(lambda: place.resolve("svc/api", 80)) == ("api-a", 8080)
    assert place.resolve("svc/api", 9999) == ("api-a", 9999)


@pytest.mark.parametrize("port", [81, "grpc"])
def test_a_service_port_that_does_not_exist(place: Place, port: int | str) -> None:
    place.service()
    with pytest.raises(UsageError, match=f"has no port {port}") as caught:
        place.resolve("svc/api", port)
    assert caught.value.evidence == ("its ports: 80 (http)",)


def test_a_target_port_that_no_pod_has(place: Place) -> None:
    place.service(ports=[{"port": 80, "targetPort": "nowhere"}])
    place.pod("api-a")
    with pytest.raises(UsageError, match="no ready pod has its target port nowhere"):
        eventually(lambda: place.resolve("svc/api", 80))


def test_services_that_lead_to_no_pod(place: Place) -> None:
    place.service("outside", type="ExternalName", externalName="db.example.com", selector=None, ports=None)
    with pytest.raises(UsageError, match="has no pods") as caught:
        place.resolve("svc/outside", 80)
    assert "db.example.com" in str(caught.value)
    place.service("by-hand", selector=None)
    with pytest.raises(NotReady, match="has no ready pod") as not_ready:
        place.resolve("svc/by-hand", 80)
    assert "no selector" in str(not_ready.value)
    with pytest.raises(UsageError, match="selects no pods"):
        resolve_pod(place.api, place.name, "svc/by-hand")
    place.service("names", ports=[{"port": 53, "protocol": "UDP"}])
    with pytest.raises(UsageError, match="port 53 is UDP"):
        place.resolve("svc/names", 53)


# Pods and workloads


def test_a_pod_by_name_with_and_without_kind(place: Place) -> None:
    place.pod("db-0")
    assert place.resolve("pod/db-0", 5432) == ("db-0", 5432)
    assert place.resolve("po/db-0", "web") == ("db-0", 8080)
    assert place.resolve("db-0", "5432") == ("db-0", 5432)
    with pytest.raises(UsageError, match='has no port named "sql"') as caught:
        place.resolve("pod/db-0", "sql")
    assert caught.value.evidence == ("named ports: web (8080)",)


def test_a_running_pod_will_do_but_a_ready_one_is_better(place: Place) -> None:
    place.workload("Deployment")
    place.pod("api-a", ready=False)
    assert resolve_pod(place.api, place.name, "deploy/api") == "api-a"
    place.pod("api-b")
    assert resolve_pod(place.api, place.name, "deployments.apps/api") == "api-b"


def test_pods_that_have_ended_or_are_going_are_no_target(place: Place) -> None:
    place.workload("Deployment")
    with pytest.raises(NotReady, match=r"Deployment/api in namespace .* has no running pod"):
        place.resolve("deploy/api", 80)
    place.pod("api-a", phase="Succeeded", ready=False)
    place.pod("api-b", finalizers=["example.com/hold"])
    place.api.delete(f"{place.path}/pods/api-b", grace_period=0)
    with pytest.raises(NotReady) as caught:
        place.resolve("deploy/api", 80)
    assert [line.partition(",")[0] for line in caught.value.evidence] == [
        "Pod/api-a: Succeeded",
        "Pod/api-b: Terminating",
    ]
    place.api.patch(f"{place.path}/pods/api-b", {"metadata": {"finalizers": None}})


@pytest.mark.parametrize("kind", ["StatefulSet", "Job"])
def test_only_the_pods_of_the_owner_count(place: Place, kind: str) -> None:
    uid = place.workload(kind)
    labels = LABELS
    if kind == "Job":
        found = place.api.get(f"/apis/batch/v1/namespaces/{place.name}/jobs/api")
        labels = {**LABELS, **found["spec"]["selector"]["matchLabels"]}
    group = "batch/v1" if kind == "Job" else "apps/v1"
    owner = {"apiVersion": group, "kind": kind, "name": "api", "uid": uid}
    place.pod("other", labels=labels, ownerReferences=[{**owner, "name": "other", "uid": str(uuid.uuid4())}])
    place.pod("mine", labels=labels, ownerReferences=[owner])
    assert resolve_pod(place.api, place.name, f"{kind.lower()}/api") == "mine"
    assert [pod["metadata"]["name"] for pod in pods_of(place.api, place.name, f"{kind}/api")] == ["mine"]


# Wrong input


@pytest.mark.parametrize("target", ["configmap/x", "svc/", "svc/a/b", "", "nonsense/x"])
def test_a_target_that_is_not_one(api: Api, target: str) -> None:
    with pytest.raises((UsageError, ApiError)) as caught:
        resolve_target(api, "default", target, 80)
    assert isinstance(caught.value, UsageError)
    assert "kinds that have pods: po, svc, deploy" in str(caught.value)


@pytest.mark.parametrize("port", [0, -1, 65536, "", "0", True])
def test_a_port_that_is_not_one(api: Api, port: int | str) -> None:
    with pytest.raises(UsageError, match="is not a port"):
        resolve_target(api, "default", "svc/kubernetes", port)


def test_a_target_that_does_not_exist(api: Api) -> None:
    with pytest.raises(ApiError, match="get services/nobody in namespace default: 404") as caught:
        resolve_target(api, "default", "svc/nobody", 80)
    assert caught.value.status == 404


@pytest.mark.parametrize(
    ("status", "line"),
    [
        ({}, "Pod/p: Pending"),
        (
            {"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available"}]},
            "Pod/p: Pending, 0/1 nodes are available",
        ),
        (
            {
                "phase": "Pending",
                "initContainerStatuses": [{"name": "wait", "ready": True, "state": {"terminated": {"exitCode": 0}}}],
                "containerStatuses": [
                    {"name": "a", "ready": False, "state": {"terminated": {"exitCode": 3}}},
                    {"name": "b", "ready": False, "state": {"running": {}}},
                    {
                        "name": "c",
                        "ready": False,
                        "state": {"waiting": {"reason": "ErrImagePull", "message": "no\nwhere"}},
                    },
                    {"name": "d", "ready": False},
                ],
            },
            "Pod/p: Pending, container a terminated: exit code 3, container b running but not ready, "
            "container c waiting: ErrImagePull (no where), container d not started",
        ),
    ],
)
def test_the_state_of_a_pod_in_one_line(status: dict[str, Any], line: str) -> None:
    assert pod_state({"metadata": {"name": "p"}, "status": status}) == line
