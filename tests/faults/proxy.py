"""A proxy in front of the real API server that breaks things on demand.

Everything that is not told to break goes to the real server and back, watches and upgraded connections (exec,
port-forward) too. It is a forward proxy as well: ``replace(connection, proxy_url=proxy.connection.server)``.
Only the standard library; every thread has ended and every socket is closed after ``close()``.

    with FaultProxy(connection) as proxy:
        proxy.fail(429, method="POST", path=r"/namespaces$", headers={"Retry-After": "1"}, times=2)
        proxy.cut("after", method="POST", path=r"/namespaces$")        # carried out, but the answer is lost
        proxy.end_watch(410, path=r"/pods$", after_events=3)
        with proxy.down():                                             # refuses connections, as while it restarts
            ...
        api = Api(proxy.connection)
        assert [request.status for request in proxy.requests] == [429, 429, 201]
"""

from __future__ import annotations

import json
import re
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from pytest_ephemeral_ns.connection import Connection
from pytest_ephemeral_ns.kube.tls import client_context

_HOP_BY_HOP = {"connection", "transfer-encoding", "content-length", "keep-alive"}


@dataclass
class Request:
    """One request as it came in. ``status`` is 0 while there is no answer, and when it was cut."""

    method: str
    path: str
    query: dict[str, str]
    headers: Mapping[str, str]
    body: bytes
    at: float = field(default_factory=time.monotonic)
    status: int = 0
    fault: str = ""

    @property
    def watch(self) -> bool:
        return self.query.get("watch") == "true"

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Rule:
    """What breaks, for which requests, how often."""

    fault: str
    method: str | None = None
    path: str = ""
    watch: bool | None = None
    when: Callable[[Request], bool] | None = None
    times: int | None = 1
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    seconds: float = 0.0
    after_events: int = 0
    half_event: bool = False
    hits: int = 0

    def matches(self, request: Request) -> bool:
        return (
            (self.times is None or self.hits < self.times)
            and self.method in (None, request.method)
            and re.search(self.path, request.path) is not None
            and self.watch in (None, request.watch)
            and (self.when is None or self.when(request))
        )

    def remove(self) -> None:
        self.times = 0


