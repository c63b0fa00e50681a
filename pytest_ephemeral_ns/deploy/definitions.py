"""CustomResourceDefinitions are awaited until their kinds can be used; this module must never sleep.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pytest_ephemeral_ns.errors import DeployError

if TYPE_CHECKING:
    from pytest_ephemeral_ns.deadline import Deadline
    from pytest_ephemeral_ns.kube.api import Api

DEFINITION = "CustomResourceDefinition"


def await_established(api: Api, collection: str, definition: Mapping[str, Any], deadline: Deadline) -> None:
    """Wait on a watch until a definition is established.

    Args:
        api: the server.
        collection: path of the definitions.
        definition: as the server answered when it was applied.
        deadline: shared with the rest of the deploy.

    Raises:
        DeployError: its names are taken by another definition, or the deadline passed.

    Example:
        >>> def wait(api, collection, definition, deadline):
        ...     await_established(api, collection, definition, deadline)
    """
    name, version = definition["metadata"]["name"], definition["metadata"]["resourceVersion"]
    state = _state(definition)
    while not state:
        if deadline.expired:
            raise DeployError(
                f"{DEFINITION}/{name} is not established after {deadline.budget:.0f} s",
                command=f"kubectl get crd {name} -o jsonpath='{{.status.conditions}}'",
            )
        seconds = max(1, int(deadline.sooner(30)))
        params = {"watch": "true", "fieldSelector": f"metadata.name={name}", "timeoutSeconds": str(seconds)}
        if version:
            params["resourceVersion"] = version
        with api.stream(collection, params=params, read_timeout=seconds + 5.0) as lines:
            for line in lines:
                event = json.loads(line)
                # A version that is too old (410) is answered by an event; without one the watch begins with what is.
                version = "" if event["type"] == "ERROR" else version
                if state := _state(event["object"]):
                    break


def _state(definition: Mapping[str, Any]) -> bool:
    conditions = (
        {c["type"]: c for c in (definition.get("status") or {}).get("conditions") or () if isinstance(c, Mapping)}
        if (definition.get("kind") == DEFINITION)
        else {}
    )
    names = conditions.get("NamesAccepted", {})
    if names.get("status") == "False":
        raise DeployError(
            f"{DEFINITION}/{definition['metadata']['name']} cannot be used: {names.get('reason')}",
            evidence=[str(names.get("message"))],
            command="kubectl get crd",
        )
    return bool(conditions.get("Established", {}).get("status") == "True")
