"""The end of a report: what is missing, what was removed, where to look further; never asks the cluster.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_ephemeral_ns.diagnose.words import cut
from pytest_ephemeral_ns.rules.redaction import Redactor
from pytest_ephemeral_ns.rules.triage import Triage

_LINES = 10


@dataclass(frozen=True)
class Where:
    """How people name the cluster, and reach it.

    Args:
        cluster: ``"embedded default"``.
        access: for commands: ``"--context NAME"`` or ``"--kubeconfig FILE"``.
        stays: whether the namespace will still be there when somebody reads the report.
        hint: how to make it stay, where it does not.
    """

    cluster: str = ""
    access: str = ""
    stays: bool = True
    hint: str = ""


def footer(
    found: Triage, missing: Sequence[str], redactor: Redactor, namespace: str, where: Where, directory: str
) -> list[str]:
    """Return the last lines of a report, which are never cut.

    Args:
        found: what matters; the first finding decides which commands help.
        missing: what could not be had.
        redactor: knows what was removed.
        namespace: its name.
        where: how people reach it.
        directory: of the bundle; empty if there is none.
    """
    return [*_missing(missing), *removed(redactor), *_further(found, namespace, where, directory)]


def _missing(missing: Sequence[str]) -> list[str]:
    if not missing:
        return []
    more = [f"  and {len(missing) - _LINES} more things"] if len(missing) > _LINES else []
    return ["", "could not be had:", *(f"  {cut(line, 400)}" for line in missing[:_LINES]), *more]


def removed(redactor: Redactor) -> list[str]:
    """Return what was removed, and how often.

    Args:
        redactor: the one that was used.
    """
    lines = []
    if counts := redactor.counts:
        shown = sorted(counts.items(), key=lambda pair: -pair[1])
        told = ", ".join(f"{name} ×{count}" for name, count in shown[:6]) + (" …" if len(shown) > 6 else "")
        lines += ["", f"secrets removed: {sum(counts.values())} ({told})"]
    if redactor.left_out:
        lines.append(f"not removed, because objects have the same name: {', '.join(redactor.left_out[:6])}")
    return lines


def _further(found: Triage, namespace: str, where: Where, directory: str) -> list[str]:
    lines = ["", f"everything else: {directory}/summary.md"] if directory else []
    if not where.stays:
        return [*lines, where.hint] if where.hint else lines
    kubectl = " ".join(["kubectl", *([where.access] if where.access else []), "-n", namespace])
    commands = [f"{kubectl} get all,events"]
    if found.findings:
        first = found.findings[0]
        cause = first.verdict.causes[0] if first.verdict.causes else None
        ref = cause.ref if cause and cause.ref.kind else first.ref
        commands.insert(0, f"{kubectl} describe {ref.kind.lower()}/{ref.name}")
        if cause and cause.log and cause.container:
            previous = " --previous" if cause.log == "previous" else ""
            commands.insert(0, f"{kubectl} logs {ref.name} -c {cause.container}{previous}")
    return [*lines, "look further:", *(f"  {command}" for command in commands)]
