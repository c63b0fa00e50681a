"""Guard rails on the real control plane."""

from __future__ import annotations

import secrets
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pytest_ephemeral_ns.deadline import Deadline
from pytest_ephemeral_ns.deploy import api_servers, await_quota, put_guard_rails
from pytest_ephemeral_ns.errors import ApiError, DeployError
from pytest_ephemeral_ns.guarding import Guard
from pytest_ephemeral_ns.rules.guardrails import Limits, Reach, guard_rails, pod_security_labels
from pytest_ephemeral_ns.settings import load

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def api(control_plane):
    from pytest_ephemeral_ns.kube.api import Api

    with Api(control_plane.connection) as api:
        yield api


@pytest.fixture
def namespace(api):
    name = f"guard-{secrets.token_hex(3)}"
    labels = pod_security_labels("baseline")
    uid = api.create("/api/v1/namespaces", {"metadata": {"name": name, "labels": labels}})["metadata"]["uid"]
    yield name
    api.delete(f"/api/v1/namespaces/{name}", uid=uid)


def pod(name, **spec):
    containers = [{"name": "a", "image": "busybox:1.36"}]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": containers, **spec}}


def test_a_pod_that_says_nothing_is_accepted_at_once_and_gets_defaults(api, namespace):
    rails = guard_rails("standard", limits=Limits(quota_pods="1", container_limits_memory="1Gi"))
    put = put_guard_rails(api, namespace, rails, labels={"pytest-ephemeral-ns/run": "r"})
    assert [obj["kind"] for obj in put] == ["LimitRange", "ResourceQuota"]
    assert all(obj["metadata"]["labels"] == {"pytest-ephemeral-ns/run": "r"} for obj in put)
    await_quota(api, put, Deadline.after(60))
    path = f"/api/v1/namespaces/{namespace}/pods"
    made = api.create(path, pod("one"))
    assert made["spec"]["containers"][0]["resources"] == {
        "limits": {"memory": "1Gi"},
        "requests": {"cpu": "10m", "memory": "32Mi"},
    }
    with pytest.raises(ApiError, match="exceeded quota: ephemeral-ns"):
        api.create(path, pod("two"))


def test_pod_security_is_enforced(api, namespace):
    with pytest.raises(ApiError, match="violates PodSecurity"):
        api.create(f"/api/v1/namespaces/{namespace}/pods", pod("host", hostNetwork=True))


def test_the_server_takes_every_policy_and_again(api, namespace):
    # A control plane without a node may listen on a loopback address, which makes no endpoint.
    reach = Reach(shared=["db"], ingress=["nginx"], api_servers=api_servers(api) or [("10.0.0.1", 6443)])
    rails = guard_rails("isolated", reach=reach)
    uids = [obj["metadata"]["uid"] for obj in put_guard_rails(api, namespace, rails)]
    assert len(set(uids)) == 8
    again = put_guard_rails(api, namespace, rails)
    assert [obj["metadata"]["uid"] for obj in again] == uids
    await_quota(api, again, Deadline.after(60))


def test_a_guard_rail_that_changed_is_brought_up_to_date(api, namespace):
    put_guard_rails(api, namespace, guard_rails("standard", limits=Limits(quota_pods="3")))
    (_, quota) = put_guard_rails(api, namespace, guard_rails("standard", limits=Limits(quota_pods="4")))
    assert quota["spec"]["hard"]["pods"] == "4"
    await_quota(api, [quota], Deadline.after(60))


def test_a_bad_quantity_is_refused_with_its_object(api, namespace):
    with pytest.raises(DeployError, match="guard rail ResourceQuota/ephemeral-ns was refused"):
        put_guard_rails(api, namespace, guard_rails("standard", limits=Limits(quota_pods="many")))


def test_guard_rails_cost_three_requests(api, namespace):
    def cost(policy):
        guard = Guard.of(load({"policy": policy}, {}, {}, cwd=Path("/")))
        before = api.requests
        guard.prepare(api, namespace, "r", Deadline.after(60), warn=pytest.fail)
        return api.requests - before

    assert cost("standard") - cost("none") <= 3  # LimitRange, quota, and a watch until it counts


def test_many_pods_right_after_the_guard_rails_are_all_accepted(api):
    """The quota counts, and the LimitRange is known, in every one of many namespaces made at once."""
    guard = Guard.of(load({}, {}, {}, cwd=Path("/")))

    def fill(number):
        name = f"guard-many-{secrets.token_hex(4)}"
        uid = api.create("/api/v1/namespaces", {"metadata": {"name": name}})["metadata"]["uid"]
        try:
            guard.prepare(api, name, "r", Deadline.after(120), warn=pytest.fail)
            made = api.create(f"/api/v1/namespaces/{name}/pods", pod("first"))
            return made["spec"]["containers"][0]["resources"].get("requests")
        finally:
            api.delete(f"/api/v1/namespaces/{name}", uid=uid)

    with ThreadPoolExecutor(8) as pool:
        assert [*pool.map(fill, range(40))] == [{"cpu": "10m", "memory": "32Mi"}] * 40
