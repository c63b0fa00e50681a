"""One HTTP request of a contract, hop by hop, its body bounded; this module must never judge a body.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import json
import os
import ssl
import time
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pytest_ephemeral_ns.errors import UsageError

if TYPE_CHECKING:
    import httpx

_HOPS = 10
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


@dataclass(frozen=True)
class Ask:
    """What to ask, and how.

    Args:
        url: where.
        method: HTTP method.
        headers: with the correlation id.
        options: more for httpx's ``build_request``: ``json``, ``data``, ``params``, ``content``, ``cookies``.
        require_https: whether every hop must be encrypted.
        follow_redirects: whether 3xx answers are followed.
        verify: of httpx: ``True``, ``False``, a file or folder of CA certificates, or an ``ssl.SSLContext``.
        cert: a client certificate: a file, or (file, key file[, password]).
        max_body: bytes of a body that are read.
        timeout: seconds for each step of a request, and until a body that is still coming is cut.
    """

    url: str
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    require_https: bool = False
    follow_redirects: bool = False
    verify: Any = True
    cert: Any = None
    max_body: int = 1 << 20
    timeout: float = 10.0


@dataclass(frozen=True)
class Answer:
    """What came back.

    Args:
        status: HTTP status code.
        phrase: ``"Not Found"``.
        body: decoded JSON where it is JSON, else text; ``None`` when it is empty.
        text: the body as text, as far as it was read.
        url: of the last hop.
        location: of a redirect that was not followed.
        retry_after: seconds that the server asks for; 0 if it does not.
        cut: whether the body is longer than what was read.
    """

    status: int
    phrase: str
    body: Any
    text: str
    url: str
    location: str = ""
    retry_after: float = 0.0
    cut: bool = False


def check(ask: Ask) -> None:
    """Raise a UsageError for a URL that can never be asked.

    Args:
        ask: what to ask.
    """
    import httpx

    try:
        url = httpx.URL(ask.url)
    except (httpx.InvalidURL, TypeError) as error:
        raise UsageError("contract target is not a URL", evidence=[str(error)]) from error
    if url.scheme not in ("http", "https") or not url.host:
        raise UsageError(f"contract target {shown(ask.url)!r} is not an http:// or https:// URL")
    if ask.require_https and url.scheme != "https":
        raise UsageError(f"contract target {shown(ask.url)!r} is not encrypted, and require_https is set")


def shown(url: str) -> str:
    """Return a URL for people: without its password.

    Args:
        url: a valid URL.

    Example:
        >>> shown("http://joe:geheim@shop.test/")
        'http://joe:***@shop.test/'
    """
    import httpx

    parsed = httpx.URL(url)
    if not parsed.password:
        return str(parsed)
    return str(parsed.copy_with(username=parsed.username, password="***"))  # noqa: S106


def client_options(ask: Ask) -> dict[str, Any]:
    """Return the arguments of an httpx client for this; a proxy from the environment is not for this machine itself."""
    import httpx

    return {"verify": _tls(ask), "trust_env": httpx.URL(ask.url).host not in _LOOPBACK}


def _tls(ask: Ask) -> ssl.SSLContext | bool:
    """Return what httpx takes: it no longer likes paths, and with a context of ours no separate certificate."""
    import httpx

    verify = ask.verify
    if isinstance(verify, (str, os.PathLike)):
        path = os.fspath(verify)
        folder = os.path.isdir(path)
        verify = ssl.create_default_context(cafile=None if folder else path, capath=path if folder else None)
    if ask.cert is None:
        return verify  # type: ignore[no-any-return]
    context = verify if isinstance(verify, ssl.SSLContext) else httpx.create_ssl_context(verify=verify)
    context.load_cert_chain(*([ask.cert] if isinstance(ask.cert, (str, os.PathLike)) else ask.cert))
    return context


@contextmanager
def client_for(ask: Ask, given: httpx.Client | None) -> Iterator[httpx.Client]:
    """Give the user's client, which stays open, or one of our own, which is closed."""
    import httpx

    if given is not None:
        yield given
        return
    with httpx.Client(**client_options(ask)) as client:
        yield client


@asynccontextmanager
async def async_client_for(ask: Ask, given: httpx.AsyncClient | None) -> AsyncIterator[httpx.AsyncClient]:
    """The asynchronous twin of :func:`client_for`."""
    import httpx

    if given is not None:
        yield given
        return
    async with httpx.AsyncClient(**client_options(ask)) as client:
        yield client


