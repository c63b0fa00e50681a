"""What it takes to reach an API server, as a value that can be handed to another process; never a client.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any


@dataclass(frozen=True)
class Connection:
    """One API server and one identity on it, resolved: no file has to be read again to use it.

    Args:
        server: ``https://host:port``, with the path prefix if there is one.
        ca_data: the server's CA certificates, PEM; empty means the system's.
        client_cert_data: client certificate chain, PEM; empty if none.
        client_key_data: its key, PEM.
        token: bearer token; empty if none.
        token_file: a file that holds a token that is replaced from time to time (in-cluster); read again on 401.
        expires_at: when ``token`` or the certificate ends, seconds since the epoch; ``None`` if unknown.
        insecure_skip_tls_verify: whether the server's certificate is not checked.
        tls_server_name: name to check the certificate against, when it is not the host of ``server``.
        proxy_url: ``http(s)://`` proxy; empty if none.
        namespace: the context's default namespace.
        context: name of the kubeconfig context; empty in-cluster.
        kubeconfig: the files that it came from, in kubectl's order; used to refresh credentials.
        refreshable: whether resolving again can give a new credential (exec plugin, auth provider, token file).
        headers: header lines that every request carries, for example ``Impersonate-User``; a name may come twice.

    Example:
        >>> Connection.from_dict(Connection("https://127.0.0.1:6443").to_dict()).server
        'https://127.0.0.1:6443'
    """

    server: str
    ca_data: str = field(default="", repr=False)
    client_cert_data: str = field(default="", repr=False)
    client_key_data: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    token_file: str = ""
    expires_at: float | None = None
    insecure_skip_tls_verify: bool = False
    tls_server_name: str = ""
    proxy_url: str = ""
    namespace: str = "default"
    context: str = ""
    kubeconfig: tuple[str, ...] = ()
    refreshable: bool = False
    headers: tuple[tuple[str, str], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-able values. Holds credentials: write it only to files with mode 0600."""
        return {**asdict(self), "kubeconfig": list(self.kubeconfig), "headers": [list(pair) for pair in self.headers]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Connection:
        """Return what :meth:`to_dict` gave; unknown keys are ignored."""
        known = {f.name for f in fields(cls)}
        values = {key: value for key, value in data.items() if key in known}
        values["kubeconfig"] = tuple(values.get("kubeconfig") or ())
        values["headers"] = tuple((name, value) for name, value in values.get("headers") or ())
        return cls(**values)

    def secrets(self) -> tuple[str, ...]:
        """Return every value that must never be printed."""
        return tuple(value for value in (self.token, self.client_key_data) if value)
