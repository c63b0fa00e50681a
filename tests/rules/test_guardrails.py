from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pytest_ephemeral_ns.errors import UsageError
from pytest_ephemeral_ns.guarding import Guard
from pytest_ephemeral_ns.rules.guardrails import Limits, Reach, guard_rails, network_policies, pod_security_labels
from pytest_ephemeral_ns.settings import load


@pytest.mark.parametrize(
    ("policy", "kinds"),
    [
        ("none", []),
        ("standard", ["LimitRange", "ResourceQuota"]),
        ("isolated", ["LimitRange", "ResourceQuota", "NetworkPolicy", "NetworkPolicy", "NetworkPolicy"]),
    ],
)
def test_kinds_of_a_policy(policy, kinds):
    assert [obj["kind"] for obj in guard_rails(policy)] == kinds


def test_an_unknown_policy_lists_those_that_exist():
    with pytest.raises(UsageError, match="none, standard, isolated"):
        guard_rails("strict")


def test_whoever_says_nothing_gets_what_the_quota_asks_for():
    ranges, quota = guard_rails("standard")
    item = ranges["spec"]["limits"][0]
    assert item["type"] == "Container"
    for what, per_container in (("requests", item["defaultRequest"]), ("limits", item.get("default", {}))):
        asked = {name.partition(".")[2] for name in quota["spec"]["hard"] if name.startswith(f"{what}.")}
        assert asked - {"storage"} <= set(per_container), what


def test_limits_of_ones_own():
    ranges, quota = guard_rails("standard", limits=Limits(quota_pods="5", quota_requests_memory="none"))
    assert quota["spec"]["hard"]["pods"] == "5"
    assert "requests.memory" not in quota["spec"]["hard"]
    assert "default" not in ranges["spec"]["limits"][0]
    ranges, quota = guard_rails("standard", limits=Limits(container_limits_memory="1Gi", quota_limits_memory="8Gi"))
    assert quota["spec"]["hard"]["limits.memory"] == "8Gi"
    assert ranges["spec"]["limits"][0]["default"] == {"memory": "1Gi"}


def test_the_settings_are_limits():
    settings = load({"quota_pods": "7", "container_limits_cpu": "2"}, {}, {}, cwd=Path("/"))
    named = Limits(quota_pods="7", container_limits_cpu="2")
    assert guard_rails("standard", limits=settings) == guard_rails("standard", limits=named)
    assert guard_rails("standard", limits=load({}, {}, {}, cwd=Path("/"))) == guard_rails("standard")


def test_no_limits_at_all_make_no_objects():
    assert guard_rails("standard", limits=Limits(*(["none"] * 13))) == []


def by_name(reach):
    return {p["metadata"]["name"].removeprefix("ephemeral-ns-"): p["spec"] for p in network_policies(reach)}


def test_everything_is_denied_both_ways():
    assert by_name(Reach())["default-deny"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_a_policy_denies_nothing_that_it_is_not_about():
    found = by_name(Reach(shared=["db"], ingress=["nginx"], api_servers=[("10.0.0.1", 6443)]))
    assert {name: spec["policyTypes"] for name, spec in found.items()} == {
        "default-deny": ["Ingress", "Egress"],
        "same-namespace": ["Ingress", "Egress"],
        "dns": ["Egress"],
        "shared-services": ["Egress"],
        "ingress-controllers": ["Ingress"],
        "api-server": ["Egress"],
    }


def test_dns_is_reached_on_its_port_alone():
    rule = by_name(Reach())["dns"]["egress"][0]
    assert rule["ports"] == [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]
    assert {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}} in rule["to"]


def test_namespaces_are_named_by_the_label_that_they_cannot_fake():
    found = by_name(Reach(shared=["db"], ingress=["nginx"]))
    assert found["shared-services"]["egress"] == [
        {"to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "db"}}}]}
    ]
    assert found["ingress-controllers"]["ingress"] == [
        {"from": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "nginx"}}}]}
    ]


@pytest.mark.parametrize(("address", "cidr"), [("10.0.0.1", "10.0.0.1/32"), ("fd00::1", "fd00::1/128")])
def test_the_api_server(address, cidr):
    rule = by_name(Reach(api_servers=[(address, 6443)]))["api-server"]["egress"][0]
    assert rule == {"to": [{"ipBlock": {"cidr": cidr}}], "ports": [{"protocol": "TCP", "port": 6443}]}


def test_pod_security():
    assert pod_security_labels("none") == {}
    assert pod_security_labels("restricted") == {
        "pod-security.kubernetes.io/enforce": "restricted",
        "pod-security.kubernetes.io/warn": "restricted",
    }
    with pytest.raises(UsageError, match="there are privileged, baseline, restricted"):
        pod_security_labels("strict")


@pytest.mark.parametrize(
    ("given", "changed", "policy", "chosen", "asked"),
    [
        ({}, {}, None, "standard", False),
        ({"policy": "standard"}, {}, None, "standard", True),
        ({}, {}, "standard", "standard", True),
        ({}, {}, "isolated", "isolated", True),
        # By a fixture that computes settings: nobody must believe in a network that is open.
        ({}, {"policy": "isolated"}, None, "isolated", True),
        ({"policy": "isolated"}, {}, "none", "none", True),
        ({"policy": "isolated", "reuse": "mine"}, {}, None, "none", False),
    ],
)
def test_what_was_asked_for(given, changed, policy, chosen, asked):
    guard = Guard.of(replace(load(given, {}, {}, cwd=Path("/")), **changed), policy)
    assert (guard.policy, guard.asked) == (chosen, asked)
