"""Secrets and ConfigMaps are copied in from other namespaces; this module must never print what is inside.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pytest_ephemeral_ns.errors import ApiError, DeployError, UsageError
from pytest_ephemeral_ns.rules.objects import Ref

if TYPE_CHECKING:
    from pytest_ephemeral_ns.kube.api import Api

PULL_TYPES = ("kubernetes.io/dockerconfigjson", "kubernetes.io/dockercfg")
# These belong to something in the namespace that they come from.
_BOUND = ("kubernetes.io/service-account-token", "helm.sh/release.v1")


def copy_secret(
    api: Api, source: str, namespace: str, *, name: str | None = None, labels: Mapping[str, str] | None = None
) -> Ref:
    """Copy a Secret into a namespace; a copy that is there already is brought up to date.

    Args:
        api: the server.
        source: ``"namespace/name"``.
        namespace: where the copy goes.
        name: of the copy; default: as the source.
        labels: put on the copy.

    Returns:
        The copy.

    Raises:
        UsageError: ``source`` is not ``namespace/name``, or is a token that is bound to its namespace.
        DeployError: it does not exist or may not be read; says which command makes one.

    Example:
        >>> def example(api):
        ...     return copy_secret(api, "ci/registry", "shop-gw0", name="pull")
    """
    found = _read(api, "secrets", source)
    if found.get("type") in _BOUND:
        raise UsageError(f"Secret {source} is of type {found['type']}: it belongs to its namespace, a copy has no use")
    return _write(api, "secrets", _secret(found), namespace, name or _name(found), labels)


def _secret(found: Mapping[str, Any]) -> dict[str, Any]:
    kind, data = found.get("type", "Opaque"), found.get("data") or {}
    return {"apiVersion": "v1", "kind": "Secret", "type": kind, "data": data}


def _name(found: Mapping[str, Any]) -> str:
    return str(found["metadata"]["name"])


def copy_config_map(
    api: Api, source: str, namespace: str, *, name: str | None = None, labels: Mapping[str, str] | None = None
) -> Ref:
    """Copy a ConfigMap into a namespace; see :func:`copy_secret`.

    Example:
        >>> def example(api):
        ...     return copy_config_map(api, "ci/company-ca", "shop-gw0")
    """
    found = _read(api, "configmaps", source)
    body = {"apiVersion": "v1", "kind": "ConfigMap"}
    content = {key: found[key] for key in ("data", "binaryData") if found.get(key)}
    return _write(api, "configmaps", {**body, **content}, namespace, name or _name(found), labels)


def attach_pull_secrets(
    api: Api, sources: Sequence[str], namespace: str, *, labels: Mapping[str, str] | None = None
) -> list[Ref]:
    """Copy registry Secrets in and attach them to the default ServiceAccount: pods made later pull with them.

    Args:
        api: the server.
        sources: ``"namespace/name"`` each.
        namespace: where its ServiceAccount ``default`` exists already.
        labels: put on the copies.

    Raises:
        UsageError: a source is no registry Secret.
        DeployError: a source does not exist or may not be read.

    Example:
        >>> def example(api):
        ...     return attach_pull_secrets(api, ["ci/registry"], "shop-gw0")
    """
    found = [(source, _read(api, "secrets", source, make="docker-registry")) for source in sources]
    for source, secret in found:
        if secret.get("type") not in PULL_TYPES:
            raise UsageError(
                f"Secret {source} is of type {secret.get('type')}, not a registry Secret",
                evidence=[f"a registry Secret is of type {' or '.join(PULL_TYPES)}"],
                command=_make("docker-registry", source),
            )
    copies = [_write(api, "secrets", _secret(secret), namespace, _name(secret), labels) for _, secret in found]
    if copies:
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/default"
        # Applied by a manager of its own: a deploy that brings its own `default` account does not take them away.
        names = [{"name": ref.name} for ref in copies]
        body = {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": "default"},
            "imagePullSecrets": names,
        }
        api.apply(path, body, field_manager="pytest-ephemeral-ns-pull-secrets")
    return copies


def _read(api: Api, plural: str, source: str, *, make: str = "") -> dict[str, Any]:
    namespace, _, name = source.partition("/")
    if not namespace or not name or "/" in name:
        raise UsageError(f"{source!r} is not NAMESPACE/NAME")
    kind = {"secrets": "Secret", "configmaps": "ConfigMap"}[plural]
    try:
        return api.get(f"/api/v1/namespaces/{namespace}/{plural}/{name}")
    except ApiError as error:
        if error.status == 404:
            raise DeployError(f"{kind} {source} does not exist", command=_make(make or kind.lower(), source)) from error
        if error.status == 403:
            evidence = [f"this identity may not get {plural} in namespace {namespace}"]
            command = f"kubectl auth can-i get {plural}/{name} --namespace {namespace}"
            raise DeployError(f"{kind} {source} may not be read", evidence=evidence, command=command) from error
        raise


def _make(kind: str, source: str) -> str:
    namespace, _, name = source.partition("/")
    verbs = {
        "docker-registry": "secret docker-registry NAME --from-file .dockerconfigjson=$HOME/.docker/config.json",
        "secret": "secret generic NAME --from-file FILE",
        "configmap": "configmap NAME --from-file FILE",
    }
    return f"kubectl create {verbs[kind].replace('NAME', name)} --namespace {namespace}"


def _write(
    api: Api, plural: str, body: dict[str, Any], namespace: str, name: str, labels: Mapping[str, str] | None
) -> Ref:
    metadata = {"name": name, "namespace": namespace, **({"labels": dict(labels)} if labels else {})}
    path = f"/api/v1/namespaces/{namespace}/{plural}/{name}"
    return Ref.of(api.apply(path, {**body, "metadata": metadata}))
