"""OpenID Connect tokens (``auth-provider: oidc``), refreshed as kubectl does; this module must never log a user in.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import base64
import json
import os
import ssl
import stat
import time
from collections.abc import Mapping
from typing import Any
from urllib import error as url_error
from urllib import parse, request

from pytest_ephemeral_ns.clusters.expiry import shown, token_end
from pytest_ephemeral_ns.clusters.kubeconfig import B64_VARIABLE, Entry, text
from pytest_ephemeral_ns.clusters.private import write_private
from pytest_ephemeral_ns.errors import ClusterError, UsageError

REQUEST_TIMEOUT = 15.0
_SKEW = 10.0  # seconds before its end in which a token counts as ended; client-go's value


def id_token(user: Entry) -> str:
    """Return the user's identity token, a new one if the stored one has ended.

    Not done by the ``kubernetes`` library, which does not check the identity provider's certificate unless the
    kubeconfig names a CA, has no time-out, and goes on with the old token when it got no new one. A new token is
    written back, as kubectl does: providers that replace the refresh token would otherwise log the user out of kubectl.

    Args:
        user: the user's entry, with an ``auth-provider`` section of name ``oidc``.

    Returns:
        The token.

    Raises:
        UsageError: a field is missing.
        ClusterError: the provider did not give a new token.

    Example:
        >>> id_token(Entry("me", {"auth-provider": {"name": "oidc", "config": {...}}}))  # doctest: +SKIP
        'eyJhbGciOi…'
    """
    settings = user.value["auth-provider"].get("config") or {}
    stored = text(settings, "id-token")
    end = token_end(stored)
    if stored and (end is None or end - _SKEW > time.time()):
        return stored
    ended = f"the id-token ended at {shown(end)}" if end else "there is no id-token"
    for key in ("idp-issuer-url", "client-id", "refresh-token"):
        if not text(settings, key):
            raise UsageError(
                f"kubeconfig {user.file or B64_VARIABLE}: user {user.name}: {ended}; there is no {key} for a new one",
                command="log in again with the command that made this entry",
            )
    answer = _refresh(user, settings, ended)
    _remember(user, settings, answer)
    return str(answer["id_token"])


def _refresh(user: Entry, settings: Mapping[str, Any], ended: str) -> dict[str, Any]:
    issuer = text(settings, "idp-issuer-url").rstrip("/")
    try:
        trust = _trust(user, settings)
        about = _ask(request.Request(f"{issuer}/.well-known/openid-configuration"), trust)  # noqa: S310
        answer = _redeem(str(about["token_endpoint"]), settings, trust)
        answer["id_token"]  # a provider that does not give one here has to be logged in to again
    except (OSError, ValueError, KeyError) as error:
        raise ClusterError(
            f"user {user.name}: {ended}, and {issuer} did not give a new one",
            evidence=[_why(error), f"kubeconfig: {user.file or B64_VARIABLE}"],
            command="log in again with the command that made this entry",
        ) from error
    return answer


class _Refused(OSError):
    """The provider answered, and not with what was asked for."""

    def __init__(self, what: str, detail: str) -> None:
        super().__init__(f"{what} {detail}".strip())
        self.detail = detail


def _redeem(endpoint: str, settings: Mapping[str, Any], trust: ssl.SSLContext) -> dict[str, Any]:
    """Exchange the refresh token (RFC 6749, 6); who we are goes into a header or the form, as the provider takes it."""
    client, secret = text(settings, "client-id"), text(settings, "client-secret")
    form = {"grant_type": "refresh_token", "refresh_token": text(settings, "refresh-token")}
    if secret:
        pair = f"{parse.quote_plus(client)}:{parse.quote_plus(secret)}"
        header = {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}
        try:
            return _ask(request.Request(endpoint, parse.urlencode(form).encode(), header), trust)  # noqa: S310
        except _Refused as error:
            if "invalid_grant" in error.detail:  # it knows us, and not the refresh token
                raise
    form |= {"client_id": client} | ({"client_secret": secret} if secret else {})
    return _ask(request.Request(endpoint, parse.urlencode(form).encode()), trust)  # noqa: S310


def _ask(question: request.Request, trust: ssl.SSLContext) -> dict[str, Any]:
    if parse.urlsplit(question.full_url).scheme != "https":
        raise ValueError(f"{question.full_url} is not https")
    try:
        with request.urlopen(question, timeout=REQUEST_TIMEOUT, context=trust) as answer:  # noqa: S310
            value = json.loads(answer.read())
    except url_error.HTTPError as error:
        with error:
            detail = error.read(2000).decode("utf-8", "replace")
        raise _Refused(f"{error.url}: {error.code} {error.reason}", detail) from None
    if not isinstance(value, dict):
        raise ValueError("the answer is not a JSON object")
    return value


def _trust(user: Entry, settings: Mapping[str, Any]) -> ssl.SSLContext:
    data = text(settings, "idp-certificate-authority-data")
    if data:
        return ssl.create_default_context(cadata=base64.b64decode(data).decode("ascii"))
    file = text(settings, "idp-certificate-authority")
    return ssl.create_default_context(cafile=str(user.path(file)) if file else None)


def _why(error: Exception) -> str:
    return f"there is no {error} in its answer" if isinstance(error, KeyError) else str(error)


def _remember(user: Entry, settings: Mapping[str, Any], answer: Mapping[str, Any]) -> None:
    """Put the new tokens in the place of the old ones; everything else in the file stays as it is."""
    if not user.file:
        return
    path = os.path.realpath(user.file)
    pairs = {
        text(settings, "id-token"): answer["id_token"],
        text(settings, "refresh-token"): answer.get("refresh_token"),
    }
    try:
        with open(path, encoding="utf-8", newline="") as file:
            before = after = file.read()
        for old, new in pairs.items():
            after = after.replace(old, new) if old and new else after
        if after != before:
            write_private(path, after, mode=stat.S_IMODE(os.stat(path).st_mode))
    except OSError:
        return  # a kubeconfig that cannot be written, as on a CI runner, is still good for this run
