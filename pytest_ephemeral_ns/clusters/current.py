"""CURRENT: a cluster that exists already, by kubeconfig or from inside a pod; this module must never start or stop one.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_ephemeral_ns.clusters import kubeconfig as files
from pytest_ephemeral_ns.clusters.contexts import (
    IN_CLUSTER,
    Chosen,
    choose_context,
    context_names,
    looks_local,
    require_permission,
)
from pytest_ephemeral_ns.clusters.credentials import PLUGIN_TIMEOUT, read_pem, resolve_user
from pytest_ephemeral_ns.clusters.expiry import token_end
from pytest_ephemeral_ns.clusters.kubeconfig import Config, Entry, load_config, read_files, text
from pytest_ephemeral_ns.clusters.proxies import proxy_for
from pytest_ephemeral_ns.clusters.writing import encode, write_kubeconfig
from pytest_ephemeral_ns.connection import Connection
from pytest_ephemeral_ns.errors import UsageError

__all__ = [
    "Config",
    "connect",
    "context_names",
    "load_config",
    "looks_local",
    "refresh",
    "require_permission",
    "write_kubeconfig",
]


def connect(
    config: Config,
    context: str | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    timeout: float = PLUGIN_TIMEOUT,
) -> Connection:
    """Resolve a context to a connection: every file read, every plugin run; the server is not asked.

    Args:
        config: from :func:`load_config`.
        context: its name; ``None`` or ``""`` for the current context.
        environ: the environment for credential plugins and proxies; ours if ``None``.
        timeout: seconds that a credential plugin may take.

    Returns:
        The connection.

    Raises:
        UsageError: the context, an entry or a file of it is wrong.
        ClusterError: a credential plugin or an identity provider gave no credential.

    Example:
        >>> connect(load_config(), "kind-shop").server  # doctest: +SKIP
        'https://127.0.0.1:41235'
    """
    environ = os.environ if environ is None else environ
    chosen = choose_context(config, context)
    if chosen.context == IN_CLUSTER and config.in_cluster:
        return _from_pod(chosen, proxy_for(chosen.server, environ))
    cluster = _resolve_cluster(chosen, environ)
    # As client-go: over plain http no credential is sent.
    about = _for_plugins(chosen, cluster)
    user = resolve_user(chosen, about, environ=environ, timeout=timeout) if chosen.server.startswith("https:") else {}
    return Connection(
        **cluster,
        **user,
        namespace=chosen.namespace,
        context=chosen.context,
        kubeconfig=config.files,
    )


def refresh(connection: Connection, *, environ: Mapping[str, str] | None = None) -> Connection:
    """Resolve a connection again, because its credential has ended or was refused.

    Args:
        connection: from :func:`connect`, perhaps in another process.
        environ: the environment for credential plugins and for a kubeconfig in a variable; ours if ``None``.

    Returns:
        A connection to the same server with a new credential, or ``connection`` where there is no way to get one.

    Raises:
        UsageError: the kubeconfig is no longer what it was.
        ClusterError: a credential plugin or an identity provider gave no credential.

    Example:
        >>> refresh(connection).token != connection.token  # doctest: +SKIP
        True
    """
    from dataclasses import replace

    if not connection.refreshable:
        return connection
    environ = os.environ if environ is None else environ
    if connection.token_file:
        token = _read_token(Path(connection.token_file))
        return replace(connection, token=token, expires_at=token_end(token))
    config = read_files(connection.kubeconfig) if connection.kubeconfig else load_config(environ=environ)
    again = connect(config, connection.context, environ=environ)
    if again.server != connection.server:
        raise UsageError(
            f"context {connection.context} has become another server: {again.server} instead of {connection.server}",
            evidence=["the kubeconfig was changed during the run"],
        )
    return again


def _resolve_cluster(chosen: Chosen, environ: Mapping[str, str]) -> dict[str, Any]:
    cluster = chosen.cluster
    insecure = text(cluster.value, "insecure-skip-tls-verify").lower() == "true"
    authority = read_pem(cluster, "certificate-authority", must_hold="CERTIFICATE")
    if insecure and authority:
        raise UsageError(
            f"kubeconfig {cluster.file or files.B64_VARIABLE}: cluster {cluster.name} has a certificate-authority and "
            "insecure-skip-tls-verify; only one can be meant",
            command=f"kubectl config set-cluster {cluster.name} --insecure-skip-tls-verify=false",
        )
    return {
        "server": chosen.server,
        "ca_data": authority,
        "insecure_skip_tls_verify": insecure,
        "tls_server_name": text(cluster.value, "tls-server-name"),
        "proxy_url": text(cluster.value, "proxy-url") or proxy_for(chosen.server, environ),
    }


def _for_plugins(chosen: Chosen, cluster: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **chosen.cluster.value,
        "server": chosen.server,
        "certificate-authority-data": encode(cluster["ca_data"]),
        "insecure-skip-tls-verify": cluster["insecure_skip_tls_verify"],
    }


def _from_pod(chosen: Chosen, proxy: str) -> Connection:
    account = files.SERVICE_ACCOUNT
    authority = read_pem(
        Entry("service account", {"certificate-authority": str(account / "ca.crt")}),
        "certificate-authority",
        must_hold="CERTIFICATE",
    )
    token = _read_token(account / "token")
    return Connection(
        chosen.server,
        ca_data=authority,
        token=token,
        token_file=str(account / "token"),
        expires_at=token_end(token),
        proxy_url=proxy,
        namespace=chosen.namespace,
        refreshable=True,
    )


def _read_token(path: Path) -> str:
    try:
        token = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise UsageError(f"token file {path} cannot be read: {error.strerror or error}") from error
    if not token:
        raise UsageError(f"token file {path} is empty")
    return token
