"""Custom resources: what their controllers say in the usual words, or what the user says; never a guess from silence.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pytest_ephemeral_ns.errors import UsageError
from pytest_ephemeral_ns.rules.graces import Graces
from pytest_ephemeral_ns.rules.objects import Object
from pytest_ephemeral_ns.rules.status import fields
from pytest_ephemeral_ns.rules.status.answers import Cause, Verdict, not_ready, ready
from pytest_ephemeral_ns.rules.status.fields import dig
from pytest_ephemeral_ns.rules.status.related import Related

READY_WHEN = "pytest-ephemeral-ns/ready-when"
FAILED_WHEN = "pytest-ephemeral-ns/failed-when"
_POSITIVE = ("Ready", "Available", "Programmed", "Established", "Healthy", "Accepted")
_BAD_PHASES = {"failed", "error", "errored", "aborted", "rejected", "terminated"}
_BUSY_PHASES = {
    "pending", "creating", "progressing", "initializing", "provisioning",
    "starting", "updating", "deploying", "reconciling", "installing",
}  # fmt: skip
_PATH = re.compile(r"\{?\.?([^{}=]+)\}?")


def custom_verdict(obj: Object, related: Related, now: datetime, graces: Graces) -> Verdict:
    """Return the verdict for an object of a kind that we do not know.

    In this order: the annotations ``pytest-ephemeral-ns/failed-when`` and ``…/ready-when`` (``condition=Ready``,
    ``condition=Ready=False``, ``jsonpath={.status.phase}=Running``, ``exists``), ``Stalled``, ``Reconciling``, the
    condition ``Ready`` (or ``Available``, ``Programmed``, …) and ``Failed``, a phase; without any of them it is not
    observed yet for a grace period, and then ready.

    Args:
        obj: the object.
        related: unused.
        now: the time, on the API server's clock.
        graces: ``custom`` for what its controller calls failed, ``unobserved`` for silence.
    """
    if (told := _by_rule(obj, related, now)) is not None:
        return told
    if _holds_now(obj, "Stalled"):
        return not_ready("", "", [_cause(obj, "Stalled", 0.0, now)], now, related.seen)
    if _holds_now(obj, "Reconciling"):
        return not_ready("", "", [_cause(obj, "Reconciling", float("inf"), now)], now, related.seen)
    failed = [_cause(obj, "Failed", graces.custom, now)] if _holds_now(obj, "Failed") else []
    for kind in _POSITIVE:
        found = fields.condition(obj, kind)
        if found.get("status") == "True" and not _stale(obj, found):
            return ready(kind, fields.one_line(found.get("message")))
        if found:
            return not_ready("", "", [*failed, _cause(obj, kind, float("inf"), now)], now, related.seen)
    if failed:
        return not_ready("", "", failed, now, related.seen)
    return _by_phase(obj, related, now, graces) or _silent(obj, related, now, graces)


def _by_rule(obj: Object, related: Related, now: datetime) -> Verdict | None:
    annotations = dig(obj, "metadata", "annotations", default={})
    failing, wanted = annotations.get(FAILED_WHEN), annotations.get(READY_WHEN)
    if failing and holds(obj, failing):
        message = f"{failing} holds ({FAILED_WHEN})"
        return not_ready("", "", [_own(obj, "FailedByRule", message, now, 0.0)], now, related.seen)
    if not wanted:
        return None
    return (
        ready("ReadyByRule", wanted)
        if holds(obj, wanted)
        else not_ready("WaitingByRule", f"{wanted} does not hold yet", [], now, related.seen)
    )


def holds(obj: Mapping[str, Any], rule: str) -> bool:
    """Whether a rule of the form that ``kubectl wait --for`` takes holds for an object.

    Args:
        obj: the object.
        rule: ``condition=NAME``, ``condition=NAME=VALUE``, ``jsonpath={.status.phase}=VALUE``,
            ``jsonpath={.status.address}`` (has any value), or ``exists``.

    Raises:
        UsageError: it is none of these.

    Example:
        >>> holds({"status": {"phase": "Running"}}, "jsonpath={.status.phase}=Running")
        True
    """
    kind, _, rest = rule.strip().partition("=")
    if kind == "exists":
        return True
    if kind == "condition" and rest:
        name, _, value = rest.partition("=")
        found = fields.condition(obj, name)
        return not _stale(obj, found) and str(found.get("status", "")).lower() == (value or "True").lower()
    if kind == "jsonpath" and (match := re.fullmatch(r"\{?([^{}=]+)\}?(?:=(.*))?", rest)):
        found = dig(obj, *_steps(match[1]))
        return found not in (None, "", [], {}) if match[2] is None else _text(found) == match[2].strip("'\"")
    raise UsageError(
        f"rule {rule!r} is not understood",
        evidence=["write condition=Ready, condition=Ready=False, jsonpath={.status.phase}=Running or exists"],
    )


def _steps(path: str) -> list[str]:
    return [part for part in re.split(r"(?<!\\)\.", path.strip()) if part]


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _holds_now(obj: Object, kind: str) -> bool:
    """Whether a condition is true of the object's present generation."""
    return fields.is_true(obj, kind) and not _stale(obj, fields.condition(obj, kind))


def _stale(obj: Mapping[str, Any], condition: Mapping[str, Any]) -> bool:
    observed = condition.get("observedGeneration")
    return observed is not None and observed != dig(obj, "metadata", "generation", default=observed)


def _by_phase(obj: Object, related: Related, now: datetime, graces: Graces) -> Verdict | None:
    for key in ("phase", "state"):
        phase = dig(obj, "status", key)
        if not isinstance(phase, str):
            continue
        message = fields.one_line(dig(obj, "status", "message", default="") or dig(obj, "status", "reason", default=""))
        told = f"status.{key} is {phase}" + (f": {message}" if message else "")
        if phase.lower() in _BAD_PHASES:
            return not_ready("", "", [_own(obj, phase, told, now, graces.custom)], now, related.seen)
        if phase.lower() in _BUSY_PHASES:
            return not_ready(phase, told, [], now, related.seen)
        return ready(phase, told)
    return None


def _silent(obj: Object, related: Related, now: datetime, graces: Graces) -> Verdict:
    if dig(obj, "status", "conditions"):
        return ready("NoReadyCondition", "its controller wrote a status, without a condition that says ready")
    cause = _own(obj, "NotObserved", "no controller has written a status yet", fields.created(obj), graces.unobserved)
    if cause.over(now):
        return ready("NotObserved", f"no controller has written a status within {graces.unobserved:g} s")
    return not_ready("NotObserved", "", [cause], now, related.seen)


def _cause(obj: Object, kind: str, grace: float, now: datetime) -> Cause:
    found = fields.condition(obj, kind)
    since = fields.when(found.get("lastTransitionTime"), now)
    return _own(obj, str(found.get("reason") or kind), fields.one_line(found.get("message")), since, grace)


def _own(obj: Object, reason: str, message: str, since: datetime, grace: float) -> Cause:
    ref = fields.ref_of(obj, str(obj.get("apiVersion", "")), str(obj.get("kind", "")))
    return Cause(ref, reason, message, since, grace)
