"""The lines of an answer that goes on until somebody ends it (watch, log); this module must never interpret them.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING

from pytest_ephemeral_ns.errors import ApiError
from pytest_ephemeral_ns.kube.calls import Call, Send
from pytest_ephemeral_ns.kube.http import Headers, NoAnswer, Pool, Reply, ours, read, reply_of
from pytest_ephemeral_ns.kube.line import Line

if TYPE_CHECKING:
    import httpx


class Stream:
    """The lines of one answer, as bytes without their ends; enter it to connect, iterate, leave it to disconnect.

    :meth:`close` may be called by any thread at any time: a
    reader that is blocked then sees the end of the lines, not an exception.

    Args:
        opener: performs the request by calling the function that it is given, again where that helps.
        broken: makes the error for a connection that was lost or silent.
        read_timeout: seconds without a byte after which the connection counts as lost; ``None`` for no limit.
        line: the connection to use; by default a new one for this stream alone.

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
        line: Line | None = None,
    ) -> None:
        self._opener, self._broken, self._read_timeout = opener, broken, read_timeout
        self._line, self._own_line = line or Line(), line is None
        self._response: httpx.Response | None = None
        self._parts: Iterator[bytes] = iter(())

    @property
    def closed(self) -> bool:
        """Whether somebody called :meth:`close`."""
        return self._line.is_cut.is_set()

    def close(self) -> None:
        """End it; a reader in another thread stops quietly."""
        self._line.cut()

    def __enter__(self) -> Stream:
        try:
            self._opener(self._send, self._line.is_cut)
        except BaseException as error:
            self._release()
            if not (self.closed and isinstance(error, ApiError)):
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._release()

    def _release(self) -> None:
        with ours():
            response, self._response, self._parts = self._response, None, iter(())
            if response is not None:
                response.close()
        if self._own_line:
            self._line.release()

    def _send(self, pool: Pool, call: Call, headers: Headers, timeout: float) -> Reply:
        response = self._line.open(pool, call, headers, timeout=timeout, read_timeout=self._read_timeout)
        if response.status_code != 200:
            return read(response, timeout)
        self._response, self._parts = response, response.iter_bytes()
        return reply_of(response, b"")

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
            raise self._broken(error) from None
