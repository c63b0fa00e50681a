"""The keys and certificates of one cluster, and kubeconfigs that hold them; this module must never print one.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import trustme

# (file, common name, organisation): client credentials, signed by the cluster's own authority
_CLIENTS = (
    ("admin", "ephemeral-ns-admin", "system:masters"),
    # Controllers run with this one identity instead of a ServiceAccount each, so it needs every right.
    ("controller-manager", "system:kube-controller-manager", "system:masters"),
    ("scheduler", "system:kube-scheduler", "system:kube-scheduler"),
    ("kwok", "kwok", "system:masters"),
    ("kube-proxy", "system:kube-proxy", "system:node-proxier"),
    ("kubelet-client", "kube-apiserver-kubelet-client", "system:masters"),
    ("front-proxy", "front-proxy-client", "front-proxy"),
)


def write_all(pki: Path, *, server_names: Sequence[str], node: tuple[str, str] | None = None) -> None:
    """Write every key and certificate of a new cluster.

    Args:
        pki: the folder, made with mode 0700; files get 0600.
        server_names: what the API server is reached by: host names and addresses.
        node: name and address of the node, if there is one; for the kubelet's own certificate.

    Example:
        >>> write_all(Path("/run/x/pki"), server_names=["127.0.0.1", "10.96.0.1"])  # doctest: +SKIP
    """
    import trustme

    pki.mkdir(mode=0o700, parents=True, exist_ok=True)
    cluster = trustme.CA()
    write_private(pki / "ca.crt", cluster.cert_pem.bytes())
    write_private(pki / "ca.key", cluster.private_key_pem.bytes())
    _write_leaf(pki, "apiserver", cluster.issue_cert(*server_names, common_name="kube-apiserver"))
    for name, common_name, organization in _CLIENTS:
        leaf = cluster.issue_cert(f"{name}.invalid", common_name=common_name, organization_name=organization)
        _write_leaf(pki, name, leaf)
    if node:
        leaf = cluster.issue_cert(*node, common_name=f"system:node:{node[0]}", organization_name="system:nodes")
        _write_leaf(pki, "kubelet", leaf)
    _write_service_account_key(pki)


def write_kubeconfig(path: Path, *, pki: Path, client: str, server: str, context: str) -> None:
    """Write a kubeconfig with all credentials inside, mode 0600.

    Args:
        path: where to.
        pki: the folder of :func:`write_all`.
        client: whose credential: ``"admin"``, ``"scheduler"`` …
        server: ``https://host:port``.
        context: the name of context, cluster and user.
    """
    import base64

    def data(name: str) -> str:
        return base64.b64encode((pki / name).read_bytes()).decode("ascii")

    user = {"client-certificate-data": data(f"{client}.crt"), "client-key-data": data(f"{client}.key")}
    config: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": context,
        "clusters": [
            {"name": context, "cluster": {"server": server, "certificate-authority-data": data("ca.crt")}},
        ],
        "users": [{"name": context, "user": user}],
        "contexts": [{"name": context, "context": {"cluster": context, "user": context, "namespace": "default"}}],
    }
    write_private(path, json.dumps(config, indent=1).encode())  # JSON is YAML


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read, as a whole or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(content)
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def _write_leaf(pki: Path, name: str, leaf: trustme.LeafCert) -> None:
    write_private(pki / f"{name}.crt", b"".join(part.bytes() for part in leaf.cert_chain_pems))
    write_private(pki / f"{name}.key", leaf.private_key_pem.bytes())


def _write_service_account_key(pki: Path) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    write_private(pki / "service-account.key", private)
    write_private(pki / "service-account.pub", public)
