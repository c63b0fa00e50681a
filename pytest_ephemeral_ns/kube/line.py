"""A connection of one's own that any thread can cut; this module must never decide what is sent over it.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pytest_ephemeral_ns.kube.http import Headers, NoAnswer, Pool, Reply, close_client, interrupt, read

if TYPE_CHECKING:
    import httpx

    from pytest_ephemeral_ns.kube.calls import Call


class Line:
    """One thread's requests to the API server, one after the other over one connection, apart from the shared pool.

    Python cannot end a read that another thread is blocked in, except by cutting the connection; so whoever must be
    able to stop at once (a watch, a followed log) needs to know which connection is theirs. :meth:`cut` may be called
    by any thread at any time and is for good.

    Example:
        >>> line = Line()
        >>> line.cut()
        >>> line.is_cut.is_set()
        True
    """

    def __init__(self) -> None:
        self.is_cut = threading.Event()
        self._pool: Pool | None = None
        self._client: httpx.Client | None = None
        self._sock: socket.socket | None = None

    def cut(self) -> None:
        """End what is going on; everything later fails."""
        self.is_cut.set()
        if (sock := self._sock) is not None:
            interrupt(sock)

    def release(self) -> None:
        """Close the connection; by the thread that uses it."""
        client, self._client, self._pool, self._sock = self._client, None, None, None
        if client is not None:
            close_client(client)

    def open(
        self, pool: Pool, call: Call, headers: Headers, *, timeout: float, read_timeout: float | None
    ) -> httpx.Response:
        """Send one request and return its answer, of which only the head has been read; the caller closes it.

        Args:
            pool: says where to and as whom; another one than last time means another connection.
            call: what to send.
            headers: with the credential.
            timeout: seconds to connect and to send.
            read_timeout: seconds for each read; ``None`` for no limit.

        Raises:
            NoAnswer: no connection, or it was cut.
        """
        if self._pool is not pool or self._client is None:
            self.release()
            self._pool, self._client = pool, pool.new_client(keep=1)
        if self.is_cut.is_set():
            raise NoAnswer(ConnectionAbortedError("closed by this program"), sent=False)
        return pool.open(
            call.method,
            call.target,
            headers,
            call.body,
            timeout=timeout,
            read_timeout=read_timeout,
            client=self._client,
            trace=self._trace,
        )

    def send(self, pool: Pool, call: Call, headers: Headers, timeout: float) -> Reply:
        """Send one request and read its whole answer, as :meth:`Pool.send` does."""
        return read(self.open(pool, call, headers, timeout=timeout, read_timeout=timeout), timeout)

    def _trace(self, step: str, info: Mapping[str, Any]) -> None:
        """Keep the socket as soon as there is one (httpcore's ``trace`` extension)."""
        if step.endswith((".connect_tcp.complete", ".start_tls.complete")):
            self._sock = info["return_value"].get_extra_info("socket")
            if self.is_cut.is_set() and self._sock is not None:
                interrupt(self._sock)  # it was cut while there was no socket yet
