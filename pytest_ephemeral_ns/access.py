"""Credentials that can touch one namespace only; this module must never widen what a caller may do.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pytest_ephemeral_ns.errors import ApiError

if TYPE_CHECKING:
    from pytest_ephemeral_ns.connection import Connection
    from pytest_ephemeral_ns.kube.api import Api

ACCOUNT = "ephemeral-ns"
RBAC = "rbac.authorization.k8s.io"
log = logging.getLogger("pytest_ephemeral_ns")


def namespace_connection(api: Api, namespace: str, *, seconds: float) -> Connection:
    """Return a connection whose identity may do everything in one namespace and nothing outside it.

    A ServiceAccount is made in the namespace, with a Role where the caller may give it all rights, else with the
    cluster's own ``admin`` or ``edit`` role. It goes with the namespace.

    Args:
        api: the API server, as the identity that owns the run.
        namespace: which.
        seconds: how long the token is good for; the API server raises it to 10 minutes at least.

    Returns:
        A connection with a bearer token. Where no ServiceAccount can be made or bound, the run's own connection
        with the namespace as its default; a line in the log says so.
    """
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ACCOUNT}}
    base = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    try:
        _ensure(api, base, account)
        _bind(api, namespace)
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest"}
        body = {**request, "spec": {"expirationSeconds": max(600, int(seconds))}}
        token = api.create(f"{base}/{ACCOUNT}/token", body)["status"]["token"]
    except ApiError as error:
        log.warning("namespace %s: its kubeconfig has the run's own rights, because %s", namespace, error.summary)
        return replace(api.connection, namespace=namespace)
    return replace(
        api.connection,
        token=token,
        token_file="",
        client_cert_data="",
        client_key_data="",
        expires_at=None,
        refreshable=False,
        namespace=namespace,
    )


def _bind(api: Api, namespace: str) -> None:
    """Bind the strongest role that the API server lets the caller hand on."""
    role = {
        "apiVersion": f"{RBAC}/v1",
        "kind": "Role",
        "metadata": {"name": ACCOUNT},
        "rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}],
    }
    base = f"/apis/{RBAC}/v1/namespaces/{namespace}"
    try:
        _ensure(api, f"{base}/roles", role)
        choices = [("Role", ACCOUNT)]
    except ApiError as error:
        if error.status != 403:
            raise
        choices = [("ClusterRole", "admin"), ("ClusterRole", "edit")]
    _first_allowed(api, namespace, f"{base}/rolebindings", choices)


def _first_allowed(api: Api, namespace: str, path: str, choices: list[tuple[str, str]]) -> None:
    for number, (kind, name) in enumerate(choices, start=1):
        binding = {
            "apiVersion": f"{RBAC}/v1",
            "kind": "RoleBinding",
            "metadata": {"name": ACCOUNT},
            "roleRef": {"apiGroup": RBAC, "kind": kind, "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": namespace}],
        }
        try:
            _ensure(api, path, binding)
        except ApiError as error:
            if error.status != 403 or number == len(choices):
                raise
        else:
            return


def _ensure(api: Api, path: str, body: dict[str, Any]) -> None:
    """Create it; one that exists is from another process of the same run, because the namespace is ours."""
    try:
        api.create(path, body)
    except ApiError as error:
        if error.reason != "AlreadyExists":
            raise
