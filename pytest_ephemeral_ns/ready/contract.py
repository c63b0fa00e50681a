"""CONTRACT: wait until the business action that a test needs really works; this module must never know Kubernetes.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import inspect
import secrets as randomness
import shlex
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from pytest_ephemeral_ns.deadline import Deadline
from pytest_ephemeral_ns.errors import UsageError
from pytest_ephemeral_ns.ready import asking
from pytest_ephemeral_ns.ready.history import redactor_of
from pytest_ephemeral_ns.ready.judgement import CORRELATION_HEADER, Contract, NotYet

if TYPE_CHECKING:
    import httpx

RETRY_ON: tuple[Any, ...] = (502, 503, 504)
_CREDENTIALS = ("authorization", "proxy-authorization", "cookie", "x-api-key", "x-auth-token")

__tracebackhide__ = True


def wait_for_contract(
    target: str | Callable[[], Any],
    *,
    until: Callable[[Any], Any],
    fail_when: Callable[[Any], Any] | None = None,
    timeout: float | Deadline = 60.0,
    interval: float = 0.5,
    headers: Mapping[str, str] | None = None,
    correlation_id: str | None = None,
    consecutive: int = 1,
    require_https: bool = False,
    retry_on: Collection[Any] = RETRY_ON,
    secrets: Collection[str] = (),
    client: httpx.Client | None = None,
    jitter: float = 0.1,
    layer: str = "contract",
    **request: Any,
) -> Any:
    """Wait until the business action works: look, again and again, until what is seen holds or never can.

    Not there yet (404, no connection, the codes of ``retry_on``) waits; ``until`` true for ``consecutive`` looks in a
    row ends it; ``fail_when`` true, any other 4xx or 5xx, and a redirect that is not followed fail at once. A body that
    has not the expected shape yet (``until`` raises LookupError or TypeError) waits.

    Args:
        target: a URL, or a callable without arguments that returns what ``until`` looks at: for queues, databases,
            anything. It may raise AssertionError or OSError (not yet) or :class:`NeverReady` (never).
        until: gets the body (decoded JSON, else text) and returns whether it is as wanted.
        fail_when: gets the body and returns whether waiting longer is of no use.
        timeout: seconds, or the deadline that other waits share. The last look begins when they are over at the latest;
            a request has 0.5 s then, a callable as long as it takes.
        interval: seconds between two looks; a server's Retry-After counts when it is longer.
        headers: sent with each request; credentials in them are not printed.
        correlation_id: sent as X-Correlation-ID, and printed in the errors; by default a new one.
        consecutive: how often in a row ``until`` must hold.
        require_https: refuse a URL, or a redirect to one, that is not encrypted.
        retry_on: what else means "not yet": codes (503), classes of codes ("5xx"), exception classes of a callable.
        secrets: values that are removed from everything that is printed.
        client: an httpx client of your own (certificates, proxies, cookies); it is not closed.
        jitter: by which part of itself the interval varies, 0 to 1.
        layer: named in the errors.
        **request: ``method``, ``json``, ``data``, ``content``, ``params``, ``cookies`` as in httpx;
            ``follow_redirects`` (False), ``verify`` (True; a file or folder of CA certificates, or an SSLContext),
            ``cert`` (a client certificate: a file, or (file, key file[, password])), ``max_body`` (bytes, 1 MiB),
            ``request_timeout`` (10; seconds for each step of a request: to connect, to send, for the server to say
            anything more. A body that is still coming so long after the request began is cut. Near the deadline it is
            what is left until then).

    Returns:
        The last body, or what the callable returned.

    Raises:
        WaitFailed: it can never hold; carries everything that was seen, with times.
        WaitTimeout: it did not hold in time; carries the same.
        UsageError: the target can't be asked at all.

    Example:
        >>> wait_for_contract(lambda: {"status": "confirmed"}, until=lambda body: body["status"] == "confirmed")
        {'status': 'confirmed'}
    """
    import tenacity

    contract, ask = _prepare(
        target, until, fail_when, timeout, interval, headers, correlation_id, consecutive, require_https, retry_on,
        secrets, jitter, layer, client, request,
    )  # fmt: skip
    try:
        if ask is None:
            assert callable(target)
            return tenacity.Retrying(**contract.retrying())(lambda: _look(contract, target))
        with asking.client_for(ask, client) as http:
            return tenacity.Retrying(**contract.retrying())(lambda: _ask(contract, ask, http))
    except NotYet:
        raise contract.timed_out() from None


async def await_contract(
    target: str | Callable[[], Any | Awaitable[Any]],
    *,
    until: Callable[[Any], Any],
    fail_when: Callable[[Any], Any] | None = None,
    timeout: float | Deadline = 60.0,
    interval: float = 0.5,
    headers: Mapping[str, str] | None = None,
    correlation_id: str | None = None,
    consecutive: int = 1,
    require_https: bool = False,
    retry_on: Collection[Any] = RETRY_ON,
    secrets: Collection[str] = (),
    client: httpx.AsyncClient | None = None,
    jitter: float = 0.1,
    layer: str = "contract",
    **request: Any,
) -> Any:
    """The asynchronous twin of :func:`wait_for_contract`, for asyncio and trio; a callable target may be ``async``.

    Args:
        target: see :func:`wait_for_contract`; what it returns is awaited if it can be.
        until: see :func:`wait_for_contract`.
        fail_when: see :func:`wait_for_contract`.
        timeout: seconds, or the deadline that other waits share.
        interval: seconds between two looks.
        headers: see :func:`wait_for_contract`.
        correlation_id: see :func:`wait_for_contract`.
        consecutive: see :func:`wait_for_contract`.
        require_https: see :func:`wait_for_contract`.
        retry_on: see :func:`wait_for_contract`.
        secrets: see :func:`wait_for_contract`.
        client: an ``httpx.AsyncClient`` of your own; it is not closed.
        jitter: see :func:`wait_for_contract`.
        layer: see :func:`wait_for_contract`.
        **request: see :func:`wait_for_contract`.

    Returns:
        The last body, or what the callable returned.

    Raises:
        WaitFailed: it can never hold.
        WaitTimeout: it did not hold in time.
        UsageError: the target can't be asked at all.

    Example:
        >>> import asyncio
        >>> asyncio.run(await_contract(lambda: 7, until=lambda value: value == 7))
        7
    """
    import tenacity

    contract, ask = _prepare(
        target, until, fail_when, timeout, interval, headers, correlation_id, consecutive, require_https, retry_on,
        secrets, jitter, layer, client, request,
    )  # fmt: skip
    retrying = tenacity.AsyncRetrying(**contract.retrying())
    try:
        if ask is None:
            assert callable(target)
            return await retrying(_look_async, contract, target)
        async with asking.async_client_for(ask, client) as http:
            return await retrying(_ask_async, contract, ask, http)
    except NotYet:
        raise contract.timed_out() from None


def _look(contract: Contract, target: Callable[[], Any]) -> Any:
    try:
        value = target()
    except Exception as error:
        raise contract.judge_error(error) from error
    return contract.judge_value(value)


async def _look_async(contract: Contract, target: Callable[[], Any]) -> Any:
    try:
        value = target()
        if inspect.isawaitable(value):
            value = await value
    except Exception as error:
        raise contract.judge_error(error) from error
    return contract.judge_value(value)


def _ask(contract: Contract, ask: asking.Ask, http: httpx.Client) -> Any:
    try:
        answer = asking.perform(http, ask, contract.step(ask.timeout))
    except Exception as error:
        raise contract.judge_error(error) from error
    return contract.judge_answer(answer)


async def _ask_async(contract: Contract, ask: asking.Ask, http: httpx.AsyncClient) -> Any:
    try:
        answer = await asking.perform_async(http, ask, contract.step(ask.timeout))
    except Exception as error:
        raise contract.judge_error(error) from error
    return contract.judge_answer(answer)


def _prepare(
    target: Any,
    until: Callable[[Any], Any],
    fail_when: Callable[[Any], Any] | None,
    timeout: float | Deadline,
    interval: float,
    headers: Mapping[str, str] | None,
    correlation_id: str | None,
    consecutive: int,
    require_https: bool,
    retry_on: Collection[Any],
    secrets: Collection[str],
    jitter: float,
    layer: str,
    client: Any,
    request: Mapping[str, Any],
) -> tuple[Contract, asking.Ask | None]:
    given = dict(headers or {})
    deadline = timeout if isinstance(timeout, Deadline) else Deadline.after(timeout)
    redactor = redactor_of([*secrets, *_credentials(given, request), *_password(target)])
    options = (until, fail_when, deadline, interval, jitter, consecutive, retry_on, redactor)
    ask = _asking(target, given, correlation_id, require_https, request)
    if callable(target):
        _refuse_request({"headers": headers, "require_https": require_https or None, "client": client, **request})
        name = getattr(target, "__qualname__", None) or repr(target)
        return Contract(f"{layer} {name}", *options, correlation_id or "", layer), None
    if client is not None and (both := sorted({"verify", "cert"} & set(request))):
        raise UsageError(f"wait_for_contract: {both[0]}= and client= exclude each other: the client has its own TLS")
    asking.check(ask)
    correlation, shown = ask.headers[CORRELATION_HEADER], redactor.clean(asking.shown(ask.url))
    method = "" if ask.method == "GET" else f"-X {shlex.quote(ask.method)} "
    command = f"curl -i {method}-H '{CORRELATION_HEADER}: {correlation}' {shlex.quote(shown)}"
    return Contract(f"{layer} {ask.method} {shown}", *options, correlation, layer, command), ask


def _asking(
    target: Any, headers: Mapping[str, str], correlation_id: str | None, require_https: bool, request: Mapping[str, Any]
) -> asking.Ask:
    left = dict(request)
    known = {
        "method": str(left.pop("method", "GET")).upper(),
        "follow_redirects": bool(left.pop("follow_redirects", False)),
        "verify": left.pop("verify", True),
        "cert": left.pop("cert", None),
        "max_body": int(left.pop("max_body", asking.Ask.max_body)),
        "timeout": float(left.pop("request_timeout", asking.Ask.timeout)),
    }
    unknown = set(left) - {"json", "data", "content", "params", "cookies", "files"}
    if unknown:
        raise TypeError(f"wait_for_contract() got an unexpected keyword argument {sorted(unknown)[0]!r}")
    own = [value for name, value in headers.items() if name.lower() == CORRELATION_HEADER.lower()]
    sent = {name: value for name, value in headers.items() if name.lower() != CORRELATION_HEADER.lower()}
    sent[CORRELATION_HEADER] = correlation_id or next(iter(own), "") or randomness.token_hex(8)
    if not sent[CORRELATION_HEADER].isprintable() or "'" in sent[CORRELATION_HEADER]:
        raise UsageError(f"correlation_id={sent[CORRELATION_HEADER]!r} cannot be sent as a header")
    return asking.Ask(url=str(target), headers=sent, options=left, require_https=require_https, **known)


def _refuse_request(given: Mapping[str, Any]) -> None:
    """Say what would be ignored: a callable sends what it likes itself."""
    for name, value in given.items():
        if value is not None:
            raise UsageError(f"wait_for_contract: {name}= is for a URL; a callable asks by itself")


def _credentials(headers: Mapping[str, str], request: Mapping[str, Any]) -> list[str]:
    found: list[str] = []
    for name, value in headers.items():
        if name.lower() in _CREDENTIALS:
            found += [value, value.rpartition(" ")[2]]
    cookies = request.get("cookies")
    return found + [str(value) for value in dict(cookies or {}).values()]


def _password(target: Any) -> list[str]:
    """Return the password of a URL, as it is written and as it is meant."""
    from urllib.parse import unquote, urlsplit

    if not isinstance(target, str):
        return []
    try:
        written = urlsplit(target).password or ""
    except ValueError:  # no URL: asking.check() says so
        return []
    return [value for value in dict.fromkeys((written, unquote(written))) if value]
