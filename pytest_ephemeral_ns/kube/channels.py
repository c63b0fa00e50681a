"""Kubernetes' channel protocol over one websocket, without blocking; this module must never know what is in a channel.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import ssl

V5, V4 = "v5.channel.k8s.io", "v4.channel.k8s.io"
PIECE = 32 << 10
_READ = 1 << 16
_CLOSE_CHANNEL = 255  # v5: kubernetes/staging/src/k8s.io/apimachinery/pkg/util/remotecommand/constants.go
_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0, 1, 2, 8, 9, 10

Message = tuple[int, bytes]


class Channels:
    """Numbered byte streams that share one websocket. One thread at a time; nothing in it waits.

    Wait with a selector for :attr:`interest` on it, then call :meth:`receive` and :meth:`flush`.

    Args:
        sock: connected, the websocket handshake done.
        protocol: the sub-protocol that the server chose.

    Attributes:
        protocol: the same.
        closed: whether the server has ended it or the connection is lost; nothing will be received any more.
        reason: why it is closed, in words; empty when the server ended it in order.
    """

    def __init__(self, sock: socket.socket, protocol: str) -> None:
        sock.setblocking(False)
        self.protocol = protocol
        self.closed = False
        self.reason = ""
        self._sock = sock
        self._frames = _Frames()
        self._unsent = bytearray()
        self._deaf = False

    def __enter__(self) -> Channels:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def fileno(self) -> int:
        """Return the descriptor, for selectors."""
        return self._sock.fileno()

    @property
    def unsent(self) -> int:
        """How many bytes wait to be sent; stop calling :meth:`send` when they are too many."""
        return len(self._unsent)

    @property
    def interest(self) -> int:
        """The events to wait for."""
        return selectors.EVENT_READ | (selectors.EVENT_WRITE if self._unsent else 0)

    @property
    def can_end_input(self) -> bool:
        """Whether :meth:`end` exists in the protocol (v5, Kubernetes 1.30 and newer)."""
        return self.protocol == V5

    def send(self, channel: int, data: bytes | bytearray | memoryview) -> None:
        """Queue ``data`` for a channel and send what can be sent now."""
        for start in range(0, len(data), PIECE):
            self._queue(_BINARY, bytes([channel]) + data[start : start + PIECE])
        self.flush()

    def end(self, channel: int) -> None:
        """Say that nothing more comes on a channel."""
        assert self.can_end_input
        self._queue(_BINARY, bytes([_CLOSE_CHANNEL, channel]))
        self.flush()

    def flush(self) -> None:
        """Send what can be sent now."""
        while self._unsent and not self.closed:
            try:
                del self._unsent[: self._sock.send(bytes(self._unsent[:_READ]))]
            except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                return
            except OSError:
                # The other side takes nothing more; what it said before, perhaps why, can still be read.
                self._deaf = True
                self._unsent.clear()

    def receive(self) -> list[Message]:
        """Return what has arrived, as pairs of channel and bytes; an empty list when nothing has."""
        data = self._read()
        messages = []
        for opcode, channel, payload in self._frames.feed(data):
            if opcode == _PING:
                self._queue(_PONG, payload)
            elif opcode == _CLOSE:
                self._ended(payload)
            elif opcode != _PONG and payload:
                messages.append((channel, payload))
        self.flush()
        return messages

    def _read(self) -> bytes:
        if self.closed:
            return b""
        try:
            data = self._sock.recv(_READ)
            # What TLS has decrypted already is invisible to a selector.
            while isinstance(self._sock, ssl.SSLSocket) and self._sock.pending():
                data += self._sock.recv(_READ)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return b""
        except OSError as error:
            self.closed = True
            self.reason = f"the connection was lost: {error.strerror or error}"
            return b""
        if not data:
            self.closed = True
            self.reason = "the connection ended without a word"
        return data

    def close(self) -> None:
        """Say good-bye if that does not wait, and close the socket."""
        if not self.closed:
            self._queue(_CLOSE, (1000).to_bytes(2, "big"))
            self.flush()
        self.closed = True
        with contextlib.suppress(OSError):
            self._sock.close()

    def _queue(self, opcode: int, payload: bytes) -> None:
        from websocket import ABNF

        if not self._deaf:
            self._unsent += ABNF.create_frame(payload, opcode).format()

    def _ended(self, payload: bytes) -> None:
        """Note the server's Close frame: code and reason, RFC 6455 section 5.5.1."""
        code = int.from_bytes(payload[:2], "big") if payload else 1000
        if code not in (1000, 1005):
            self.reason = f"closed by the server with code {code}: {payload[2:].decode(errors='replace')}".rstrip(": ")
        self._queue(_CLOSE, payload[:2])
        self.flush()
        self.closed = True


class _Frames:
    """Takes bytes as they come, gives the payload of complete frames (RFC 6455 section 5.2; a server does not mask)."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._channel = -1

    def feed(self, data: bytes) -> list[tuple[int, int, bytes]]:
        """Return ``(opcode, channel, payload)`` of each frame that is complete now."""
        self._data += data
        found = []
        while frame := self._next():
            opcode, payload = frame
            if opcode in (_TEXT, _BINARY) and payload:
                self._channel, payload = payload[0], payload[1:]
            # The rest of a message in several frames belongs to the channel that its first frame named.
            found.append((_BINARY if opcode == _CONTINUATION else opcode, self._channel, payload))
        return found

    def _next(self) -> tuple[int, bytes] | None:
        data = self._data
        if len(data) < 2:
            return None
        opcode, length, start = data[0] & 0x0F, data[1] & 0x7F, 2
        if length >= 126:
            start = 4 if length == 126 else 10
            if len(data) < start:
                return None
            length = int.from_bytes(data[2:start], "big")
        if len(data) < start + length:
            return None
        payload = bytes(data[start : start + length])
        del data[: start + length]
        return opcode, payload
