"""The words of a wait: its progress, its good end, and its two bad ones; this module must never wait.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pytest_ephemeral_ns.deadline import Deadline
from pytest_ephemeral_ns.errors import ApiError, WaitFailed, WaitTimeout
from pytest_ephemeral_ns.ready.history import shorten
from pytest_ephemeral_ns.rules.durations import format_duration
from pytest_ephemeral_ns.rules.objects import Ref
from pytest_ephemeral_ns.rules.redaction import Redactor
from pytest_ephemeral_ns.rules.status import Cause, Verdict

if TYPE_CHECKING:
    from pytest_ephemeral_ns.kube.api import Api

_LOG_LINES, _LOG_BYTES, _LOG_SECONDS = 15, 16_384, 5.0
_LOGS, _CAUSES, _LISTED = 3, 5, 20

Verdicts = Mapping[Ref, Verdict]


@dataclass(frozen=True)
class ReadyReport:
    """How a wait ended well.

    Args:
        objects: the verdict of each object.
        elapsed: seconds.
        layers: the layers that were passed: ``("infrastructure",)``.

    Example:
        >>> ReadyReport({}, 1.5, ("infrastructure",)).elapsed
        1.5
    """

    objects: Verdicts
    elapsed: float
    layers: tuple[str, ...] = ("infrastructure",)


@dataclass(frozen=True)
class Ending:
    """What both bad endings have in common.

    Args:
        api: to fetch logs.
        namespace: for commands.
        layer: the layer that was reached.
        deadline: of the wait.
        redactor: removes secrets.
        troubles: what could not be read.
    """

    api: Api
    namespace: str
    layer: str
    deadline: Deadline
    redactor: Redactor
    troubles: Sequence[str] = ()

    def failed(self, verdicts: Verdicts) -> WaitFailed:
        """Return the error for objects of which at least one can never become ready."""
        bad = [(ref, verdict) for ref, verdict in verdicts.items() if verdict.failed]
        ref, verdict = bad[0]
        more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
        summary = f"{self._subject(ref)}{more} failed: {verdict.reason}: {_told(verdict)}"
        return WaitFailed(self._clean(summary), **self._rest(verdicts, bad))

    def timed_out(self, verdicts: Verdicts) -> WaitTimeout:
        """Return the error for objects that were not ready in time."""
        late = [(ref, verdict) for ref, verdict in verdicts.items() if not verdict.ready]
        late.sort(key=lambda pair: not pair[1].causes)
        ref, verdict = late[0]
        more = f" (and {len(late) - 1} more)" if len(late) > 1 else ""
        within = f"not ready within {format_duration(self.deadline.budget)}"
        summary = f"{self._subject(ref)}{more} {within}: {verdict.reason}: {_told(verdict)}"
        return WaitTimeout(self._clean(summary), **self._rest(verdicts, late))

    def _subject(self, ref: Ref) -> str:
        return f"{ref.kind} {ref.namespace or self.namespace}/{ref.name}" if ref.kind != "Namespace" else str(ref)

    def _rest(self, verdicts: Verdicts, first: Sequence[tuple[Ref, Verdict]]) -> dict[str, Any]:
        causes = [cause for _, verdict in first for cause in verdict.causes[:_CAUSES]]
        done = sum(verdict.ready for verdict in verdicts.values())
        evidence = [f"layer: {self.layer}, {done}/{len(verdicts)} ready after {self.deadline.elapsed():.1f} s"]
        evidence += self._objects(verdicts, [ref for ref, _ in first])
        evidence += self._logs(causes)
        evidence += self.troubles
        return {
            "layer": self.layer,
            "verdicts": verdicts,
            "evidence": [self._clean(line) for line in evidence],
            "command": self._command(first[0][0], causes),
        }

    def _objects(self, verdicts: Verdicts, first: Sequence[Ref]) -> list[str]:
        rest = [ref for ref, verdict in verdicts.items() if not verdict.ready and ref not in first]
        lines: list[str] = []
        for ref in [*first, *rest][:_LISTED]:
            verdict = verdicts[ref]
            lines.append(f"{ref} {verdict.state}: {shorten(verdict.message or verdict.reason, 700)}")
            lines += [f"    also: {shorten(str(cause), 400)}" for cause in verdict.causes[1:_CAUSES]]
        left = len(first) + len(rest) - _LISTED
        return [*lines, f"and {left} more that are not ready"] if left > 0 else lines

    def _logs(self, causes: Sequence[Cause]) -> list[str]:
        wanted: dict[tuple[str, str], Cause] = {}
        for cause in causes:
            if cause.log and cause.container:
                wanted.setdefault((cause.ref.name, cause.container), cause)
        return [line for cause in list(wanted.values())[:_LOGS] for line in self._log(cause)]

    def _log(self, cause: Cause) -> list[str]:
        """The container's last words; of the one that crashed, not of the one that was started after it."""
        namespace = cause.ref.namespace or self.namespace
        path = f"/api/v1/namespaces/{namespace}/pods/{cause.ref.name}/log"
        params = {"container": cause.container, "tailLines": _LOG_LINES, "limitBytes": _LOG_BYTES}
        title = f"{cause.ref}, container {cause.container}"
        text = ""
        for previous in (True, False) if cause.log == "previous" else (False,):
            try:
                text = self.api.text(path, params={**params, "previous": previous}, timeout=_LOG_SECONDS)
            except ApiError as error:
                if not previous:
                    return [f"{title}: its log could not be read: {shorten(error.summary, 200)}"]
                continue
            if text.strip():
                break
        lines = [f"    | {line[:300]}" for line in text.splitlines()[-_LOG_LINES:]]
        return [f"{title}, last lines of its log:", *lines] if lines else [f"{title}: its log is empty"]

    def _command(self, ref: Ref, causes: Sequence[Cause]) -> str:
        for cause in causes:
            if cause.command:
                return cause.command
        namespace = ref.namespace or self.namespace
        for cause in causes[:1]:
            if cause.log and cause.container and cause.topic not in ("probe", "restarted"):
                previous = " --previous" if cause.log == "previous" else ""
                return f"kubectl -n {namespace} logs {cause.ref.name} -c {cause.container}{previous}"
        where = causes[0].ref if causes and causes[0].ref.kind else ref
        group = where.api_version.rpartition("/")[0]
        kind = where.kind.lower() + (f".{group}" if "." in group and not group.endswith(".k8s.io") else "")
        return f"kubectl -n {namespace} describe {kind}/{where.name}"

    def _clean(self, text: str) -> str:
        return self.redactor.clean(text)


