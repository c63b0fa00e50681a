"""The TLS context of a connection, and TLS failures in words; this module must never leave a key for others to read.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import os
import socket
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pytest_ephemeral_ns.errors import UsageError

if TYPE_CHECKING:
    from pytest_ephemeral_ns.connection import Connection

_UNKNOWN_CA = {2, 18, 19, 20, 21}
_WRONG_HOST = {62, 64}


def client_context(connection: Connection) -> ssl.SSLContext:
    """Return the TLS context for ``connection``; make one per connection and share it.

    The client's key goes through a file that has no name (Linux) or is removed at once: never through a readable one.

    Args:
        connection: with ``ca_data``, ``client_cert_data`` and ``client_key_data`` as PEM.

    Returns:
        A context that checks the server's certificate, unless the connection says not to.

    Raises:
        UsageError: the CA, the certificate or the key cannot be read.

    Example:
        >>> from pytest_ephemeral_ns.connection import Connection
        >>> client_context(Connection("https://127.0.0.1:6443", insecure_skip_tls_verify=True)).check_hostname
        False
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if connection.insecure_skip_tls_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif connection.ca_data:
        _trust(context, connection)
    else:
        context.load_default_certs()
    if connection.client_cert_data:
        _identify(context, connection)
    return context


def _trust(context: ssl.SSLContext, connection: Connection) -> None:
    try:
        context.load_verify_locations(cadata=connection.ca_data)
    except (ssl.SSLError, ValueError) as error:
        raise UsageError(
            f"{_origin(connection)}: the cluster's CA certificate cannot be read",
            evidence=[str(error)],
            command=_view(connection),
        ) from error


def _identify(context: ssl.SSLContext, connection: Connection) -> None:
    with _nameless_file(connection.client_cert_data + "\n" + connection.client_key_data) as path:
        try:
            context.load_cert_chain(path, password=_no_password)
        except (ssl.SSLError, ValueError, OSError) as error:
            raise UsageError(
                f"{_origin(connection)}: the client certificate or its key cannot be read",
                evidence=[str(error)],
                command=_view(connection),
            ) from error


def _no_password() -> str:
    # Without this, OpenSSL asks for the password on the terminal and a test run hangs.
    raise ValueError("the client key is protected by a password; remove it with: openssl pkey -in KEY -out KEY.plain")


@contextmanager
def _nameless_file(text: str) -> Iterator[str]:
    """Yield a path that OpenSSL can open and that nobody else can, for the time of the block."""
    if hasattr(os, "memfd_create") and os.path.isdir("/proc/self/fd"):
        descriptor = os.memfd_create("ephemeral-ns", os.MFD_CLOEXEC)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            yield f"/proc/self/fd/{descriptor}"
        return
    descriptor, path = tempfile.mkstemp(prefix="ephemeral-ns-")
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        yield path
    finally:
        os.unlink(path)


def explain(error: BaseException) -> str:
    """Return why no connection came about, in words: refused, timed out, no such name, or which part of TLS.

    Args:
        error: what connecting, reading or writing raised.

    Example:
        >>> explain(ConnectionRefusedError())
        'connection refused: nothing listens there'
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        return _certificate_trouble(error)
    if isinstance(error, ssl.SSLError):
        if "WRONG_VERSION_NUMBER" in str(error) or "HTTP_REQUEST" in str(error):
            return "TLS failed: the server does not speak TLS on this port"
        return f"TLS failed: {error.reason or error}"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused: nothing listens there"
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, socket.gaierror):
        return f"the host name cannot be resolved: {error.strerror}"
    return f"{error.strerror or error}" if isinstance(error, OSError) else f"{type(error).__name__}: {error}"


def _certificate_trouble(error: ssl.SSLCertVerificationError) -> str:
    code, message = error.verify_code, error.verify_message
    if code in _UNKNOWN_CA:
        return f"TLS failed: the server's certificate is signed by an unknown CA ({message})"
    if code in _WRONG_HOST:
        return f"TLS failed: the server's certificate is for another host name ({message})"
    if code == 10:
        return "TLS failed: the server's certificate has expired"
    if code == 9:
        return "TLS failed: the server's certificate is not valid yet (is this machine's clock right?)"
    return f"TLS failed: {message}"


def _origin(connection: Connection) -> str:
    return f"context {connection.context}" if connection.context else connection.server


def _view(connection: Connection) -> str:
    context = f" --context {connection.context}" if connection.context else ""
    return f"kubectl config view --minify{context}"
