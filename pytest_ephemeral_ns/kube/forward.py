"""A local port that leads to a port of a pod; this module must never choose the pod.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import errno
import selectors
import socket
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from pytest_ephemeral_ns.errors import ApiError, EphemeralNsError, NotReady, UsageError
from pytest_ephemeral_ns.kube.channels import V4, Channels
from pytest_ephemeral_ns.kube.handshake import open_channels
from pytest_ephemeral_ns.kube.link import Link

if TYPE_CHECKING:
    from pytest_ephemeral_ns.kube.api import Api

PATIENCE = 3.0
_RETRY_SECONDS = 0.1
_OPEN_SECONDS = 5.0
_JOIN_SECONDS = 15.0
_BACKLOG = 128
_FINAL = {400, 401, 403}  # no later attempt of the same kind can go better


class PortForward:
    """A listener on 127.0.0.1; each connection to it becomes a connection to the pod, as many at once as you like.

    The pod is looked up anew for each connection, so that the next one after a rollout reaches a new pod. While there
    is none, or it refuses, a connection is held for ``patience`` seconds and then reset; :attr:`last_error` says why.

    Args:
        api: the API server.
        namespace: of the pod.
        resolve: returns the pod's name and port; called for every connection, by several threads.
        local_port: 0 takes a free one.
        patience: seconds.

    Attributes:
        port: the local port.

    Raises:
        UsageError: ``local_port`` is taken or may not be used.

    Example:
        >>> def fetch(api):  # doctest: +SKIP
        ...     with PortForward(api, "shop", lambda: ("api-0", 8080)) as forward:
        ...         return httpx.get(f"http://127.0.0.1:{forward.port}/")
    """

    def __init__(
        self,
        api: Api,
        namespace: str,
        resolve: Callable[[], tuple[str, int]],
        *,
        local_port: int = 0,
        patience: float = PATIENCE,
    ) -> None:
        self._api, self._namespace, self._resolve, self._patience = api, namespace, resolve, patience
        self._listener = _listen(local_port)
        self.port: int = self._listener.getsockname()[1]
        self._error = ""
        self._lock = threading.Lock()
        self._threads: set[threading.Thread] = set()
        self._closed = threading.Event()
        # Its far end is closed to wake up every selector at once: this end is then readable, for ever.
        self._stop, self._stopper = socket.socketpair()
        self._accepting = threading.Thread(target=self._accept, name=f"port-forward-{self.port}", daemon=True)
        self._accepting.start()

    def __enter__(self) -> PortForward:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<PortForward 127.0.0.1:{self.port} → namespace {self._namespace}>"

    @property
    def last_error(self) -> str:
        """Why the last connection that failed did; empty when the last one reached a pod."""
        return self._error

    def close(self) -> None:
        """Stop listening, cut all connections and wait for the threads; may be called twice."""
        with self._lock:
            if self._closed.is_set():
                return
            self._closed.set()
        self._stopper.close()
        self._accepting.join(_JOIN_SECONDS)
        ends = time.monotonic() + _JOIN_SECONDS
        with self._lock:
            threads = tuple(self._threads)
        for thread in threads:
            thread.join(max(0.0, ends - time.monotonic()))
        self._stop.close()

    def _accept(self) -> None:
        with self._listener, selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._stop, selectors.EVENT_READ)
            while True:
                selector.select()
                if self._closed.is_set():
                    return
                try:
                    client = self._listener.accept()[0]
                except OSError as error:  # it went away before it was accepted, or there are too many open files
                    self._error = f"127.0.0.1:{self.port}: a connection could not be accepted: {error.strerror}"
                    self._closed.wait(_RETRY_SECONDS)
                else:
                    self._start(client)

    def _start(self, client: socket.socket) -> None:
        thread = threading.Thread(target=self._serve, args=(client,), name=f"{self._accepting.name}-link", daemon=True)
        with self._lock:
            self._threads.add(thread)
        thread.start()

    def _serve(self, client: socket.socket) -> None:
        try:
            with client:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                client.setblocking(False)
                link = Link(client, self._stop, on_answer=self._answered)
                if error := self._carry(link):
                    self._error = error
                    link.reset()
                else:
                    link.finish()
        finally:
            with self._lock:
                self._threads.discard(threading.current_thread())

    def _carry(self, link: Link) -> str:
        """Carry one connection to its end; return why it failed, empty if it did not."""
        ends = time.monotonic() + self._patience
        while True:
            passing, error = self._attempt(link)
            if not error:
                return ""
            self._error = error
            if not passing or not link.repeatable or time.monotonic() >= ends or self._closed.wait(_RETRY_SECONDS):
                return error

    def _attempt(self, link: Link) -> tuple[bool, str]:
        """Return whether a failure may pass by itself, and the failure."""
        try:
            pod, port = self._resolve()
            channels = self._open(pod, port)
        except ApiError as error:
            return error.status not in _FINAL, str(error)
        except EphemeralNsError as error:
            return isinstance(error, NotReady), str(error)
        except Exception as error:  # the resolver is the caller's; a thread that dies would tell nobody why
            return False, f"{type(error).__name__}: {error}"
        with channels:
            error_text = link.carry(channels)
        return True, f"port {port} of Pod/{pod} in namespace {self._namespace}: {error_text}" if error_text else ""

    def _answered(self) -> None:
        self._error = ""

    def _open(self, pod: str, port: int) -> Channels:
        path = f"/api/v1/namespaces/{self._namespace}/pods/{pod}/portforward"
        return open_channels(
            self._api,
            path,
            {"ports": port},
            protocols=[V4],
            timeout=_OPEN_SECONDS,
            repeatable=False,
            stopped=self._closed,
        )


def _listen(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        if hasattr(socket, "SO_REUSEPORT"):  # not on Windows, where SO_REUSEADDR would let two listen at once
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except (OSError, OverflowError) as error:
        listener.close()
        raise _cannot_listen(port, error) from error
    return listener


def _cannot_listen(port: int, error: OSError | OverflowError) -> UsageError:
    if isinstance(error, OverflowError):
        return UsageError(f"local port {port} is not a port", evidence=["a number from 0 to 65535; 0 takes a free one"])
    if error.errno != errno.EADDRINUSE:
        return UsageError(f"local port {port} cannot be used: {error.strerror}", command="use local_port=0: a free one")
    with socket.socket() as probe:
        probe.settimeout(1.0)
        heard = probe.connect_ex(("127.0.0.1", port)) == 0
    return UsageError(
        f"local port {port} is taken",
        evidence=["something else listens on 127.0.0.1 there" if heard else "another socket is bound to it"],
        command=f"ss -ltnp 'sport = :{port}'   # who it is; or use local_port=0: a free one",
    )
