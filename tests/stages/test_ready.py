"""The wait loop: on stores that a test fills by hand, and on the real control plane."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

import pytest

from pytest_ephemeral_ns.deadline import Deadline
from pytest_ephemeral_ns.errors import ApiError, NeverReady, UsageError, WaitFailed, WaitTimeout
from pytest_ephemeral_ns.kube.resource import Resource, split_api_version
from pytest_ephemeral_ns.kube.store import Store
from pytest_ephemeral_ns.ready import ReadyReport, wait_for, wait_ready
from pytest_ephemeral_ns.rules.graces import Graces
from pytest_ephemeral_ns.rules.objects import Object, Ref

NS = "shop"
PLURALS = {"Ingress": "ingresses", "IngressClass": "ingressclasses", "StorageClass": "storageclasses"}
CLUSTER_WIDE = {"Namespace", "StorageClass", "IngressClass", "CustomResourceDefinition", "ClusterRole"}


class Books:
    """Stands in for discovery: every kind exists."""

    def find(self, api_version: str, kind: str, *, patience: float = 0.0) -> Resource:
        group, version = split_api_version(api_version)
        return Resource(group, version, kind, PLURALS.get(kind, f"{kind.lower()}s"), kind not in CLUSTER_WIDE)


@dataclass
class World:
    """Stands in for the API server and its watches: real stores, which the test fills."""

    timeout: float = 5.0
    objects: dict[str, dict[str, Object]] = field(default_factory=dict)
    logs: dict[str, str] = field(default_factory=dict)
    refused: dict[str, ApiError] = field(default_factory=dict)
    reads: list[str] = field(default_factory=list)
    ahead: float = 0.0

    def __post_init__(self) -> None:
        self.condition = threading.Condition()
        self.stores: dict[tuple[str, str], Store] = {}
        self.changes = 0
        self.version = 100
        self.lag = False

    # What a test does

    def put(self, obj: Object, **status: Any) -> Ref:
        self.version += 1
        metadata = {
            "namespace": "" if obj["kind"] in CLUSTER_WIDE else NS,
            "uid": f"uid-{obj['kind']}-{obj['metadata']['name']}",
            "resourceVersion": str(self.version),
            "creationTimestamp": stamp(self.server_time),
            **obj["metadata"],
        }
        whole = {**obj, "metadata": metadata, **({"status": status} if status else {})}
        path = Books().find(obj["apiVersion"], obj["kind"]).path(namespace=NS)
        self.objects.setdefault(path, {})[metadata["name"]] = whole
        for (followed, selector), store in list(self.stores.items()):
            if followed == path and not self.lag and selector in ("", f"metadata.name={metadata['name']}"):
                store.apply("MODIFIED", whole)
        return Ref.of(whole)

    def remove(self, ref: Ref) -> None:
        path = Books().find(ref.api_version, ref.kind).path(namespace=NS)
        gone = self.objects[path].pop(ref.name)
        for (followed, _), store in list(self.stores.items()):
            if followed == path:
                store.apply("DELETED", gone)

    # What the wait sees

    @property
    def server_time(self) -> float:
        return time.time() + self.ahead

    def follow(self, path: str, *, field_selector: str = "", wait: bool = True, **_: Any) -> Store:
        key = (path, field_selector)
        if key not in self.stores:
            store = self.stores[key] = Store(path, self.tell)
            if path in self.refused:
                store.fail(self.refused[path], lasting=True)
            else:
                name = field_selector.removeprefix("metadata.name=")
                store.replace(
                    [item for item in self.objects.get(path, {}).values() if name in ("", item["metadata"]["name"])]
                )
        return self.stores[key]

    def tell(self) -> None:
        with self.condition:
            self.changes += 1
            self.condition.notify_all()

    def changed(self, since: int, timeout: float) -> int:
        with self.condition:
            self.condition.wait_for(lambda: self.changes > since, timeout)
            return self.changes

    def find(self, path: str, **_: Any) -> Object | None:
        self.reads.append(path)
        if path in self.refused:
            raise self.refused[path]
        collection, _, name = path.rpartition("/")
        return self.objects.get(collection, {}).get(name)

    def list(self, path: str, **_: Any) -> Iterator[Object]:
        self.reads.append(path)
        return iter(list(self.objects.get(path, {}).values()))

    def text(self, path: str, *, params: Any = None, timeout: float = 0) -> str:
        key = f"{path.split('/')[-2]}/{params['container']}/{'previous' if params['previous'] else 'current'}"
        if key not in self.logs:
            raise ApiError(f"get {path}: 400 BadRequest: no such log", status=400)
        return self.logs[key]


def stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.fixture
def world() -> World:
    return World()


def wait(world: World, *refs: Ref, timeout: float = 20.0, **how: Any) -> ReadyReport:
    how.setdefault("graces", Graces())
    return wait_ready(
        world,  # type: ignore[arg-type]
        world,  # type: ignore[arg-type]
        NS,
        refs,
        deadline=Deadline.after(timeout),
        discovery=Books(),  # type: ignore[arg-type]
        **how,
    )


@contextmanager
def later(*steps: Callable[[], Any]) -> Iterator[None]:
    """Do something in another thread while the block waits."""

    def work() -> None:
        for step in steps:
            time.sleep(0.05)
            step()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        thread.join()


PROBED = {"template": {"spec": {"containers": [{"name": "app", "readinessProbe": {}}]}}}


def deployment(name: str = "api", ready: int = 0, generation: int = 1) -> Object:
    counts = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), ready)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "generation": generation},
        "spec": {"replicas": 1, **PROBED},
        "status": {"observedGeneration": generation, **counts},
    }


def replica_set(name: str = "api") -> Object:
    owner = {"uid": f"uid-Deployment-{name}"}
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"name": f"{name}-1", "ownerReferences": [owner]},
        "spec": PROBED,
    }


def pod(name: str = "api", **state: Any) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"{name}-1-x", "ownerReferences": [{"uid": f"uid-ReplicaSet-{name}-1"}]},
        "spec": {"nodeName": "n1", "containers": [{"name": "app", "image": "app:1"}]},
        "status": {"phase": "Pending", "containerStatuses": [{"name": "app", "restartCount": 3, **state}]},
    }


def bad_image(name: str = "api") -> Object:
    return pod(name, state={"waiting": {"reason": "ErrImageNeverPull", "message": "app:1 is not present"}})


def crash_loop(name: str = "api") -> Object:
    ended = {"terminated": {"exitCode": 7, "reason": "Error"}}
    return pod(name, state={"waiting": {"reason": "CrashLoopBackOff"}}, lastState=ended)


def test_nothing_to_wait_for_is_an_error(world: World) -> None:
    with pytest.raises(UsageError, match="there is nothing to wait for"):
        wait(world)


def test_what_was_just_stored_costs_no_request(world: World) -> None:
    refs = [Ref("v1", kind, "a", NS, uid="1") for kind in ("ConfigMap", "Secret", "ServiceAccount")]
    assert all(found.ready for found in wait(world, *refs).objects.values())
    assert world.stores == {}
    assert world.reads == []


def test_it_returns_when_the_last_one_is_ready(world: World) -> None:
    refs = [world.put(deployment("api")), world.put(deployment("web", ready=1))]
    with later(lambda: world.put(deployment("api", ready=1))):
        report = wait(world, *refs)
    assert [str(ref) for ref in report.objects] == ["Deployment/api", "Deployment/web"]
    assert report.layers == ("infrastructure",)
    assert report.elapsed > 0


def test_ready_at_once_follows_nothing_more(world: World) -> None:
    wait(world, world.put(deployment(ready=1)))
    assert [path for path, _ in world.stores] == ["/apis/apps/v1/namespaces/shop/deployments"]


def test_one_that_becomes_unready_meanwhile_is_waited_for_again(world: World) -> None:
    refs = [world.put(deployment("api")), world.put(deployment("web", ready=1))]
    steps = [
        lambda: world.put(deployment("web")),
        lambda: world.put(deployment("api", ready=1)),
        lambda: world.put(deployment("web", ready=1)),
    ]
    with later(*steps):
        report = wait(world, *refs)
    assert all(found.ready for found in report.objects.values())
    assert all(
        item["status"]["readyReplicas"] for item in world.objects["/apis/apps/v1/namespaces/shop/deployments"].values()
    )


def test_an_object_that_does_not_exist_yet_may_come(world: World) -> None:
    with later(lambda: world.put(deployment(ready=1))):
        assert wait(world, Ref("apps/v1", "Deployment", "api")).objects


def test_one_that_never_comes_is_named_at_the_timeout(world: World) -> None:
    with pytest.raises(WaitTimeout, match=r"Deployment shop/api not ready within 0.1s: NotFound") as caught:
        wait(world, Ref("apps/v1", "Deployment", "api"), timeout=0.1)
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.command == "kubectl -n shop describe deployment/api"


def test_a_failure_ends_it_with_cause_log_and_command(world: World) -> None:
    ref = world.put(deployment())
    world.put(replica_set())
    world.put(crash_loop())
    world.logs["api-1-x/app/previous"] = "starting\npassword is hunter22\n"
    with pytest.raises(WaitFailed) as caught:
        wait(world, ref, secrets=["hunter22"])
    error = caught.value
    assert error.summary.startswith("Deployment shop/api failed: CrashLoopBackOff: ")
    assert "exit code 7; restarted 3 times" in error.summary
    assert error.layer == "infrastructure"
    assert error.verdicts[ref].failed
    assert error.command == "kubectl -n shop logs api-1-x -c app --previous"
    assert "    | password is ***" in error.evidence
    assert "hunter22" not in str(error)


def test_a_log_that_cannot_be_read_does_not_hide_the_cause(world: World) -> None:
    ref = world.put(deployment())
    world.put(replica_set())
    world.put(crash_loop())
    with pytest.raises(WaitFailed) as caught:
        wait(world, ref)
    assert "its log could not be read" in str(caught.value)


def test_all_causes_of_the_same_second_are_in_one_report(world: World) -> None:
    refs = [world.put(deployment(name)) for name in ("one", "two", "three")]
    for name in ("one", "two", "three"):
        world.put(replica_set(name))
    world.put(bad_image("one"))
    with later(lambda: world.put(bad_image("two"))), pytest.raises(WaitFailed) as caught:
        wait(world, *refs)
    assert [found.state for found in caught.value.verdicts.values()] == ["failed", "failed", "waiting"]
    assert "(and 1 more) failed" in caught.value.summary
    assert "Deployment/three waiting" in str(caught.value)


def crash(name: str, began: float) -> Object:
    times = {"startedAt": stamp(began), "finishedAt": stamp(began)}
    ended = {"terminated": {"exitCode": 1, "reason": "Error", **times}}
    return pod(name, state={"waiting": {"reason": "CrashLoopBackOff"}}, lastState=ended)


def test_an_application_may_crash_while_its_database_is_on_its_way(world: World) -> None:
    api, db = world.put(deployment("api")), world.put(deployment("db"))
    world.put(replica_set("api"))
    world.put(crash("api", time.time() - 20))
    with pytest.raises(WaitTimeout):
        wait(world, api, db, timeout=0.5)
    with later(
        lambda: world.put(deployment("db", ready=1)),
        lambda: None,
        lambda: world.put(deployment("api", ready=1)),
    ):
        assert wait(world, api, db).objects[api].ready


def test_a_crash_that_began_after_all_else_was_ready_proves_something(world: World) -> None:
    api, db = world.put(deployment("api")), world.put(deployment("db"))
    world.put(replica_set("api"))
    world.put(crash("api", time.time() - 20))
    with (
        later(lambda: world.put(deployment("db", ready=1)), lambda: world.put(crash("api", time.time() + 5))),
        pytest.raises(WaitFailed, match="Deployment shop/api failed: CrashLoopBackOff"),
    ):
        wait(world, api, db)


def test_one_that_becomes_unready_again_is_told_as_it_is(world: World) -> None:
    api, db = world.put(deployment("api", ready=1)), world.put(deployment("db"))
    with later(lambda: world.put(deployment("api"))), pytest.raises(WaitTimeout) as caught:
        wait(world, api, db, timeout=1.5)
    assert caught.value.verdicts[api].state == "waiting"


def test_a_failure_that_passes_within_the_window_was_none(world: World) -> None:
    ref, other = world.put(deployment()), world.put(deployment("web"))
    world.put(replica_set())
    world.put(bad_image())
    with later(
        lambda: world.remove(Ref("v1", "Pod", "api-1-x")),
        lambda: world.put(deployment(ready=1)),
        lambda: world.put(deployment("web", ready=1)),
    ):
        assert wait(world, ref, other).objects[ref].ready


def test_a_grace_ends_without_any_event(world: World) -> None:
    conditions = [{"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: few"}]
    ref = world.put(deployment())
    failing = replica_set()
    world.put({**failing, "status": {"conditions": conditions}})
    with pytest.raises(WaitFailed, match="QuotaExceeded"):
        wait(world, ref, graces=Graces(quota=0.2))


@pytest.mark.parametrize("ahead", [-3600.0, 3600.0])
def test_graces_are_counted_on_the_servers_clock(world: World, ahead: float) -> None:
    world.ahead = ahead
    since = stamp(world.server_time)
    ref = world.put(
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "api"}, "spec": {"containers": [{"name": "app"}]}},
        phase="Pending",
        conditions=[
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "lastTransitionTime": since}
        ],
    )
    with pytest.raises(WaitTimeout, match="Unschedulable"):
        wait(world, ref, timeout=0.3, graces=Graces(unschedulable=30))
    with pytest.raises(WaitFailed, match="Unschedulable"):
        wait(world, ref, graces=Graces(unschedulable=1.0))


def test_a_namespace_that_is_deleted_explains_all_the_rest(world: World) -> None:
    ref = world.put(deployment())
    world.put(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NS, "deletionTimestamp": stamp(time.time())}},
        phase="Terminating",
    )
    with pytest.raises(WaitFailed, match="Namespace/shop failed: NamespaceTerminating") as caught:
        wait(world, ref)
    assert caught.value.command == "kubectl get namespace shop -o yaml"


def test_one_that_is_deleted_under_us(world: World) -> None:
    ref = world.put(deployment())
    with later(lambda: world.remove(ref)), pytest.raises(WaitFailed, match="Gone"):
        wait(world, ref, graces=Graces(gone=0.2))


def test_a_job_that_its_ttl_takes_away_is_done(world: World) -> None:
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "m"}, "spec": {"ttlSecondsAfterFinished": 0}}
    ref = world.put(job)
    with later(lambda: world.remove(ref)):
        assert wait(world, ref).objects[ref].reason == "RemovedAfterFinishing"


FORBIDDEN = ApiError("list events: 403 Forbidden: no", status=403, reason="Forbidden")


def test_causes_are_found_without_the_right_to_read_events(world: World) -> None:
    world.refused["/api/v1/namespaces/shop/events"] = FORBIDDEN
    ref = world.put(deployment())
    world.put(replica_set())
    world.put(bad_image())
    with pytest.raises(WaitFailed, match="ErrImageNeverPull") as caught:
        wait(world, ref)
    assert "Event objects could not be read, causes may be missing" in str(caught.value)


def test_who_may_not_list_may_perhaps_get(world: World) -> None:
    world.refused["/apis/apps/v1/namespaces/shop/deployments"] = FORBIDDEN
    ref = world.put(deployment(ready=1))
    assert wait(world, ref).objects[ref].ready
    assert world.reads


def test_who_may_do_neither_is_told_at_once(world: World) -> None:
    path = "/apis/apps/v1/namespaces/shop/deployments"
    world.refused[path] = world.refused[f"{path}/api"] = FORBIDDEN
    with pytest.raises(WaitFailed, match="NotReadable: list events: 403 Forbidden"):
        wait(world, world.put(deployment()))


def test_a_watch_that_lags_is_not_believed(world: World) -> None:
    ref = world.put(deployment(ready=1))
    wait(world, ref)
    world.lag = True
    world.put(deployment(generation=2))
    newest = world.objects["/apis/apps/v1/namespaces/shop/deployments"]["api"]
    store = world.stores["/apis/apps/v1/namespaces/shop/deployments", ""]
    with pytest.raises(WaitTimeout, match="NotSeenYet"):
        wait(world, ref, timeout=0.2)
    world.lag = False
    with later(lambda: store.apply("MODIFIED", newest), lambda: world.put(deployment(ready=1, generation=2))):
        assert wait(world, ref).objects[ref].ready


def test_a_server_that_is_out_of_reach_when_a_wait_begins_is_waited_for(world: World) -> None:
    ref = world.put(deployment(ready=1))
    wait(world, ref)
    world.put(deployment(ready=1, generation=2))
    world.refused["/apis/apps/v1/namespaces/shop/deployments/api"] = ApiError("get deployments/api: no answer")
    with pytest.raises(WaitTimeout, match="NotSeenYet"):
        wait(world, ref, timeout=0.2)
    with later(lambda: world.refused.clear()):
        assert wait(world, ref).objects[ref].ready


def test_who_may_watch_but_not_read_trusts_the_watch(world: World) -> None:
    ref = world.put(deployment(ready=1))
    wait(world, ref)
    world.refused["/apis/apps/v1/namespaces/shop/deployments/api"] = FORBIDDEN
    assert wait(world, ref).objects[ref].ready


def test_one_that_was_there_a_moment_ago_and_is_gone(world: World) -> None:
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "m"}, "spec": {"ttlSecondsAfterFinished": 0}}
    ref = world.put(job)
    with later(lambda: world.remove(ref)):
        wait(world, ref)
    ref = world.put(job)
    with later(lambda: world.remove(ref)):
        assert wait(world, ref).objects[ref].reason == "RemovedAfterFinishing"


def test_pods_are_looked_at_before_ready_is_believed_where_nothing_probes_them(world: World) -> None:
    ref = unprobed(world)
    crashed = stamp(time.time() - 60)
    shaky = pod(
        state={"running": {"startedAt": stamp(time.time() - 1)}},
        lastState={"terminated": {"exitCode": 1, "startedAt": stamp(time.time() - 90), "finishedAt": crashed}},
        ready=True,
    )
    shaky["metadata"]["labels"] = {"app": "api"}
    shaky["status"] |= {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    world.put(shaky)
    with pytest.raises(WaitTimeout, match="JustRestarted"):
        wait(world, ref, timeout=0.3)


def unprobed(world: World, container_id: str = "c1") -> Ref:
    """One that counts as ready and has run for three seconds, as its kubelet says; nothing probes it."""
    workload = deployment(ready=1)
    workload["spec"] = {
        "replicas": 1,
        "selector": {"matchLabels": {"app": "api"}},
        "template": {"spec": {"containers": [{"name": "app"}]}},
    }
    started = stamp(time.time() - 3)
    runs = pod(state={"running": {"startedAt": started}}, ready=True, containerID=container_id)
    runs["metadata"]["labels"] = {"app": "api"}
    runs["status"] |= {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    world.put(runs)
    return world.put(workload)


def crashes(world: World) -> None:
    """What its kubelet says as soon as it has noticed the end."""
    ended = pod(state={"terminated": {"exitCode": 1, "reason": "Error"}}, ready=False, containerID="c1")
    ended["metadata"]["labels"] = {"app": "api"}
    world.put(ended)


def runtime(monkeypatch: pytest.MonkeyPatch, *answers: str, asked: Callable[[], None] = lambda: None) -> list[str]:
    """Answer in the runtime's place; the last answer again and again. Return those that were given."""
    given: list[str] = []

    def life(*_: Any, **__: Any) -> str:
        given.append(answers[min(len(given), len(answers) - 1)])
        asked()
        return given[-1]

    monkeypatch.setattr("pytest_ephemeral_ns.kube.alive.life", life)
    return given


