"""Who a kubeconfig's user is, resolved to plain values; this module must never print one of them.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from typing import Any

from pytest_ephemeral_ns.clusters.contexts import Chosen
from pytest_ephemeral_ns.clusters.expiry import certificate_end, token_end
from pytest_ephemeral_ns.clusters.kubeconfig import B64_VARIABLE, Entry, text
from pytest_ephemeral_ns.errors import UsageError

PLUGIN_TIMEOUT = 60.0  # seconds; a login in a browser takes its time


def resolve_user(
    chosen: Chosen, cluster: Mapping[str, Any], *, environ: Mapping[str, str], timeout: float = PLUGIN_TIMEOUT
) -> dict[str, Any]:
    """Return the fields of a ``Connection`` that say who its user is.

    The order is client-go's (``clientcmd/client_config.go``): a client certificate and a token are both used; a plugin
    is asked only where there is neither.

    Args:
        chosen: the context.
        cluster: the resolved cluster, for plugins that want to know it.
        environ: the environment that a plugin inherits.
        timeout: seconds that a plugin may take.

    Returns:
        ``client_cert_data``, ``client_key_data``, ``token``, ``token_file``, ``expires_at``, ``refreshable`` and
        ``headers``; only those that are set.

    Raises:
        UsageError: an entry is wrong or a file cannot be read.
        ClusterError: a plugin or an identity provider gave no credential.

    Example:
        >>> resolve_user(chosen, {}, environ=os.environ)["token"]  # doctest: +SKIP
        'eyJhbGciOi…'
    """
    user = chosen.user
    found: dict[str, Any] = {**_certificate(user), **_token(user), **_impersonation(user)}
    known = "client_cert_data" in found or "token" in found
    if not known and (text(user.value, "username") or text(user.value, "password")):
        raise _refused(
            user,
            "signs in with username and password, which Kubernetes removed in 1.19",
            "kubectl create token SERVICEACCOUNT, or a client certificate",
        )
    if "auth-provider" in user.value and "exec" in user.value:
        raise _refused(user, "has both exec and auth-provider; only one can be used", "kubectl config view")
    if not known and isinstance(user.value.get("auth-provider"), Mapping):
        found |= _from_provider(user)
    if not known and isinstance(user.value.get("exec"), Mapping):
        from pytest_ephemeral_ns.clusters.exec_plugin import run_plugin

        got = run_plugin(user, cluster, context=chosen.context, environ=environ, timeout=timeout)
        found |= {"token": got.token, "client_cert_data": got.certificate, "client_key_data": got.key}
        found |= {"expires_at": got.expires_at, "refreshable": True}
    ends = [
        found.get("expires_at"),
        token_end(found.get("token", "")),
        certificate_end(found.get("client_cert_data", "")),
    ]
    return {**found, "expires_at": min((end for end in ends if end is not None), default=None)}


def read_pem(entry: Entry, key: str, *, must_hold: str) -> str:
    """Return what ``KEY-data`` holds in base64 or what the file that ``KEY`` names holds; ``""`` for neither.

    Args:
        entry: a cluster or user.
        key: for example ``"certificate-authority"``.
        must_hold: text that the PEM must hold, for example ``"CERTIFICATE"``.

    Raises:
        UsageError: there is both, it is not base64 or not PEM, or the file cannot be read; never shows the content.

    Example:
        >>> read_pem(Entry("dev", {}), "certificate-authority", must_hold="CERTIFICATE")
        ''
    """
    data, file = text(entry.value, f"{key}-data"), text(entry.value, key)
    if data and file:  # as kubectl: an error
        raise _refused(entry, f"has {key}-data and {key}; only one can be meant", "kubectl config view")
    if data:
        try:
            pem = base64.b64decode("".join(data.split()), validate=True).decode("utf-8", "replace")
        except (binascii.Error, ValueError):
            raise _refused(entry, f"{key}-data is not base64", "kubectl config view --raw") from None
    elif file:
        pem = _read(entry, key, file)
    else:
        return ""
    if "-----BEGIN" not in pem or must_hold not in pem:
        where = f"{key}-data" if data else str(entry.path(file))
        raise _refused(entry, f"{where} holds no PEM {must_hold.lower()}", "kubectl config view --raw")
    return pem


def _certificate(user: Entry) -> dict[str, Any]:
    certificate = read_pem(user, "client-certificate", must_hold="CERTIFICATE")
    key = read_pem(user, "client-key", must_hold="PRIVATE KEY")
    if certificate and not key:
        raise _refused(user, "has a client certificate and no client-key", "kubectl config view --raw")
    return {"client_cert_data": certificate, "client_key_data": key} if certificate else {}


def _token(user: Entry) -> dict[str, Any]:
    file = text(user.value, "tokenFile")
    if file:  # as client-go: the file's content goes before a token that is written down as well
        path = str(user.path(file))
        return {"token": _read(user, "tokenFile", file).strip(), "token_file": path, "refreshable": True}
    token = text(user.value, "token")
    return {"token": token} if token else {}


def _impersonation(user: Entry) -> dict[str, Any]:
    headers = tuple(_impersonation_headers(user))
    if headers and not text(user.value, "as"):
        raise _refused(user, "sets as-groups, as-uid or as-user-extra without as", "kubectl config view")
    return {"headers": headers} if headers else {}


def _impersonation_headers(user: Entry) -> Iterator[tuple[str, str]]:
    """Header names: client-go, ``transport/round_trippers.go``."""
    from urllib.parse import quote

    for key, header in (("as", "Impersonate-User"), ("as-uid", "Impersonate-Uid")):
        if text(user.value, key):
            yield header, text(user.value, key)
    for group in user.value.get("as-groups") or []:
        yield "Impersonate-Group", str(group)
    for name, values in (user.value.get("as-user-extra") or {}).items():
        for value in values or []:
            yield f"Impersonate-Extra-{quote(name, safe='')}", str(value)


def _from_provider(user: Entry) -> dict[str, Any]:
    name = text(user.value["auth-provider"], "name")
    if name == "oidc":
        from pytest_ephemeral_ns.clusters.oidc import id_token

        return {"token": id_token(user), "refreshable": True}
    instead = {"gcp": "gke-gcloud-auth-plugin", "azure": "kubelogin"}.get(name, "a credential plugin (exec)")
    raise _refused(user, f"uses the auth-provider {name}, which Kubernetes removed in 1.26", f"use {instead} instead")


def _read(entry: Entry, key: str, file: str) -> str:
    path = entry.path(file)
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        what = f"{key} {path} cannot be read: {error.strerror or error}"
        raise _refused(entry, what, f"ls -l {path}") from error


def _refused(entry: Entry, what: str, command: str) -> UsageError:
    return UsageError(f"kubeconfig {entry.file or B64_VARIABLE}: {entry.name}: {what}", command=command)
