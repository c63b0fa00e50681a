"""What an error answer of the API server means, in words; this module must never send a request.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

from pytest_ephemeral_ns.errors import ApiError
from pytest_ephemeral_ns.kube.tls import explain

if TYPE_CHECKING:
    from pytest_ephemeral_ns.connection import Connection
    from pytest_ephemeral_ns.kube.http import NoAnswer, Reply

_PHRASES = {400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 409: "Conflict", 410: "Gone"}
_VERBS = {"POST": "create", "PUT": "replace", "PATCH": "patch", "DELETE": "delete"}
_LONGEST_LINE = 600

# The authoriser's own sentence: k8s.io/apiserver/pkg/endpoints/handlers/responsewriters/errors.go
_FORBIDDEN = re.compile(
    r'User "(?P<user>[^"]*)" cannot (?P<verb>\w+) (?:resource "(?P<resource>[^"]*)" in API group "(?P<group>[^"]*)"'
    r'|path "(?P<path>[^"]*)")(?: in the namespace "(?P<namespace>[^"]*)")?'
)


def subject(method: str, path: str, *, name: str = "", watch: bool = False) -> str:
    """Return what a call does, as people say it.

    Args:
        method: HTTP method.
        path: of the request, without the query.
        name: of the object in the body, for creates.
        watch: whether it is a watch.

    Example:
        >>> subject("POST", "/api/v1/namespaces/shop/pods", name="api")
        'create pods/api in namespace shop'
    """
    parts = [part for part in path.split("/") if part]
    known = 2 if parts[:1] == ["api"] else 3 if parts[:1] == ["apis"] else len(parts)
    rest = parts[known:]
    if not rest:
        return f"{_VERBS.get(method, 'get')} {path}"
    where = ""
    if rest[0] == "namespaces" and len(rest) > 2:
        where, rest = f" in namespace {rest[1]}", rest[2:]
    if name and len(rest) == 1:
        rest = [*rest, name]
    verb = _VERBS.get(method) or ("watch" if watch else "list" if len(rest) == 1 else "get")
    return f"{verb} {'/'.join(rest)}{where}"


def refused(what: str, reply: Reply, connection: Connection) -> ApiError:
    """Return the error for an answer that is not a success.

    Args:
        what: from :func:`subject`.
        reply: the answer.
        connection: who asked, for the command.
    """
    body = reply.json()
    if body.get("kind") != "Status":
        return _not_kubernetes(what, reply, connection)
    reason = str(body.get("reason") or "")
    message = str(body.get("message") or "")
    head, evidence = _spread(message, body)
    phrase = reason or _PHRASES.get(reply.status, "")
    summary = f"{what}: {reply.status} {phrase}".rstrip() + (f": {head}" if head else "")
    command = None
    if reply.status == 401:
        summary, more, command = _credential(what, connection)
        evidence = [*evidence, *more]
    elif reply.status == 403 and (denied := _FORBIDDEN.search(message)):
        evidence, command = _grant(denied)
    return ApiError(summary, status=reply.status, reason=reason, body=body, evidence=evidence, command=command)


def _spread(message: str, body: dict[str, Any]) -> tuple[str, list[str]]:
    """Split a long sentence of the server into its subject and one line for each cause."""
    if match := re.match(r"(.*?): strict decoding error: (.*)", message, re.DOTALL):
        fields = re.findall(r'(?:unknown|duplicate) field "[^"]*"', match[2])
        return match[1].replace("cannot be handled as a", "is not a valid"), fields or [match[2]]
    causes = [cause for cause in (body.get("details") or {}).get("causes") or [] if cause.get("message")]
    if causes:
        lines = [
            f"{cause['field']}: {cause['message']}" if cause.get("field") else cause["message"] for cause in causes
        ]
        return message.split(": ", 1)[0].split(":\n", 1)[0], [_short(line) for line in dict.fromkeys(lines)]
    head, _, rest = message.partition("\n")
    return _short(head), [_short(line) for line in rest.splitlines()]


def _short(line: str) -> str:
    return line if len(line) <= _LONGEST_LINE else line[:_LONGEST_LINE] + " …"


def _not_kubernetes(what: str, reply: Reply, connection: Connection) -> ApiError:
    text = _short(" ".join(reply.body[:2000].decode(errors="replace").split()))
    summary = f"{what}: {reply.status} {_PHRASES.get(reply.status, '')}".rstrip()
    evidence: list[str] = []
    command = None
    if reply.status == 401:
        summary, evidence, command = _credential(what, connection)
    elif text == "404 page not found":
        evidence = [f"{connection.server} has no such API group or version"]
    elif text:
        evidence = [f"{connection.server} answered, not in Kubernetes' words: {text}"]
    return ApiError(summary, status=reply.status, evidence=evidence, command=command)


def _credential(what: str, connection: Connection) -> tuple[str, list[str], str]:
    ended = _ended(connection)
    who = f"the credential of context {connection.context}" if connection.context else "the credential"
    state = (
        f"expired at {_utc(ended)}" if ended and ended < time.time() else "is not accepted: expired, revoked or wrong"
    )
    evidence = [f"server: {connection.server}"]
    if connection.refreshable:
        evidence.append("a new one was asked for and was not accepted either")
    context = f"--context {connection.context} " if connection.context else ""
    return (
        f"{what}: 401 Unauthorized: {who} {state}",
        evidence,
        f"kubectl {context}auth whoami   # log in again, then repeat",
    )


def _ended(connection: Connection) -> float | None:
    """Return when the credential ends: as the connection says, or as its certificate does."""
    if connection.expires_at or not connection.client_cert_data:
        return connection.expires_at
    try:
        from cryptography import x509

        return x509.load_pem_x509_certificate(connection.client_cert_data.encode()).not_valid_after_utc.timestamp()
    except (ImportError, ValueError):
        return None


def _utc(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _grant(denied: re.Match[str]) -> tuple[list[str], str]:
    """Return what is missing and the commands, for somebody who may give rights, that give exactly that."""
    user, verb, namespace = denied["user"], denied["verb"], denied["namespace"] or ""
    account = re.fullmatch(r"system:serviceaccount:([^:]+):(.+)", user)
    to = f"--serviceaccount={account[1]}:{account[2]}" if account else f"--user={user}"
    if denied["path"]:
        what, check = f"--non-resource-url={denied['path']}", denied["path"]
        place = "cluster-wide"
    else:
        what = f"--resource={_with_group(denied['resource'], denied['group'])}"
        check = what.removeprefix("--resource=")
        place = f"in namespace {namespace}" if namespace else "cluster-wide"
    role = re.sub(r"[^a-z0-9-]+", "-", f"ephemeral-ns-{verb}-{denied['resource'] or 'path'}".lower())
    scope, kind = (f" -n {namespace}", "role") if namespace else ("", "clusterrole")
    evidence = [
        f'missing permission: verb "{verb}" on "{check}" {place}, for {user}',
        f"check: kubectl auth can-i {verb} {check}{scope} --as={user}",
    ]
    binding = f"kubectl create {kind}binding {role}{scope} --{kind}={role} {to}"
    return evidence, f"kubectl create {kind} {role}{scope} --verb={verb} {what} && {binding}"


def _with_group(resource: str, group: str) -> str:
    plural, slash, sub = resource.partition("/")
    return f"{plural}.{group}{slash}{sub}" if group else resource


def unreachable(
    what: str, error: NoAnswer, connection: Connection, *, address: str, tries: int, seconds: float
) -> ApiError:
    """Return the error for a call that got no answer.

    Args:
        what: from :func:`subject`.
        error: the last failure.
        connection: where to.
        address: ``host:port``.
        tries: attempts that were made.
        seconds: from the first attempt to now.
    """
    why = explain(error.cause)
    proxy = f" through proxy {_without_password(connection.proxy_url)}" if connection.proxy_url else ""
    if error.sent:
        summary = f"{what}: no answer from {address}{proxy}: connection lost after the request was sent ({why})"
    else:
        summary = f"{what}: no answer from {address}{proxy}: {why}"
    evidence = [f"tried {tries} time{'s' if tries > 1 else ''} in {seconds:.1f} s"]
    if connection.context:
        evidence.append(f"server {connection.server} of context {connection.context}")
    context = f"--context {connection.context} " if connection.context else ""
    command = f"kubectl {context}get --raw /readyz" if context else f"curl --insecure {connection.server}/readyz"
    return ApiError(summary, evidence=evidence, command=command)


def _without_password(url: str) -> str:
    return re.sub(r"//[^@/]*@", "//…@", url)