def test_what_runs_as_its_runtime_says_is_ready(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    ref = unprobed(world)
    assert runtime(monkeypatch, "runs") == []
    assert wait(world, ref).objects[ref].ready


def test_an_end_is_final_even_when_the_runtime_knows_the_next_start(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = unprobed(world)
    given = runtime(monkeypatch, "ended", "runs")
    with pytest.raises(WaitTimeout, match="JustEnded"):
        wait(world, ref, timeout=1.0)
    assert given == ["ended"]


def test_what_runs_may_be_the_next_start_already(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The watch lags, so that only a read shows that the one that was seen has ended."""
    ref = unprobed(world)
    world.lag = True
    runtime(monkeypatch, "runs", asked=lambda: crashes(world))
    with pytest.raises(WaitTimeout, match="JustEnded"):
        wait(world, ref, timeout=1.0)


def test_what_ended_while_its_runtime_was_asked_is_not_ready(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    ref = unprobed(world)
    runtime(monkeypatch, "unknown", asked=lambda: crashes(world))
    with pytest.raises(WaitFailed, match="exit code 1"):
        wait(world, ref)


def test_one_without_output_is_believed_after_a_while(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    ref = unprobed(world)
    given = runtime(monkeypatch, "silent")
    assert wait(world, ref).objects[ref].ready
    assert len(given) > 3


@pytest.mark.parametrize("writer", [None, ("rbac.authorization.k8s.io/v1", "RoleBinding"), ("a.test/v1", "Database")])
def test_what_nobody_will_write_is_not_waited_for_long(world: World, writer: tuple[str, str] | None) -> None:
    world.put(replica_set())
    told = 'configmap "settings" not found'
    world.put(pod(state={"waiting": {"reason": "CreateContainerConfigError", "message": told}}))
    refs = [world.put(deployment())]
    if writer:
        refs.append(world.put({"apiVersion": writer[0], "kind": writer[1], "metadata": {"name": "w"}}))
    with pytest.raises(WaitTimeout if writer else WaitFailed, match="settings"):
        wait(world, *refs, timeout=2.5, graces=Graces(config_unwritten=0.5))


def test_a_config_map_that_has_come_is_not_missing(world: World) -> None:
    """One that is followed by its name alone says nothing about the others."""
    world.put(replica_set())
    told = 'configmap "settings" not found'
    world.put(pod(state={"waiting": {"reason": "CreateContainerConfigError", "message": told}}))
    refs = [world.put(deployment()), world.put({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "b"}})]
    world.put({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}})
    with pytest.raises(WaitTimeout, match="settings"):
        wait(world, *refs, timeout=2.5, graces=Graces(config_unwritten=0.5))


def test_progress_is_told_in_words(world: World) -> None:
    ref, web = world.put(deployment()), world.put(deployment("web", ready=1))
    world.put(replica_set())
    world.put(pod(state={"waiting": {"reason": "ContainerCreating"}}))
    pulling = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "e1"},
        "involvedObject": {"uid": "uid-Pod-api-1-x"},
        "reason": "Pulling",
        "message": "Pulling image",
        "lastTimestamp": stamp(time.time() - 12),
    }
    ready_to_start = world.objects["/api/v1/namespaces/shop/pods"]["api-1-x"]
    ready_to_start["status"]["conditions"] = [{"type": "PodReadyToStartContainers", "status": "True"}]
    world.put(pulling)
    lines: list[str] = []
    with pytest.raises(WaitTimeout):
        wait(world, ref, web, timeout=0.3, on_progress=lines.append)
    assert lines[0] == "1/2 ready · api: Ready: 0/1"
    assert lines[-1].startswith("1/2 ready · api: pulling image (1")


def test_several_waits_share_their_watches(world: World) -> None:
    refs = [world.put(deployment(name)) for name in ("a", "b", "c", "d")]
    found: list[ReadyReport] = []
    threads = [threading.Thread(target=lambda ref=ref: found.append(wait(world, ref))) for ref in refs]
    for thread in threads:
        thread.start()
    for ref in refs:
        world.put(deployment(ref.name, ready=1))
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len([path for path, _ in world.stores if path.endswith("/deployments")]) == 1


def test_watches_that_are_closed_meanwhile_end_it(world: World) -> None:
    ref = world.put(deployment())
    world.changed = lambda since, timeout: world.changes  # type: ignore[method-assign]
    with pytest.raises(UsageError, match="were closed while it ran"):
        wait(world, ref)


def test_a_check_of_the_users_own() -> None:
    answers: list[Any] = [None, AssertionError("not yet"), 0, "here"]

    def check() -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert wait_for(check, timeout=20, interval=0.01) == "here"
    answers[:] = [None] * 1000
    with pytest.raises(WaitTimeout, match=r"application .*check did not hold") as caught:
        wait_for(check, timeout=0.1, interval=0.01)
    assert caught.value.layer == "application"

    def never() -> None:
        raise NeverReady("the queue was deleted")

    with pytest.raises(WaitFailed, match="the queue was deleted"):
        wait_for(never)


# On the real control plane


@dataclass
class Place:
    api: Any
    watcher: Any
    discovery: Any
    name: str

    def apply(self, *objects: Object) -> list[Ref]:
        refs = []
        for obj in objects:
            resource = self.discovery.find(obj["apiVersion"], obj["kind"])
            path = resource.path(namespace=self.name, name=obj["metadata"]["name"])
            refs.append(Ref.of(self.api.apply(path, obj)))
        return refs

    def status(self, ref: Ref, **status: Any) -> None:
        resource = self.discovery.find(ref.api_version, ref.kind)
        path = resource.path(namespace=self.name, name=ref.name, subresource="status")
        self.api.patch(path, {"status": status})

    def wait(self, *refs: Ref, timeout: float = 30, **how: Any) -> ReadyReport:
        deadline = Deadline.after(timeout)
        how.setdefault("discovery", self.discovery)
        return wait_ready(self.api, self.watcher, self.name, refs, deadline=deadline, **how)


@pytest.fixture
def place(control_plane: Any) -> Iterator[Place]:
    from pytest_ephemeral_ns.kube.api import Api
    from pytest_ephemeral_ns.kube.discovery import Discovery
    from pytest_ephemeral_ns.kube.watch import Watcher

    name = f"ready-{secrets.token_hex(4)}"
    with Api(control_plane.connection) as api, Watcher(api) as watcher:
        api.create("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        try:
            yield Place(api, watcher, Discovery(api), name)
        finally:
            api.delete(f"/api/v1/namespaces/{name}")


def workload(name: str = "api", kind: str = "Deployment", **spec: Any) -> Object:
    labels = {"app": name}
    containers = [{"name": "app", "image": "app:1", "readinessProbe": {"exec": {"command": ["true"]}}}]
    template = {"metadata": {"labels": labels}, "spec": {"containers": containers}}
    spec = {"selector": {"matchLabels": labels}, "template": template, **spec}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


@pytest.mark.cluster
def test_a_service_account_and_a_root_certificate_are_waited_for(place: Place) -> None:
    report = place.wait(Ref("v1", "ServiceAccount", "default"), Ref("v1", "ConfigMap", "kube-root-ca.crt"))
    assert len(report.objects) == 2


@pytest.mark.cluster
def test_a_deployment_and_its_service_become_ready_when_a_pod_does(place: Place) -> None:
    ports = [{"port": 80, "targetPort": 8080}]
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "api"},
        "spec": {"selector": {"app": "api"}, "ports": ports},
    }
    refs = place.apply(workload(), service)
    place.wait(Ref("v1", "ServiceAccount", "default"))

    def start() -> None:
        pods: list[Object] = []
        while not pods:
            pods = list(place.api.list(f"/api/v1/namespaces/{place.name}/pods"))
        ready = {"type": "Ready", "status": "True", "lastTransitionTime": stamp(time.time())}
        place.status(Ref("v1", "Pod", pods[0]["metadata"]["name"]), phase="Running", conditions=[ready])
        # The controller leaves pods without a node out of its own slices.
        place.apply(
            {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {"name": "by-hand", "labels": {"kubernetes.io/service-name": "api"}},
                "addressType": "IPv4",
                "ports": [{"name": "", "port": 8080}],
                "endpoints": [{"addresses": ["10.0.0.3"], "conditions": {"ready": True}}],
            }
        )

    with later(start):
        report = place.wait(*refs, graces=Graces(no_nodes=60, unschedulable=60))
    assert [found.reason for found in report.objects.values()] == ["Available", "Endpoints"]


@pytest.mark.cluster
def test_no_nodes_is_said_at_once(place: Place) -> None:
    (ref,) = place.apply(workload(replicas=2))
    with pytest.raises(WaitFailed, match="no nodes available to schedule pods"):
        place.wait(ref)


@pytest.mark.cluster
@pytest.mark.parametrize(
    "spec", [{"kind": "Deployment"}, {"kind": "StatefulSet", "serviceName": "api"}, {"kind": "ReplicaSet"}]
)
def test_none_wanted_is_ready_once_its_controller_has_looked(place: Place, spec: dict[str, Any]) -> None:
    (ref,) = place.apply(workload(replicas=0, **spec))
    assert place.wait(ref).objects[ref].message == "Ready: 0/0"


@pytest.mark.cluster
def test_a_daemon_set_without_a_node_is_ready_once_its_controller_has_looked(place: Place) -> None:
    (ref,) = place.apply(workload(kind="DaemonSet"))
    assert "no node matches" in place.wait(ref).objects[ref].message


@pytest.mark.cluster
def test_a_custom_resource_from_its_definition_on(place: Place) -> None:
    group = f"g{secrets.token_hex(3)}.example.com"
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}},
    }
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"dbs.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": "dbs", "kind": "Db"},
            "versions": [version],
        },
    }
    (crd,) = place.apply(definition)
    try:
        assert place.wait(crd).objects[crd].reason == "Established"
        resource = place.discovery.find(f"{group}/v1", "Db", patience=10)
        (ref,) = place.apply({"apiVersion": f"{group}/v1", "kind": "Db", "metadata": {"name": "main"}})
        conditions = [{"type": "Ready", "status": "True"}]
        with later(lambda: place.status(ref, conditions=conditions)):
            assert place.wait(ref).objects[ref].reason == "Ready"
        assert resource.namespaced
    finally:
        place.api.delete(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/dbs.{group}")


@pytest.mark.cluster
def test_a_quota_that_forbids_every_pod(place: Place) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "few"},
        "spec": {"hard": {"pods": "0"}},
    }
    place.wait(*place.apply(quota))
    (ref,) = place.apply(workload(kind="StatefulSet", serviceName="api"))
    with pytest.raises(WaitFailed, match="exceeded quota: few"):
        place.wait(ref, graces=Graces(quota=1.0))


@pytest.mark.cluster
@pytest.mark.parametrize("exists", [False, True], ids=["no Service", "a Service without endpoints"])
def test_a_dead_admission_webhook(place: Place, exists: bool) -> None:
    if exists:
        ports, selector = [{"port": 443}], {"app": "nobody"}
        spec = {"selector": selector, "ports": ports}
        place.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "nobody"}, "spec": spec})
    name, client = f"dead-{place.name}", {"service": {"namespace": place.name, "name": "nobody", "path": "/"}}
    pods = [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"]}]
    hook = {
        "name": "dead.example.com",
        "clientConfig": client,
        "rules": pods,
        "failurePolicy": "Fail",
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": place.name}},
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "timeoutSeconds": 2,
    }
    group = "admissionregistration.k8s.io/v1"
    kind = "ValidatingWebhookConfiguration"
    place.apply({"apiVersion": group, "kind": kind, "metadata": {"name": name}, "webhooks": [hook]})
    try:
        refused_once(place)
        (ref,) = place.apply(workload())
        with pytest.raises(WaitFailed) as caught:
            place.wait(ref, graces=Graces(webhook=0.0))
    finally:
        place.api.delete(f"/apis/{group}/{kind.lower()}s/{name}")
    assert "WebhookUnavailable" in caught.value.summary
    assert 'failed calling webhook "dead.example.com"' in caught.value.summary
    assert f"https://nobody.{place.name}.svc" in caught.value.summary
    assert exists or 'service "nobody" not found' in caught.value.summary
    assert caught.value.command == f"kubectl -n {place.name} describe service nobody"


def refused_once(place: Place) -> None:
    """Return when the API server has learned of the webhook: it does so a moment after the object is there."""
    pod = {"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"name": "app", "image": "app:1"}]}}
    deadline = Deadline.after(30)
    place.wait(Ref("v1", "ServiceAccount", "default"))
    for number in range(1000):
        try:
            place.api.create(f"/api/v1/namespaces/{place.name}/pods", {**pod, "metadata": {"name": f"probe-{number}"}})
        except ApiError as error:
            assert "dead.example.com" in str(error)  # noqa: PT017
            return
        assert not deadline.expired, "the webhook is not called"


@pytest.mark.cluster
def test_a_dead_api_service(place: Place) -> None:
    group = f"g{secrets.token_hex(3)}.example.com"
    service = {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": f"v1.{group}"},
        "spec": {
            "group": group,
            "version": "v1",
            "service": {"namespace": place.name, "name": "nobody"},
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
        },
    }
    (ref,) = place.apply(service)
    try:
        with pytest.raises(WaitFailed) as caught:
            place.wait(ref, graces=Graces(api_service=0.0))
    finally:
        place.api.delete(f"/apis/apiregistration.k8s.io/v1/apiservices/v1.{group}")
    assert f"APIService/v1.{group}" in caught.value.summary
    assert "ServiceNotFound" in caught.value.summary
    assert "nobody" in caught.value.summary


@pytest.mark.cluster
def test_rights_in_the_namespace_alone_are_enough(place: Place) -> None:
    from dataclasses import replace

    from pytest_ephemeral_ns.kube.api import Api
    from pytest_ephemeral_ns.kube.watch import Watcher

    base = f"/api/v1/namespaces/{place.name}/serviceaccounts"
    place.wait(Ref("v1", "ServiceAccount", "default"))
    rules = [
        {"apiGroups": ["apps"], "resources": ["*"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]},
    ]
    group = "rbac.authorization.k8s.io"
    role = {"apiVersion": f"{group}/v1", "kind": "Role", "metadata": {"name": "look"}, "rules": rules}
    binding = {
        "apiVersion": f"{group}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "look"},
        "roleRef": {"apiGroup": group, "kind": "Role", "name": "look"},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": place.name}],
    }
    (ref, *_) = place.apply(workload(), role, binding)
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 600}}
    token = place.api.create(f"{base}/default/token", request)["status"]["token"]
    connection = replace(place.api.connection, token=token, client_cert_data="", client_key_data="")
    with Api(connection) as api, Watcher(api) as watcher, pytest.raises(WaitFailed) as caught:
        wait_ready(api, watcher, place.name, [ref], deadline=Deadline.after(30))
    assert "no nodes available to schedule pods" in caught.value.summary
    assert "Event objects could not be read" in str(caught.value)


@pytest.mark.cluster
def test_what_a_wait_of_many_objects_asks(place: Place) -> None:
    """A list and a watch per kind, whatever the number of objects."""
    objects = [workload(f"w{number}", replicas=0) for number in range(20)]
    refs = place.apply(*objects)
    before = place.api.requests
    place.wait(*refs)
    assert place.api.requests - before <= 14
    before = place.api.requests
    place.wait(*refs)
    assert place.api.requests - before <= 1
