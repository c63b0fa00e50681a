from __future__ import annotations

import pytest

from pytest_ephemeral_ns.rules.manifests import Manifest
from pytest_ephemeral_ns.rules.stages import STAGES, in_stages, stage_of

ORDER = [
    ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
    ("v1", "ResourceQuota"),
    ("rbac.authorization.k8s.io/v1", "Role"),
    ("v1", "Secret"),
    ("v1", "PersistentVolumeClaim"),
    ("v1", "Service"),
    ("apps/v1", "StatefulSet"),
    ("autoscaling/v1", "HorizontalPodAutoscaler"),
    ("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration"),
]


def test_the_order_of_stages():
    assert [stage_of(*kind) for kind in ORDER] == list(STAGES)


@pytest.mark.parametrize(
    ("api_version", "kind", "stage"),
    [
        ("monitoring.coreos.com/v1", "Prometheus", "workloads"),
        ("example.com/v1", "Service", "workloads"),
        ("apiregistration.k8s.io/v1", "APIService", "scaling and routes"),
        ("gateway.networking.k8s.io/v1", "HTTPRoute", "scaling and routes"),
        ("gateway.networking.k8s.io/v1", "GatewayClass", "definitions"),
        ("v1", "Pod", "workloads"),
    ],
)
def test_stage_of(api_version, kind, stage):
    assert stage_of(api_version, kind) == stage


def test_objects_keep_their_order_within_a_stage():
    kinds = [("apps/v1", "Deployment", "b"), ("v1", "Secret", "s"), ("apps/v1", "Deployment", "a")]
    manifests = [Manifest({"apiVersion": v, "kind": k, "metadata": {"name": n}}, "") for v, k, n in kinds]
    stages = [(stage, [m.ref.name for m in members]) for stage, members in in_stages(manifests)]
    assert stages == [("configuration", ["s"]), ("workloads", ["b", "a"])]
