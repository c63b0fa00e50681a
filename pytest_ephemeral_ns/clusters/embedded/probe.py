"""The few requests that starting a cluster takes, with nothing but the standard library; never for users' objects.

The supervisor has no threads and is started for every cluster: importing an HTTP library would cost it 0.1 s.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import contextlib
import http.client
import json
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pytest_ephemeral_ns.errors import ClusterError


class Probe:
    """One connection to the API server, opened again when it broke.

    Args:
        server: ``https://host:port``.
        pki: folder with ``ca.crt`` and the client's ``.crt`` and ``.key``.
        client: whose credential.
        timeout: seconds for one request.
    """

    def __init__(self, server: str, pki: Path, *, client: str = "admin", timeout: float = 10.0) -> None:
        split = urlsplit(server)
        context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        context.load_cert_chain(pki / f"{client}.crt", pki / f"{client}.key")
        self._connection = http.client.HTTPSConnection(
            split.hostname or "", split.port, timeout=timeout, context=context
        )

    def request(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Send one request.

        Returns:
            Status and decoded body (text when it is not JSON); ``(0, "")`` when there was no answer.
        """
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if method == "PATCH":
            headers["Content-Type"] = "application/apply-patch+yaml"
        try:
            self._connection.request(method, path, None if body is None else json.dumps(body), headers)
            with self._connection.getresponse() as answer:
                text = answer.read()
                status, kind = answer.status, answer.headers.get_content_type()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            return 0, ""
        if kind != "application/json":
            return status, text.decode(errors="replace")
        with contextlib.suppress(ValueError):
            return status, json.loads(text)
        return status, ""

    def ready(self, path: str = "/readyz") -> bool:
        """Whether a health endpoint says yes."""
        return self.request("GET", path)[0] == 200

    def exists(self, path: str) -> bool:
        """Whether an object is there."""
        return self.request("GET", path)[0] == 200

    def has_condition(self, path: str, condition: str) -> bool:
        """Whether an object is there, and a condition of its status is ``"True"``."""
        status, found = self.request("GET", path)
        if status != 200:
            return False
        conditions: list[dict[str, Any]] = found.get("status", {}).get("conditions") or []
        return any(one["type"] == condition and one["status"] == "True" for one in conditions)

    def apply(self, manifest: dict[str, Any]) -> dict[str, Any]:
        """Apply one object of the cluster's own, by server-side apply.

        Raises:
            ClusterError: the API server refused it.
        """
        name = f"{manifest['kind']}/{manifest['metadata']['name']}"
        path = f"{_path(manifest)}?fieldManager=ephemeral-ns-cluster&force=true"
        status, answer = self.request("PATCH", path, manifest)
        if status not in (200, 201):
            raise ClusterError(
                f"{name} was refused by the new cluster: {status or 'no answer'}", evidence=[str(answer)]
            )
        return dict(answer)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def _path(manifest: dict[str, Any]) -> str:
    """Return an object's path. The plural is always the simple one for the few kinds that a cluster starts with."""
    metadata, kind = manifest["metadata"], manifest["kind"].lower()
    plural = f"{kind}es" if kind.endswith("ss") else f"{kind}s"
    version = manifest["apiVersion"]
    root = f"/apis/{version}" if "/" in version else f"/api/{version}"
    space = f"/namespaces/{metadata['namespace']}" if "namespace" in metadata else ""
    return f"{root}{space}/{plural}/{metadata['name']}"
