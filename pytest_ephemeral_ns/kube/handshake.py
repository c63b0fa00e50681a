"""Opens a websocket to the API server, as any other request is made; this module must never read from it.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from pytest_ephemeral_ns.kube import answers
from pytest_ephemeral_ns.kube.calls import Call
from pytest_ephemeral_ns.kube.channels import Channels
from pytest_ephemeral_ns.kube.http import CONNECT_TIMEOUT, NoAnswer, Pool, Reply

if TYPE_CHECKING:
    from pytest_ephemeral_ns.connection import Connection
    from pytest_ephemeral_ns.kube.api import Api


def open_channels(
    api: Api,
    path: str,
    params: Mapping[str, Any],
    *,
    protocols: Sequence[str],
    timeout: float,
    repeatable: bool,
    stopped: threading.Event | None = None,
) -> Channels:
    """Open a websocket to the API server.

    Args:
        api: the API server; its credential is renewed if it is refused.
        path: ``".../pods/NAME/exec"`` or ``".../pods/NAME/portforward"``.
        params: of the query; a list becomes a key that comes several times.
        protocols: sub-protocols, the best one first.
        timeout: seconds for all attempts.
        repeatable: whether asking twice is the same as asking once.
        stopped: ends the pauses between attempts.

    Returns:
        The channels; the caller closes them.

    Raises:
        ApiError: refused, or no answer.

    Example:
        ``open_channels(api, f"{pod}/portforward", {"ports": 80}, protocols=[V4], timeout=5, repeatable=True)``
    """
    opened: list[Channels] = []

    def send(pool: Pool, call: Call, headers: Sequence[tuple[str, str]], left: float) -> Reply:
        sock = _socket(api.connection, pool, call.target, headers, protocols, min(left, 2 * CONNECT_TIMEOUT))
        if isinstance(sock, Reply):
            return sock
        opened.append(Channels(*sock))
        return Reply(101, {}, b"")

    call = Call("GET", path, answers.subject("GET", path), params, accept="*/*", repeatable=repeatable)
    api._caller.perform(call, timeout=timeout, send=send, stopped=stopped)
    return opened[-1]


def _socket(
    to: Connection,
    pool: Pool,
    target: str,
    headers: Sequence[tuple[str, str]],
    protocols: Sequence[str],
    timeout: float,
) -> tuple[socket.socket, str] | Reply:
    """Return a socket on which the websocket handshake is done and its sub-protocol, or the server's refusal."""
    import websocket

    server = urlsplit(to.server)
    url = urlunsplit((server.scheme.replace("http", "ws", 1), server.netloc, server.path.rstrip("/"), "", "")) + target
    ws = websocket.WebSocket(sslopt={"context": pool.context, "server_hostname": to.tls_server_name or None})
    ws.settimeout(timeout)
    # Given none, the library would take a proxy from variables; as for every other request, the kubeconfig decides.
    way = _proxy(to.proxy_url) if to.proxy_url else {"socket": _direct(server, to, pool.context, timeout)}
    try:
        ws.connect(  # type: ignore[no-untyped-call, unused-ignore]
            url,
            header=[f"{name}: {value}" for name, value in headers],
            subprotocols=list(protocols),
            suppress_origin=True,
            redirect_limit=0,  # the credential is for this server
            **way,
        )
    except websocket.WebSocketBadStatusException as error:
        named = {str(k).lower(): str(v) for k, v in (error.resp_headers or {}).items()}
        return Reply(error.status_code, named, error.resp_body or b"")
    except (websocket.WebSocketException, OSError, ValueError) as error:
        raise _no_answer(error) from error
    assert ws.sock is not None
    if (status := int(ws.getstatus() or 0)) != 101:
        ws.sock.close()
        return Reply(status, {}, b"")
    return ws.sock, str(ws.getsubprotocol() or "")


def _direct(server: SplitResult, to: Connection, context: ssl.SSLContext | None, timeout: float) -> socket.socket:
    """Return a socket that is connected to the API server, with TLS done."""
    host = server.hostname or "localhost"
    try:
        sock = socket.create_connection((host, server.port or (443 if context else 80)), min(timeout, CONNECT_TIMEOUT))
    except (OSError, UnicodeError) as error:
        raise NoAnswer(error, sent=False) from error
    try:
        sock.settimeout(timeout)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return context.wrap_socket(sock, server_hostname=to.tls_server_name or host) if context else sock
    except BaseException as error:
        sock.close()
        if isinstance(error, OSError):
            raise NoAnswer(error, sent=False) from error
        raise


def _proxy(url: str) -> dict[str, Any]:
    proxy = urlsplit(url)
    socks = proxy.scheme.startswith("socks")
    found: dict[str, Any] = {
        "http_proxy_host": proxy.hostname,
        "http_proxy_port": proxy.port or (1080 if socks else 80),
        "proxy_type": proxy.scheme if socks else "http",
        # Given none, the library would go straight to 127.0.0.1.
        "http_no_proxy": ["nothing.invalid"],
    }
    if proxy.username is not None:
        found["http_proxy_auth"] = (unquote(proxy.username), unquote(proxy.password or ""))
    return found


def _no_answer(error: Exception) -> NoAnswer:
    import websocket

    nothing_sent = (
        ConnectionRefusedError,
        socket.gaierror,
        ssl.SSLError,
        websocket.WebSocketAddressException,
        websocket.WebSocketProxyException,
    )
    cause: BaseException = error
    if isinstance(error, websocket.WebSocketTimeoutException):
        cause = TimeoutError()
    elif isinstance(error, websocket.WebSocketAddressException):
        cause = error.__cause__ or error.__context__ or error
    elif not isinstance(error, OSError):
        cause = ConnectionError(str(error))
    return NoAnswer(cause, sent=not isinstance(error, nothing_sent))
