"""The bug museum: every object that fooled a tool, and what we say of it. Each YAML file holds cases of one family.

A case has ``object`` (``base`` fills what it leaves out), ``related`` (kind → objects), ``now`` (seconds after the
moment T) and ``expect``. In objects, ``T+5`` is that moment plus 5 seconds.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import yaml

from pytest_ephemeral_ns.errors import UsageError
from pytest_ephemeral_ns.rules.graces import NEVER, Graces
from pytest_ephemeral_ns.rules.objects import Ref
from pytest_ephemeral_ns.rules.status import (
    Cause,
    Related,
    Verdict,
    gone_verdict,
    is_stored_only,
    may_write,
    missing_verdict,
    needs,
    remember,
    runs_on,
    verdict,
)
from pytest_ephemeral_ns.rules.status.containers import containers
from pytest_ephemeral_ns.rules.status.custom import holds

T = datetime(2026, 1, 1, tzinfo=timezone.utc)
MUSEUM = Path(__file__).parent / "status"
MOMENT = re.compile(r"T([+-]\d+(?:\.\d+)?)?")


def moments(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: moments(item) for key, item in value.items()}
    if isinstance(value, list):
        return [moments(item) for item in value]
    if isinstance(value, str) and (match := MOMENT.fullmatch(value)):
        return (T + timedelta(seconds=float(match[1] or 0))).strftime("%Y-%m-%dT%H:%M:%SZ")
    return value


def merged(base: Any, more: Any) -> Any:
    """``more`` over ``base``; a null takes a field away."""
    if isinstance(base, dict) and isinstance(more, dict):
        both = {**base, **{key: merged(base.get(key), item) for key, item in more.items() if item is not None}}
        return {key: item for key, item in both.items() if key not in more or more[key] is not None}
    return copy.deepcopy(base if more is None else more)


def cases() -> Iterator[Any]:
    for path in sorted(MUSEUM.glob("*.yaml")):
        for room in yaml.safe_load_all(path.read_text()):
            bases = room.get("bases", {})
            for case in room["cases"]:
                yield pytest.param(case, bases, id=f"{path.stem}: {case['name']}")


def filled(kind: str, obj: Any, bases: Any) -> Any:
    return moments(merged(bases.get(kind, {}), obj))


def judge(case: Any, bases: Any) -> Verdict:
    kind = case.get("kind") or next(iter(bases))
    obj = filled(kind, case["object"], bases)
    obj.setdefault("kind", kind)
    related = {name: [filled(name, item, bases) for item in items] for name, items in case.get("related", {}).items()}
    graces = Graces(**{key: NEVER if item == "never" else item for key, item in case.get("graces", {}).items()})
    now = T + timedelta(seconds=case.get("now", 0))
    seen: dict[Any, Cause] = {}
    for earlier in case.get("before", ()):
        then = merged(case, earlier)
        at = T + timedelta(seconds=earlier.get("now", 0))
        objects = {
            name: [filled(name, item, bases) for item in items] for name, items in then.get("related", {}).items()
        }
        old = filled(kind, then["object"], bases)
        old.setdefault("kind", kind)
        look = gone_verdict if case.get("gone") else verdict
        seen = remember(seen, look(old, Related(objects, seen=seen), at, graces).causes)
    ask = gone_verdict if case.get("gone") else verdict
    return ask(obj, Related(related, seen=seen), now, graces)


@pytest.mark.parametrize(("case", "bases"), list(cases()))
def test_museum(case: Any, bases: Any) -> None:
    found = judge(case, bases)
    wanted = case["expect"]
    assert (found.state, found.reason) == (wanted["state"], wanted["reason"]), found
    for part in wanted.get("message", ()):
        assert part in found.message
    for part in wanted.get("never", ()):
        assert part not in str(found)
    if "causes" in wanted:
        assert [cause.reason for cause in found.causes] == wanted["causes"]
    if "log" in wanted:
        assert found.causes[0].log == wanted["log"]
    if "due" in wanted:
        due = wanted["due"]
        assert found.due == (None if due is None else T + timedelta(seconds=due))
    if "command" in wanted:
        assert found.causes[0].command == wanted["command"]


def test_every_kind_has_at_least_five_exhibits() -> None:
    count: dict[str, int] = {}
    for param in cases():
        case, bases = param.values
        kind = case.get("kind") or next(iter(bases))
        count[kind] = count.get(kind, 0) + 1
    few = {kind: number for kind, number in count.items() if number < 5}
    assert not few
    assert len(count) >= 18


def test_what_was_never_seen_may_come_yet() -> None:
    assert missing_verdict(Ref("v1", "Pod", "a")).state == "waiting"


@pytest.mark.parametrize(
    ("version", "kind", "alone"),
    [
        ("v1", "ConfigMap", True),
        ("v1", "Secret", True),
        ("v1", "ServiceAccount", True),
        ("rbac.authorization.k8s.io/v1", "RoleBinding", True),
        ("networking.k8s.io/v1", "NetworkPolicy", True),
        ("apps/v1", "Deployment", False),
        ("networking.k8s.io/v1", "Ingress", False),
        ("cert-manager.io/v1", "Certificate", False),
        ("gateway.networking.k8s.io/v1", "Gateway", False),
        ("snapshot.storage.k8s.io/v1", "VolumeSnapshot", False),
    ],
)
def test_which_kinds_only_have_to_be_stored(version: str, kind: str, alone: bool) -> None:
    assert is_stored_only(version, kind) is alone


def test_only_what_explains_is_asked_for() -> None:
    waiting = Verdict("waiting", "Progressing")
    assert needs("ConfigMap", waiting) == ()
    assert "PersistentVolumeClaim" not in needs("StatefulSet", waiting)
    cause = Cause(Ref("v1", "Pod", "a"), "Unschedulable", "pod has unbound immediate PersistentVolumeClaims", T)
    assert "StorageClass" in needs("StatefulSet", Verdict("waiting", "Unschedulable", causes=(cause,)))


@pytest.mark.parametrize(
    ("version", "kind", "writes"),
    [
        ("v1", "Service", False),
        ("apps/v1", "Deployment", False),
        ("rbac.authorization.k8s.io/v1", "Role", False),
        ("rbac.authorization.k8s.io/v1", "RoleBinding", True),
        ("batch/v1", "Job", True),
        ("networking.k8s.io/v1", "Ingress", True),
        ("apiextensions.k8s.io/v1", "CustomResourceDefinition", True),
        ("cert-manager.io/v1", "Certificate", True),
    ],
)
def test_what_may_have_to_do_with_a_secret_that_comes_later(version: str, kind: str, writes: bool) -> None:
    assert may_write(version, kind) is writes


@pytest.mark.parametrize(
    ("message", "wanted"),
    [
        ('configmap "settings" not found', "ConfigMap"),
        ('MountVolume.SetUp failed for volume "tls" : secret "tls" not found', "Secret"),
        ('configmap "kube-root-ca.crt" not found', ""),
        ("couldn't find key mode in ConfigMap shop/settings", ""),
    ],
)
def test_a_missing_object_is_looked_up(message: str, wanted: str) -> None:
    cause = Cause(Ref("v1", "Pod", "a"), "FailedMount", message, T)
    found = needs("Deployment", Verdict("waiting", "FailedMount", causes=(cause,)))
    assert [kind for kind in found if kind in ("ConfigMap", "Secret")] == ([wanted] if wanted else [])


@pytest.mark.parametrize(
    ("rule", "held"),
    [
        ("exists", True),
        ("condition=Ready", True),
        ("condition=Ready=True", True),
        ("condition=Ready=False", False),
        ("condition=Synced", False),
        ("condition=Old", False),
        ("jsonpath={.status.phase}=Running", True),
        ("jsonpath=.status.phase=Running", True),
        ("jsonpath={.status.phase}=Pending", False),
        ("jsonpath={.status.address}", True),
        ("jsonpath={.status.nothing}", False),
        ("jsonpath={.status.bound}=true", True),
    ],
)
def test_rules_as_kubectl_wait_takes_them(rule: str, held: bool) -> None:
    obj = {
        "metadata": {"generation": 2},
        "status": {
            "phase": "Running",
            "address": "10.0.0.1",
            "bound": True,
            "conditions": [
                {"type": "Ready", "status": "True", "observedGeneration": 2},
                {"type": "Old", "status": "True", "observedGeneration": 1},
            ],
        },
    }
    assert holds(obj, rule) is held


@pytest.mark.parametrize("rule", ["", "ready", "condition=", "jsonpath=", "cel=self.status.ok"])
def test_a_rule_that_is_not_understood_is_an_error(rule: str) -> None:
    with pytest.raises(UsageError, match="is not understood"):
        holds({}, rule)


@pytest.mark.parametrize(
    ("now", "same"),
    [
        ({"containerID": "c1", "state": {"running": {}}}, True),
        ({"containerID": "c1", "state": {"terminated": {"exitCode": 1}}}, False),
        ({"containerID": "c2", "state": {"running": {}}, "restartCount": 1}, False),
        ({"containerID": "c1", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}, False),
        (None, False),
    ],
)
def test_a_later_look_shows_the_same_start_or_does_not(now: Any, same: bool) -> None:
    def seen(status: Any) -> Any:
        return {"spec": {"containers": [{"name": "app"}]}, "status": {"containerStatuses": [{"name": "app", **status}]}}

    pod = seen({"containerID": "c1", "state": {"running": {}}})
    (container,) = containers(pod, Ref("v1", "Pod", "a"))
    assert runs_on(container, None if now is None else seen(now)) is same


def test_graces_are_changed_by_words() -> None:
    graces = Graces().changed(["unschedulable=2m", "crash_loop_restarts=5", "quota = never"])
    assert (graces.unschedulable, graces.crash_loop_restarts, graces.quota) == (120.0, 5, NEVER)


@pytest.mark.parametrize("pair", ["patience=3s", "quota=soon", "crash_loop_restarts=1.5", "quota"])
def test_a_grace_that_does_not_exist_is_an_error(pair: str) -> None:
    with pytest.raises(UsageError):
        Graces().changed([pair])


def test_the_same_trouble_of_many_pods_is_told_once() -> None:
    causes = [Cause(Ref("v1", "Pod", f"api-{n}", uid=str(n)), "Unschedulable", "no room", T) for n in range(30)]
    from pytest_ephemeral_ns.rules.status.answers import not_ready

    found = not_ready("Progressing", "Ready: 0/30", causes, T)
    assert len(found.causes) == 1
    assert "Pod/api-0 (and 29 more): Unschedulable: no room" in found.message
