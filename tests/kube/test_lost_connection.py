"""What a client sees when the way to the API server breaks in the middle."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import pytest

from pytest_ephemeral_ns.errors import ApiError
from pytest_ephemeral_ns.kube.api import Api
from pytest_ephemeral_ns.kube.execute import execute
from pytest_ephemeral_ns.kube.forward import PortForward
from tests.kube.conftest import until

pytestmark = pytest.mark.node


class Relay:
    """A way to the API server that can be cut: bytes are copied, not understood."""

    def __init__(self, server: str) -> None:
        url = urlsplit(server)
        self.host, self._to = url.hostname, (url.hostname, url.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.server = f"https://127.0.0.1:{self._listener.getsockname()[1]}"
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                here = self._listener.accept()[0]
                there = socket.create_connection(self._to)
                self._sockets += [here, there]
                for pair in ((here, there), (there, here)):
                    self._threads.append(threading.Thread(target=self._copy, args=pair))
                    self._threads[-1].start()

    def _copy(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def cut(self) -> None:
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self.cut()
        for thread in self._threads:
            thread.join()
        for sock in (*self._sockets, self._listener):
            sock.close()


@pytest.fixture
def relay(own_box: Any) -> Iterator[Relay]:
    relay = Relay(own_box.api.connection.server)
    yield relay
    relay.close()


@pytest.fixture
def api(own_box: Any, relay: Relay) -> Iterator[Api]:
    with Api(replace(own_box.api.connection, server=relay.server, tls_server_name=relay.host)) as api:
        yield api


def test_half_an_answer_never_looks_whole(own_box: Any, relay: Relay, api: Api) -> None:
    own_box.run("head -c 52428800 /dev/zero > /www/huge")
    pod = own_box.pod
    with PortForward(api, own_box.namespace, lambda: (pod, 8080)) as way:
        with socket.create_connection(("127.0.0.1", way.port)) as client:
            client.sendall(b"GET /huge HTTP/1.0\r\n\r\n")
            assert client.recv(1 << 16)
            relay.cut()
            with pytest.raises(ConnectionResetError):
                sum(len(part) for part in iter(lambda: client.recv(1 << 16), b""))
        until(lambda: way.last_error)
        assert way.last_error.startswith(f"port 8080 of Pod/{pod} in namespace {own_box.namespace}: the connection ")
        with socket.create_connection(("127.0.0.1", way.port)) as client:
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert pod.encode() in b"".join(iter(lambda: client.recv(4096), b""))


def test_a_command_whose_end_is_not_known_is_an_error(own_box: Any, relay: Relay, api: Api) -> None:
    with pytest.raises(ApiError, match="the connection ended before the command did") as caught:
        execute(
            api,
            own_box.namespace,
            own_box.pod,
            ["sh", "-c", "echo begun; exec sleep 5"],
            timeout=30,
            on_output=lambda *_: relay.cut(),
        )
    assert f"Pod/{own_box.pod}: Running" in str(caught.value)
