from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from pytest_ephemeral_ns.rules.terminating import Evidence, Remains, explain, who_removes

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=timezone.utc)
GOING = (NOW - timedelta(hours=2)).strftime("%Y-%m-%dT%H:%M:%SZ")


def namespace(*conditions: dict[str, str], **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "shop", "deletionTimestamp": GOING},
        "spec": {"finalizers": ["kubernetes"], **spec},
        "status": {"phase": "Terminating", "conditions": list(conditions)},
    }


def obj(name: str, *finalizers: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "finalizers": list(finalizers), "deletionTimestamp": GOING}, "spec": spec}


def test_it_begins_with_how_long_and_what_the_server_says() -> None:
    condition = {"type": "NamespaceContentRemaining", "status": "True", "message": "widgets has 1 resource instances"}
    quiet = {"type": "NamespaceDeletionDiscoveryFailure", "status": "False", "message": "fine"}
    lines = explain(Evidence(namespace(condition, quiet)), now=NOW)
    assert lines[:2] == [
        "namespace shop is being deleted since 2h",
        "NamespaceContentRemaining: widgets has 1 resource instances",
    ]
    assert "kube-controller-manager" in lines[2]


def test_a_namespace_that_stays_is_not_explained_away() -> None:
    assert explain(Evidence({"metadata": {"name": "shop"}}), now=NOW) == ["namespace shop is not being deleted"]


@pytest.mark.parametrize(
    ("evidence", "parts"),
    [
        pytest.param(
            Evidence(namespace(), [Remains("widgets.example.com", [obj("a", "example.com/cleanup")])]),
            [
                "widgets.example.com a waits for finalizer example.com/cleanup: the controller of example.com",
                "kubectl patch widgets.example.com a -n shop --type=merge",
            ],
            id="a finalizer whose controller is gone",
        ),
        pytest.param(
            Evidence(namespace(), dead_apis={"v1.dead.example.com": "endpoints not found"}),
            ["API v1.dead.example.com does not answer", "kubectl delete apiservice v1.dead.example.com"],
            id="a dead API",
        ),
        pytest.param(
            Evidence(
                namespace(
                    {
                        "type": "NamespaceDeletionContentFailure",
                        "status": "True",
                        "message": 'Internal error: failed calling webhook "deny.example.com": no endpoints',
                    }
                ),
                webhooks={"deny.example.com": "validatingwebhookconfiguration deny"},
            ),
            ["webhook deny.example.com does not answer", "kubectl delete validatingwebhookconfiguration deny"],
            id="a dead webhook",
        ),
        pytest.param(
            Evidence(
                namespace(), [Remains("pods", [obj("api-0", nodeName="node-1")])], dead_nodes=frozenset({"node-1"})
            ),
            ["pods api-0 is on node node-1", "kubectl delete pod api-0 -n shop --force --grace-period=0"],
            id="a dead node",
        ),
        pytest.param(
            Evidence(
                namespace(),
                [
                    Remains("persistentvolumeclaims", [obj("data", "kubernetes.io/pvc-protection")]),
                    Remains("pods", [obj("db-0", volumes=[{"persistentVolumeClaim": {"claimName": "data"}}])]),
                ],
            ),
            ["persistentvolumeclaims data waits for finalizer kubernetes.io/pvc-protection: used by pod db-0"],
            id="a claim in use",
        ),
        pytest.param(
            Evidence(namespace(finalizers=["kubernetes", "example.com/ns"])),
            ["the namespace itself waits for finalizer example.com/ns"],
            id="the namespace's own finalizer",
        ),
        pytest.param(
            Evidence(namespace(), [Remains("configmaps", [obj(f"c{n}") for n in range(12)])]),
            ["configmaps c9 is being deleted", "configmaps: and 2 more"],
            id="many",
        ),
        pytest.param(
            Evidence(
                namespace(),
                [Remains("pods", [obj("api-0")]), Remains("secrets", [{"metadata": {"name": "key"}}])],
            ),
            ["still there, deletion not begun (pods go first): 1 secrets"],
            id="what waits for its turn",
        ),
        pytest.param(
            Evidence(namespace(), notes=["could not be looked at: secrets (403)"]),
            ["could not be looked at: secrets (403)"],
            id="missing rights",
        ),
    ],
)
def test_each_reason_has_its_command(evidence: Evidence, parts: list[str]) -> None:
    text = "\n".join(explain(evidence, now=NOW))
    for part in parts:
        assert part in text


def test_a_protected_claim_is_not_to_be_patched() -> None:
    claim = Remains("persistentvolumeclaims", [obj("data", "kubernetes.io/pvc-protection")])
    assert "kubectl patch" not in "\n".join(explain(Evidence(namespace(), [claim]), now=NOW))


@pytest.mark.parametrize(
    ("finalizer", "part"),
    [
        ("foregroundDeletion", "garbage collector"),
        ("resources-finalizer.argocd.argoproj.io", "Argo CD"),
        ("external-attacher/ebs-csi-aws-com", "attacher"),
        ("example.com/x", "controller of example.com"),
        ("odd", "controller of odd"),
    ],
)
def test_who_removes_it(finalizer: str, part: str) -> None:
    assert part in who_removes(finalizer)
