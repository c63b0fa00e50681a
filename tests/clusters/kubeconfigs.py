"""Kubeconfigs for tests, made and not written down: their certificates are real."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any


def encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def kubeconfig(
    *names: str,
    current: str | None = None,
    user: dict[str, Any] | None = None,
    cluster: dict[str, Any] | None = None,
    namespace: str = "",
) -> dict[str, Any]:
    """Return a kubeconfig with a context, a cluster and a user of each name."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": names[0] if current is None and names else current or "",
        "contexts": [
            {"name": n, "context": {"cluster": n, "user": n, **({"namespace": namespace} if namespace else {})}}
            for n in names
        ],
        "clusters": [{"name": n, "cluster": {"server": f"https://{n}.example.com", **(cluster or {})}} for n in names],
        "users": [{"name": n, "user": {"token": f"token-of-{n}"} if user is None else user} for n in names],
    }


def write(path: Path, value: dict[str, Any] | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return path


def jwt(**claims: Any) -> str:
    """Return a token that looks like one of an identity provider; nobody could have signed it."""
    head, body = (
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({"alg": "RS256"}, claims)
    )
    return f"{head}.{body}.c2lnbmF0dXJl"


def client_certificate(*, days: float = 1.0, name: str = "tester") -> tuple[str, str]:
    """Return a self-signed client certificate that ends in ``days``, and its key, as PEM."""
    from datetime import datetime, timedelta, timezone

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    end = datetime.fromtimestamp(int(time.time()), timezone.utc) + timedelta(days=days)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(end - timedelta(days=400))
        .not_valid_after(end)
        .sign(key, hashes.SHA256())
    )
    encoding, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain)
    return certificate.public_bytes(encoding).decode(), private.decode()