class FaultProxy:
    """See the module. ``connection`` points at the proxy; it needs no credential: the proxy has the real one.

    Args:
        upstream: the real server.
        tls: a server-side context, to be reached by https; the caller puts the CA into the connection.
        host: name in the connection's URL.
    """

    def __init__(self, upstream: Connection, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> None:
        self.upstream = upstream
        self.requests: list[Request] = []
        self.errors: list[BaseException] = []
        self._rules: list[Rule] = []
        self._news = threading.Condition()
        self.closing = threading.Event()
        self._sockets: set[socket.socket] = set()
        self._tls = tls
        self.context = client_context(upstream) if upstream.server.startswith("https") else None
        self._start(0)
        scheme = "https" if tls else "http"
        self.connection = replace(
            upstream,
            server=f"{scheme}://{host}:{self.port}",
            ca_data="",
            client_cert_data="",
            client_key_data="",
            tls_server_name="",
        )

    # -- what breaks

    def fail(
        self,
        status: int,
        *,
        reason: str = "",
        message: str = "broken on purpose",
        headers: Mapping[str, str] | None = None,
        **which: Any,
    ) -> Rule:
        """Answer with an error; the server does not get to know the request."""
        return self._add("fail", status=status, headers=headers or {}, body=_status(status, reason, message), **which)

    def fail_after(self, status: int, *, reason: str = "", message: str = "broken on purpose", **which: Any) -> Rule:
        """Let the server carry the request out, and answer with an error all the same."""
        return self._add("fail after", status=status, body=_status(status, reason, message), **which)

    def cut(self, moment: str = "before", *, after_events: int = 0, half_event: bool = False, **which: Any) -> Rule:
        """Cut the connection.

        Args:
            moment: ``before`` the server gets the request; ``after`` it has answered, without passing the answer on;
                ``within`` the answer, after so many events (lines), and half a one more if asked for.
            after_events: for ``within``.
            half_event: for ``within``.
            which: method, path, watch, when, times.
        """
        assert moment in ("before", "after", "within")
        return self._add(f"cut {moment}", after_events=after_events, half_event=half_event, **which)

    def delay(self, seconds: float, **which: Any) -> Rule:
        """Wait before the request is passed on; other rules still apply to it."""
        return self._add("delay", seconds=seconds, **which)

    def silence(self, *, after_events: int = 0, **which: Any) -> Rule:
        """Pass nothing on any more, and keep the connection open, as a cable that was pulled."""
        return self._add("silence", after_events=after_events, **which)

    def end_watch(
        self, status: int = 410, *, reason: str = "Expired", message: str = "too old resource version", **which: Any
    ) -> Rule:
        """Put an ERROR event into a watch, after ``after_events`` good ones, and end it."""
        event = json.dumps({"type": "ERROR", "object": json.loads(_status(status, reason, message))}).encode() + b"\n"
        return self._add("end watch", body=event, watch=True, **which)

    def close_watch(self, *, after_events: int = 0, **which: Any) -> Rule:
        """End a watch properly, as the server does every few minutes."""
        return self._add("close watch", after_events=after_events, watch=True, **which)

    def cut_all(self) -> None:
        """Cut every connection that is open now."""
        with self._news:
            sockets = [*self._sockets]
        for sock in sockets:
            _shut(sock)

    @contextmanager
    def down(self) -> Iterator[None]:
        """Cut all connections and refuse new ones for the time of the block, as an API server that restarts."""
        self._stop()
        try:
            yield
        finally:
            self._start(self.port)

    # -- what happened

    def seen(self, *, method: str | None = None, path: str = "", watch: bool | None = None) -> list[Request]:
        """Return the requests of that kind so far."""
        rule = Rule("seen", method, path, watch, times=None)
        return [request for request in [*self.requests] if rule.matches(request)]

    def wait_for(self, count: int = 1, *, timeout: float = 10.0, **which: Any) -> list[Request]:
        """Wait until that many requests of that kind have come in."""
        with self._news:
            assert self._news.wait_for(lambda: len(self.seen(**which)) >= count, timeout), (
                f"{len(self.seen(**which))} of {count} requests {which} came in {timeout} s"
            )
        return self.seen(**which)

    def close(self) -> None:
        self.closing.set()
        self._stop()

    def __enter__(self) -> FaultProxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        assert not self.errors, self.errors

    # -- for the handler

    def note(self, request: Request) -> list[Rule]:
        """Log a request and return the rules that apply to it: all delays up to the first other one."""
        with self._news:
            self.requests.append(request)
            found = []
            for rule in self._rules:
                if rule.matches(request):
                    rule.hits += 1
                    found.append(rule)
                    request.fault = rule.fault
                    if rule.fault != "delay":
                        break
            self._news.notify_all()
            return found

    def track(self, sock: socket.socket) -> None:
        with self._news:
            self._sockets.add(sock)

    def forget(self, sock: socket.socket) -> None:
        with self._news:
            self._sockets.discard(sock)

    def _add(self, fault: str, **options: Any) -> Rule:
        rule = Rule(fault, **options)
        with self._news:
            self._rules.append(rule)
        return rule

    def _start(self, port: int) -> None:
        self._server = _Server(("127.0.0.1", port), _Handler)
        self._server.proxy, self._server.tls = self, self._tls
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="fault proxy")
        self._thread.start()

    def _stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.stopping.set()
        self._server.socket.close()
        while any(thread.is_alive() for thread in [*self._server.handlers]):
            self.cut_all()  # again and again: a handler may be about to connect
            for thread in [*self._server.handlers]:
                thread.join(0.02)


