"""What dead runs leave beside their namespaces, on the real control plane; "later" is a moment that is handed in."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from pytest_ephemeral_ns.connection import Connection
from pytest_ephemeral_ns.janitor import clean
from pytest_ephemeral_ns.kube.api import Api
from pytest_ephemeral_ns.reap import Pass
from pytest_ephemeral_ns.rules import naming
from pytest_ephemeral_ns.rules.identity import Identity
from pytest_ephemeral_ns.rules.retention import HEARTBEAT, heartbeat_lease, keep_patch
from tests.kube.conftest import api_server

__all__ = ["api_server"]
pytestmark = pytest.mark.cluster
NAMESPACES = "/api/v1/namespaces"
ROLES = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
HOUR = timedelta(hours=1)


class DeadRun:
    """A run of which nobody is alive, and what it made."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.run_id = f"d{uuid.uuid4().hex[:9]}"
        self.paths: list[str] = []
        api.version()  # so that the server's time is known

    @property
    def now(self) -> datetime:
        return datetime.fromtimestamp(self.api.server_time, timezone.utc)

    def make(self, collection: str, body: dict[str, Any]) -> str:
        path = f"{collection}/{body['metadata']['name']}"
        self.paths.append(path)
        self.api.create(collection, body)
        return path

    def namespace(self, name: str, *, expires: timedelta = HOUR) -> str:
        labels = naming.labels_of(Identity("shop", "main"), run_id=self.run_id, worker_id="gw0", scope="run", owner="a")
        annotations = naming.annotations_of(Identity("shop", "main"), expires=self.now + expires, created_by="me:1")
        metadata = {"name": f"{name}-{self.run_id}", "labels": labels, "annotations": annotations}
        self.make(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        return metadata["name"]

    def role(self, name: str, home: str, **labels: str) -> str:
        marks = {naming.RUN: self.run_id, naming.HOME: home, **labels}
        metadata = {"name": f"{name}-{self.run_id}", "labels": marks}
        body = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": metadata, "rules": []}
        return self.make(ROLES, body)

    def definition(self) -> str:
        group = f"{self.run_id}.example.com"
        names = {"plural": "widgets", "singular": "widget", "kind": "Widget"}
        version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
        body = {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": f"widgets.{group}", "labels": {naming.RUN: self.run_id}},
            "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": [version]},
        }
        return self.make(DEFINITIONS, body)

    def clean(self, later: timedelta, **options: Any) -> tuple[Pass, list[str]]:
        said: list[str] = []
        return clean(self.api, say=said.append, run=self.run_id, now=self.now + later, **options), said

    def there(self, path: str) -> bool:
        found = self.api.find(path)
        return found is not None and not found["metadata"].get("deletionTimestamp")


@pytest.fixture
def run(api_server: Connection) -> Iterator[DeadRun]:
    with Api(api_server) as api:
        run = DeadRun(api)
        yield run
        for path in run.paths:
            api.delete(path)


def test_what_was_made_outside_goes_with_its_namespace_or_after_it(run: DeadRun) -> None:
    over, living = run.namespace("over"), run.namespace("living", expires=9 * HOUR)
    with_it, after_it = run.role("with", over), run.role("after", f"never-{run.run_id}")
    stays = run.role("stays", living)
    done, said = run.clean(2 * HOUR, dry_run=True)
    assert all(run.there(path) for path in (with_it, after_it, stays, f"{NAMESPACES}/{over}"))
    done, wet = run.clean(2 * HOUR)
    assert wet == said
    assert done.deleted == [over]
    assert (run.there(with_it), run.there(after_it), run.there(stays)) == (False, False, True)
    assert f"delete ClusterRole/with-{run.run_id}: its namespace {over} is gone" in said
    assert len(done.beside) == 2
    assert not done.failed


def test_definitions_go_with_the_last_namespace_of_their_run(run: DeadRun) -> None:
    run.namespace("first")
    run.namespace("second", expires=3 * HOUR)
    definition = run.definition()
    assert not run.clean(2 * HOUR)[0].beside
    assert run.there(definition)
    done, said = run.clean(4 * HOUR)
    assert len(done.beside) == 1
    assert f"no namespace of its run {run.run_id} is left" in said[-1]
    assert not run.there(definition)


def test_nothing_goes_that_is_young_or_whose_namespace_only_lost_its_labels(run: DeadRun) -> None:
    bare = f"bare-{run.run_id}"
    run.make(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": bare}})
    kept, young = run.role("kept", bare), run.role("young", f"never-{run.run_id}")
    assert not run.clean(timedelta(minutes=4))[0].beside
    assert run.there(young)
    run.clean(HOUR)
    assert (run.there(kept), run.there(young)) == (True, False)


def test_what_is_outside_is_left_alone_where_that_is_wanted(run: DeadRun) -> None:
    role = run.role("alone", f"never-{run.run_id}")
    assert not run.clean(HOUR, namespaces_only=True)[0].beside
    assert run.there(role)


def test_a_dead_heartbeat_goes_from_a_namespace_that_is_kept(run: DeadRun) -> None:
    kept, lived = run.namespace("kept"), run.namespace("lived", expires=9 * HOUR)
    run.api.patch(f"{NAMESPACES}/{kept}", keep_patch(run.now + 24 * HOUR, "failed: test_a"))
    path = f"/apis/coordination.k8s.io/v1/namespaces/{kept}/leases/{HEARTBEAT}"
    run.api.apply(path, heartbeat_lease(run.run_id, "gw0", holder="me:1", now=run.now))
    run.clean(timedelta(minutes=4))
    assert run.there(path)
    done, said = run.clean(2 * HOUR)
    assert f"delete heartbeat of run {run.run_id} in {kept}: the run is dead" in said
    assert not run.there(path)
    assert done.deleted == [lived]  # its run is dead, and nobody kept it
    assert run.there(f"{NAMESPACES}/{kept}")
