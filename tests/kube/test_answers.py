"""What error answers say: subject and state first, evidence, the command to type next."""

from __future__ import annotations

import json
import socket
import ssl
from dataclasses import replace

import pytest

from pytest_ephemeral_ns.connection import Connection
from pytest_ephemeral_ns.kube import answers
from pytest_ephemeral_ns.kube.http import NoAnswer, Reply

HERE = Connection("https://k8s.example:6443", token="s3cret", context="prod")


def status(code: int, reason: str, message: str, **details: object) -> Reply:
    body = {"kind": "Status", "code": code, "reason": reason, "message": message, "details": details}
    return Reply(code, {}, json.dumps(body).encode())


@pytest.mark.parametrize(
    ("method", "path", "name", "watch", "expected"),
    [
        ("POST", "/api/v1/namespaces", "shop", False, "create namespaces/shop"),
        ("GET", "/api/v1/namespaces/shop", "", False, "get namespaces/shop"),
        ("DELETE", "/api/v1/namespaces/shop", "", False, "delete namespaces/shop"),
        ("GET", "/api/v1/namespaces", "", False, "list namespaces"),
        ("GET", "/api/v1/namespaces/shop/pods", "", True, "watch pods in namespace shop"),
        ("GET", "/api/v1/namespaces/shop/pods/api/log", "", False, "get pods/api/log in namespace shop"),
        (
            "PATCH",
            "/apis/apps/v1/namespaces/shop/deployments/api",
            "",
            False,
            "patch deployments/api in namespace shop",
        ),
        ("GET", "/apis/apps/v1/deployments", "", False, "list deployments"),
        ("GET", "/version", "", False, "get /version"),
        ("GET", "/apis/apps/v1", "", False, "get /apis/apps/v1"),
    ],
)
def test_subject(method: str, path: str, name: str, watch: bool, expected: str) -> None:
    assert answers.subject(method, path, name=name, watch=watch) == expected


def test_forbidden_names_what_is_missing_and_who_to_give_it_to() -> None:
    message = (
        'deployments.apps is forbidden: User "system:serviceaccount:ci:runner" cannot create resource "deployments" '
        'in API group "apps" in the namespace "shop"'
    )
    error = answers.refused("create deployments/api in namespace shop", status(403, "Forbidden", message), HERE)
    text = str(error)
    assert text.startswith("create deployments/api in namespace shop: 403 Forbidden: ")
    assert 'verb "create" on "deployments.apps" in namespace shop, for system:serviceaccount:ci:runner' in text
    assert "kubectl auth can-i create deployments.apps -n shop --as=system:serviceaccount:ci:runner" in text
    assert error.command == (
        "kubectl create role ephemeral-ns-create-deployments -n shop --verb=create --resource=deployments.apps && "
        "kubectl create rolebinding ephemeral-ns-create-deployments -n shop --role=ephemeral-ns-create-deployments "
        "--serviceaccount=ci:runner"
    )


def test_forbidden_cluster_wide_subresource_and_path() -> None:
    message = 'pods "x" is forbidden: User "jane" cannot get resource "pods/log" in API group "" at the cluster scope'
    error = answers.refused("get pods/x/log", status(403, "Forbidden", message), HERE)
    assert error.command is not None
    assert "kubectl create clusterrole ephemeral-ns-get-pods-log --verb=get --resource=pods/log" in error.command
    assert "--user=jane" in error.command
    message = 'forbidden: User "system:anonymous" cannot get path "/metrics"'
    error = answers.refused("get /metrics", status(403, "Forbidden", message), HERE)
    assert error.command is not None
    assert "--non-resource-url=/metrics" in error.command


def test_forbidden_by_quota_does_not_suggest_to_grant_anything() -> None:
    message = 'pods "x" is forbidden: exceeded quota: q, requested: pods=1, used: pods=0, limited: pods=0'
    error = answers.refused("create pods/x in namespace shop", status(403, "Forbidden", message), HERE)
    assert "exceeded quota: q" in str(error)
    assert error.command is None


