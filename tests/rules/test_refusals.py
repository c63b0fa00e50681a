from __future__ import annotations

import pytest

from pytest_ephemeral_ns.rules.objects import Ref
from pytest_ephemeral_ns.rules.refusals import explain, is_scaled_by_another

DEPLOYMENT = Ref("apps/v1", "Deployment", "api", "ns")

# Bodies as a 1.35 server sent them, shortened.
CONFLICT = {
    "reason": "Conflict",
    "message": 'Apply failed with 1 conflict: conflict with "kubectl-scale" using apps/v1: .spec.replicas',
    "details": {
        "causes": [
            {
                "reason": "FieldManagerConflict",
                "message": 'conflict with "kubectl-scale" using apps/v1',
                "field": ".spec.replicas",
            }
        ]
    },
}
IMMUTABLE = {
    "reason": "Invalid",
    "message": 'Deployment.apps "api" is invalid: spec.selector: Invalid value: {"matchLabels":{}}: field is immutable',
    "details": {"causes": [{"reason": "FieldValueInvalid", "message": "field is immutable", "field": "spec.selector"}]},
}
STRICT = {"message": 'failed to create typed patch object: strict decoding error: unknown field "spec.replica"'}
UNDECLARED = {
    "message": "failed to create typed patch object (ns/api; apps/v1, Kind=Deployment): "
    ".spec.replica: field not declared in schema"
}
TWO = {
    "message": "Deployment is invalid: [spec.a: Required value, spec.b: Required value]",
    "details": {
        "causes": [
            {"reason": "FieldValueRequired", "message": "Required value", "field": "spec.a"},
            {"reason": "FieldValueRequired", "message": "Required value", "field": "spec.b"},
        ]
    },
}


@pytest.mark.parametrize(
    ("status", "body", "reason", "evidence", "command"),
    [
        (
            409,
            CONFLICT,
            "fields are managed by kubectl-scale",
            "kubectl-scale manages .spec.replicas",
            "force_conflicts",
        ),
        (
            422,
            IMMUTABLE,
            "immutable field spec.selector differs",
            "field is immutable",
            "kubectl delete deployment api",
        ),
        (400, STRICT, 'wrong fields: unknown field "spec.replica"', None, None),
        (500, UNDECLARED, "unknown field .spec.replica", None, None),
        (422, TWO, "Deployment is invalid", "spec.b: Required value", None),
        (403, {"message": "exceeded quota: q"}, "exceeded quota: q", None, None),
        (0, {}, "no answer", None, None),
    ],
)
def test_explain(status, body, reason, evidence, command):
    why = explain(DEPLOYMENT, status, body, "no answer")
    assert why.reason.startswith(reason)
    assert evidence is None or any(evidence in line for line in why.evidence)
    assert command is None or command in why.command


def test_a_long_message_is_cut_in_the_middle():
    why = explain(DEPLOYMENT, 422, {"message": "a" * 1000 + "the end"})
    assert len(why.reason) < 600
    assert why.reason.endswith("the end")


def test_a_dump_of_values_is_not_shown():
    text = 'Job is invalid: spec.template: Invalid value: core.PodTemplateSpec{Env: "hunter2"}: field is immutable'
    body = {"message": text, "details": {"causes": [{"field": "spec.template", "message": text}]}}
    for status in (422, 400):
        why = explain(DEPLOYMENT, status, body)
        assert "hunter2" not in str(why)
        assert "field is immutable" in str(why)


@pytest.mark.parametrize(
    ("manager", "field", "scaled"),
    [
        ("kube-controller-manager", ".spec.replicas", True),
        ("kube-controller-manager", ".spec.paused", False),
        ("kubectl-scale", ".spec.replicas", False),
    ],
)
def test_an_autoscaler_is_told_from_a_person(manager, field, scaled):
    message = f'conflict with "{manager}" with subresource "scale" using apps/v1'
    body = {"details": {"causes": [{"reason": "FieldManagerConflict", "message": message, "field": field}]}}
    assert is_scaled_by_another(409, body) is scaled
