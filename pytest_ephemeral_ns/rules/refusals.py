"""Why the API server refused an object, in words that help; this module must never ask it.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pytest_ephemeral_ns.rules.objects import Ref

_IMMUTABLE = re.compile(r"immutable|may not be changed|updates to \w+ spec for fields other than|cannot be changed")
_DUMP = re.compile(r"Invalid value: (?:[\w.*&]*\{|\[|map\[).*: ")
_UNDECLARED = re.compile(r"(\.\S+): field not declared in schema")
_MANAGER = re.compile(r'conflict with "(?P<manager>[^"]+)"(?: with subresource "[^"]+")?(?: using (?P<version>\S+))?')


# Who scales for a HorizontalPodAutoscaler.
_SCALERS = frozenset({"kube-controller-manager", "horizontal-pod-autoscaler"})
_REPLICAS = ".spec.replicas"


@dataclass(frozen=True)
class Refusal:
    """Why one object was refused.

    Args:
        reason: one line without the object's name.
        evidence: fields and messages.
        command: what to do about it; may be empty.
    """

    reason: str
    evidence: tuple[str, ...] = ()
    command: str = ""


def explain(ref: Ref, status: int, body: Mapping[str, Any], message: str = "") -> Refusal:
    """Return the server's answer in words that name field, other manager and way out.

    Args:
        ref: the object.
        status: HTTP status; 0 when there was no answer.
        body: the ``metav1.Status``.
        message: what to say when ``body`` says nothing.

    Example:
        >>> explain(Ref("v1", "Pod", "a"), 403, {"message": "exceeded quota: q"}).reason
        'exceeded quota: q'
    """
    text = str(body.get("message") or message)
    causes = [c for c in (body.get("details") or {}).get("causes") or () if isinstance(c, Mapping)]
    if status == 409 and any(cause.get("reason") == "FieldManagerConflict" for cause in causes):
        return _conflict(causes)
    if status == 422 and _IMMUTABLE.search(text):
        return _immutable(ref, causes, text)
    if "strict decoding error" in text:
        return Refusal(text[text.index("strict decoding error") :].replace("strict decoding error", "wrong fields"))
    if unknown := _UNDECLARED.findall(text):
        return Refusal(f"unknown field{'s' if len(unknown) > 1 else ''} {', '.join(unknown)}")
    lines = tuple(f"{c['field']}: {_one_line(str(c.get('message', '')))}" for c in causes if c.get("field"))
    return Refusal(_one_line(text), lines if len(lines) > 1 else ())


def is_scaled_by_another(status: int, body: Mapping[str, Any]) -> bool:
    """Return whether nothing but the number of replicas is in conflict, because an autoscaler has changed it.

    Args:
        status: HTTP status.
        body: the ``metav1.Status``.
    """
    causes = (body.get("details") or {}).get("causes") or ()
    if status != 409 or not causes or any(cause.get("reason") != "FieldManagerConflict" for cause in causes):
        return False
    managers = {match["manager"] for c in causes if (match := _MANAGER.search(str(c.get("message", ""))))}
    return managers <= _SCALERS and {cause.get("field") for cause in causes} == {_REPLICAS}


def _conflict(causes: list[Mapping[str, Any]]) -> Refusal:
    fields: dict[str, list[str]] = {}
    for cause in causes:
        match = _MANAGER.search(str(cause.get("message", "")))
        fields.setdefault(match["manager"] if match else "another manager", []).append(str(cause.get("field", "")))
    return Refusal(
        f"fields are managed by {' and '.join(fields)}",
        tuple(f"{manager} manages {', '.join(names)}" for manager, names in fields.items()),
        "leave these fields out of the manifest, or take them over: apply(..., force_conflicts=True)",
    )


def _immutable(ref: Ref, causes: list[Mapping[str, Any]], text: str) -> Refusal:
    fields = [str(cause["field"]) for cause in causes if cause.get("field")]
    where = f" {', '.join(dict.fromkeys(fields))}" if fields else ""
    namespace = f" --namespace {ref.namespace}" if ref.namespace else ""
    return Refusal(
        f"immutable field{where} differs from what exists",
        (_one_line(text),),
        f"kubectl delete {ref.kind.lower()} {ref.name}{namespace}, then deploy again; or use a new namespace",
    )


def _one_line(text: str) -> str:
    """Return the message without the values that validation errors dump: a pod template may hold passwords."""
    text = _DUMP.sub("Invalid value (not shown): ", " ".join(text.split()))
    return text if len(text) <= 600 else f"{text[:300]} … {text[-280:]}"