class _Server(ThreadingHTTPServer):
    proxy: FaultProxy
    tls: ssl.SSLContext | None
    request_queue_size = 128
    allow_reuse_address = True

    def __init__(self, *args: Any) -> None:
        self.stopping = threading.Event()
        self.handlers: list[threading.Thread] = []
        super().__init__(*args)

    def process_request(self, request: Any, client_address: Any) -> None:
        thread = threading.Thread(target=self.process_request_thread, args=(request, client_address))
        self.handlers = [t for t in self.handlers if t.is_alive()] + [thread]
        thread.start()

    def finish_request(self, request: Any, client_address: Any) -> None:
        if self.tls is not None:
            request.settimeout(5.0)
            request = self.tls.wrap_socket(request, server_side=True)
            request.settimeout(None)
        self.proxy.track(request)
        try:
            super().finish_request(request, client_address)
        finally:
            self.proxy.forget(request)
            if self.tls is not None:
                request.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        import sys

        error = sys.exc_info()[1]
        if error is not None and not isinstance(error, (OSError, HTTPException)):
            self.proxy.errors.append(error)


class _Cut(Exception):
    """The connection to the client is to be cut."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 0
    disable_nagle_algorithm = True
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.upstream: HTTPConnection | None = None

    def finish(self) -> None:
        self._drop_upstream()
        super().finish()

    def _forward(self) -> None:
        proxy = self.server.proxy
        url = urlsplit(self.path)
        request = Request(self.command, url.path, dict(parse_qsl(url.query)), dict(self.headers), self._body())
        try:
            self._obey(request, proxy.note(request))
        except _Cut:
            self.close_connection = True
            _shut(self.connection)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _forward

    def _obey(self, request: Request, rules: list[Rule]) -> None:
        rule = None
        for rule in rules:
            if rule.fault == "delay":
                self._pause(rule.seconds)
        fault = rule.fault if rule else ""
        if rule and fault == "fail":
            self._answer(request, rule)
        elif fault == "cut before":
            raise _Cut
        elif "upgrade" in self.headers:
            self._tunnel(request)
        else:
            response = self._ask(request)
            if fault in ("cut after", "fail after"):
                response.read()
                if fault == "cut after":
                    raise _Cut
                assert rule
                self._answer(request, rule)
            else:
                self._relay(request, response, rule if fault != "delay" else None)

    def _answer(self, request: Request, rule: Rule) -> None:
        request.status = rule.status
        self.send_response(rule.status)
        for name, value in {"Content-Type": "application/json", **rule.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(rule.body)))
        self.end_headers()
        self.wfile.write(rule.body)

    def _ask(self, request: Request) -> HTTPResponse:
        """Pass the request on; an idle upstream connection may have been closed, a new one not."""
        for fresh in (self.upstream is None, True):
            upstream = self._connect() if fresh or self.upstream is None else self.upstream
            try:
                upstream.putrequest(request.method, self.path, skip_accept_encoding=True)
                for name, value in self.headers.items():
                    if name.lower() not in {*_HOP_BY_HOP, "host"}:
                        upstream.putheader(name, value)
                if request.body or request.method in ("POST", "PUT", "PATCH"):
                    upstream.putheader("Content-Length", str(len(request.body)))
                upstream.endheaders(request.body or None)
                return upstream.getresponse()
            except (OSError, HTTPException):
                self._drop_upstream()
                if fresh:
                    raise _Cut from None
        raise AssertionError

    def _connect(self) -> HTTPConnection:
        self._drop_upstream()
        proxy = self.server.proxy
        url = urlsplit(proxy.upstream.server)
        assert url.hostname
        if proxy.context is None:
            upstream = HTTPConnection(url.hostname, url.port, timeout=30)
        else:
            upstream = HTTPSConnection(url.hostname, url.port, timeout=30, context=proxy.context)
        try:
            upstream.connect()
        except OSError:
            raise _Cut from None
        upstream.sock.settimeout(None)
        proxy.track(upstream.sock)
        self.upstream = upstream
        return upstream

    def _drop_upstream(self) -> None:
        upstream, self.upstream = self.upstream, None
        if upstream is not None:
            if upstream.sock is not None:
                self.server.proxy.forget(upstream.sock)
            upstream.close()

    def _relay(self, request: Request, response: HTTPResponse, rule: Rule | None) -> None:
        request.status = response.status
        self.send_response_only(response.status)
        for name, value in response.getheaders():
            if name.lower() not in _HOP_BY_HOP:
                self.send_header(name, value)
        if response.length is not None and rule is None:
            self.send_header("Content-Length", str(response.length))
            self.end_headers()
            self.wfile.write(response.read())
            return
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for part in self._parts(response, rule):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
        self.wfile.write(b"0\r\n\r\n")
        if not response.isclosed():  # a watch that was ended by a rule: the rest of it must not be the next answer
            response.close()
            self._drop_upstream()

    def _parts(self, response: HTTPResponse, rule: Rule | None) -> Iterator[bytes]:
        """Yield the answer piece by piece until the rule's moment has come."""
        left = rule.after_events if rule else -1
        if rule and left == 0 and not rule.half_event:
            yield from self._finale(rule, b"")
            return
        while part := self._next(response):
            if rule is None or (lines := part.count(b"\n")) < left or (lines == left and not rule.half_event):
                yield part
                left -= lines if rule else 0
                if not (rule and left == 0 and not rule.half_event):
                    continue
                part = b""
            else:
                pieces = part.split(b"\n")
                if left:
                    yield b"\n".join(pieces[:left]) + b"\n"
                part = pieces[left]
            yield from self._finale(rule, part)
            return

    def _next(self, response: HTTPResponse) -> bytes:
        try:
            return response.read1(1 << 16)
        except (OSError, HTTPException):
            raise _Cut from None

    def _finale(self, rule: Rule, next_event: bytes) -> Iterator[bytes]:
        if rule.fault == "cut within":
            if rule.half_event and next_event:
                yield next_event[: max(1, len(next_event) // 2)]
            raise _Cut
        if rule.fault == "silence":
            self._pause(3600.0)
            raise _Cut
        if rule.fault == "end watch":
            yield rule.body

    def _pause(self, seconds: float) -> None:
        if self.server.stopping.wait(seconds):
            raise _Cut

    def _tunnel(self, request: Request) -> None:
        """Upgraded connections: bytes to and fro until one side ends."""
        upstream = self._connect()
        request.status = 101
        lines = [f"{request.method} {self.path} HTTP/1.1", f"Host: {upstream.host}:{upstream.port}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items() if name.lower() != "host"]
        upstream.sock.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
        self._pump(upstream.sock)

    def do_CONNECT(self) -> None:
        """A forward proxy's part: bytes to and fro between the client and whoever it names."""
        proxy = self.server.proxy
        request = Request("CONNECT", self.path, {}, dict(self.headers), b"")
        rules = proxy.note(request)
        if rules and rules[-1].fault == "fail":
            self._answer(request, rules[-1])
            return
        host, _, port = self.path.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=5) as upstream:
            upstream.settimeout(None)
            proxy.track(upstream)
            request.status = 200
            self.send_response_only(200)
            self.end_headers()
            self._pump(upstream)
            proxy.forget(upstream)

    def _pump(self, upstream: socket.socket) -> None:
        self.close_connection = True
        client = self.connection
        while True:
            ready = [s for s in (upstream, client) if isinstance(s, ssl.SSLSocket) and s.pending()]
            ready = ready or select.select([upstream, client], [], [])[0]
            for sock in ready:
                data = sock.recv(1 << 16)
                if not data:
                    return
                (client if sock is upstream else upstream).sendall(data)

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def _status(code: int, reason: str, message: str) -> bytes:
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": message}
    return json.dumps({**body, **({"reason": reason} if reason else {})}).encode()


def _shut(sock: socket.socket) -> None:
    try:
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
    except OSError:
        return  # closed already
