"""One pooled httpx client for one API server; this module must never send a request twice.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pytest_ephemeral_ns.importing import without_command_line

with without_command_line():
    import httpx

from pytest_ephemeral_ns.errors import UsageError
from pytest_ephemeral_ns.kube.tls import client_context

if TYPE_CHECKING:
    from pytest_ephemeral_ns.connection import Connection

CONNECT_TIMEOUT = 5.0
_IDLE_MOST = 16
_IDLE_SECONDS = 60.0  # below the API server's own 90 s, so that it is we who close first
_NOTHING_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)

Headers = Sequence[tuple[str, str]]


class NoAnswer(Exception):
    """There was no whole answer.

    Args:
        cause: what happened, as the operating system or TLS said it.
        sent: whether the server may have got the request.
    """

    def __init__(self, cause: BaseException, *, sent: bool) -> None:
        super().__init__(f"{type(cause).__name__}: {cause}")
        self.cause = cause
        self.sent = sent

    @classmethod
    def of(cls, error: httpx.TransportError) -> NoAnswer:
        """Return what an error of httpx means; its own cause says more than it does itself."""
        cause: BaseException | None = error
        if isinstance(error, (httpx.NetworkError, httpx.TimeoutException)):
            while cause and type(cause).__module__.partition(".")[0] in ("httpx", "httpcore"):
                cause = cause.__cause__ or cause.__context__  # httpcore cuts the first of these off
        if not isinstance(cause, OSError):  # broken HTTP, or a proxy's refusal
            cause = TimeoutError() if isinstance(error, httpx.TimeoutException) else ConnectionError(str(error))
        return cls(cause, sent=not isinstance(error, _NOTHING_SENT))


@dataclass(frozen=True)
class Reply:
    """One answer, read to its end; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    warnings: tuple[str, ...] = ()

    def json(self) -> dict[str, Any]:
        """Return the body as a JSON object; an empty dict when it is none."""
        try:
            value = json.loads(self.body)
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}


class _Transport(httpx.HTTPTransport):
    """httpx's own, kept as it was when this module was loaded.

    pytest-httpx replaces the method on the class: a suite that fakes its partners must not fake the API server.
    """

    handle_request = httpx.HTTPTransport.handle_request


class Pool:
    """The connections to one API server; thread-safe, and safe after a fork.

    Args:
        connection: where to. Its credential in header lines is not used here: headers are the caller's.

    Raises:
        UsageError: the certificates cannot be read, or the kind of proxy is not supported.

    Example:
        ``Pool(connection).send("GET", "/version", [], None, timeout=5.0)``
    """

    def __init__(self, connection: Connection) -> None:
        url = urlsplit(connection.server)
        self._connection = connection
        self._server = connection.server.rstrip("/")
        self.address = f"{url.hostname}:{url.port or (443 if url.scheme == 'https' else 80)}"
        self.context = client_context(connection) if url.scheme == "https" else None
        # A compressed answer costs more CPU than it saves time when the server is on this machine.
        self._coding = "identity" if url.hostname in ("127.0.0.1", "localhost", "::1") else "gzip"
        self._extensions = {"sni_hostname": connection.tls_server_name} if connection.tls_server_name else {}
        self._closed = False
        self._process = os.getpid()
        self._client = self.new_client(keep=_IDLE_MOST)

    def send(self, method: str, target: str, headers: Headers, body: bytes | None, *, timeout: float) -> Reply:
        """Send one request, once, and read its answer.

        Args:
            method: ``GET``, ``POST`` ...
            target: path and query.
            headers: all but Host and Content-Length; a name may come twice.
            body: ``None`` for none.
            timeout: seconds for the whole exchange.

        Returns:
            The answer, whatever its status.

        Raises:
            NoAnswer: no connection, or it ended before the answer did.
        """
        return read(self.open(method, target, headers, body, timeout=timeout, read_timeout=timeout), timeout)

    def open(
        self,
        method: str,
        target: str,
        headers: Headers,
        body: bytes | None = None,
        *,
        timeout: float,
        read_timeout: float | None,
        client: httpx.Client | None = None,
        trace: Any = None,
    ) -> httpx.Response:
        """Send one request and return its answer, of which only the head has been read; the caller closes it.

        Args:
            method: see :meth:`send`.
            target: see :meth:`send`.
            headers: see :meth:`send`.
            body: see :meth:`send`.
            timeout: seconds to send, and to connect at most.
            read_timeout: seconds for each read; ``None`` for no limit.
            client: from :meth:`new_client`; by default the shared one.
            trace: httpcore's ``trace`` extension: is told of each step.

        Raises:
            NoAnswer: as for :meth:`send`.
        """
        if self._closed:
            raise NoAnswer(ConnectionAbortedError("closed by this program"), sent=False)
        self._leave_to_parent()
        client, url = client or self._client, self._server + target
        connect = min(CONNECT_TIMEOUT, timeout)
        limits = {"connect": connect, "read": read_timeout, "write": timeout, "pool": connect}
        extensions = {**self._extensions, "timeout": limits, **({"trace": trace} if trace else {})}
        lines = [("Accept-Encoding", self._coding), *headers]
        with ours():
            request = client.build_request(method, url, headers=lines, content=body, extensions=extensions)
            return client.send(request, stream=True)

    def close(self) -> None:
        """Close the shared connections."""
        self._closed = True
        close_client(self._client)

    def new_client(self, keep: int) -> httpx.Client:
        """Return a client with connections of its own, of which ``keep`` may stay open unused; the caller closes it."""
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=keep, keepalive_expiry=_IDLE_SECONDS)
        proxy = self._connection.proxy_url
        try:
            transport = _Transport(
                verify=self.context or False,
                limits=limits,
                proxy=httpx.Proxy(proxy) if proxy else None,
                trust_env=False,
                socket_options=_socket_options(),
            )
        except (ImportError, ValueError) as error:
            raise UsageError(
                f"proxy-url {urlsplit(proxy).scheme}://{urlsplit(proxy).hostname}: this proxy cannot be used",
                evidence=[str(error)],
                command="pip install 'httpx[socks]'" if isinstance(error, ImportError) else None,
            ) from error
        return httpx.Client(transport=transport, trust_env=False)

    def _leave_to_parent(self) -> None:
        """After a fork the connections are the parent's: two processes on one TLS stream would destroy it."""
        if self._process != os.getpid():
            self._process = os.getpid()
            self._parents = self._client  # kept: closing it would be noticed by the server
            self._client = self.new_client(keep=_IDLE_MOST)


