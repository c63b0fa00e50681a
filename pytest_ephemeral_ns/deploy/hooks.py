"""The hooks of a chart that we render and apply ourselves; this module must never run two at a time.

Order and deletion are Helm's (https://helm.sh/docs/topics/charts_hooks/): by weight, then kind, then name; each is
awaited before the next; one of an earlier deploy is removed first unless the chart says otherwise.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pytest_ephemeral_ns.deploy.watching import DELETED, await_gone, events_of
from pytest_ephemeral_ns.errors import DeployError
from pytest_ephemeral_ns.rules.manifests import Manifest
from pytest_ephemeral_ns.rules.objects import Ref

if TYPE_CHECKING:
    from pytest_ephemeral_ns.deadline import Deadline
    from pytest_ephemeral_ns.kube.api import Api

POLICY = "helm.sh/hook-delete-policy"
BEFORE = "before-hook-creation"
SUCCEEDED = "hook-succeeded"
FAILED = "hook-failed"


def run_hooks(
    api: Api,
    hooks: Sequence[Manifest],
    apply: Callable[[Sequence[Manifest]], Sequence[Ref]],
    path_of: Callable[[Manifest], str],
    deadline: Deadline,
) -> None:
    """Run hooks one after the other.

    Args:
        api: the server.
        hooks: in order.
        apply: makes objects.
        path_of: where an object is.
        deadline: for all of them.

    Raises:
        DeployError: a hook failed, or did not end in time.

    Example:
        >>> run_hooks(api, [], apply, path_of, deadline)  # doctest: +SKIP
    """
    for hook in hooks:
        path = path_of(hook)
        policies = _policies(hook)
        if BEFORE in policies:
            _remove(api, path, deadline)
        ref = apply([hook])[0]
        try:
            _await_end(api, path, ref, deadline)
        except DeployError:
            if FAILED in policies:
                api.delete(path, uid=ref.uid)
            raise
        if SUCCEEDED in policies:
            api.delete(path, uid=ref.uid)


def _policies(hook: Manifest) -> set[str]:
    text = str((hook.object["metadata"].get("annotations") or {}).get(POLICY) or BEFORE)
    return {policy.strip() for policy in text.split(",")}


def _remove(api: Api, path: str, deadline: Deadline) -> None:
    found = api.find(path)
    if found is None or api.delete(path, uid=found["metadata"]["uid"]) is None:
        return
    if not await_gone(api, path, found["metadata"]["resourceVersion"], deadline):
        raise DeployError(f"hook {Ref.of(found)} of an earlier deploy does not go away")


def _await_end(api: Api, path: str, ref: Ref, deadline: Deadline) -> None:
    """Wait until a Job or Pod has ended; anything else has nothing to end."""
    if ref.kind not in ("Job", "Pod"):
        return
    for event in events_of(api, path, "", deadline):
        if event["type"] == DELETED:
            raise DeployError(f"hook {ref} was deleted before it ended")
        state, why = _state(event["object"])
        if state == "failed":
            command = f"kubectl logs {ref.kind.lower()}/{ref.name} --namespace {ref.namespace}"
            raise DeployError(f"hook {ref} failed", evidence=[why] if why else [], command=command)
        if state == "succeeded":
            return
    raise DeployError(
        f"hook {ref} has not ended after {deadline.budget:.0f} s",
        command=f"kubectl describe {ref.kind.lower()}/{ref.name} --namespace {ref.namespace}",
    )


def _state(obj: Mapping[str, Any]) -> tuple[str, str]:
    status = obj.get("status") or {}
    if obj.get("kind") == "Pod":
        return str(status.get("phase") or "").lower(), str(status.get("message") or "")
    for condition in status.get("conditions") or ():
        if condition.get("status") == "True" and condition.get("type") in ("Complete", "Failed"):
            why = f"{condition.get('reason', '')}: {condition.get('message', '')}".strip(": ")
            return {"Complete": "succeeded", "Failed": "failed"}[condition["type"]], why
    return "", ""
