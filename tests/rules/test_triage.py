"""What matters most in a namespace: verdicts, stories, folded warnings, the logs worth reading."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from pytest_ephemeral_ns.rules.triage import LogWish, Snapshot, ended, telling, triage
from pytest_ephemeral_ns.rules.warned import warnings_of

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=timezone.utc)


def at(seconds: float) -> str:
    return f"{NOW + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%SZ}"


def made(kind: str, name: str, owner: tuple[str, str] | None = None, **more: Any) -> dict[str, Any]:
    version = {"Pod": "v1", "Service": "v1", "ResourceQuota": "v1", "ConfigMap": "v1"}.get(kind, "apps/v1")
    metadata: dict[str, Any] = {"name": name, "uid": f"u-{name}", "creationTimestamp": at(-60), "generation": 1}
    if owner:
        metadata["ownerReferences"] = [{"kind": owner[0], "name": owner[1], "uid": f"u-{owner[1]}", "controller": True}]
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **more}


def pod(name: str, owner: tuple[str, str] | None = None, *boxes: dict[str, Any]) -> dict[str, Any]:
    spec = {"nodeName": "n1", "containers": [{"name": box["name"], "image": "shop:1"} for box in boxes]}
    return made("Pod", name, owner, spec=spec, status={"phase": "Running", "containerStatuses": [*boxes]})


def crashing(name: str, restarts: int = 5) -> dict[str, Any]:
    end = {"exitCode": 137, "reason": "OOMKilled", "startedAt": at(-13), "finishedAt": at(-10)}
    state = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 1m20s"}}
    return {"name": name, "ready": False, "restartCount": restarts, "state": state, "lastState": {"terminated": end}}


def running(name: str, ready: bool = True) -> dict[str, Any]:
    return {
        "name": name,
        "ready": ready,
        "started": True,
        "restartCount": 0,
        "state": {"running": {"startedAt": at(-50)}},
    }


def world(*boxes: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    deployment = made(
        "Deployment",
        "api",
        spec={"replicas": 1, "selector": {"matchLabels": {"app": "api"}}},
        status={"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "unavailableReplicas": 1},
    )
    replica_set = made("ReplicaSet", "api-6f7", ("Deployment", "api"), spec={"replicas": 1}, status={"replicas": 1})
    return {
        "Deployment": [deployment],
        "ReplicaSet": [replica_set],
        "Pod": [pod("api-6f7-x", ("ReplicaSet", "api-6f7"), *boxes)],
    }


def event(name: str, message: str, *, kind: str = "Pod", reason: str = "BackOff", first: float = -30, last: float = -5,
          count: int = 1, type: str = "Warning") -> dict[str, Any]:  # fmt: skip
    told = {"kind": kind, "name": name, "uid": f"u-{name}"}
    return {"involvedObject": told, "reason": reason, "message": message, "type": type, "count": count,
            "firstTimestamp": at(first), "lastTimestamp": at(last), "metadata": {"name": "e"}}  # fmt: skip


def test_the_story_goes_from_the_object_to_the_container():
    found = triage(Snapshot(world(crashing("app"), running("side")), NOW))
    assert [str(item.ref) for item in found.findings] == ["Deployment/api"]
    story = "\n".join(found.findings[0].story)
    steps = ["Deployment/api", "ReplicaSet/api-6f7", "Pod/api-6f7-x on node n1", "container app (shop:1)", "OOMKilled"]
    assert [step for step in steps if step not in story] == []
    assert [story.index(step) for step in steps] == sorted(story.index(step) for step in steps)


def test_the_container_that_crashed_comes_first_with_its_previous_log():
    found = triage(Snapshot(world(running("side"), crashing("app")), NOW))
    assert [(wish.container, wish.previous, wish.trouble) for wish in found.logs] == [
        ("app", True, True),
        ("app", False, True),
        ("side", False, False),
    ]
    assert found.facts == (
        "Pod/api-6f7-x, container app: 5 restarts; last ended with exit code 137 (SIGKILL), OOMKilled, after 3 s, "
        "at 11:59:50",
    )


def test_a_container_that_runs_but_is_not_ready():
    found = triage(Snapshot(world(running("app", ready=False)), NOW))
    assert [wish.trouble for wish in found.logs] == [True]


def test_nothing_has_run_so_there_is_no_log():
    waiting = {"name": "app", "ready": False, "restartCount": 0, "state": {"waiting": {"reason": "ErrImagePull"}}}
    assert triage(Snapshot(world(waiting), NOW)).logs == ()


def test_stored_objects_and_owned_ones_are_not_told():
    objects = {"ConfigMap": [made("ConfigMap", "settings")], **world(running("app"))}
    told = triage(Snapshot(objects, NOW))
    assert {ref.kind for ref in (*told.ready, *(item.ref for item in told.findings))} == {"Deployment"}


def test_failed_before_waiting_and_workloads_before_services():
    service = made("Service", "api", spec={"selector": {"app": "nobody"}, "ports": [{"port": 80}]})
    objects = {"Service": [service], "EndpointSlice": [], **world(crashing("app"))}
    kinds = [item.ref.kind for item in triage(Snapshot(objects, NOW)).findings]
    assert kinds[0] == "Deployment"


def test_events_that_say_the_same_are_told_once():
    events = [
        event("api-6f7-x", "Back-off restarting failed container app in pod api-6f7-x_shop(1)", count=4),
        event("api-6f7-y", "Back-off restarting failed container app in pod api-6f7-y_shop(1)", first=-40, count=2),
        event("api", "scaled up", kind="Deployment", type="Normal"),
        event("api-6f7-x", "Readiness probe failed: 503", reason="Unhealthy", first=-20),
    ]
    found = warnings_of(events, NOW - timedelta(seconds=3))
    assert [(item.reason, item.count, item.others, item.during) for item in found] == [
        ("BackOff", 6, 1, True),
        ("Unhealthy", 1, 0, True),
    ]
    assert warnings_of(events[:1], NOW + timedelta(seconds=60))[0].during is False


def test_the_signature_changes_with_the_state_and_not_with_the_time():
    objects = {**world(crashing("app")), "Event": [event("api-6f7-x", "Back-off")]}
    later = {**world(crashing("app")), "Event": [event("api-6f7-x", "Back-off", last=20, count=9)]}
    same = triage(Snapshot(objects, NOW)).signature
    assert same == triage(Snapshot(later, NOW)).signature
    assert same != triage(Snapshot(world(crashing("app", restarts=6)), NOW)).signature


def test_quotas_that_are_nearly_used_up():
    status = {
        "hard": {"pods": "10", "cpu": "2", "memory": "1Gi"},
        "used": {"pods": "9", "cpu": "500m", "memory": "1Gi"},
    }
    quota = made("ResourceQuota", "guard", status=status)
    assert triage(Snapshot({"ResourceQuota": [quota]}, NOW)).quotas == (
        "ResourceQuota/guard: pods 9 of 10, memory 1Gi of 1Gi",
    )


def test_pods_without_a_node():
    condition = {"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available: 1 Insufficient cpu."}
    lost = made("Pod", "big", spec={"containers": []}, status={"phase": "Pending", "conditions": [condition]})
    found = triage(Snapshot({"Pod": [lost]}, NOW))
    assert found.unscheduled == ("Pod/big: 0/1 nodes are available: 1 Insufficient cpu.",)
    assert "Insufficient cpu" in found.headline


def test_objects_of_any_shape_are_no_error():
    for broken in ({}, {"metadata": {}}, {"metadata": {"name": "x"}, "status": None, "spec": {"containers": None}}):
        objects = {kind: [{"kind": kind, "apiVersion": "v1", **broken}] for kind in ("Pod", "Event", "ResourceQuota")}
        triage(Snapshot(objects, NOW))


def test_how_a_container_ended():
    assert ended({"exitCode": 0, "reason": "Completed"}) == "with exit code 0"
    assert ended({"exitCode": 143}) == "with exit code 143 (SIGTERM)"


def test_lines_that_look_like_trouble():
    assert telling(["ok", "FATAL: no", "Traceback (most recent call last):", "HTTP 503"]) == 3


def test_wishes_are_values():
    assert LogWish("a", "b") == LogWish("a", "b")
