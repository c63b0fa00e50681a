"""Namespaces that do not go, on the real control plane."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pytest_ephemeral_ns.connection import Connection
from pytest_ephemeral_ns.kube.api import Api
from pytest_ephemeral_ns.stuck import explain_stuck, force_finalizers
from tests.kube.conftest import api_server

__all__ = ["api_server"]
pytestmark = pytest.mark.cluster
APISERVICES = "/apis/apiregistration.k8s.io/v1/apiservices"


@pytest.fixture
def api(api_server: Connection) -> Iterator[Api]:
    with Api(api_server) as api:
        yield api


@pytest.fixture
def namespace(api: Api) -> str:
    name = f"stuck-{uuid.uuid4().hex[:8]}"
    api.create("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    return name


def until(condition: Callable[[], Any]) -> Any:
    end = time.monotonic() + 60
    while not (found := condition()):
        assert time.monotonic() < end, "did not happen in 60 s"
        time.sleep(0.1)
    return found


def delete(api: Api, namespace: str) -> None:
    api.delete(f"/api/v1/namespaces/{namespace}")


def gone(api: Api, namespace: str) -> bool:
    return api.find(f"/api/v1/namespaces/{namespace}") is None


def add(api: Api, namespace: str, plural: str, kind: str, name: str, **rest: Any) -> None:
    metadata = {"name": name, **rest.pop("metadata", {})}
    body = {"apiVersion": "v1", "kind": kind, "metadata": metadata, **rest}
    api.create(f"/api/v1/namespaces/{namespace}/{plural}", body)


def test_a_finalizer_is_named_and_removed_only_for_the_kind_that_was_named(api: Api, namespace: str) -> None:
    held = {"finalizers": ["example.com/cleanup"]}
    add(api, namespace, "configmaps", "ConfigMap", "order", metadata=held)
    add(api, namespace, "secrets", "Secret", "key", metadata=held)
    said: list[str] = []
    assert force_finalizers(api, namespace, ["configmaps"], say=said.append) == []
    assert said == []  # it is not being deleted
    delete(api, namespace)
    text = until(lambda: (t := "\n".join(explain_stuck(api, namespace))) and "NamespaceFinalizersRemaining" in t and t)
    assert f"namespace {namespace} is being deleted since " in text
    assert "configmaps order waits for finalizer example.com/cleanup: the controller of example.com" in text
    assert f"kubectl patch secrets key -n {namespace}" in text
    force_finalizers(api, namespace, ["cm"], say=said.append, dry_run=True)
    assert said == ["remove finalizers of configmaps order: example.com/cleanup"]
    assert api.find(f"/api/v1/namespaces/{namespace}/configmaps/order")
    assert force_finalizers(api, namespace, ["cm"], say=said.append) == []
    assert not api.find(f"/api/v1/namespaces/{namespace}/configmaps/order")
    assert api.find(f"/api/v1/namespaces/{namespace}/secrets/key")
    force_finalizers(api, namespace, ["secret"], say=said.append)
    until(lambda: gone(api, namespace))
    assert explain_stuck(api, namespace) == []


def test_a_dead_api_is_named(api: Api, namespace: str) -> None:
    group = f"g{uuid.uuid4().hex[:8]}.example.com"
    service = {"name": "nobody", "namespace": namespace}
    spec = {"group": group, "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 10, "service": service}
    body = {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": f"v1.{group}"},
        "spec": {**spec, "insecureSkipTLSVerify": True},
    }
    api.create(APISERVICES, body)
    try:
        until(lambda: "conditions" in api.get(f"{APISERVICES}/v1.{group}").get("status", {}))
        delete(api, namespace)
        text = "\n".join(explain_stuck(api, namespace))
        assert f"API v1.{group} does not answer" in text
        assert f"kubectl delete apiservice v1.{group}" in text
    finally:
        api.delete(f"{APISERVICES}/v1.{group}")
    until(lambda: gone(api, namespace))


def test_a_pod_on_a_dead_node_and_the_claim_that_it_uses_are_named(api: Api, namespace: str) -> None:
    until(lambda: api.find(f"/api/v1/namespaces/{namespace}/serviceaccounts/default"))
    node = f"dead-{namespace}"
    api.create("/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}})
    resources = {"requests": {"storage": "1Gi"}}
    claim = {"accessModes": ["ReadWriteOnce"], "resources": resources, "storageClassName": "none"}
    add(api, namespace, "persistentvolumeclaims", "PersistentVolumeClaim", "data", spec=claim)
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
    pod = {"nodeName": node, "containers": [{"name": "db", "image": "busybox:1.36"}], "volumes": volumes}
    add(api, namespace, "pods", "Pod", "db-0", spec=pod)
    try:
        path = f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/data"
        until(lambda: api.get(path)["metadata"].get("finalizers"))
        api.delete(path)
        delete(api, namespace)
        until(lambda: api.get(f"/api/v1/namespaces/{namespace}/pods/db-0")["metadata"].get("deletionTimestamp"))
        text = "\n".join(explain_stuck(api, namespace))
        assert f"pods db-0 is on node {node}, which is gone or not ready" in text
        assert "persistentvolumeclaims data waits for finalizer kubernetes.io/pvc-protection: used by pod db-0" in text
    finally:
        api.delete(f"/api/v1/namespaces/{namespace}/pods/db-0", grace_period=0)
        api.delete(f"/api/v1/nodes/{node}")
    until(lambda: gone(api, namespace))


def test_a_namespace_that_is_not_being_deleted(api: Api, namespace: str) -> None:
    assert explain_stuck(api, namespace) == [f"namespace {namespace} is not being deleted"]
    delete(api, namespace)
