"""Gates: what must hold above the objects before a test starts, as one line of text; this module must never wait.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from pytest_ephemeral_ns.errors import UsageError

_PROXIED = re.compile(r"(https?|tcp)://svc/([a-z0-9][a-z0-9.-]*):([a-z0-9-]+)(/.*)?")
_JOB = re.compile(r"jobs?(?:\.batch)?/([a-z0-9][a-z0-9.-]*)")
_LOG = re.compile(r"log:([a-z]+/[a-z0-9][a-z0-9.-]*):(.+)")


@dataclass(frozen=True)
class Gate:
    """One thing that must hold.

    Args:
        kind: ``"job"`` (complete), ``"http"`` or ``"https"`` (answers below 400), ``"tcp"`` (takes connections),
            ``"log"`` (has a line that matches).
        target: a Job's or a Service's name; for ``"log"`` what has pods: ``"deploy/api"``.
        port: of the Service: a number or a name.
        path: of the request.
        pattern: of the line, a regular expression.
    """

    kind: Literal["job", "http", "https", "tcp", "log"]
    target: str
    port: str = ""
    path: str = ""
    pattern: str = ""


def parse_gate(text: str) -> Gate:
    """Return what a line means.

    Args:
        text: ``job/migrate``, ``http://svc/api:8080/healthz``, ``tcp://svc/db:5432``, ``log:deploy/api:Listening on``.

    Raises:
        UsageError: it is none of these.

    Example:
        >>> parse_gate("http://svc/api:8080/healthz")
        Gate(kind='http', target='api', port='8080', path='/healthz', pattern='')
    """
    line = text.strip()
    if match := _JOB.fullmatch(line):
        return Gate("job", match[1])
    if (match := _PROXIED.fullmatch(line)) and not (match[1] == "tcp" and match[4]):
        kind: Literal["http", "https", "tcp"] = (
            "tcp" if match[1] == "tcp" else "https" if match[1] == "https" else "http"
        )
        return Gate(kind, match[2], match[3], match[4] or ("" if kind == "tcp" else "/"))
    if match := _LOG.fullmatch(line):
        return Gate("log", match[1], pattern=_regular(match[2], line))
    raise UsageError(
        f"gate {text!r} is not understood",
        evidence=["write job/NAME, http://svc/NAME:PORT/PATH, tcp://svc/NAME:PORT or log:KIND/NAME:PATTERN"],
    )


def _regular(pattern: str, line: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise UsageError(f"gate {line!r}: {pattern!r} is not a regular expression", evidence=[str(error)]) from error
    return pattern
