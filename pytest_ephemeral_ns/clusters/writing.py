"""One connection as a kubeconfig of its own, for other programs; this module must never touch a file of the user's.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from pytest_ephemeral_ns.clusters.contexts import Chosen, choose_context
from pytest_ephemeral_ns.clusters.kubeconfig import load_config, read_files, text
from pytest_ephemeral_ns.clusters.private import write_private
from pytest_ephemeral_ns.connection import Connection
from pytest_ephemeral_ns.errors import EphemeralNsError, UsageError


def write_kubeconfig(
    connection: Connection, path: str | os.PathLike[str], *, namespace: str = "", context: str = ""
) -> Path:
    """Write a kubeconfig that holds one connection, for kubectl, Helm and other programs.

    It holds what is resolved already, so that those programs use exactly what we use. Two kinds of credential are
    replaced while a run lasts (on EKS after 15 minutes); these programs get them as we do: a token file is named, and
    a credential plugin is written down in the place of the token that it gave.

    Args:
        connection: what to write.
        path: where to; written whole or not at all, mode 0600.
        namespace: the context's namespace; the connection's if empty.
        context: the context's name; the connection's, or ``"ephemeral-ns"``, if empty.

    Returns:
        ``path``.

    Raises:
        UsageError: it cannot be written.

    Example:
        >>> write_kubeconfig(connection, "/run/user/1000/shop.kubeconfig", namespace="shop-gw0")  # doctest: +SKIP
        PosixPath('/run/user/1000/shop.kubeconfig')
    """
    name = context or connection.context or "ephemeral-ns"
    chosen = _with_plugin(connection)
    inner = {"cluster": name, "user": name, "namespace": namespace or connection.namespace}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "contexts": [{"name": name, "context": inner}],
        "clusters": [{"name": name, "cluster": _written_cluster(connection, chosen)}],
        "users": [{"name": name, "user": _written_user(connection, chosen)}],
    }
    try:
        write_private(path, json.dumps(document, indent=2) + "\n")  # JSON is YAML, and needs no quoting rules
    except OSError as error:
        raise UsageError(f"kubeconfig {path} cannot be written: {error.strerror or error}") from error
    return Path(path)


def encode(pem: str) -> str:
    """Return a PEM text as the ``-data`` fields of a kubeconfig hold it."""
    return base64.b64encode(pem.encode()).decode()


def _with_plugin(connection: Connection) -> Chosen | None:
    """Return the context that a connection came from, if its credential is one that a plugin gave."""
    if not connection.refreshable or not connection.context or connection.token_file:
        return None
    try:
        config = read_files(connection.kubeconfig) if connection.kubeconfig else load_config()
        chosen = choose_context(config, connection.context)
    except EphemeralNsError:
        return None  # it is gone: what was resolved still is good for a while
    return chosen if isinstance(chosen.user.value.get("exec"), Mapping) else None


def _written_cluster(connection: Connection, plugin: Chosen | None) -> dict[str, Any]:
    values = {
        "server": connection.server,
        "certificate-authority-data": "" if connection.insecure_skip_tls_verify else encode(connection.ca_data),
        "insecure-skip-tls-verify": connection.insecure_skip_tls_verify,
        "tls-server-name": connection.tls_server_name,
        "proxy-url": connection.proxy_url,
        "extensions": plugin.cluster.value.get("extensions") if plugin else None,
    }
    return {key: value for key, value in values.items() if value}


def _written_user(connection: Connection, plugin: Chosen | None) -> dict[str, Any]:
    if plugin:
        section = dict(plugin.user.value["exec"])
        if os.sep in text(section, "command"):
            section["command"] = str(plugin.user.path(text(section, "command")))
        return {"exec": section, **_written_impersonation(connection)}
    values: dict[str, Any] = {
        "client-certificate-data": encode(connection.client_cert_data),
        "client-key-data": encode(connection.client_key_data),
        "tokenFile": connection.token_file,
        "token": "" if connection.token_file else connection.token,
        **_written_impersonation(connection),
    }
    return {key: value for key, value in values.items() if value}


def _written_impersonation(connection: Connection) -> dict[str, Any]:
    found: dict[str, Any] = {"as": "", "as-uid": "", "as-groups": [], "as-user-extra": {}}
    for header, value in connection.headers:
        kind = header.removeprefix("Impersonate-")
        if kind in ("User", "Uid"):
            found["as" if kind == "User" else "as-uid"] = value
        elif kind == "Group":
            found["as-groups"].append(value)
        elif kind.startswith("Extra-"):
            found["as-user-extra"].setdefault(unquote(kind.removeprefix("Extra-")), []).append(value)
    return {key: value for key, value in found.items() if value}
