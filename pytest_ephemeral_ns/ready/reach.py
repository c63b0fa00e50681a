"""REACH: an answer or a connection through a Service, as other programs of the cluster get it.

Asked through the API server's proxy; this module must never connect to a pod by itself.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING
from urllib.parse import quote

from pytest_ephemeral_ns.deadline import Deadline
from pytest_ephemeral_ns.errors import ApiError, NeverReady, NotReady
from pytest_ephemeral_ns.ready.application import LAYER
from pytest_ephemeral_ns.ready.contract import wait_for_contract
from pytest_ephemeral_ns.ready.lookout import Lookout

if TYPE_CHECKING:
    from pytest_ephemeral_ns.kube.api import Api

_ONE_LOOK, _LAST_LOOK = 3.0, 0.5
# How the API server's proxy words that a connection was made, but what came back is not HTTP.
_CONNECTED = re.compile(r"malformed HTTP|EOF|connection broken|server closed|http2|connection reset by peer", re.I)

__tracebackhide__ = True


def wait_for_http(
    api: Api,
    namespace: str,
    service: str,
    port: int | str,
    path: str = "/",
    *,
    deadline: Deadline,
    scheme: str = "http",
    lookout: Lookout | None = None,
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
        lookout: looks at the objects below while there is no answer.

    Returns:
        The body.

    Raises:
        WaitFailed: it answers, but not like this (401, 403 ...), the proxy may not be used, or an object below failed.
        WaitTimeout: the deadline passed.

    Example:
        >>> wait_for_http(api, "shop", "api", 8080, "/healthz", deadline=Deadline.after(60))  # doctest: +SKIP
    """
    url = _proxy(namespace, service, port, scheme) + (path if path.startswith("/") else f"/{path}")

    def answers() -> str:
        try:
            return api.text(url, timeout=max(_LAST_LOOK, deadline.sooner(_ONE_LOOK)))
        except ApiError as error:
            return _not_yet(error, service, lookout)

    answers.__qualname__ = f"{scheme}://svc/{service}:{port}{path}"
    try:
        found = wait_for_contract(answers, until=lambda text: text is not None, timeout=deadline, layer=LAYER)
    except NotReady as error:
        error.command = error.command or f"kubectl get --raw {shlex.quote(url)}"
        raise
    return str(found)


def wait_for_tcp(
    api: Api,
    namespace: str,
    service: str,
    port: int | str,
    *,
    deadline: Deadline,
    lookout: Lookout | None = None,
) -> None:
    """Wait until a Service takes connections, whatever it speaks; tried through the API server's proxy.

    Args:
        api: the API server.
        namespace: of the Service.
        service: its name.
        port: number or name of the Service's port.
        deadline: when to give up.
        lookout: looks at the objects below while there is no connection.

    Raises:
        WaitFailed: the proxy may not be used, or an object below failed.
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
            if lookout:
                lookout.look(told)
            raise AssertionError(told) from error
        return True

    connects.__qualname__ = f"tcp://svc/{service}:{port}"
    try:
        wait_for_contract(connects, until=bool, timeout=deadline, layer=LAYER)
    except NotReady as error:
        error.command = error.command or f"kubectl -n {namespace} describe service/{service}"
        raise


def _proxy(namespace: str, service: str, port: int | str, scheme: str) -> str:
    name = f"https:{service}:{port}" if scheme == "https" else f"{service}:{port}"
    return f"/api/v1/namespaces/{namespace}/services/{quote(name, safe=':')}/proxy"


def _not_yet(error: ApiError, service: str, lookout: Lookout | None) -> str:
    if error.status in (0, 404) or error.status >= 500:
        if lookout:
            lookout.look(_words(error))
        raise AssertionError(_words(error)) from error
    if 300 <= error.status < 400:
        return ""
    raise NeverReady(f"service {service} answered {_words(error)}") from error


def _from_proxy(error: ApiError) -> bool:
    """Whether the API server itself said this: its errors are Status objects."""
    return bool(error.body.get("kind") == "Status") or "error trying to reach service" in _words(error)


def _words(error: ApiError) -> str:
    return " ".join([error.summary, *error.evidence])
