"""What was made outside the namespace is found again and removed; this module must never remove what we did not make.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import TYPE_CHECKING

from pytest_ephemeral_ns.deploy.definitions import leave_definition
from pytest_ephemeral_ns.deploy.model import Tracked
from pytest_ephemeral_ns.deploy.snapshot import HOME
from pytest_ephemeral_ns.errors import ApiError, EphemeralNsError
from pytest_ephemeral_ns.kube.api import METADATA_LIST
from pytest_ephemeral_ns.rules.naming import RUN
from pytest_ephemeral_ns.rules.objects import Object, Ref
from pytest_ephemeral_ns.rules.outside import DEFINITION

if TYPE_CHECKING:
    from pytest_ephemeral_ns.kube.api import Api
    from pytest_ephemeral_ns.kube.discovery import Discovery
    from pytest_ephemeral_ns.kube.resource import Resource

# What stands between the API server and others goes first: a webhook or an aggregated API whose pods are gone would
# block the deletion of namespaces.
_FIRST = ("ValidatingWebhookConfiguration", "MutatingWebhookConfiguration", "APIService")
_LAST = ("ClusterRoleBinding", "RoleBinding", "ClusterRole", "Role", DEFINITION)


def remove_cluster_scoped(api: Api, tracked: Iterable[Tracked], *namespaces: str) -> list[str]:
    """Remove what deploys made outside their namespaces; call it before those are deleted, or at once after.

    Never waits until objects are gone. A definition stays while another namespace of the same run lives.

    Args:
        api: the server.
        tracked: from :class:`~pytest_ephemeral_ns.deploy.model.Deployed`, or from :func:`find_outside`.
        namespaces: whose they are; a definition does not stay because of them.

    Returns:
        One sentence for everything that could not be removed, with the command that removes it.

    Example:
        >>> def release(api, deployed):
        ...     return remove_cluster_scoped(api, deployed.tracked, "shop-gw0")
    """
    problems = []
    for thing in sorted(dict.fromkeys(tracked), key=_order):
        try:
            if thing.shared:
                leave_definition(api, thing.path, thing.ref.uid, namespaces)
            else:
                api.delete(thing.path, uid=thing.ref.uid)
        except EphemeralNsError as error:
            if isinstance(error, ApiError) and error.status == 409:
                continue  # another object has that name now
            where = f" --namespace {thing.ref.namespace}" if thing.ref.namespace else ""
            command = f"kubectl delete {thing.ref.kind.lower()} {thing.ref.name}{where}"
            problems.append(f"{thing.ref} was not removed: {error.summary}; {command}")
    return problems


def _order(thing: Tracked) -> tuple[int, str]:
    kind = thing.ref.kind
    return (0 if kind in _FIRST else 2 + _LAST.index(kind) if kind in _LAST else 1, thing.path)


def find_outside(
    api: Api,
    discovery: Discovery,
    *,
    namespace: str = "",
    run: str | Collection[str] = (),
    going: bool = True,
    wanted: Callable[[Object], bool] = lambda obj: True,
    refused: list[str] | None = None,
) -> list[Tracked]:
    """Find what was made outside, by its labels: for whoever cleans up after a process that was killed.

    Args:
        api: the server.
        discovery: its kinds; every cluster-scoped one that can be deleted is looked at, with Roles and RoleBindings.
        namespace: only what belongs to this namespace; definitions belong to the whole run.
        run: only what belongs to this run, or to one of these.
        going: whether what is being deleted already is part of it.
        wanted: asked of each object (its metadata, with ``kind``).
        refused: full names of kinds that may not be listed are appended to it.

    Returns:
        What was found; kinds that may not be listed are left out.

    Example:
        >>> def leftovers(api, discovery):
        ...     return find_outside(api, discovery, run="k3x9")
    """
    runs = sorted(filter(None, [run] if isinstance(run, str) else run))
    of_run = f"{RUN} in ({','.join(runs)})" if runs else RUN
    selectors = [f"{HOME}={namespace}" if namespace else HOME, *([of_run] if runs else [])]
    found: dict[str, Tracked] = {}
    for resource in discovery.all():
        if not {"list", "delete"} <= resource.verbs:
            continue
        if resource.namespaced and resource.kind not in ("Role", "RoleBinding"):
            continue
        shared = resource.kind == DEFINITION
        selector = of_run if shared else ",".join(selectors)
        for obj in _listed(api, resource, selector, [] if refused is None else refused):
            if not wanted(obj):
                continue
            metadata = obj["metadata"]
            if metadata.get("deletionTimestamp") and not going:
                continue
            where = metadata.get("namespace", "")
            ref = Ref(resource.api_version, resource.kind, metadata["name"], where, metadata["uid"])
            home = "" if shared else metadata["labels"][HOME]
            path = resource.path(namespace=where, name=ref.name)
            found.setdefault(metadata["uid"], Tracked(ref, path, shared, home))
    return [*found.values()]


def _listed(api: Api, resource: Resource, selector: str, refused: list[str]) -> Iterator[Object]:
    try:
        yield from api.list(resource.path(), label_selector=selector, accept=METADATA_LIST)
    except ApiError as error:
        if error.status not in (403, 404, 405):
            raise
        if error.status == 403:
            refused.append(resource.full_name)
