"""Gates: what must hold above the objects before a test starts, as one line of text; this module must never wait.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from pytest_ephemeral_ns.errors import UsageError

FORMS = (
    "job/NAME: the Job is complete",
    "http://svc/NAME:PORT/PATH or https://…: the Service answers with a status below 400",
    "tcp://svc/NAME:PORT: the Service takes connections",
    "log/KIND/NAME:PATTERN: a line of a pod's log matches the regular expression",
)
# Every word that kubectl takes for a kind that has pods.
POD_KINDS = frozenset(
    {
        "po", "pod", "pods", "svc", "service", "services", "deploy", "deployment", "deployments", "sts", "statefulset",
        "statefulsets", "ds", "daemonset", "daemonsets", "rs", "replicaset", "replicasets", "rc",
        "replicationcontroller", "replicationcontrollers", "job", "jobs",
    }
)  # fmt: skip
_NAME = r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?"
_SERVED = re.compile(rf"(https?|tcp)://(?:svc|services?)/({_NAME}):([a-z0-9-]+)(/\S*)?")
_JOB = re.compile(rf"jobs?(?:\.batch)?/({_NAME})")
_LOG = re.compile(rf"log/([a-z]+)/({_NAME}):(.+)")
_PORT_NAME = re.compile(r"(?=.*[a-z])[a-z0-9]([a-z0-9-]{0,13}[a-z0-9])?")


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

    Example:
        >>> str(Gate("tcp", "db", "5432"))
        'tcp://svc/db:5432'
    """

    kind: Literal["job", "http", "https", "tcp", "log"]
    target: str
    port: str = ""
    path: str = ""
    pattern: str = ""

    def __str__(self) -> str:
        if self.kind == "job":
            return f"job/{self.target}"
        if self.kind == "log":
            return f"log/{self.target}:{self.pattern}"
        return f"{self.kind}://svc/{self.target}:{self.port}{self.path}"


def parse_gate(text: str) -> Gate:
    """Return what a line means.

    Args:
        text: ``job/migrate``, ``http://svc/api:8080/healthz``, ``tcp://svc/db:5432``, ``log/deploy/api:Listening on``.

    Raises:
        UsageError: it is none of these.

    Example:
        >>> parse_gate("http://svc/api:8080/healthz")
        Gate(kind='http', target='api', port='8080', path='/healthz', pattern='')
    """
    line = text.strip()
    if match := _JOB.fullmatch(line):
        return Gate("job", match[1])
    if (match := _SERVED.fullmatch(line)) and not (match[1] == "tcp" and match[4]):
        kind: Literal["http", "https", "tcp"] = (
            "tcp" if match[1] == "tcp" else "https" if match[1] == "https" else "http"
        )
        return Gate(kind, match[2], _port(match[3], line), match[4] or ("" if kind == "tcp" else "/"))
    if match := _LOG.fullmatch(line):
        return Gate("log", f"{_pod_kind(match[1], line)}/{match[2]}", pattern=_regular(match[3], line))
    raise UsageError(f"gate {text!r} is not understood", evidence=["write one of", *FORMS])


def _port(port: str, line: str) -> str:
    named = _PORT_NAME.fullmatch(port)
    if named or (port.isdigit() and 0 < int(port) < 65536):
        return port
    raise UsageError(f"gate {line!r}: {port!r} is not a port", evidence=["a number from 1 to 65535, or a port's name"])


def _pod_kind(word: str, line: str) -> str:
    if word in POD_KINDS:
        return word
    raise UsageError(
        f"gate {line!r}: {word!r} is not a kind that has pods",
        evidence=["for example deploy, sts, ds, job, svc, pod"],
    )


def _regular(pattern: str, line: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise UsageError(f"gate {line!r}: {pattern!r} is not a regular expression", evidence=[str(error)]) from error
    return pattern
