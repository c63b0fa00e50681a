"""Definitions of kinds: made once, shared by a run, removed by its last; this module must never change another run's.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_ephemeral_ns.deploy.watching import await_gone, events_of
from pytest_ephemeral_ns.errors import ApiError, DeployError
from pytest_ephemeral_ns.kube.api import FIELD_MANAGER, METADATA_LIST
from pytest_ephemeral_ns.rules.manifests import CONTENT
from pytest_ephemeral_ns.rules.naming import RUN
from pytest_ephemeral_ns.rules.objects import Object
from pytest_ephemeral_ns.rules.outside import DEFINITION

if TYPE_CHECKING:
    from pytest_ephemeral_ns.deadline import Deadline
    from pytest_ephemeral_ns.kube.api import Api

ATTEMPTS = 5
LONGEST_CALL = 60.0
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


class Definitions:
    """The definitions of one deploy.

    Args:
        api: the server.
        collection: path of the definitions.
        namespace: who uses them.
        deadline: for everything.
        made: called with a definition that was created or changed, before it is awaited.
    """

    def __init__(
        self, api: Api, collection: str, namespace: str, deadline: Deadline, made: Callable[[Object], None]
    ) -> None:
        self._api, self._collection, self._namespace = api, collection, namespace
        self._deadline, self._made = deadline, made

    def use(self, body: Object, warnings: list[str]) -> Used:
        """Create a definition, or use the one that is there, and wait until it is established.

        One that another namespace of this run made is shared: its content is not sent again, it may be a megabyte.
        One that somebody else made is used as it is.

        Args:
            body: the definition with our labels and its digest.
            warnings: the server's are appended.

        Raises:
            DeployError: this run has it with other content, its names are taken, or time is up.
        """
        name = body["metadata"]["name"]
        path = f"{self._collection}/{name}"
        for _ in range(ATTEMPTS):
            found = _metadata(self._api, path)
            if found and found["metadata"].get("deletionTimestamp"):
                if not await_gone(self._api, path, found["metadata"]["resourceVersion"], self._deadline):
                    raise _stays(name)
                found = None
            if found is not None:
                return self._existing(found, body, path, warnings)
            try:
                # Created, not applied: whoever makes one of this name first has it, and nobody else's is changed.
                answer = self._api.create(
                    self._collection,
                    body,
                    params={"fieldManager": FIELD_MANAGER},
                    same=lambda other: _content(other) == _content(body) and _run_of(other) == _run_of(body),
                    timeout=self._deadline.sooner(LONGEST_CALL),
                    warnings=warnings,
                )
            except ApiError as error:
                if error.status != 409:
                    raise
                continue
            self._made(answer)
            self._await_established(path, answer)
            return Used(answer, True)
        raise DeployError(
            f"{DEFINITION}/{name} is made and removed again and again", command=f"kubectl get --raw {path}"
        )

    def _existing(self, found: Object, body: Object, path: str, warnings: list[str]) -> Used:
        ours = bool(_run_of(found)) and _run_of(found) == _run_of(body)
        if ours and _content(found) != _content(body):
            if _others_live(self._api, _run_of(found), [self._namespace]):
                raise _differs(found["metadata"]["name"])
            found = self._api.apply(path, body, timeout=self._deadline.sooner(LONGEST_CALL), warnings=warnings)
            self._made(found)
        if not _is_served(self._api, body):
            self._await_established(path, None)
        return Used(found, ours)

    def _await_established(self, path: str, answer: Object | None) -> None:
        """Wait on a watch: from what was answered, or from the definition as it is."""
        if answer and _is_established(answer):
            return
        version = answer["metadata"]["resourceVersion"] if answer else ""
        for event in events_of(self._api, path, version, self._deadline):
            if event["object"].get("kind") == DEFINITION and _is_established(event["object"]):
                return
        name = path.rpartition("/")[2]
        raise DeployError(
            f"{DEFINITION}/{name} is not established after {self._deadline.budget:.0f} s",
            command=f"kubectl get crd {name} -o jsonpath='{{.status.conditions}}'",
        )


def leave_definition(api: Api, path: str, uid: str, namespaces: Collection[str]) -> bool:
    """Remove a definition unless another namespace of the same run lives: then that one, or the run's end, does it.

    Args:
        api: the server.
        path: of the definition.
        uid: of the definition that was used.
        namespaces: who used it; they do not count, whether they live or not.

    Returns:
        Whether it was removed.
    """
    found = _metadata(api, path)
    if not found or found["metadata"]["uid"] != uid or _others_live(api, _run_of(found), namespaces):
        return False
    return api.delete(path, uid=uid) is not None


def _others_live(api: Api, run: str, namespaces: Collection[str]) -> bool:
    if not run:
        return False
    found = api.list("/api/v1/namespaces", label_selector=f"{RUN}={run}", accept=METADATA_LIST)
    return any(o["metadata"]["name"] not in namespaces and not o["metadata"].get("deletionTimestamp") for o in found)


def _content(obj: Object) -> str:
    return str((obj["metadata"].get("annotations") or {}).get(CONTENT) or "")


def _run_of(obj: Object) -> str:
    return str((obj["metadata"].get("labels") or {}).get(RUN) or "")


def _differs(name: str) -> DeployError:
    return DeployError(
        f"{DEFINITION}/{name} has other content in another namespace of this run",
        evidence=["a cluster has one definition of each name, and the namespaces of a run share it"],
        command=f"kubectl get crd {name} -o yaml",
    )


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
