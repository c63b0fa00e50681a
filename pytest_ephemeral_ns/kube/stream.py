"""The lines of an answer that goes on until somebody ends it (watch, log); this module must never interpret them.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from pytest_ephemeral_ns.errors import ApiError
from pytest_ephemeral_ns.kube.calls import Call, Send
from pytest_ephemeral_ns.kube.http import Headers, NoAnswer, Pool, Reply, interrupt, ours, reply_of

if TYPE_CHECKING:
    import httpx


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
        self._sock: socket.socket | None = None
        self._response: httpx.Response | None = None
        self._parts: Iterator[bytes] = iter(())

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
        response, self._response, self._sock, self._parts = self._response, None, None, iter(())
        if response is not None:
            with ours():
                response.close()

    def _send(self, pool: Pool, call: Call, headers: Headers, timeout: float) -> Reply:
        self._release()
        # The server sends the head of the answer at once; only then may it be silent for longer.
        response = pool.open(
            call.method, call.target, headers, timeout=timeout, read=self._read_timeout, keep=False, trace=self._trace
        )
        self._response = response
        if response.status_code != 200:
            with ours():
                return reply_of(response, response.read())
        self._parts = response.iter_raw()
        return reply_of(response, b"")

    def _trace(self, step: str, info: Mapping[str, Any]) -> None:
        """Keep the socket as soon as there is one, so that :meth:`close` can end any wait on it."""
        if step.endswith((".connect_tcp.complete", ".start_tls.complete")):
            self._sock = info["return_value"].get_extra_info("socket")
            if self.closed and self._sock is not None:
                interrupt(self._sock)

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
        if self.closed:
            return b""
        try:
            with ours():
                return next(self._parts, b"")
        except NoAnswer as error:
            if self.closed:
                return b""
            raise self._broken(error) from error