def perform(client: httpx.Client, ask: Ask, timeout: float) -> Answer:
    """Send the request and follow its redirects, if wanted; read as much of the body as is allowed.

    Args:
        client: of httpx.
        ask: what to ask.
        timeout: seconds for each step of each hop: to connect, to send, for the server to say anything more. A body
            that is still coming so long after the beginning is cut when its next part arrives.

    Raises:
        httpx.TransportError: no answer.
        UsageError: a redirect leads to an address that is not encrypted, though it must be.
    """
    request: httpx.Request | None = _first(client, ask, timeout)
    end = time.monotonic() + timeout
    for _ in range(_HOPS):
        assert request is not None
        response = client.send(request, stream=True, follow_redirects=False)
        try:
            request = _next(response, ask)
            if request is None:
                return _answer(response, _read(response.iter_bytes(), ask.max_body, end))
        finally:
            response.close()
    raise _too_many(ask)


async def perform_async(client: httpx.AsyncClient, ask: Ask, timeout: float) -> Answer:
    """The asynchronous twin of :func:`perform`."""
    request: httpx.Request | None = _first(client, ask, timeout)
    end = time.monotonic() + timeout
    for _ in range(_HOPS):
        assert request is not None
        response = await client.send(request, stream=True, follow_redirects=False)
        try:
            request = _next(response, ask)
            if request is None:
                return _answer(response, await _read_async(response.aiter_bytes(), ask.max_body, end))
        finally:
            await response.aclose()
    raise _too_many(ask)


def _too_many(ask: Ask) -> UsageError:
    return UsageError(f"contract target {shown(ask.url)!r} redirects more than {_HOPS} times")


def _first(client: httpx.Client | httpx.AsyncClient, ask: Ask, timeout: float) -> httpx.Request:
    return client.build_request(ask.method, ask.url, headers=dict(ask.headers), timeout=timeout, **ask.options)


def _next(response: httpx.Response, ask: Ask) -> httpx.Request | None:
    if not ask.follow_redirects or response.next_request is None:
        return None
    following = response.next_request
    if ask.require_https and following.url.scheme != "https":
        raise UsageError(
            f"contract target {shown(ask.url)!r} redirects to {following.url.copy_with(query=None)}, not encrypted"
        )
    return following


def _read(parts: Iterator[bytes], limit: int, end: float) -> tuple[bytes, bool]:
    found = b""
    for part in parts:
        found += part
        if len(found) > limit or time.monotonic() > end:
            return found[:limit], True
    return found, False


async def _read_async(parts: AsyncIterator[bytes], limit: int, end: float) -> tuple[bytes, bool]:
    found = b""
    async for part in parts:
        found += part
        if len(found) > limit or time.monotonic() > end:
            return found[:limit], True
    return found, False


def _answer(response: httpx.Response, read: tuple[bytes, bool]) -> Answer:
    data, cut = read
    text = data.decode(response.encoding or "utf-8", errors="replace")
    return Answer(
        status=response.status_code,
        phrase=response.reason_phrase,
        body=_decoded(text),
        text=text,
        url=str(response.url),
        location=response.headers.get("location", ""),
        retry_after=_seconds(response.headers.get("retry-after", "")),
        cut=cut,
    )


def _decoded(text: str) -> Any:
    if not text:
        return None
    try:
        return json.loads(text)
    except ValueError:
        return text


def _seconds(text: str) -> float:
    return float(text) if text.isdigit() else 0.0


def statuses(retry_on: Collection[Any]) -> tuple[set[int], tuple[type[BaseException], ...]]:
    """Return the status codes and the exception classes that mean "not yet".

    Args:
        retry_on: codes (``503``), classes of codes (``"5xx"``), exception classes (``OperationalError``).

    Raises:
        UsageError: something else.

    Example:
        >>> sorted(statuses([404, "5xx"])[0])[:3]
        [404, 500, 501]
    """
    codes: set[int] = set()
    classes: list[type[BaseException]] = []
    for item in retry_on:
        if isinstance(item, type) and issubclass(item, Exception):
            classes.append(item)
        elif isinstance(item, int):
            codes.add(item)
        elif isinstance(item, str) and len(item) == 3 and item[0] in "12345" and item[1:] == "xx":
            codes |= set(range(int(item[0]) * 100, int(item[0]) * 100 + 100))
        else:
            raise UsageError(
                f"retry_on: {item!r} is not understood", evidence=['write 503, "5xx" or an exception class']
            )
    return codes, tuple(classes)
