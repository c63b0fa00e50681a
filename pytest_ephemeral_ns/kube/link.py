"""One local connection and the pod's end of it; this module must never open either.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_ephemeral_ns.kube.channels import Channels

_DATA, _ERROR = 0, 1
_ENOUGH = 256 << 10
_READ = 1 << 16
_REMEMBERED = 1 << 20
# The protocol cannot tell the pod that the client has ended its half. So the pod's end is held for a while: long if an
# answer is owed, short if the client was only leaving a connection that it had kept alive.
_IDLE_OWED, _IDLE_ANSWERED = 60.0, 1.0
_GOODBYE_SECONDS = 1.0

_READING, _WRITING = selectors.EVENT_READ, selectors.EVENT_WRITE


class Link:
    """Carries bytes between a client and a pod, both ways at once, with no more than 256 KiB on the way.

    What the client has sent is remembered until the pod answers (1 MiB at most): if the pod turns out not to be there,
    the same bytes can go to the next one, because nobody has read any of them.

    Args:
        client: the accepted connection, not blocking; the caller closes it.
        stop: readable when all must end.
        on_answer: called when the pod's first byte arrives.
    """

    def __init__(self, client: socket.socket, stop: socket.socket, on_answer: Callable[[], None]) -> None:
        self._client, self._stop, self._on_answer = client, stop, on_answer
        self._remembered: bytearray | None = bytearray()
        self._to_client = bytearray()
        self._client_ended = False
        self._answer_owed = True

    @property
    def repeatable(self) -> bool:
        """Whether :meth:`carry` can be called again with another pod."""
        return self._remembered is not None

    def carry(self, channels: Channels) -> str:
        """Carry bytes until one side has ended or the stop signal came.

        Args:
            channels: a port-forward that has just been opened; the caller closes it.

        Returns:
            Why the pod could not be reached or was lost; empty when it was not.
        """
        error = _PodSide()
        if self._remembered:
            channels.send(_DATA, self._remembered)
        last = time.monotonic()
        with selectors.DefaultSelector() as selector:
            selector.register(self._stop, _READING)
            while self._to_client or not channels.closed:
                _watch(selector, self._client, self._client_interest(channels))
                _watch(selector, channels, self._pod_interest(channels))
                left = last + (_IDLE_OWED if self._answer_owed else _IDLE_ANSWERED) - time.monotonic()
                if self._client_ended and left <= 0:
                    return ""
                ready = {key.fileobj: events for key, events in selector.select(left if self._client_ended else None)}
                if self._stop in ready:
                    return ""
                if ready:
                    last = time.monotonic()
                if not self._serve_client(ready.get(self._client, 0), channels):
                    return ""
                if ready.get(channels):
                    self._take(error.read(channels))
        return error.text or channels.reason

    def finish(self) -> None:
        """End the client's connection in order: it gets all that was written to it, whatever it still sends."""
        with contextlib.suppress(OSError):
            self._client.shutdown(socket.SHUT_WR)
            with selectors.DefaultSelector() as selector:
                selector.register(self._client, _READING)
                selector.register(self._stop, _READING)
                ends = time.monotonic() + _GOODBYE_SECONDS
                while ready := selector.select(max(0.0, ends - time.monotonic())):
                    if any(key.fileobj is self._stop for key, _ in ready) or not self._client.recv(_READ):
                        return

    def reset(self) -> None:
        """Let the close of the client's connection be a reset, which no client takes for an empty answer."""
        with contextlib.suppress(OSError):
            self._client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def _client_interest(self, channels: Channels) -> int:
        may_read = not self._client_ended and not channels.closed and channels.unsent < _ENOUGH
        return (_READING if may_read else 0) | (_WRITING if self._to_client else 0)

    def _pod_interest(self, channels: Channels) -> int:
        if channels.closed:
            return 0
        return channels.interest if len(self._to_client) < _ENOUGH else channels.interest & _WRITING

    def _serve_client(self, events: int, channels: Channels) -> bool:
        """Read from and write to the client; return whether it is still there."""
        try:
            if events & _READING:
                self._from_client(self._client.recv(_READ), channels)
            if events & _WRITING:
                del self._to_client[: self._client.send(self._to_client)]
        except BlockingIOError:
            return True
        except OSError:
            return False
        return True

    def _from_client(self, data: bytes, channels: Channels) -> None:
        if not data:
            self._client_ended = True
            return
        self._answer_owed = True
        channels.send(_DATA, data)
        if self._remembered is not None:
            self._remembered += data
            if len(self._remembered) > _REMEMBERED:
                self._remembered = None

    def _take(self, data: bytes) -> None:
        if data:
            if self._remembered is not None or self._answer_owed:
                self._on_answer()
            self._remembered, self._answer_owed = None, False
            self._to_client += data


class _PodSide:
    """What comes from the pod, sorted: the data, and the runtime's complaint."""

    def __init__(self) -> None:
        # The first two bytes of each channel repeat the port: kubelet/pkg/cri/streaming/portforward/websocket.go.
        self._header = {_DATA: 2, _ERROR: 2}
        self._complaint = bytearray()

    @property
    def text(self) -> str:
        """Why the runtime could not connect, in a few words."""
        text = self._complaint.decode(errors="replace").strip()
        if "connection refused" in text:
            return "connection refused: nothing listens on it"
        return " ".join(text.split())

    def read(self, channels: Channels) -> bytes:
        """Receive and send what can be now; return the data."""
        data = bytearray()
        for channel, part in channels.receive():
            skip = min(self._header.get(channel, 0), len(part))
            self._header[channel] = self._header.get(channel, 0) - skip
            (data if channel == _DATA else self._complaint).extend(part[skip:])
        return bytes(data)


def _watch(selector: selectors.BaseSelector, what: socket.socket | Channels, events: int) -> None:
    """Register, change or unregister: a selector would report errors even of what it was asked nothing about."""
    known = selector.get_map().get(what)
    if not events:
        if known:
            selector.unregister(what)
    elif not known:
        selector.register(what, events)
    elif known.events != events:
        selector.modify(what, events)
