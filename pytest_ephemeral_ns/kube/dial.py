"""A connected socket to the API server, through its proxy if it has one; this module must never send a request.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, unquote, urlsplit

from pytest_ephemeral_ns.errors import UsageError

if TYPE_CHECKING:
    import ssl

    from pytest_ephemeral_ns.connection import Connection


def dial(connection: Connection, context: ssl.SSLContext | None, timeout: float) -> socket.socket:
    """Return a new socket that is connected to the API server, through its proxy if it has one, with TLS done.

    Args:
        connection: where to.
        context: from :func:`pytest_ephemeral_ns.kube.tls.client_context`; ``None`` for plain ``http://`` servers.
        timeout: seconds for each step; also the socket's time-out until it is changed.

    Returns:
        The socket; the caller closes it.

    Raises:
        OSError: refused, unreachable, no such name, timed out; ``ssl.SSLError`` is one of these.

    Example:
        ``websocket.create_connection(url, socket=dial(connection, context, 5.0))``
    """
    url = urlsplit(connection.server)
    host, port = endpoint(url)
    plain = (
        _through_proxy(connection.proxy_url, host, port, timeout) if connection.proxy_url else _tcp(host, port, timeout)
    )
    if context is None or url.scheme != "https":
        return plain
    try:
        return context.wrap_socket(plain, server_hostname=connection.tls_server_name or host)
    except BaseException:
        plain.close()
        raise


def endpoint(url: SplitResult) -> tuple[str, int]:
    """Return host and port of ``url``, with the scheme's port when it names none."""
    return url.hostname or "localhost", url.port or {"https": 443, "socks5": 1080, "socks5h": 1080}.get(url.scheme, 80)


def _tcp(host: str, port: int, timeout: float) -> socket.socket:
    sock = socket.create_connection((host, port), timeout)
    # Requests are small; waiting to fill a packet would add 40 ms to each.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return sock


class ProxyRefused(OSError):
    """The proxy answered, and not with a tunnel."""


def _through_proxy(proxy_url: str, host: str, port: int, timeout: float) -> socket.socket:
    proxy = urlsplit(proxy_url)
    handshakes = {"http": _connect_tunnel, "socks5": _socks_tunnel, "socks5h": _socks_tunnel}
    if proxy.scheme not in handshakes:
        raise UsageError(
            f"proxy {proxy.scheme}://{proxy.hostname}: this kind of proxy is not supported",
            evidence=["supported are http:// and socks5:// (proxy-url of the kubeconfig)"],
        )
    sock = _tcp(*endpoint(proxy), timeout)
    try:
        handshakes[proxy.scheme](sock, proxy, host, port)
    except BaseException:
        sock.close()
        raise
    return sock


def _connect_tunnel(sock: socket.socket, proxy: SplitResult, host: str, port: int) -> None:
    """HTTP CONNECT, RFC 9110 section 9.3.6."""
    from base64 import b64encode
    from http.client import HTTPException, HTTPResponse

    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
    if proxy.username is not None:
        pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
        lines.append("Proxy-Authorization: Basic " + b64encode(pair.encode()).decode())
    sock.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
    answer = HTTPResponse(sock, method="CONNECT")
    try:
        answer.begin()
        if answer.status != 200:
            raise ProxyRefused(f"the proxy answered {answer.status} {answer.reason}")
    except HTTPException as error:
        raise ProxyRefused(f"the proxy's answer is not HTTP: {error!r}") from error
    finally:
        answer.close()


def _socks_tunnel(sock: socket.socket, proxy: SplitResult, host: str, port: int) -> None:
    """SOCKS 5, RFC 1928; user and password, RFC 1929. The proxy resolves the name, as with ``ssh -D``."""
    wants_password = proxy.username is not None
    sock.sendall(b"\x05\x01" + (b"\x02" if wants_password else b"\x00"))
    version, method = _exactly(sock, 2)
    if version != 5 or method == 0xFF:
        raise ProxyRefused("the SOCKS proxy does not accept this way to log in")
    if method == 2:
        user, password = unquote(proxy.username or "").encode(), unquote(proxy.password or "").encode()
        sock.sendall(b"\x01" + bytes([len(user)]) + user + bytes([len(password)]) + password)
        if _exactly(sock, 2)[1] != 0:
            raise ProxyRefused("the SOCKS proxy refused user and password")
    name = host.encode("idna")
    sock.sendall(b"\x05\x01\x00\x03" + bytes([len(name)]) + name + port.to_bytes(2, "big"))
    _, code, _, kind = _exactly(sock, 4)
    if code != 0:
        raise ProxyRefused(f"the SOCKS proxy could not reach {host}:{port} (code {code})")
    length = {1: 4, 4: 16}.get(kind) or _exactly(sock, 1)[0]
    _exactly(sock, length + 2)


def _exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = sock.recv(size - len(data))
        if not part:
            raise ProxyRefused("the proxy closed the connection")
        data += part
    return data
