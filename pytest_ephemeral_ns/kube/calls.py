"""One call from its words to its answer: credential, attempts, error; this module must never look into an object.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from pytest_ephemeral_ns.errors import ApiError, EphemeralNsError
from pytest_ephemeral_ns.kube import answers
from pytest_ephemeral_ns.kube.http import Headers, NoAnswer, Pool, Reply
from pytest_ephemeral_ns.kube.retry import Policy, repeat

if TYPE_CHECKING:
    from pytest_ephemeral_ns.connection import Connection

JSON = "application/json"
_RENEW_PAUSE = 5.0  # a credential that was renewed and refused again is not renewed by the next call at once
_REFUSED_AT_FIRST, _REFUSED_LATER = 4, 8  # attempts: 0.7 s for a server that was never there, 12 s for a restart

Send = Callable[[Pool, "Call", Headers, float], Reply]


@dataclass(frozen=True)
class Call:
    """What is asked.

    Args:
        method: HTTP method.
        path: below the server.
        what: for people: ``"create namespaces/shop"``.
        params: of the query; booleans are written as Go reads them.
        body: bytes to send.
        content_type: of the body.
        accept: of the answer.
        repeatable: whether asking twice is the same as asking once.
        fresh: see :class:`Policy`.
    """

    method: str
    path: str
    what: str
    params: Mapping[str, Any]
    body: bytes | None = None
    content_type: str = ""
    accept: str = JSON
    repeatable: bool = False
    fresh: bool = True

    @property
    def target(self) -> str:
        """Path and query."""
        query = {key: str(value).lower() if isinstance(value, bool) else value for key, value in self.params.items()}
        return f"{self.path}?{urlencode(query, doseq=True)}" if query else self.path


@dataclass(frozen=True)
class Session:
    """One identity, and the connections that carry it."""

    connection: Connection
    pool: Pool
    token: str
    renewed: float = float("-inf")

    def headers(self) -> list[tuple[str, str]]:
        """Return what authenticates a request; a name may come twice."""
        token = [("Authorization", f"Bearer {self.token}")] if self.token else []
        return [*token, *self.connection.headers]


class Caller:
    """Performs calls for as many threads as want it.

    Args:
        connection: where to, and who.
        refresh: returns a connection with a new credential.

    Attributes:
        requests: how many were sent.
        session: the identity in use.
    """

    def __init__(self, connection: Connection, refresh: Callable[[], Connection] | None) -> None:
        self.requests = 0
        self.session = Session(connection, Pool(connection), _token(connection))
        self._refresh = refresh
        self._counting, self._renewing = threading.Lock(), threading.Lock()
        self._closed = threading.Event()
        self._answered = False
        self._retired: list[Pool] = []
        self._date, self._ahead = "", float("-inf")

    def close(self) -> None:
        """Close idle connections and end pauses."""
        self._closed.set()
        for pool in (*self._retired, self.session.pool):
            pool.close()

    def perform(
        self,
        call: Call,
        *,
        timeout: float,
        send: Send | None = None,
        stopped: threading.Event | None = None,
        doubt: threading.Event | None = None,
        warnings: list[str] | None = None,
    ) -> Reply:
        """Return the successful answer to ``call``.

        Args:
            call: what to ask.
            timeout: seconds for all attempts.
            send: how to send it once; by default over the pool.
            stopped: ends pauses; by default :meth:`close` does.
            doubt: is set when an attempt may have been carried out without our getting to know.
            warnings: the server's warnings are appended to it.

        Raises:
            ApiError: refused, or no answer.
        """
        started = time.monotonic()

        def attempt() -> Reply:
            left = max(0.1, timeout - (time.monotonic() - started))
            return self._attempt(call, send or _over_pool, left, doubt)

        policy = Policy(call.repeatable, call.fresh, _REFUSED_LATER if self._answered else _REFUSED_AT_FIRST)
        outcome, tries = repeat(attempt, policy, timeout=timeout, stopped=stopped or self._closed)
        if isinstance(outcome, NoAnswer):
            raise self.unreachable(call.what, outcome, tries, time.monotonic() - started) from None
        if warnings is not None:
            warnings.extend(_warning(text) for text in outcome.warnings)
        if outcome.status >= 300:
            raise answers.refused(call.what, outcome, self.session.connection)
        return outcome

    def unreachable(self, what: str, error: NoAnswer, tries: int = 1, seconds: float = 0.0) -> ApiError:
        """Return the error for a call that got no answer."""
        session = self.session
        address = session.pool.address
        return answers.unreachable(what, error, session.connection, address=address, tries=tries, seconds=seconds)

    def _attempt(self, call: Call, send: Send, left: float, doubt: threading.Event | None) -> Reply:
        session = self.session
        reply = self._send(session, call, send, left, doubt)
        if reply.status == 401 and (renewed := self._renew(session, call.what)):
            reply = self._send(renewed, call, send, left, doubt)
        return reply

    def _send(self, session: Session, call: Call, send: Send, left: float, doubt: threading.Event | None) -> Reply:
        headers = [("Accept", call.accept), ("User-Agent", "pytest-ephemeral-ns"), *session.headers()]
        if call.content_type:
            headers.append(("Content-Type", call.content_type))
        with self._counting:
            self.requests += 1
        try:
            reply = send(session.pool, call, headers, left)
        except NoAnswer as error:
            if error.sent and doubt:
                doubt.set()
            raise
        self._answered = True
        self._note_time(reply.headers.get("date", ""))
        if reply.status >= 500 and doubt:
            doubt.set()
        return reply

    def now(self) -> float:
        """Return the server's time, seconds since the epoch; this machine's when no answer told."""
        return time.time() if self._ahead == float("-inf") else time.monotonic() + self._ahead

    def _note_time(self, date: str) -> None:
        if not date or date == self._date:
            return
        self._date = date
        try:
            told = parsedate_to_datetime(date).timestamp()
        except (ValueError, TypeError):
            return
        # Date is cut to whole seconds, so the greatest difference seen is the nearest to the truth.
        self._ahead = max(self._ahead, told - time.monotonic())

    def _renew(self, refused: Session, what: str) -> Session | None:
        """Return a session with another credential than the refused one; ``None`` when there is none to be had."""
        with self._renewing:
            if self.session is not refused:
                return self.session  # another thread has renewed it while this one waited
            if time.monotonic() - refused.renewed < _RENEW_PAUSE:
                return None
            connection = self._new_credential(refused.connection, what)
            token = _token(connection)
            if token == refused.token and connection == refused.connection:
                return None
            pool = refused.pool
            if _wire_facts(connection) != _wire_facts(refused.connection):
                self._retired.append(pool)
                pool = Pool(connection)
            self.session = Session(connection, pool, token, time.monotonic())
            return self.session

    def _new_credential(self, connection: Connection, what: str) -> Connection:
        if self._refresh is None:
            return connection
        try:
            return self._refresh()
        except EphemeralNsError as error:
            raise ApiError(
                f"{what}: 401 Unauthorized: the credential could not be renewed: {error.summary}",
                status=401,
                reason="Unauthorized",
                evidence=error.evidence,
                command=error.command,
            ) from error


def encode(body: Any) -> bytes:
    """Return ``body`` as JSON."""
    return json.dumps(body, separators=(",", ":")).encode()


def has_version(body: Any) -> bool:
    """Return whether ``body`` names the resourceVersion that it must be applied to."""
    return isinstance(body, dict) and bool((body.get("metadata") or {}).get("resourceVersion"))


def _over_pool(pool: Pool, call: Call, headers: Headers, timeout: float) -> Reply:
    return pool.send(call.method, call.target, headers, call.body, timeout=timeout)


def _token(connection: Connection) -> str:
    """Return the bearer token; a token file wins, because it is the one that is replaced from time to time."""
    if connection.token_file:
        try:
            return Path(connection.token_file).read_text().strip() or connection.token
        except OSError:
            return connection.token
    return connection.token


def _wire_facts(connection: Connection) -> Connection:
    """Return what a pool depends on: all but the token."""
    return replace(connection, token="", token_file="", expires_at=None, headers=())


def _warning(header: str) -> str:
    """Return the text of a Warning header: ``299 - "text"`` (RFC 7234, 5.5)."""
    match = re.match(r'\d{3} \S+ "((?:[^"\\]|\\.)*)"', header)
    return re.sub(r"\\(.)", r"\1", match[1]) if match else header
