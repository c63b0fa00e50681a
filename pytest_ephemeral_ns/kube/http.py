"""HTTP/1.1 to one API server over a pool of connections; this module must never send a request twice.

Python's own ``http.client`` and nothing else: it is loaded in a tenth of the CPU time that httpx and httpcore take
(30 ms against 290 ms), which every xdist worker would pay; and what a suite does to httpx (respx, pytest-httpx, log
levels) does not reach the plugin's own requests.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import json
import os
import select
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPMessage, HTTPResponse, IncompleteRead
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pytest_ephemeral_ns.kube.dial import dial, endpoint
from pytest_ephemeral_ns.kube.tls import client_context

if TYPE_CHECKING:
    import ssl

    from pytest_ephemeral_ns.connection import Connection

CONNECT_TIMEOUT = 5.0
_IDLE_SECONDS = 60.0  # below the API server's own 90 s, so that it is we who close first
_IDLE_MOST = 16
_CHUNK = 1 << 20


Headers = Sequence[tuple[str, str]]


class NoAnswer(Exception):
    """There was no whole answer.

    Args:
        cause: what happened.
        sent: whether the server may have got the request.
    """

    def __init__(self, cause: BaseException, *, sent: bool) -> None:
        super().__init__(f"{type(cause).__name__}: {cause}")
        self.cause = cause
        self.sent = sent


@dataclass(frozen=True)
class Reply:
    """One answer, read to its end."""

    status: int
    headers: Mapping[str, str] | HTTPMessage
    body: bytes
    warnings: tuple[str, ...] = ()

    def json(self) -> dict[str, Any]:
        """Return the body as a JSON object; an empty dict when it is none."""
        try:
            value = json.loads(self.body)
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}


class Wire(HTTPConnection):
    """One connection to the API server; proxies and TLS are :func:`dial`'s business."""

    def __init__(self, connection: Connection, context: ssl.SSLContext | None) -> None:
        url = urlsplit(connection.server)
        host, port = endpoint(url)
        super().__init__(host, port, timeout=CONNECT_TIMEOUT)
        # http.client leaves the port out of the Host header only when it is the scheme's own.
        self.default_port = 443 if url.scheme == "https" else 80
        self._to, self._context = connection, context
        self.idle_since = 0.0

    def connect(self) -> None:
        """Connect; called by ``http.client`` before the first request."""
        self.sock = dial(self._to, self._context, self.timeout or CONNECT_TIMEOUT)

    def open(self, connect_timeout: float) -> None:
        """Connect now, so that a failure is known to have sent nothing."""
        self.timeout = connect_timeout
        try:
            self.connect()
        except (OSError, UnicodeError) as error:
            raise NoAnswer(error, sent=False) from error

    def ask(self, method: str, target: str, headers: Headers, body: bytes | None = None) -> None:
        """Send one request; a header's name may come twice."""
        self.putrequest(method, target, skip_accept_encoding=True)
        for name, value in headers:
            self.putheader(name, value)
        if body is not None:
            self.putheader("Content-Length", str(len(body)))
        self.endheaders(body)

    def stale(self) -> bool:
        """Whether the server has closed it, or it has been idle for too long."""
        if self.sock is None or time.monotonic() - self.idle_since > _IDLE_SECONDS:
            return True
        return _readable(self.sock)

    def wait_at_most(self, seconds: float) -> None:
        """Let the next reads and writes take ``seconds`` each."""
        if self.sock is not None:
            self.sock.settimeout(max(seconds, 0.001))


def interrupt(sock: socket.socket) -> None:
    """End a read that another thread is blocked in: it sees the end of the stream."""
    try:
        # Not sock.shutdown: that of an SSLSocket takes the TLS state away under the reader.
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
    except OSError:
        return  # not connected any more: nothing to interrupt


def _readable(sock: socket.socket) -> bool:
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        return bool(poll.poll(0))
    return bool(select.select([sock], [], [], 0)[0])


class Pool:
    """Connections to one API server, used again; thread-safe, and safe after a fork.

    Args:
        connection: where to. Its token is not used here: headers are the caller's.

    Example:
        ``Pool(connection).send("GET", "/version", [], None, timeout=5.0)``
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        url = urlsplit(connection.server)
        self.prefix = url.path.rstrip("/")
        self.address = "{}:{}".format(*endpoint(url))
        self.context = client_context(connection) if url.scheme == "https" else None
        # A compressed answer costs more CPU than it saves time when the server is on this machine.
        self._gzip = url.hostname not in ("127.0.0.1", "localhost", "::1")
        self._lock = threading.Lock()
        self._idle: list[Wire] = []
        self._closed = False
        self._process = os.getpid()

    def send(self, method: str, target: str, headers: Headers, body: bytes | None, *, timeout: float) -> Reply:
        """Send one request, once, and read its answer.

        Args:
            method: ``GET``, ``POST`` ...
            target: path and query.
            headers: all but Host and Content-Length.
            body: ``None`` for none.
            timeout: seconds for the whole exchange.

        Returns:
            The answer, whatever its status.

        Raises:
            NoAnswer: no connection, or it ended before the answer did.
        """
        ends = time.monotonic() + timeout
        wire = self._take() or self.dial(min(CONNECT_TIMEOUT, timeout))
        try:
            wire.wait_at_most(ends - time.monotonic())
            coding = ("Accept-Encoding", "gzip" if self._gzip else "identity")
            wire.ask(method, self.prefix + target, [coding, *headers], body)
            reply = _read(wire, wire.getresponse(), ends)
        except (OSError, HTTPException, EOFError) as error:
            wire.close()
            raise NoAnswer(error, sent=True) from error
        except BaseException:
            wire.close()  # Ctrl-C in the middle of an answer: what is left of it must not be the next one's
            raise
        self._give_back(wire)
        return reply

    def dial(self, timeout: float) -> Wire:
        """Return a new connection that the pool does not know; the caller closes it."""
        wire = Wire(self._connection, self.context)
        wire.open(timeout)
        return wire

    def close(self) -> None:
        """Close the idle connections; those in use are closed when their answer has been read."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for wire in idle:
            wire.close()

    def _take(self) -> Wire | None:
        while True:
            with self._lock:
                self._leave_to_parent()
                if not self._idle:
                    return None
                wire = self._idle.pop()
            if not wire.stale():
                return wire
            wire.close()

    def _give_back(self, wire: Wire) -> None:
        if wire.sock is None:
            return  # the server asked for it to be closed
        wire.idle_since = time.monotonic()
        with self._lock:
            if not self._closed and len(self._idle) < _IDLE_MOST and self._process == os.getpid():
                self._idle.append(wire)
                return
        wire.close()

    def _leave_to_parent(self) -> None:
        """After a fork the connections are the parent's; two processes on one TLS stream would destroy it."""
        if self._process != os.getpid():
            self._process = os.getpid()
            for wire in self._idle:
                wire.close()
            self._idle = []


def _read(wire: Wire, response: HTTPResponse, ends: float) -> Reply:
    parts = []
    while True:
        left = ends - time.monotonic()
        if left <= 0:
            raise TimeoutError("the answer was not complete in time")
        wire.wait_at_most(left)
        part = response.read(_CHUNK)
        if not part:
            break
        parts.append(part)
    body = b"".join(parts)
    if response.length:  # read(n) does not raise when the body ends too early
        raise IncompleteRead(body, response.length)
    if response.getheader("Content-Encoding") == "gzip":
        import gzip

        body = gzip.decompress(body)
    response.close()
    return Reply(response.status, response.headers, body, tuple(response.headers.get_all("Warning") or ()))