def _told(verdict: Verdict) -> str:
    return shorten(verdict.message, 600) if verdict.message else verdict.reason


def progress_line(verdicts: Verdicts, now: datetime) -> str:
    """Return one line for people: how many are ready, and what the slowest is doing.

    Args:
        verdicts: of all objects.
        now: the time, on the API server's clock.

    Example:
        >>> progress_line({Ref("apps/v1", "Deployment", "api"): Verdict("waiting", "Progressing", "Ready: 0/1")}, None)
        '0/1 ready · api: Ready: 0/1'
    """
    done = sum(verdict.ready for verdict in verdicts.values())
    late = [(ref, verdict) for ref, verdict in verdicts.items() if not verdict.ready]
    if not late:
        return f"{done}/{len(verdicts)} ready"
    # What says why is worth more than what only waits for it: a Service waits for its workload's pods.
    late.sort(key=lambda pair: (pair[0].kind == "Service", not pair[1].causes))
    ref, verdict = late[0]
    if not verdict.causes:
        return f"{done}/{len(verdicts)} ready · {ref.name}: {shorten(verdict.message or _words(verdict.reason), 80)}"
    cause = verdict.causes[0]
    seconds = (now - cause.since).total_seconds()
    since = f" ({int(seconds)} s)" if 1 <= seconds < 100 else f" ({format_duration(int(seconds))})"
    since = since if 1 <= seconds < 1e6 else ""
    return f"{done}/{len(verdicts)} ready · {ref.name}: {_words(cause.reason)}{since}"


def _words(reason: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", reason).lower()
