"""Each right of the janitor taken away by itself: the pass goes on as far as it can, and says which it lacks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from pytest_ephemeral_ns.connection import Connection
from pytest_ephemeral_ns.errors import ApiError
from pytest_ephemeral_ns.janitor import clean
from pytest_ephemeral_ns.kube.api import Api
from pytest_ephemeral_ns.reap import Pass
from pytest_ephemeral_ns.rules.permissions import JANITOR_EVENTS, JANITOR_RIGHTS, OUTSIDE_RIGHTS
from pytest_ephemeral_ns.rules.retention import HEARTBEAT, heartbeat_lease, keep_patch
from tests.accounts import Account, some_account
from tests.kube.conftest import api_server
from tests.stages.test_janitor import HOUR, NAMESPACES, DeadRun

__all__ = ["api_server"]
pytestmark = pytest.mark.cluster
RIGHTS = (*JANITOR_RIGHTS, JANITOR_EVENTS, *OUTSIDE_RIGHTS)


@pytest.fixture(scope="module")
def janitor(api_server: Connection, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    with Api(api_server) as admin, some_account(admin, tmp_path_factory.mktemp("janitor")) as account:
        yield account


class Scene:
    """A run with one of everything that a janitor takes."""

    def __init__(self, admin: Api) -> None:
        self.run = DeadRun(admin)
        self.over, self.kept = self.run.namespace("over"), self.run.namespace("kept")
        self.role = self.run.role("role", f"never-{self.run.run_id}")
        admin.patch(f"{NAMESPACES}/{self.kept}", keep_patch(self.run.now + 24 * HOUR, "failed: test_a"))
        self.lease = f"/apis/coordination.k8s.io/v1/namespaces/{self.kept}/leases/{HEARTBEAT}"
        admin.apply(self.lease, heartbeat_lease(self.run.run_id, "gw0", holder="me:1", now=self.run.now))

    def clean_as(self, account: Account, *, later: timedelta = 2 * HOUR) -> Pass:
        with Api(account.connection) as api:
            return clean(api, say=lambda line: None, run=self.run.run_id, now=self.run.now + later)


@pytest.fixture
def scene(api_server: Connection) -> Iterator[Scene]:
    with Api(api_server) as admin:
        scene = Scene(admin)
        yield scene
        for path in scene.run.paths:
            admin.delete(path)


def test_with_all_of_them_nothing_is_refused(scene: Scene, janitor: Account) -> None:
    janitor.may(RIGHTS)
    done = scene.clean_as(janitor)
    assert (done.notes, done.failed) == ([], [])
    assert done.deleted == [scene.over]
    assert not scene.run.there(scene.role)
    assert not scene.run.there(scene.lease)


@pytest.mark.parametrize(
    ("verb", "resource", "where", "words"),
    [
        ("delete", "namespaces", "failed", "not deleted over-"),
        ("get", "namespaces", "notes", "what belongs to namespace never-"),
        ("list", "leases", "notes", "heartbeats cannot be read, only the expiry counts: "),
        ("delete", "leases", "notes", "left heartbeat of run "),
        ("create", "events", "notes", "no event for over-"),
        (
            "list",
            "clusterroles",
            "notes",
            "could not be looked at, so what dead runs left of them stays: clusterr",
        ),
        ("delete", "clusterroles", "failed", "ClusterRole/role-"),
    ],
)
def test_without_one_the_pass_goes_on_and_says_which(
    scene: Scene, janitor: Account, verb: str, resource: str, where: str, words: str
) -> None:
    janitor.without(RIGHTS, verb, resource)
    done = scene.clean_as(janitor)
    [line] = [line for line in (*done.notes, *done.failed) if line.startswith(words)]
    assert line in getattr(done, where)
    assert "may not" in line or "forbidden" in line or where == "notes"
    assert scene.run.there(f"{NAMESPACES}/{scene.over}") is ((verb, resource) == ("delete", "namespaces"))
    assert len(done.notes) + len(done.failed) == 1


def test_without_the_right_to_list_namespaces_there_is_no_pass(scene: Scene, janitor: Account) -> None:
    janitor.without(RIGHTS, "list", "namespaces")
    with pytest.raises(ApiError) as caught:
        scene.clean_as(janitor)
    assert caught.value.status == 403
    assert "namespaces" in caught.value.summary
