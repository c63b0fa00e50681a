"""Evidence of a namespace that failed, taken before it is gone, carried by the error; must never raise or mask one.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pytest_ephemeral_ns.errors import EphemeralNsError

if TYPE_CHECKING:
    from pytest_ephemeral_ns.diagnose import Diagnosis
    from pytest_ephemeral_ns.namespace import Namespace
    from pytest_ephemeral_ns.rules.redaction import Redactor
    from pytest_ephemeral_ns.timeline import Timeline

__tracebackhide__ = True
HURRY = 2.0  # seconds, when somebody wants the run to end
NO_FAILURE = frozenset({"Skipped", "GeneratorExit"})
_TOLD = 600
_NAME = "_ephemeral_ns_evidence"


def take_evidence(namespace: Namespace, error: BaseException, diagnostics: str) -> None:
    """Diagnose a namespace whose deploy or set-up failed, and hang the diagnosis on the error.

    Args:
        namespace: which.
        error: what went wrong.
        diagnostics: the setting: ``"never"``, ``"on-failure"`` or ``"always"``.
    """
    if diagnostics == "never" or type(error).__name__ in NO_FAILURE:
        return
    # pytest's own outcomes are no Exceptions: "Failed" is a failure, the others end the run.
    calm = isinstance(error, Exception) or type(error).__name__ == "Failed"
    from pytest_ephemeral_ns.diagnose import BUDGET

    carry(error, namespace.diagnose(budget=BUDGET if calm else HURRY))
    clean_error(error, namespace.redactor())


def carry(error: BaseException, found: Diagnosis) -> None:
    """Hang a diagnosis on an error, so that whoever reports the error has it."""
    with contextlib.suppress(AttributeError):  # an exception with __slots__
        setattr(error, _NAME, found)


def carried(error: BaseException | None) -> Diagnosis | None:
    """Return the diagnosis that an error, or what it was raised from, carries."""
    for _ in range(20):
        if error is None:
            return None
        found: Diagnosis | None = getattr(error, _NAME, None)
        if found is not None:
            return found
        error = error.__cause__ or error.__context__
    return None


def clean_error(error: BaseException | None, redactor: Redactor) -> None:
    """Remove a namespace's secrets from what an error, and what it was raised from, says.

    Args:
        error: changed in place: its texts, which whoever reports it will print.
        redactor: knows the values.
    """
    for _ in range(20):
        if error is None:
            return
        if isinstance(error, EphemeralNsError):
            error.summary = redactor.clean_sure(error.summary)
            error.evidence = tuple(redactor.clean_sure(line) for line in error.evidence)
        if isinstance(message := getattr(error, "msg", None), str):  # pytest's own outcomes
            with contextlib.suppress(AttributeError):
                setattr(error, "msg", redactor.clean_sure(message))  # noqa: B010
        if any(isinstance(item, str) for item in error.args):
            error.args = tuple(redactor.clean_sure(i) if isinstance(i, str) else i for i in error.args)
        for inner in getattr(error, "exceptions", ()):
            clean_error(inner, redactor)
        error = error.__cause__ or error.__context__


def note_failure(timeline: Timeline, namespace: Namespace, error: BaseException) -> None:
    """Write down that a namespace's deploy or set-up failed, for the report of the run.

    Args:
        timeline: of this process.
        namespace: which; what its diagnosis knows of secrets is removed.
        error: what went wrong.
    """
    if type(error).__name__ in NO_FAILURE:
        return
    from pytest_ephemeral_ns.rules.redaction import Redactor, printable

    told = error.summary if isinstance(error, EphemeralNsError) else f"{type(error).__name__}: {error}"
    timeline.mark("failed", namespace.name, error=Redactor({}).clean(namespace.clean(printable(told)))[:_TOLD])


def translated(error: BaseException, namespace: Namespace) -> EphemeralNsError:
    """Return what a deploy of the user's own raised as one of our errors, for processes that did not see it happen."""
    said = namespace.clean(f"{type(error).__name__}: {error}".rstrip(": "))
    ours = EphemeralNsError(f"namespace {namespace.name}, which the run shares, was not filled: {said}")
    if (found := carried(error)) is not None:
        carry(ours, found)
    return ours


def tell_error(error: EphemeralNsError) -> dict[str, Any]:
    """Return an error and what it carries as plain values, for the other processes of the run."""
    found = carried(error)
    told = {"error": error.summary, "evidence": list(error.evidence), "command": error.command}
    return {**told, "diagnosis": found.to_dict() if found else None}


def told_error(told: Mapping[str, Any]) -> EphemeralNsError:
    """Return the error that :func:`tell_error` told."""
    error = EphemeralNsError(told["error"], evidence=told["evidence"], command=told["command"])
    if told.get("diagnosis"):
        from pytest_ephemeral_ns.diagnose import Diagnosis

        carry(error, Diagnosis.from_dict(told["diagnosis"]))
    return error
