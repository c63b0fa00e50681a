from __future__ import annotations

import pytest

from pytest_ephemeral_ns.rules.manifests import Manifest
from pytest_ephemeral_ns.rules.warnings import Facts, warnings_for


def thing(kind, api_version="v1", **spec):
    return Manifest({"apiVersion": api_version, "kind": kind, "metadata": {"name": "a"}, "spec": spec}, "a.yaml:1")


def deployment(**pod):
    return thing("Deployment", "apps/v1", template={"spec": pod})


def storage_class(name, policy="Delete", **annotations):
    return {"kind": "StorageClass", "metadata": {"name": name, "annotations": annotations}, "reclaimPolicy": policy}


DEFAULT = {"storageclass.kubernetes.io/is-default-class": "true"}


@pytest.mark.parametrize(
    ("image", "moving"),
    [
        ("redis", True),
        ("redis:latest", True),
        ("registry:5000/redis", True),
        ("registry:5000/redis:7.2", False),
        ("redis:7.2", False),
        ("redis:latest@sha256:abc", False),
        ("redis@sha256:abc", False),
        ("", False),
    ],
)
def test_images(image, moving):
    found = warnings_for([deployment(containers=[{"image": image}])], Facts())
    assert found == ([f"Deployment/a (a.yaml:1): image {image} is a moving target: "
                      "the same commit may be tested with another image tomorrow"] if moving else [])  # fmt: skip


def test_init_containers_and_cron_jobs_count_and_nothing_is_told_twice():
    pod = {"spec": {"initContainers": [{"image": "x"}], "containers": [{"image": "x"}]}}
    assert len(warnings_for([thing("CronJob", "batch/v1", jobTemplate={"spec": {"template": pod}})], Facts())) == 1


def test_ports_that_can_be_had_once():
    service = thing("Service", type="NodePort", ports=[{"port": 80, "nodePort": 31000}, {"port": 81}])
    assert "node port 31000 can be had by one namespace" in warnings_for([service], Facts())[0]
    pod = deployment(containers=[{"image": "a:1", "ports": [{"containerPort": 1, "hostPort": 9100}]}])
    assert "host port 9100" in warnings_for([pod], Facts())[0]


@pytest.mark.parametrize(
    ("facts", "warned"),
    [
        (Facts(), False),
        (Facts(provider_ids=[]), True),
        (Facts(provider_ids=["", "kind://docker/kind/kind-worker"]), True),
        (Facts(provider_ids=["aws:///eu-central-1a/i-1"]), False),
        (Facts(provider_ids=["kind://a"], balanced=True), False),
    ],
)
def test_load_balancers(facts, warned):
    assert bool(warnings_for([thing("Service", type="LoadBalancer")], facts)) is warned


@pytest.mark.parametrize(
    ("claim", "warned"),
    [
        ({"storageClassName": "keeps"}, "keeps"),
        ({"storageClassName": "drops"}, None),
        ({"storageClassName": "unknown"}, None),
        ({"storageClassName": ""}, "keeps"),
        ({}, "keeps"),
    ],
)
@pytest.mark.parametrize("kind", ["PersistentVolumeClaim", "StatefulSet"])
def test_volumes_that_stay(kind, claim, warned):
    facts = Facts([storage_class("drops"), storage_class("keeps", "Retain", **DEFAULT)])
    spec = claim if kind == "PersistentVolumeClaim" else {"volumeClaimTemplates": [{"spec": claim}]}
    found = warnings_for([thing(kind, "v1" if kind != "StatefulSet" else "apps/v1", **spec)], facts)
    assert bool(found) is bool(warned)
    assert not warned or f"StorageClass {warned} retains volumes" in found[0]


def test_a_class_of_the_set_itself_counts():
    own = Manifest({"apiVersion": "storage.k8s.io/v1", **storage_class("own", "Retain")}, "s.yaml:1")
    assert warnings_for([own, thing("PersistentVolumeClaim", storageClassName="own")], Facts([]))
