from __future__ import annotations

import base64
import contextlib
import selectors
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_ephemeral_ns.connection import Connection
from pytest_ephemeral_ns.errors import ApiError
from pytest_ephemeral_ns.kube.api import Api
from pytest_ephemeral_ns.kube.channels import V4, V5, Channels, _Frames
from pytest_ephemeral_ns.kube.handshake import open_channels

BINARY, CONTINUATION, CLOSE, PING, PONG = 2, 0, 8, 9, 10


def frame(opcode: int, payload: bytes, *, final: bool = True) -> bytes:
    """One frame as a server sends it: not masked (RFC 6455, 5.2)."""
    head = bytes([opcode | (0x80 if final else 0)])
    size = len(payload)
    if size < 126:
        return head + bytes([size]) + payload
    if size < 1 << 16:
        return head + bytes([126]) + size.to_bytes(2, "big") + payload
    return head + bytes([127]) + size.to_bytes(8, "big") + payload


def unmasked(data: bytes) -> list[tuple[int, bytes]]:
    """The frames that a client sent."""
    found = []
    while data:
        opcode, size, start = data[0] & 0x0F, data[1] & 0x7F, 2
        assert data[1] & 0x80, "a client must mask"
        if size >= 126:
            start = 4 if size == 126 else 10
            size = int.from_bytes(data[2:start], "big")
        mask, payload = data[start : start + 4], data[start + 4 : start + 4 + size]
        found.append((opcode, bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))))
        data = data[start + 4 + size :]
    return found


@dataclass
class Pair:
    """Both ends: the server's as a socket, the client's as channels."""

    server: socket.socket
    channels: Channels

    def arrives(self, data: bytes) -> list[tuple[int, bytes]]:
        self.server.sendall(data)
        return self.channels.receive()

    def sent(self) -> list[tuple[int, bytes]]:
        return unmasked(self.server.recv(1 << 20))


@pytest.fixture
def pair() -> Iterator[Pair]:
    server, client = socket.socketpair()
    server.settimeout(10)
    with server, Channels(client, V5) as channels:
        yield Pair(server, channels)


@given(
    messages=st.lists(st.tuples(st.integers(0, 4), st.binary(min_size=1, max_size=300)), max_size=20),
    sizes=st.lists(st.integers(1, 400), min_size=1),
)
def test_messages_are_the_same_however_the_bytes_are_cut(messages: list[tuple[int, bytes]], sizes: list[int]) -> None:
    data = b"".join(frame(BINARY, bytes([channel]) + payload) for channel, payload in messages)
    frames, found = _Frames(), []
    while data:
        sizes.append(sizes.pop(0))
        found += [(channel, payload) for _, channel, payload in frames.feed(data[: sizes[0]])]
        data = data[sizes[0] :]
    assert found == messages


@pytest.mark.parametrize("size", [0, 1, 124, 125, 126, 65534, 65535, 65536, 200_000])
def test_every_way_of_writing_a_length(size: int) -> None:
    assert _Frames().feed(frame(BINARY, b"\x01" + bytes(size))) == [(BINARY, 1, bytes(size))]


def test_a_message_in_several_frames_stays_on_its_channel(pair: Pair) -> None:
    parts = [
        frame(BINARY, b"\x02one", final=False),
        frame(PING, b"between"),
        frame(CONTINUATION, b"\x01two", final=False),
        frame(CONTINUATION, b"three"),
        frame(BINARY, b"\x01next"),
    ]
    assert pair.arrives(b"".join(parts)) == [(2, b"one"), (2, b"\x01two"), (2, b"three"), (1, b"next")]
    assert pair.sent() == [(PONG, b"between")]


def test_what_is_sent_is_masked_and_in_pieces(pair: Pair) -> None:
    pair.channels.send(0, bytes(70_000))
    pair.channels.end(0)
    sent = pair.sent()
    assert [len(payload) for _, payload in sent] == [32769, 32769, 4465, 2]
    assert {opcode for opcode, _ in sent} == {BINARY}
    assert sent[-1][1] == b"\xff\x00"


