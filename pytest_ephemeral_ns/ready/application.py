"""APPLICATION: what the programs themselves must have done: a Job, a line of a log, an answer through their Service.

This module must never judge a body: that is the contract's part.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pytest_ephemeral_ns.deadline import Deadline
from pytest_ephemeral_ns.errors import ApiError, NeverReady
from pytest_ephemeral_ns.ready.contract import wait_for_contract
from pytest_ephemeral_ns.ready.logs import wait_for_log
from pytest_ephemeral_ns.ready.loop import Progress, wait_ready
from pytest_ephemeral_ns.rules.gates import Gate, parse_gate
from pytest_ephemeral_ns.rules.graces import Graces
from pytest_ephemeral_ns.rules.objects import Ref
from pytest_ephemeral_ns.rules.status import Verdict

if TYPE_CHECKING:
    from pytest_ephemeral_ns.kube.api import Api
    from pytest_ephemeral_ns.kube.watch import Watcher

LAYER = "application"
_ONE_LOOK, _LAST_LOOK = 3.0, 0.5
# How the API server's proxy words that a connection was made, but what came back is not HTTP.
_CONNECTED = re.compile(r"malformed HTTP|EOF|connection broken|server closed|http2|connection reset by peer", re.I)

__tracebackhide__ = True


def wait_for_job(
    api: Api,
    watcher: Watcher,
    namespace: str,
    name: str,
    *,
    deadline: Deadline,
    graces: Graces | None = None,
    on_progress: Progress | None = None,
    secrets: Collection[str] = (),
) -> Verdict:
    """Wait until a Job is complete; it need not exist yet.

    Args:
        api: the API server.
        watcher: shared by all waits of a handle.
        namespace: of the Job.
        name: of the Job.
        deadline: when to give up.
        graces: how long each kind of trouble may last.
        on_progress: gets a line when something changes.
        secrets: values that are removed from the errors.

    Returns:
        Its verdict.

    Raises:
        WaitFailed: it failed, or can never run; with the last lines of its log. Raised at once.
        WaitTimeout: the deadline passed.

    Example:
        >>> wait_for_job(api, watcher, "shop", "migrate", deadline=Deadline.after(60))  # doctest: +SKIP
    """
    ref = Ref("batch/v1", "Job", name, namespace)
    report = wait_ready(
        api,
        watcher,
        namespace,
        [ref],
        deadline=deadline,
        graces=graces,
        on_progress=on_progress,
        secrets=secrets,
        layer=LAYER,
        refine=_complete,
    )
    return report.objects[ref]


def _complete(found: Verdict) -> Verdict:
    """A suspended Job is ready as an object, but it has not done its work."""
    return Verdict("waiting", found.reason, found.message) if found.ready and found.reason == "Suspended" else found


def wait_for(
    check: Callable[[], Any],
    *,
    timeout: float = 60.0,
    interval: float = 0.5,
    secrets: Collection[str] = (),
    layer: str = LAYER,
) -> Any:
    """Call ``check`` until it returns something true.

    Args:
        check: an AssertionError or OSError means not yet, :class:`NeverReady` means never.
        timeout: seconds.
        interval: seconds between two calls.
        secrets: values that are removed from the errors.
        layer: named in the errors.

    Returns:
        What ``check`` returned.

    Raises:
        WaitFailed: ``check`` raised NeverReady.
        WaitTimeout: the time is over; names all that was seen.

    Example:
        >>> wait_for(lambda: "ready", timeout=1)
        'ready'
    """
    return wait_for_contract(check, until=bool, timeout=timeout, interval=interval, secrets=secrets, layer=layer)


def wait_for_http(
    api: Api,
    namespace: str,
    service: str,
    port: int | str,
    path: str = "/",
    *,
    deadline: Deadline,
    scheme: str = "http",
) -> str:
    """Wait until a Service answers a GET with a status below 400; asked through the API server's proxy.

    That goes through the Service: its selector, its ports, its ready endpoints.

    Args:
        api: the API server.
        namespace: of the Service.
        service: its name.
        port: number or name of the Service's port.
        path: with a query, if there is one.
        deadline: when to give up.
        scheme: ``"http"`` or ``"https"`` (whose certificate is not checked).

    Returns:
        The body.

    Raises:
        WaitFailed: it answers, but not like this (401, 403 ...), or the proxy may not be used.
        WaitTimeout: the deadline passed.

    Example:
        >>> wait_for_http(api, "shop", "api", 8080, "/healthz", deadline=Deadline.after(60))  # doctest: +SKIP
    """
    url = _proxy(namespace, service, port, scheme) + (path if path.startswith("/") else f"/{path}")

    def answers() -> str:
        try:
            return api.text(url, timeout=max(_LAST_LOOK, deadline.sooner(_ONE_LOOK)))
        except ApiError as error:
            return _not_yet(error, service)

    answers.__qualname__ = f"{scheme}://svc/{service}:{port}{path}"
    found = wait_for_contract(answers, until=lambda text: text is not None, timeout=deadline.remaining(), layer=LAYER)
    return str(found)


def wait_for_tcp(api: Api, namespace: str, service: str, port: int | str, *, deadline: Deadline) -> None:
    """Wait until a Service takes connections, whatever it speaks; tried through the API server's proxy.

    Args:
        api: the API server.
        namespace: of the Service.
        service: its name.
        port: number or name of the Service's port.
        deadline: when to give up.

    Raises:
        WaitFailed: the proxy may not be used.
        WaitTimeout: the deadline passed.

    Example:
        >>> wait_for_tcp(api, "shop", "db", 5432, deadline=Deadline.after(60))  # doctest: +SKIP
    """
    url = _proxy(namespace, service, port, "http") + "/"

    def connects() -> bool:
        try:
            api.text(url, timeout=max(_LAST_LOOK, deadline.sooner(_ONE_LOOK)))
        except ApiError as error:
            told = _words(error)
            if error.status == 403 and error.reason == "Forbidden":
                raise NeverReady(told) from error
            # An answer of the application's own, whatever it is, came over a connection.
            if not (_from_proxy(error) or error.status == 0) or _CONNECTED.search(told):
                return True
            raise AssertionError(told) from error
        return True

    connects.__qualname__ = f"tcp://svc/{service}:{port}"
    wait_for_contract(connects, until=bool, timeout=deadline.remaining(), layer=LAYER)


def _proxy(namespace: str, service: str, port: int | str, scheme: str) -> str:
    name = f"https:{service}:{port}" if scheme == "https" else f"{service}:{port}"
    return f"/api/v1/namespaces/{namespace}/services/{quote(name, safe=':')}/proxy"


def _not_yet(error: ApiError, service: str) -> str:
    if error.status in (0, 404) or error.status >= 500:
        raise AssertionError(_words(error)) from error
    if 300 <= error.status < 400:
        return ""
    raise NeverReady(f"service {service} answered {_words(error)}") from error


def _from_proxy(error: ApiError) -> bool:
    """Whether the API server itself said this: its errors are Status objects."""
    return bool(error.body.get("kind") == "Status") or "error trying to reach service" in _words(error)


def _words(error: ApiError) -> str:
    return " ".join([error.summary, *error.evidence])


def wait_for_gate(
    api: Api,
    watcher: Watcher,
    namespace: str,
    gate: str | Gate,
    *,
    deadline: Deadline,
    graces: Graces | None = None,
    on_progress: Progress | None = None,
    secrets: Collection[str] = (),
) -> None:
    """Wait until a gate is open; see :func:`pytest_ephemeral_ns.rules.gates.parse_gate`.

    Args:
        api: the API server.
        watcher: shared by all waits of a handle.
        namespace: where.
        gate: ``"job/migrate"``, ``"http://svc/api:8080/healthz"`` ...
        deadline: when to give up.
        graces: how long each kind of trouble may last.
        on_progress: gets a line when something changes.
        secrets: values that are removed from the errors.

    Raises:
        WaitFailed: it can never open.
        WaitTimeout: the deadline passed.
        UsageError: the gate is not understood.

    Example:
        >>> wait_for_gate(api, watcher, "shop", "tcp://svc/db:5432", deadline=Deadline.after(60))  # doctest: +SKIP
    """
    wanted = parse_gate(gate) if isinstance(gate, str) else gate
    if wanted.kind == "job":
        wait_for_job(
            api,
            watcher,
            namespace,
            wanted.target,
            deadline=deadline,
            graces=graces,
            on_progress=on_progress,
            secrets=secrets,
        )
    elif wanted.kind == "log":
        wait_for_log(api, namespace, wanted.target, wanted.pattern, deadline=deadline, graces=graces, secrets=secrets)
    elif wanted.kind == "tcp":
        wait_for_tcp(api, namespace, wanted.target, wanted.port, deadline=deadline)
    else:
        wait_for_http(api, namespace, wanted.target, wanted.port, wanted.path, deadline=deadline, scheme=wanted.kind)