def test_unauthorized_says_whose_credential_and_never_the_credential() -> None:
    error = answers.refused("create namespaces/x", status(401, "Unauthorized", "Unauthorized"), HERE)
    assert "create namespaces/x: 401 Unauthorized: the credential of context prod is not accepted" in str(error)
    assert "kubectl --context prod auth whoami" in str(error)
    assert "s3cret" not in repr(error) + str(error)


def test_unauthorized_says_when_it_expired_if_that_is_known() -> None:
    ended = replace(HERE, expires_at=1700000000.0, refreshable=True)
    error = answers.refused("list pods", Reply(401, {}, b"Unauthorized"), ended)
    assert "expired at 2023-11-14T22:13:20Z" in str(error)
    assert "a new one was asked for" in str(error)


def test_unknown_fields_are_listed() -> None:
    message = (
        'Deployment in version "v1" cannot be handled as a Deployment: strict decoding error: '
        'unknown field "spec.replcas", duplicate field "spec.template.metadata"'
    )
    error = answers.refused("create deployments/api", status(400, "BadRequest", message), HERE)
    assert str(error).splitlines() == [
        'create deployments/api: 400 BadRequest: Deployment in version "v1" is not a valid Deployment',
        '  unknown field "spec.replcas"',
        '  duplicate field "spec.template.metadata"',
    ]


def test_causes_are_listed_once() -> None:
    cause = {"field": "spec.selector", "message": "Required value"}
    reply = status(422, "Invalid", 'Deployment.apps "x" is invalid: [spec.selector: ...]', causes=[cause, cause])
    assert str(answers.refused("patch deployments/x", reply, HERE)).splitlines() == [
        'patch deployments/x: 422 Invalid: Deployment.apps "x" is invalid',
        "  spec.selector: Required value",
    ]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"<html><h1>502 Bad Gateway</h1></html>", "not in Kubernetes' words: <html>"),
        (b"404 page not found\n", "has no such API group or version"),
    ],
)
def test_an_answer_that_is_not_from_kubernetes(body: bytes, expected: str) -> None:
    assert expected in str(answers.refused("list pods", Reply(502, {}, body), HERE))


def test_no_answer_names_address_attempts_and_reason() -> None:
    refused = NoAnswer(ConnectionRefusedError(111, "Connection refused"), sent=False)
    text = str(answers.unreachable("list pods", refused, HERE, address="k8s.example:6443", tries=4, seconds=1.23))
    assert text.splitlines() == [
        "list pods: no answer from k8s.example:6443: connection refused: nothing listens there",
        "  tried 4 times in 1.2 s",
        "  server https://k8s.example:6443 of context prod",
        "→ kubectl --context prod get --raw /readyz",
    ]


def certificate_error(code: int, message: str) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, message)
    error.verify_code, error.verify_message = code, message
    return error


@pytest.mark.parametrize(
    ("cause", "expected"),
    [
        (TimeoutError(), "timed out"),
        (socket.gaierror(-2, "Name or service not known"), "the host name cannot be resolved"),
        (certificate_error(20, "unable to get local issuer certificate"), "unknown CA"),
        (certificate_error(62, "Hostname mismatch"), "another host name"),
        (certificate_error(10, "certificate has expired"), "has expired"),
        (certificate_error(9, "certificate is not yet valid"), "not valid yet"),
        (certificate_error(28, "certificate rejected"), "certificate rejected"),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number"), "does not speak TLS"),
        (OSError(113, "No route to host"), "No route to host"),
    ],
)
def test_no_answer_says_why(cause: OSError, expected: str) -> None:
    error = answers.unreachable(
        "list pods", NoAnswer(cause, sent=False), HERE, address="k8s.example:6443", tries=1, seconds=0.0
    )
    assert expected in error.summary


def test_the_proxy_is_named_without_its_password() -> None:
    via = replace(HERE, proxy_url="http://me:pass@proxy.example:3128")
    error = answers.unreachable(
        "list pods", NoAnswer(TimeoutError(), sent=False), via, address="k8s.example:6443", tries=1, seconds=0.0
    )
    assert "through proxy http://…@proxy.example:3128" in error.summary
    assert "pass" not in str(error)
