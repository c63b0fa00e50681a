"""Definitions of kinds: made once, shared by a run, removed by its last; this module must never change another run's.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_ephemeral_ns.deploy.watching import await_gone, events_of
from pytest_ephemeral_ns.errors import ApiError, DeployError
from pytest_ephemeral_ns.kube.api import METADATA_LIST
from pytest_ephemeral_ns.rules.naming import RUN
from pytest_ephemeral_ns.rules.objects import Object
from pytest_ephemeral_ns.rules.outside import DEFINITION

if TYPE_CHECKING:
    from pytest_ephemeral_ns.deadline import Deadline
    from pytest_ephemeral_ns.kube.api import Api

CONTENT = "pytest-ephemeral-ns/content"
METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"


@dataclass(frozen=True)
class Used:
    """A definition that can be used.

    Args:
        object: as the server has it, perhaps its metadata alone.
        ours: whether this run made it.
    """

    object: Object
    ours: bool


def use_definition(
    api: Api, collection: str, body: Object, deadline: Deadline, apply: Callable[[Object], Object]
) -> Used:
    """Create a definition, or use the one that is there, and wait until it is established.

    One that another namespace of this run made is shared: its content is not sent again, it may be a megabyte. One that
    somebody else made is used as it is.

    Args:
        api: the server.
        collection: path of the definitions.
        body: the definition with our labels.
        deadline: for everything.
        apply: creates it.

    Raises:
        DeployError: this run has it with other content, its names are taken, or time is up.
    """
    name = body["metadata"]["name"]
    path = f"{collection}/{name}"
    found = _metadata(api, path)
    if found and found["metadata"].get("deletionTimestamp"):
        if not await_gone(api, path, found["metadata"]["resourceVersion"], deadline):
            raise _stays(name)
        found = None
    content = hashlib.sha256(json.dumps(body.get("spec"), sort_keys=True).encode()).hexdigest()[:16]
    if found is None:
        answer = apply(_with_content(body, content))
        if not _is_established(answer):
            _await_established(api, path, answer["metadata"]["resourceVersion"], deadline)
        return Used(answer, True)
    ours = _is_of_run(found, str((body["metadata"].get("labels") or {}).get(RUN) or ""))
    if ours and (found["metadata"].get("annotations") or {}).get(CONTENT) != content:
        raise DeployError(
            f"{DEFINITION}/{name} has other content in another namespace of this run",
            evidence=["a cluster has one definition of each name, and the namespaces of a run share it"],
            command=f"kubectl get crd {name} -o yaml",
        )
    if not _is_served(api, body):
        _await_established(api, path, "", deadline)
    return Used(found, ours)


def leave_definition(api: Api, path: str, uid: str, namespace: str) -> bool:
    """Remove a definition unless another namespace of the same run lives: then that one, or the run's end, does it.

    Args:
        api: the server.
        path: of the definition.
        uid: of the definition that was used.
        namespace: who used it; it does not count, whether it lives or not.

    Returns:
        Whether it was removed.
    """
    found = _metadata(api, path)
    if not found or found["metadata"]["uid"] != uid:
        return False
    run = (found["metadata"].get("labels") or {}).get(RUN)
    others = api.list("/api/v1/namespaces", label_selector=f"{RUN}={run}", accept=METADATA_LIST) if run else ()
    if any(o["metadata"]["name"] != namespace and not o["metadata"].get("deletionTimestamp") for o in others):
        return False
    return api.delete(path, uid=uid) is not None


def _with_content(body: Object, content: str) -> Object:
    annotations = {**(body["metadata"].get("annotations") or {}), CONTENT: content}
    return {**body, "metadata": {**body["metadata"], "annotations": annotations}}


def _is_of_run(found: Object, run: str) -> bool:
    return bool(run) and (found["metadata"].get("labels") or {}).get(RUN) == run


def _metadata(api: Api, path: str) -> Object | None:
    try:
        return api.get(path, accept=METADATA)
    except ApiError as error:
        if error.status == 404:
            return None
        raise


def _is_served(api: Api, definition: Mapping[str, Any]) -> bool:
    """Whether every version of a definition is served: cheaper to ask than the definition's own status."""
    spec = definition["spec"]
    for version in spec.get("versions") or ():
        listed = api.find(f"/apis/{spec['group']}/{version['name']}") if version.get("served") else None
        plurals = {row.get("name") for row in (listed or {}).get("resources") or ()}
        if version.get("served") and spec["names"]["plural"] not in plurals:
            return False
    return True


def _await_established(api: Api, path: str, version: str, deadline: Deadline) -> None:
    for event in events_of(api, path, version, deadline):
        if event["object"].get("kind") == DEFINITION and _is_established(event["object"]):
            return
    name = path.rpartition("/")[2]
    raise DeployError(
        f"{DEFINITION}/{name} is not established after {deadline.budget:.0f} s",
        command=f"kubectl get crd {name} -o jsonpath='{{.status.conditions}}'",
    )


def _stays(name: str) -> DeployError:
    return DeployError(
        f"{DEFINITION}/{name} is being deleted and does not go away",
        command=f"kubectl get crd {name} -o jsonpath='{{.status.conditions}} {{.metadata.finalizers}}'",
    )


def _is_established(definition: Mapping[str, Any]) -> bool:
    conditions = {c.get("type"): c for c in (definition.get("status") or {}).get("conditions") or ()}
    names = conditions.get("NamesAccepted", {})
    if names.get("status") == "False":
        raise DeployError(
            f"{DEFINITION}/{definition['metadata']['name']} cannot be used: {names.get('reason')}",
            evidence=[str(names.get("message"))],
            command="kubectl get crd",
        )
    return bool(conditions.get("Established", {}).get("status") == "True")
