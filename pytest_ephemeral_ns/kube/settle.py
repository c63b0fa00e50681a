"""What a call has come to whose outcome is not clear from its answer; this module must never change anything.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pytest_ephemeral_ns.errors import ApiError
from pytest_ephemeral_ns.kube.answers import subject

Object = dict[str, Any]
Find = Callable[[str], "Object | None"]


def doubtful_create(find: Find, path: str, same: Callable[[Object], bool] | None, error: ApiError) -> Object:
    """Return the object whose creation may have been carried out without our getting to know, or say that it may.

    Args:
        find: looks for the object at a path.
        path: of the object.
        same: whether an object is the one that the call made; ``None`` when nobody can tell.
        error: what the last attempt came to.

    Raises:
        ApiError: it is somebody else's, or it is not known whether there is one.
    """
    if same and error.status == 409 and (existing := find(path)) and same(existing):
        return existing
    if 0 < error.status < 500:
        raise error
    what, _, why = error.summary.partition(": ")
    raise ApiError(
        f"{what}: unknown whether it was created: {why}",
        status=error.status,
        reason=error.reason,
        body=error.body,
        evidence=error.evidence,
        command=f"kubectl {subject('GET', path).replace(' in namespace ', ' -n ')}",
    ) from None


def delete_options(uid: str, resource_version: str, propagation: str, grace_period: int | None) -> Object:
    """Return the body of a deletion: what is left out of it (empty, ``None``) is the server's choice."""
    preconditions = {key: value for key, value in (("uid", uid), ("resourceVersion", resource_version)) if value}
    return {
        "kind": "DeleteOptions",
        "apiVersion": "v1",
        "propagationPolicy": propagation,
        **({"preconditions": preconditions} if preconditions else {}),
        **({"gracePeriodSeconds": grace_period} if grace_period is not None else {}),
    }


def refused_delete(find: Find, path: str, uid: str, error: ApiError) -> Object | None:
    """Return what has become of an object whose deletion ended in a conflict.

    Args:
        find: looks for the object at a path.
        path: of the object.
        uid: the UID that it was to have.
        error: the conflict.

    Returns:
        ``None`` when it is gone, the object when it is being deleted.

    Raises:
        ApiError: the name is another object's now, or the conflict stands.
    """
    existing = find(path)
    if existing is None:
        return None
    found = existing["metadata"]
    if found.get("uid") == uid:
        if found.get("deletionTimestamp"):
            return existing
        raise error
    raise ApiError(
        f"{subject('DELETE', path)}: not deleted: it is another object now",
        status=error.status,
        reason=error.reason,
        body=error.body,
        evidence=[f"asked for UID {uid}, found UID {found.get('uid')}, created {found.get('creationTimestamp')}"],
        command=f"kubectl {subject('GET', path).replace(' in namespace ', ' -n ')} -o yaml",
    ) from None