def _socket_options() -> list[tuple[int, int, int]]:
    """No waiting to fill a packet; and a peer that has vanished (cable, suspended machine) is noticed in 35 s."""
    options = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    for name, value in (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 4)):
        if hasattr(socket, name):  # macOS has other names for some
            options.append((socket.IPPROTO_TCP, getattr(socket, name), value))
    return options


def close_client(client: httpx.Client) -> None:
    """Close ``client`` and its connections."""
    with ours():
        client.close()


def read(response: httpx.Response, timeout: float) -> Reply:
    """Read an answer to its end, in ``timeout`` seconds, and close it."""
    ends = time.monotonic() + timeout
    with ours(), closing(response):
        parts = []
        for part in response.iter_bytes():
            parts.append(part)
            if time.monotonic() > ends:
                raise httpx.ReadTimeout("the answer was not complete in time")
    return reply_of(response, b"".join(parts))


def reply_of(response: httpx.Response, body: bytes) -> Reply:
    """Return the answer as a value of ours."""
    warnings = tuple(response.headers.get_list("Warning"))
    return Reply(response.status_code, dict(response.headers), body, warnings)


_here = threading.local()


class _NotOurs(logging.Filter):
    """Leaves out what httpx and httpcore log about the plugin's own requests, for this thread, while one runs.

    Watches run all the time: in a suite that looks at its own log records they would turn up at random.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        return not getattr(_here, "ours", 0)


for _name in ("httpx", "httpcore.connection", "httpcore.http11", "httpcore.proxy", "httpcore.socks"):
    logging.getLogger(_name).addFilter(_NotOurs())


@contextmanager
def ours() -> Iterator[None]:
    """Mark what httpx does in this block as ours: nothing is logged, and its errors become :class:`NoAnswer`."""
    _here.ours = getattr(_here, "ours", 0) + 1
    try:
        yield
    except httpx.TransportError as error:
        raise NoAnswer.of(error) from None
    finally:
        _here.ours -= 1


def interrupt(sock: socket.socket) -> None:
    """End a read that another thread is blocked in: it sees the end of the stream."""
    try:
        # Not sock.shutdown: that of an SSLSocket takes the TLS state away under the reader.
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
    except OSError:
        return  # not connected any more: nothing to interrupt