def test_nothing_waits_when_nobody_reads(pair: Pair) -> None:
    assert pair.channels.interest == selectors.EVENT_READ
    pair.channels.send(0, bytes(8 << 20))
    assert pair.channels.unsent > 0
    assert pair.channels.interest == selectors.EVENT_READ | selectors.EVENT_WRITE
    assert pair.channels.receive() == []
    received = 0
    while pair.channels.unsent:
        received += len(pair.server.recv(1 << 20))
        pair.channels.flush()
    assert received > 7 << 20


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", ""),
        ((1000).to_bytes(2, "big"), ""),
        ((1011).to_bytes(2, "big") + b"broken", "closed by the server with code 1011: broken"),
    ],
)
def test_the_servers_good_bye_is_answered(pair: Pair, payload: bytes, reason: str) -> None:
    assert pair.arrives(frame(BINARY, b"\x01last") + frame(CLOSE, payload)) == [(1, b"last")]
    assert pair.channels.closed
    assert pair.channels.reason == reason
    assert pair.sent() == [(CLOSE, payload[:2])]
    assert pair.channels.receive() == []


def test_an_end_without_a_good_bye_is_a_loss(pair: Pair) -> None:
    pair.server.close()
    assert pair.channels.receive() == []
    assert pair.channels.closed
    assert pair.channels.reason == "the connection ended without a word"


def test_last_words_are_read_though_nothing_can_be_sent_any_more(pair: Pair) -> None:
    pair.server.sendall(frame(BINARY, b"\x03why"))
    pair.server.close()
    for _ in range(3):
        pair.channels.send(0, bytes(1000))
    assert pair.channels.receive() == [(3, b"why")]


def test_our_good_bye(pair: Pair) -> None:
    pair.channels.close()
    pair.channels.close()
    assert pair.sent() == [(CLOSE, (1000).to_bytes(2, "big"))]


def test_v4_cannot_end_input() -> None:
    server, client = socket.socketpair()
    with server, Channels(client, V4) as channels:
        assert not channels.can_end_input


# The handshake, with the real API server

PATH = "/api/v1/namespaces/default/pods/nobody/portforward"


def knock(api: Api) -> ApiError:
    with pytest.raises(ApiError) as caught:
        open_channels(api, PATH, {"ports": 80}, protocols=[V4], timeout=10, repeatable=False)
    return caught.value


@pytest.mark.cluster
def test_a_refusal_is_told_in_the_servers_words(server_api: Api) -> None:
    error = knock(server_api)
    assert error.summary == 'get pods/nobody/portforward in namespace default: 404 NotFound: pods "nobody" not found'
    assert error.reason == "NotFound"


@pytest.mark.cluster
def test_a_credential_that_is_refused_is_renewed(api_server: Connection) -> None:
    bad = replace(api_server, client_cert_data="", client_key_data="", token="not-a-token")
    with Api(bad) as api:
        assert knock(api).status == 401
    with Api(bad, refresh=lambda: api_server) as api:
        assert knock(api).status == 404


@pytest.mark.cluster
def test_the_servers_certificate_is_checked(api_server: Connection) -> None:
    with Api(replace(api_server, ca_data="")) as api:
        assert "signed by an unknown CA" in str(knock(api))
    with Api(replace(api_server, tls_server_name="another.example")) as api:
        assert "for another host name" in str(knock(api))
    with Api(replace(api_server, tls_server_name="kubernetes.default.svc")) as api:
        assert knock(api).status == 404


class Tunnel(BaseHTTPRequestHandler):
    """An HTTP proxy that wants a password."""

    asked: ClassVar[list[str]] = []

    def do_CONNECT(self) -> None:
        self.asked.append(self.headers.get("Proxy-Authorization", ""))
        if self.asked[-1] != "Basic " + base64.b64encode(b"user:p@ss").decode():
            return self.send_error(407)
        host, _, port = self.path.rpartition(":")
        with socket.create_connection((host, int(port))) as there:
            self.send_response(200)
            self.end_headers()
            back = threading.Thread(target=copy, args=(there, self.connection))
            back.start()
            copy(self.connection, there)
            back.join()
        return None

    def log_message(self, *_: object) -> None:
        pass


def copy(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


@pytest.mark.cluster
def test_through_the_proxy_of_the_kubeconfig_and_no_other(
    api_server: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    with ThreadingHTTPServer(("127.0.0.1", 0), Tunnel) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}).start()
        proxy = f"http://user:p%40ss@127.0.0.1:{server.server_port}"
        with Api(replace(api_server, proxy_url=proxy)) as api:
            assert knock(api).status == 404
        assert len(Tunnel.asked) == 1
        with Api(replace(api_server, proxy_url=proxy.replace("p%40ss", "wrong"))) as api:
            error = knock(api)
        assert "407" in str(error)
        assert "wrong" not in str(error)
        server.shutdown()
    with Api(api_server) as api:
        assert knock(api).status == 404
