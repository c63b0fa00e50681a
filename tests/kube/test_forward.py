from __future__ import annotations

import contextlib
import hashlib
import os
import resource
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from typing import Any

import pytest

from pytest_ephemeral_ns.connection import Connection
from pytest_ephemeral_ns.errors import NotReady, UsageError
from pytest_ephemeral_ns.kube.api import Api
from pytest_ephemeral_ns.kube.forward import PortForward
from pytest_ephemeral_ns.kube.target import resolve_target
from tests.kube.conftest import until

node = pytest.mark.node
NOTHING_LISTENS = 1234


@pytest.fixture
def http(own_box: Any) -> Iterator[PortForward]:
    with forward(own_box, "svc/box", "http") as found:
        yield found


def forward(box: Any, target: str, port: int | str, **how: Any) -> PortForward:
    return PortForward(box.api, box.namespace, lambda: resolve_target(box.api, box.namespace, target, port), **how)


def get(port: int) -> str:
    client = HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        client.request("GET", "/")
        return client.getresponse().read().decode().strip()
    finally:
        client.close()


def one_after_the_other(*answers: Any) -> Callable[[], tuple[str, int]]:
    """A resolver that gives each answer once, and the last one for ever; errors are raised."""
    left = list(answers)

    def resolve() -> tuple[str, int]:
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[no-any-return]

    return resolve


# What goes through


@node
def test_many_connections_one_after_the_other_and_at_once(own_box: Any, http: PortForward) -> None:
    assert {get(http.port) for _ in range(100)} == {own_box.pod}
    with ThreadPoolExecutor(50) as pool:
        assert {*pool.map(get, [http.port] * 100)} == {own_box.pod}
    assert http.last_error == ""


@node
def test_fifty_megabytes_both_ways_at_once_byte_for_byte(own_box: Any) -> None:
    def echo(port: int) -> bool:
        block, blocks = os.urandom(1 << 20), 50
        sent, got, size = hashlib.sha256(), hashlib.sha256(), 0
        with forward(own_box, "deploy/box", port) as way, socket.create_connection(("127.0.0.1", way.port)) as client:

            def send() -> None:
                for _ in range(blocks):
                    client.sendall(block)
                    sent.update(block)

            sender = threading.Thread(target=send)
            sender.start()
            while size < blocks << 20 and (part := client.recv(1 << 16)):
                got.update(part)
                size += len(part)
            sender.join()
        return got.digest() == sent.digest()

    with ThreadPoolExecutor(2) as pool:
        assert [*pool.map(echo, (9000, 9001))] == [True, True]


@node
def test_a_slow_reader_holds_the_sender_back_and_loses_nothing(own_box: Any) -> None:
    own_box.run("head -c 20971520 /dev/zero > /www/large")
    with forward(own_box, "deploy/box", "web") as way, socket.create_connection(("127.0.0.1", way.port)) as client:
        client.sendall(b"GET /large HTTP/1.0\r\n\r\n")
        threading.Event().wait(1.5)
        size = 0
        while part := client.recv(1 << 16):
            size += len(part)
    assert size > 20 << 20


@node
def test_an_answer_that_ends_with_the_connection_is_whole(own_box: Any, http: PortForward) -> None:
    with socket.create_connection(("127.0.0.1", http.port)) as client:
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        answer = b"".join(iter(lambda: client.recv(4096), b""))
    assert answer.endswith(own_box.pod.encode() + b"\n")


@node
def test_a_client_that_has_ended_its_half_still_gets_the_answer(own_box: Any) -> None:
    with forward(own_box, "deploy/box", 9000) as way, socket.create_connection(("127.0.0.1", way.port)) as client:
        client.sendall(b"x" * 100_000)
        client.shutdown(socket.SHUT_WR)
        assert b"".join(iter(lambda: client.recv(1 << 16), b"")) == b"x" * 100_000


@node
def test_a_client_that_leaves_at_once(own_box: Any, http: PortForward) -> None:
    for _ in range(5):
        socket.create_connection(("127.0.0.1", http.port)).close()
    assert get(http.port) == own_box.pod


@node
def test_file_numbers_above_1024(own_box: Any, http: PortForward) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    try:
        with contextlib.ExitStack() as stack:
            for _ in range(1100):
                stack.enter_context(open(os.devnull))
            assert get(http.port) == own_box.pod
            assert own_box.run("echo here") == "here"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# When the pod is not there


@node
def test_the_next_connection_reaches_the_new_pod(own_box: Any, http: PortForward) -> None:
    before = get(http.port)
    own_box.api.delete(f"{own_box.path}/pods/{before}")
    seen: list[str] = []

    def answered_by_another() -> bool:
        with contextlib.suppress(ConnectionError):
            seen.append(get(http.port))
        return seen[-1:] not in ([], [before])

    until(answered_by_another)
    assert http.last_error == ""
    until(lambda: own_box.run("true") == "")


