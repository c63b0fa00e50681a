"""wait_for_contract and await_contract against a small server on this machine."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

import pytest_ephemeral_ns
from pytest_ephemeral_ns.deadline import Deadline
from pytest_ephemeral_ns.errors import NeverReady, UsageError, WaitFailed, WaitTimeout
from pytest_ephemeral_ns.ready import asking, await_contract, wait_for_contract
from pytest_ephemeral_ns.ready.history import redactor_of
from pytest_ephemeral_ns.ready.judgement import Contract

Reply = tuple[int, Any] | tuple[int, Any, dict[str, str]]


class Partner:
    """Answers each request with the next of its replies; the last one is repeated."""

    def __init__(self) -> None:
        self.replies: list[Reply] = []
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        partner = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                partner.requests.append((self.command, self.path, dict(self.headers), data))
                status, body, *more = partner.replies.pop(0) if len(partner.replies) > 1 else partner.replies[0]
                payload = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                for name, value in (more[0] if more else {}).items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(payload)))
                self.end_headers()
                self.wfile.write(payload)

            do_GET = do_POST = answer

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def partner() -> Iterator[Partner]:
    found = Partner()
    yield found
    found.close()


def confirmed(body: Any) -> bool:
    return body["status"] == "confirmed"


def wait(target: Any, **how: Any) -> Any:
    return wait_for_contract(target, **{"until": confirmed, "timeout": 20, "interval": 0.01, **how})


PENDING, CONFIRMED = (200, {"status": "pending"}), (200, {"status": "confirmed", "id": 7})
MISSING = (404, {"detail": "no such order"})


def test_is_a_name_of_the_package() -> None:
    assert pytest_ephemeral_ns.wait_for_contract is wait_for_contract
    assert pytest_ephemeral_ns.await_contract is await_contract


def test_an_order_is_confirmed_after_it_was_missing_and_pending(partner: Partner) -> None:
    partner.replies = [MISSING, MISSING, PENDING, PENDING, CONFIRMED]
    assert wait(f"{partner.url}/orders/7") == {"status": "confirmed", "id": 7}
    assert len(partner.requests) == 5


def test_what_can_never_hold_fails_at_once_with_all_that_was_seen(partner: Partner) -> None:
    partner.replies = [MISSING, MISSING, PENDING, (200, {"status": "cancelled"})]
    with pytest.raises(WaitFailed) as caught:
        wait(f"{partner.url}/orders/7", fail_when=lambda body: body["status"] == "cancelled", correlation_id="abc-1")
    error = caught.value
    assert error.layer == "contract"
    assert [line.split("  ")[-1].strip() if "times" not in line else "" for line in error.history][1:] == [
        '200: {"status": "pending"}',
        '200: {"status": "cancelled"}',
    ]
    assert "404 Not Found" in error.history[0]
    assert "(2 times, until" in error.history[0]
    assert "X-Correlation-ID: abc-1" in str(error)
    assert str(error).splitlines()[-1].startswith("→ curl -i -H 'X-Correlation-ID: abc-1' http://127.0.0.1")
    assert len(partner.requests) == 4


@pytest.mark.parametrize("status", [400, 401, 403, 405, 409, 410, 422, 429, 500, 501])
def test_other_answers_fail_at_once(partner: Partner, status: int) -> None:
    partner.replies = [(status, {"detail": "no"})]
    with pytest.raises(WaitFailed, match=f"HTTP {status}"):
        wait(partner.url)
    assert len(partner.requests) == 1


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_gateway_that_finds_nobody_behind_it_waits(partner: Partner, status: int) -> None:
    partner.replies = [(status, b"upstream"), CONFIRMED]
    assert wait(partner.url)["id"] == 7


def test_which_errors_wait_is_a_choice(partner: Partner) -> None:
    partner.replies = [(500, b""), (409, b""), (503, b""), CONFIRMED]
    assert wait(partner.url, retry_on=["5xx", 409])["id"] == 7
    partner.replies = [(503, b""), CONFIRMED]
    with pytest.raises(WaitFailed, match="HTTP 503"):
        wait(partner.url, retry_on=[])


def test_a_server_that_asks_for_patience_gets_it(partner: Partner) -> None:
    partner.replies = [(503, b"", {"Retry-After": "3600"}), CONFIRMED]
    assert wait(partner.url, timeout=looks(2))["id"] == 7  # the pause was cut to what was left
    contract = contract_of(jitter=0.0)
    for seconds, pause in (("30", 30.0), ("1", 4.0), ("soon", 4.0)):
        answer = httpx.Response(
            503, headers={"Retry-After": seconds}, request=httpx.Request("GET", "http://shop.test/")
        )
        with pytest.raises(WaitFailed):
            contract.judge_answer(asking._answer(answer, (b"", False)))
        assert contract.retrying()["wait"](None) == pause


def looks(count: int) -> Deadline:
    """Return a deadline after so many looks, whatever time each takes on a busy machine."""
    left = iter([False] * (count - 1))

    class Looks(Deadline):
        @property
        def expired(self) -> bool:
            return next(left, True)

        def sooner(self, seconds: float) -> float:
            return seconds if seconds <= 60 else 0.01

    return Looks.after(600)


def test_nobody_listens_yet() -> None:
    with socket.socket() as spare:
        spare.bind(("127.0.0.1", 0))
        port = spare.getsockname()[1]
        with pytest.raises(WaitTimeout) as caught:
            wait(f"http://127.0.0.1:{port}/", timeout=0.1)
    assert "ConnectError" in str(caught.value)
    assert isinstance(caught.value, TimeoutError)


def test_the_timeout_names_what_was_seen_last(partner: Partner) -> None:
    partner.replies = [MISSING, PENDING]
    with pytest.raises(WaitTimeout, match=r'did not hold within 10m; last: 200: {"status": "pending"}'):
        wait(partner.url, timeout=looks(2))


def test_consecutive_looks_begin_again_when_one_fails(partner: Partner) -> None:
    partner.replies = [CONFIRMED, PENDING, CONFIRMED, CONFIRMED, CONFIRMED]
    assert wait(partner.url, consecutive=3)["id"] == 7
    assert len(partner.requests) == 5


def test_a_body_without_its_final_shape_waits(partner: Partner) -> None:
    partner.replies = [(200, {}), (200, b"starting"), (200, []), CONFIRMED]
    assert wait(partner.url)["id"] == 7


def test_a_mistake_in_the_check_is_not_waited_out(partner: Partner) -> None:
    partner.replies = [CONFIRMED]
    with pytest.raises(AttributeError):
        wait(partner.url, until=lambda body: body.status)
    assert len(partner.requests) == 1


def test_an_assertion_in_the_check_means_not_yet(partner: Partner) -> None:
    partner.replies = [PENDING, CONFIRMED]

    def check(body: Any) -> bool:
        assert body["status"] == "confirmed"
        return True

    assert wait(partner.url, until=check)["id"] == 7


def test_never_ready_in_the_check_ends_it(partner: Partner) -> None:
    partner.replies = [PENDING]

    def check(body: Any) -> bool:
        raise NeverReady("order 7 was rejected")

    with pytest.raises(WaitFailed, match="order 7 was rejected"):
        wait(partner.url, until=check)


def test_a_redirect_is_followed_by_choice(partner: Partner) -> None:
    partner.replies = [(302, b"", {"Location": "/there"})]
    with pytest.raises(WaitFailed, match=r"HTTP 302 Found → /there; redirects are not followed"):
        wait(partner.url)
    partner.replies = [(302, b"", {"Location": "/there"}), CONFIRMED]
    assert wait(partner.url, follow_redirects=True)["id"] == 7
    assert partner.requests[-1][1] == "/there"


def test_a_redirect_without_end_fails(partner: Partner) -> None:
    partner.replies = [(302, b"", {"Location": "/there"})]
    with pytest.raises(WaitFailed, match="redirects more than 10 times"):
        wait(partner.url, follow_redirects=True)


def test_encryption_can_be_required(partner: Partner) -> None:
    with pytest.raises(UsageError, match="not encrypted"):
        wait(partner.url, require_https=True)
    assert partner.requests == []


def test_a_redirect_must_not_leave_encryption(partner: Partner) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.scheme == "https", "sent without encryption"
        return httpx.Response(302, headers={"Location": "http://shop.test/there"})

    with (
        httpx.Client(transport=httpx.MockTransport(answer)) as client,
        pytest.raises(WaitFailed, match=r"redirects to http://shop\.test/there, not encrypted"),
    ):
        wait("https://shop.test/", client=client, require_https=True, follow_redirects=True)


@pytest.mark.parametrize("target", ["shop.test/orders", "ftp://shop.test", "http://", "http://[::1"])
def test_what_is_no_url_is_said_at_once(target: str) -> None:
    with pytest.raises(UsageError, match="is not"):
        wait(target)


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ({"consecutive": 0}, "consecutive=0"),
        ({"interval": 0}, "interval=0"),
        ({"jitter": 2}, "jitter=2"),
        ({"retry_on": ["often"]}, "'often' is not understood"),
    ],
)
def test_arguments_are_checked(how: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        wait("http://127.0.0.1:1/", **how)


def test_an_unknown_argument_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="'timout'"):
        wait("http://127.0.0.1:1/", timout=3)


def test_headers_method_and_body_are_sent_with_a_correlation_id(partner: Partner) -> None:
    partner.replies = [CONFIRMED]
    wait(partner.url, method="post", json={"sku": "A1"}, headers={"X-Shop": "1"}, params={"full": "yes"})
    method, path, headers, data = partner.requests[0]
    assert (method, path, json.loads(data)) == ("POST", "/?full=yes", {"sku": "A1"})
    assert headers["X-Shop"] == "1"
    assert len(headers["X-Correlation-ID"]) == 16


@pytest.mark.parametrize("how", [{"correlation_id": "abc-1"}, {"headers": {"x-correlation-id": "abc-1"}}, {}])
def test_the_correlation_id_that_is_sent_is_printed(partner: Partner, how: dict[str, Any]) -> None:
    partner.replies = [(409, b"")]
    with pytest.raises(WaitFailed) as caught:
        wait(partner.url, method="post", **how)
    (sent,) = (value for name, value in partner.requests[0][2].items() if name.lower() == "x-correlation-id")
    assert sent == ("abc-1" if how else sent)
    assert f"X-Correlation-ID: {sent}" in caught.value.evidence
    assert str(caught.value.command).startswith(f"curl -i -X POST -H 'X-Correlation-ID: {sent}' http://127.0.0.1")


@pytest.mark.parametrize("more", [{"correlation_id": "a\nb"}, {"correlation_id": "a'b"}])
def test_a_correlation_id_that_is_no_header(more: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="cannot be sent"):
        wait("http://127.0.0.1:1/", **more)


@pytest.mark.parametrize(
    "more", [{"headers": {"X-Shop": "1"}}, {"require_https": True}, {"verify": False}, {"follow_redirects": True}]
)
def test_what_a_callable_would_ignore_is_said(more: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"{next(iter(more))}= is for a URL"):
        wait(lambda: CONFIRMED[1], **more)


def test_an_unknown_argument_with_a_callable_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="'timout'"):
        wait(lambda: CONFIRMED[1], timout=3)


def test_the_pause_varies_by_the_jitter_alone() -> None:
    pauses = {jitter: [contract_of(jitter).retrying()["wait"](None) for _ in range(200)] for jitter in (0.0, 0.5)}
    assert set(pauses[0.0]) == {4.0}
    assert all(2.0 <= pause <= 6.0 for pause in pauses[0.5])
    assert len(set(pauses[0.5])) > 100


def contract_of(jitter: float) -> Contract:
    return Contract("it", bool, None, Deadline.after(600), 4.0, jitter, 1, [], redactor_of([]))


def test_a_body_that_never_ends_does_not_outlast_the_wait() -> None:
    """A stream of events: each part comes in time, the whole never."""

    class Endless(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            while True:
                yield b"."

    transport = httpx.MockTransport(lambda request: httpx.Response(200, stream=Endless()))
    with httpx.Client(transport=transport) as client, pytest.raises(WaitTimeout, match=r"200: \.+"):
        wait("http://shop.test/", client=client, timeout=0.1, max_body=1 << 40)


def test_a_client_has_its_own_encryption() -> None:
    with httpx.Client() as client, pytest.raises(UsageError, match="verify= and client= exclude each other"):
        wait("https://shop.test/", client=client, verify=False)


def test_secrets_are_nowhere_in_the_error(partner: Partner) -> None:
    secret, token = 'hunt"er/22', "tok-4711-tok"
    partner.replies = [(401, {"detail": f"{secret} and {token} are wrong"})]
    with pytest.raises(WaitFailed) as caught:
        wait(f"{partner.url}/?key=hunt%22er%2F22", secrets=[secret], headers={"Authorization": f"Bearer {token}"})
    text = str(caught.value) + "".join(caught.value.history)
    assert "***" in text
    for value in (secret, json.dumps(secret)[1:-1], "hunt%22er", token):
        assert value not in text


def test_a_password_in_the_url_is_not_printed(partner: Partner) -> None:
    partner.replies = [(401, b"")]
    with pytest.raises(WaitFailed) as caught:
        wait(partner.url.replace("http://", "http://joe:geheim@"))
    assert "geheim" not in str(caught.value)
    partner.replies = [(302, b"", {"Location": "/there"})]
    with pytest.raises(WaitFailed, match="more than 10 times") as caught:
        wait(partner.url.replace("http://", "http://joe:geheim@"), follow_redirects=True)
    assert "geheim" not in str(caught.value)
    with pytest.raises(UsageError, match=r"joe:\*\*\*@") as refused:
        wait("http://joe:geheim@shop.test/", require_https=True)
    assert "geheim" not in str(refused.value)


def test_a_cookie_is_not_printed(partner: Partner) -> None:
    partner.replies = [(401, b"no session c00kie-4711")]
    with pytest.raises(WaitFailed) as caught:
        wait(partner.url, cookies={"session": "c00kie-4711"})
    assert "c00kie-4711" in partner.requests[0][2]["Cookie"]
    assert "c00kie-4711" not in str(caught.value)


def test_large_bodies_are_cut(partner: Partner) -> None:
    partner.replies = [(200, b"x" * 3_000_000), CONFIRMED]
    lengths: list[int] = []

    def check(body: Any) -> bool:
        lengths.append(len(body))
        return isinstance(body, dict)

    with pytest.raises(WaitTimeout) as caught:
        wait(partner.url, until=lambda body: check(body) and False, timeout=looks(1))
    assert lengths[0] == 1 << 20
    assert len(str(caught.value)) < 3000


def test_history_is_bounded() -> None:
    counter = iter(range(10_000))
    with pytest.raises(WaitTimeout) as caught:
        wait(lambda: next(counter), until=lambda value: value < 0, timeout=0.6, interval=0.001)
    lines = caught.value.history
    assert len(lines) <= 51
    assert lines[0].endswith("  0")
    assert any("more changes" in line for line in lines)


def test_a_callable_may_say_not_yet_in_several_ways() -> None:
    answers: list[Any] = [AssertionError("queue is empty"), ConnectionRefusedError("no broker"), 3]

    def depth() -> int:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return int(answer)

    assert wait(depth, until=lambda value: value == 3) == 3


def test_a_callable_may_say_never() -> None:
    def row() -> None:
        raise NeverReady("the table was dropped")

    with pytest.raises(WaitFailed, match=r"contract .*row can never hold: the table was dropped"):
        wait(row)


def test_other_exceptions_of_a_callable_are_its_own(partner: Partner) -> None:
    class Busy(Exception):
        pass

    answers: list[Any] = [Busy("locked"), 1]

    def row() -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert wait(row, until=bool, retry_on=[Busy]) == 1
    answers[:] = [Busy("locked")]
    with pytest.raises(Busy):
        wait(row, until=bool)


def test_the_users_client_is_used_and_stays_open() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"status": "confirmed", "agent": request.headers["X-Mine"]})

    with httpx.Client(transport=httpx.MockTransport(answer), headers={"X-Mine": "yes"}) as client:
        assert wait("https://shop.test/", client=client)["agent"] == "yes"
        assert not client.is_closed


def test_a_certificate_that_is_not_trusted_fails_at_once(tls_url: str, ca_file: str) -> None:
    with pytest.raises(WaitFailed, match="a certificate does not become valid by waiting"):
        wait(tls_url)
    assert wait(tls_url, verify=ca_file)["id"] == 7
    assert wait(tls_url, verify=False, require_https=True)["id"] == 7


def test_a_server_that_wants_a_certificate_of_its_client_gets_it(
    authority: Any, partner: Partner, ca_file: str, tmp_path: Any
) -> None:
    import ssl

    partner.replies = [CONFIRMED]
    mine = tmp_path / "mine.pem"
    authority.issue_cert("client.test").private_key_and_cert_chain_pem.write_to_path(str(mine))
    with served_with_tls(authority, partner, ssl.CERT_REQUIRED) as url:
        assert wait(url, verify=ca_file, cert=str(mine))["id"] == 7
        assert wait(url, verify=ssl.create_default_context(cafile=ca_file), cert=(mine, mine))["id"] == 7
        with pytest.raises(WaitTimeout):
            wait(url, verify=ca_file, timeout=0.1)


@pytest.fixture(scope="module")
def authority() -> Any:
    import trustme

    return trustme.CA()


@pytest.fixture
def ca_file(authority: Any, tmp_path: Any) -> str:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


@pytest.fixture
def tls_url(authority: Any, partner: Partner) -> Iterator[str]:
    import ssl

    partner.replies = [CONFIRMED]
    with served_with_tls(authority, partner, ssl.CERT_NONE) as url:
        yield url


@contextmanager
def served_with_tls(authority: Any, partner: Partner, clients: Any) -> Iterator[str]:
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = clients
    authority.configure_trust(context)
    authority.issue_cert("localhost").configure_cert(context)
    handler = partner.server.RequestHandlerClass
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.handle_error = lambda *args: None  # type: ignore[method-assign]
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"https://localhost:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_asynchronous_twin(partner: Partner, backend: str) -> None:
    import anyio

    pytest.importorskip(backend)
    partner.replies = [MISSING, PENDING, CONFIRMED]

    async def one() -> Any:
        return await await_contract(partner.url, until=confirmed, timeout=20, interval=0.01)

    assert anyio.run(one, backend=backend)["id"] == 7


def test_the_asynchronous_twin_takes_both_kinds_of_callables() -> None:
    import asyncio

    answers: list[Any] = [AssertionError("not yet"), 1, 2]

    async def depth() -> Any:
        await asyncio.sleep(0)
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def both() -> tuple[Any, Any]:
        first = await await_contract(depth, until=lambda value: value == 2, interval=0.01)
        return first, await await_contract(lambda: 5, until=lambda value: value == 5)

    assert asyncio.run(both()) == (2, 5)


def test_the_asynchronous_twin_fails_and_times_out_alike(partner: Partner) -> None:
    import asyncio

    async def look(**how: Any) -> Any:
        return await await_contract(partner.url, until=confirmed, interval=0.01, **how)

    partner.replies = [(403, b"")]
    with pytest.raises(WaitFailed, match="HTTP 403"):
        asyncio.run(look())
    partner.replies = [PENDING]
    with pytest.raises(WaitTimeout):
        asyncio.run(look(timeout=0.1))


def test_several_waits_at_once_do_not_disturb_each_other(partner: Partner) -> None:
    partner.replies = [MISSING] * 10 + [CONFIRMED]
    found: list[Any] = []
    work: Callable[[], None] = lambda: found.append(wait(partner.url)["id"])  # noqa: E731
    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [7] * 5


def test_an_interrupt_ends_the_wait() -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        wait(interrupted)
