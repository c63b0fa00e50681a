"""The lines of an answer that goes on until somebody ends it (watch, log); this module must never interpret them.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from http.client import HTTPException, HTTPResponse
from types import TracebackType
from typing import TYPE_CHECKING

from pytest_ephemeral_ns.errors import ApiError
from pytest_ephemeral_ns.kube.calls import Call, Send
from pytest_ephemeral_ns.kube.http import CONNECT_TIMEOUT, Headers, NoAnswer, Pool, Reply, interrupt

if TYPE_CHECKING:
    from pytest_ephemeral_ns.kube.http import Wire

_CHUNK = 1 << 16


class Stream:
    """The lines of one answer, as bytes without their ends; enter it to connect, iterate, leave it to disconnect.

    It has a connection of its own, which is not used again. :meth:`close` may be called by any thread at any time: a
    reader that is blocked then sees the end of the lines, not an exception.

    Args:
        opener: performs the request by calling the function that it is given, again where that helps.
        broken: makes the error for a connection that was lost or silent.
        read_timeout: seconds without a byte after which the connection counts as lost; ``None`` for no limit.

    Raises:
        ApiError: on entering, when refused; while iterating, when the connection is lost (``status`` is 0).

    Example:
        >>> def show(api):
        ...     with api.stream("/api/v1/namespaces/shop/pods/api/log", params={"follow": True}) as lines:
        ...         for line in lines:
        ...             print(line.decode(errors="replace"))
    """

    def __init__(
        self,
        opener: Callable[[Send, threading.Event], None],
        broken: Callable[[NoAnswer], ApiError],
        read_timeout: float | None,
    ) -> None:
        self._opener, self._broken, self._read_timeout = opener, broken, read_timeout
        self._closed = threading.Event()
        self._wire: Wire | None = None
        self._sock: socket.socket | None = None
        self._response: HTTPResponse | None = None

    @property
    def closed(self) -> bool:
        """Whether somebody called :meth:`close`."""
        return self._closed.is_set()

    def close(self) -> None:
        """End it; a reader in another thread stops quietly."""
        self._closed.set()
        if (sock := self._sock) is not None:
            interrupt(sock)

    def __enter__(self) -> Stream:
        try:
            self._opener(self._send, self._closed)
        except ApiError:
            self._release()
            if not self.closed:
                raise
        except BaseException:
            self._release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed.set()
        self._release()

    def _release(self) -> None:
        if self._response is not None:
            self._response.close()
        if self._wire is not None:
            self._wire.close()
        if self._sock is not None:
            self._sock.close()
        self._response = self._wire = self._sock = None

    def _send(self, pool: Pool, call: Call, headers: Headers, timeout: float) -> Reply:
        self._release()
        wire = self._wire = pool.dial(min(CONNECT_TIMEOUT, timeout))
        self._sock = wire.sock
        if self.closed:  # close() came while connecting, before there was a socket to interrupt
            raise NoAnswer(ConnectionAbortedError("closed"), sent=False)
        try:
            if self._sock is not None:
                self._sock.settimeout(self._read_timeout)
            wire.ask(call.method, pool.prefix + call.target, [("Accept-Encoding", "identity"), *headers])
            response = self._response = wire.getresponse()
            body = b"" if response.status == 200 else response.read(_CHUNK)
        except (OSError, HTTPException) as error:
            raise NoAnswer(error, sent=True) from error
        return Reply(response.status, response.headers, body)

    def __iter__(self) -> Iterator[bytes]:
        rest: list[bytes] = []
        while part := self._read():
            *whole, last = part.split(b"\n")
            for line in whole:
                yield b"".join([*rest, line]) if rest else line
                rest = []
            if last:
                rest.append(last)
        if rest and not self.closed:
            yield b"".join(rest)

    def _read(self) -> bytes:
        if self.closed or self._response is None:
            return b""
        try:
            return self._response.read1(_CHUNK)
        except (OSError, HTTPException, ValueError) as error:
            if self.closed:
                return b""
            raise self._broken(NoAnswer(error, sent=True)) from error