@node
def test_a_port_on_which_nothing_listens_resets_and_says_why(own_box: Any) -> None:
    with forward(own_box, "deploy/box", NOTHING_LISTENS, patience=0.3) as way:
        with pytest.raises(ConnectionResetError):
            get(way.port)
        pod = own_box.pod
        assert way.last_error == (
            f"port 1234 of Pod/{pod} in namespace {own_box.namespace}: connection refused: nothing listens on it"
        )
        own_box.run(f"httpd -p {NOTHING_LISTENS} -h /www")
        assert get(way.port) == pod
        assert way.last_error == ""


@node
def test_what_one_pod_refused_goes_to_the_next_one_whole(own_box: Any) -> None:
    pod = own_box.pod
    resolve = one_after_the_other(("nobody", 80), (pod, 1), NotReady("on its way"), (pod, 9000))
    with (
        PortForward(own_box.api, own_box.namespace, resolve, patience=30) as way,
        socket.create_connection(("127.0.0.1", way.port)) as client,
    ):
        client.sendall(b"sent before anybody was there")
        assert client.recv(100) == b"sent before anybody was there"


def test_no_pod_in_time(api_of_nowhere: Api) -> None:
    resolve = one_after_the_other(NotReady("Service/api has no ready pod", evidence=["Pod/api-1: Pending"]))
    with PortForward(api_of_nowhere, "x", resolve, patience=0.3) as way:
        with pytest.raises(ConnectionResetError):
            get(way.port)
        assert way.last_error == "Service/api has no ready pod\n  Pod/api-1: Pending"


def test_a_wrong_target_is_not_waited_for(api_of_nowhere: Api) -> None:
    with PortForward(api_of_nowhere, "x", one_after_the_other(UsageError("no such port")), patience=600) as way:
        with pytest.raises(ConnectionResetError):
            get(way.port)
        assert way.last_error == "no such port"


def test_a_resolver_that_is_broken(api_of_nowhere: Api) -> None:
    with PortForward(api_of_nowhere, "x", one_after_the_other(KeyError("pod")), patience=600) as way:
        with pytest.raises(ConnectionResetError):
            get(way.port)
        assert way.last_error == "KeyError: 'pod'"


def test_an_api_server_that_does_not_answer(api_of_nowhere: Api) -> None:
    with PortForward(api_of_nowhere, "shop", lambda: ("api-0", 80), patience=0.1) as way:
        with pytest.raises(ConnectionResetError):
            get(way.port)
        assert way.last_error.startswith("get pods/api-0/portforward in namespace shop: no answer from 127.0.0.1:")


# Its beginning and end


@pytest.fixture
def api_of_nowhere() -> Iterator[Api]:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with Api(Connection(f"http://127.0.0.1:{unused.getsockname()[1]}")) as api:
            yield api


def nothing() -> tuple[str, int]:
    raise NotReady("nothing")


def test_a_local_port_that_is_taken(api_of_nowhere: Api) -> None:
    with PortForward(api_of_nowhere, "x", nothing) as first:
        with pytest.raises(UsageError, match=f"local port {first.port} is taken") as caught:
            PortForward(api_of_nowhere, "x", nothing, local_port=first.port)
        assert caught.value.evidence == ("something else listens on 127.0.0.1 there",)
        assert f"sport = :{first.port}" in (caught.value.command or "")
    with PortForward(api_of_nowhere, "x", nothing, local_port=first.port) as again:
        assert again.port == first.port


@pytest.mark.parametrize("port", [-1, 65536, 10**9])
def test_a_local_port_that_is_not_one(api_of_nowhere: Api, port: int) -> None:
    with pytest.raises(UsageError, match=f"local port {port} is not a port"):
        PortForward(api_of_nowhere, "x", nothing, local_port=port)


def test_close_ends_threads_also_those_that_wait_for_a_pod(api_of_nowhere: Api) -> None:
    before = set(threading.enumerate())
    way = PortForward(api_of_nowhere, "x", nothing, patience=600)
    clients = [socket.create_connection(("127.0.0.1", way.port)) for _ in range(5)]
    until(lambda: way.last_error)
    way.close()
    way.close()
    assert set(threading.enumerate()) <= before
    for client in clients:
        with client, contextlib.suppress(ConnectionResetError):
            assert client.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", way.port))


@node
def test_close_cuts_connections_that_are_in_use(own_box: Any) -> None:
    way = forward(own_box, "deploy/box", 9000)
    with socket.create_connection(("127.0.0.1", way.port)) as client:
        client.sendall(b"hello")
        assert client.recv(5) == b"hello"
        way.close()
        assert client.recv(1) == b""
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("port-forward")]
