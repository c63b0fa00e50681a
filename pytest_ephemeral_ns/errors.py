"""What can go wrong, as exceptions that say it; this module must never import anything of the package.

One base, few leaves. Every message has the same shape: the subject and its state first, then the evidence, last the
command to type next.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class EphemeralNsError(Exception):
    """Base of everything that this package raises on purpose.

    Args:
        summary: one line, subject first: ``"Deployment shop/api failed: ImagePullBackOff"``.
        evidence: lines that show why; printed below the summary, indented by two spaces.
        command: what to type next; printed last, after ``"→ "``.

    Example:
        >>> print(EphemeralNsError("kubectl is not installed", command="apt install kubectl"))
        kubectl is not installed
        → apt install kubectl
    """

    def __init__(self, summary: str, *, evidence: Sequence[str] = (), command: str | None = None) -> None:
        self.summary = summary
        self.evidence = tuple(evidence)
        self.command = command
        super().__init__(summary)

    def __str__(self) -> str:
        lines = [self.summary, *(f"  {line}" for part in self.evidence for line in part.splitlines() or [""])]
        if self.command:
            lines.append(f"→ {self.command}")
        return "\n".join(lines)


class UsageError(EphemeralNsError):
    """The input is wrong: an option, a path, a manifest, a context. Raised before anything is created."""


class ManifestError(UsageError):
    """A manifest, kustomization or chart cannot be read or rendered; names file, document and line or field."""


class ClusterError(EphemeralNsError):
    """No cluster could be reached or started."""


class ApiError(EphemeralNsError):
    """The API server answered with an error, or did not answer at all.

    Args:
        summary: one line, subject first.
        status: HTTP status code; 0 when there was no answer.
        reason: ``metav1.Status.reason``, for example ``"AlreadyExists"``; empty when there was no answer.
        body: the decoded ``metav1.Status``, or an empty dict.
        evidence: see :class:`EphemeralNsError`.
        command: see :class:`EphemeralNsError`.
    """

    def __init__(
        self,
        summary: str,
        *,
        status: int = 0,
        reason: str = "",
        body: dict[str, object] | None = None,
        evidence: Sequence[str] = (),
        command: str | None = None,
    ) -> None:
        super().__init__(summary, evidence=evidence, command=command)
        self.status = status
        self.reason = reason
        self.body = body or {}


class ToolError(EphemeralNsError):
    """kubectl, Helm, kustomize, kind or Go is missing, failed, or did not end in time.

    Args:
        summary: one line, subject first.
        returncode: the exit code; ``None`` when the program is missing or was ended by us.
        output: what it printed, secrets removed.
        evidence: see :class:`EphemeralNsError`.
        command: see :class:`EphemeralNsError`.
    """

    def __init__(
        self,
        summary: str,
        *,
        returncode: int | None = None,
        output: str = "",
        evidence: Sequence[str] = (),
        command: str | None = None,
    ) -> None:
        super().__init__(summary, evidence=evidence, command=command)
        self.returncode = returncode
        self.output = output


class DeployError(EphemeralNsError):
    """An object was refused, or a release failed; what was created before is still there to be diagnosed."""


class NotReady(EphemeralNsError):
    """Base of the two ways in which a wait ends badly.

    Args:
        summary: one line, subject first.
        layer: how far it came: ``"infrastructure"``, ``"application"`` or ``"contract"``.
        verdicts: the last verdict of every object that was waited for, by its reference; empty above infrastructure.
        history: what was seen, oldest first, as lines with their times; empty for objects.
        evidence: see :class:`EphemeralNsError`.
        command: see :class:`EphemeralNsError`.
    """

    def __init__(
        self,
        summary: str,
        *,
        layer: str = "",
        verdicts: Mapping[Any, Any] | None = None,
        history: Sequence[str] = (),
        evidence: Sequence[str] = (),
        command: str | None = None,
    ) -> None:
        super().__init__(summary, evidence=evidence, command=command)
        self.layer = layer
        self.verdicts = dict(verdicts or {})
        self.history = tuple(history)


class WaitFailed(NotReady):
    """A terminal verdict: waiting longer cannot help."""


class WaitTimeout(NotReady, TimeoutError):
    """The deadline passed while something was still on its way."""


class IsolationError(EphemeralNsError):
    """A namespace is not isolated, or it could not be found out whether it is."""


class NotEnforced(IsolationError):
    """The cluster's network plugin ignores policies; the plugin for pytest skips the test with this as the reason."""


class NeverReady(EphemeralNsError):
    """Raised by a user's own check to say that waiting longer cannot help.

    Example:
        >>> raise NeverReady("order 7 was rejected")
        Traceback (most recent call last):
        ...
        pytest_ephemeral_ns.errors.NeverReady: order 7 was rejected
    """
