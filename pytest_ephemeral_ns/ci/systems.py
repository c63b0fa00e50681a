"""What each CI system reads from a log; this module must never let a text end its own quotes.

Sources: https://docs.github.com/en/actions/reference/workflow-commands-for-github-actions ,
https://docs.gitlab.com/ci/jobs/job_logs/#custom-collapsible-sections ,
https://learn.microsoft.com/azure/devops/pipelines/scripts/logging-commands ,
https://buildkite.com/docs/pipelines/configure/managing-log-output ,
https://www.jetbrains.com/help/teamcity/service-messages.html .

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from pytest_ephemeral_ns.ci.failure import Failure

_MESSAGE = 1000


def section(system: str, failure: Failure, number: int, now: float) -> Iterator[str]:
    """Yield a story as a folded section of the log.

    Args:
        system: ``github``, ``gitlab``, ``azure``, ``buildkite`` or ``teamcity``.
        failure: whose.
        number: tells it from the others of the log.
        now: seconds since the epoch.
    """
    title = " ".join(f"ephemeral-ns: {failure.test}: {failure.headline}".split())
    begin, end = _marks(system, title, number, int(now))
    yield begin
    yield from failure.text.splitlines()
    if end:
        yield end


def _marks(system: str, title: str, number: int, now: int) -> tuple[str, str]:
    if system == "github":
        return f"::group::{_data(title)}", "::endgroup::"
    if system == "gitlab":
        name = f"ephemeral_ns_{number}"
        start = f"\x1b[0Ksection_start:{now}:{name}[collapsed=true]\r\x1b[0K{title}"
        return start, f"\x1b[0Ksection_end:{now}:{name}\r\x1b[0K"
    if system == "azure":
        return f"##[group]{title}", "##[endgroup]"
    if system == "teamcity":
        name = _teamcity(title)
        return f"##teamcity[blockOpened name='{name}']", f"##teamcity[blockClosed name='{name}']"
    return f"--- {title}", ""


def annotation(system: str, failure: Failure) -> Iterator[str]:
    """Yield what shows a failure beside the code, where the system can do that.

    Args:
        system: see :func:`section`.
        failure: which.
    """
    message = f"{failure.namespace}: {failure.headline}"[:_MESSAGE]
    if system == "github":
        place = f"file={_property(failure.path)},line={failure.line}," if failure.path else ""
        yield f"::error {place}title={_property(failure.test)}::{_data(message)}"
    elif system == "azure":
        place = f"sourcepath={_azure(failure.path)};linenumber={failure.line};" if failure.path else ""
        yield f"##vso[task.logissue type=error;{place}]{_azure(message)}"
    elif system == "teamcity":
        yield f"##teamcity[message text='{_teamcity(message)}' status='ERROR']"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _azure(text: str) -> str:
    told = text.replace("%", "%AZP25").replace("\r", "%0D").replace("\n", "%0A")
    return told.replace(";", "%3B").replace("]", "%5D")


def _teamcity(text: str) -> str:
    told = re.sub(r"(['\[\]|])", r"|\1", text).replace("\n", "|n").replace("\r", "|r")
    return "".join(char if ord(char) < 128 else f"|0x{ord(char):04x}" if ord(char) < 65536 else "?" for char in told)
