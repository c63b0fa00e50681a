"""Looks into a namespace that does not go away; this module must never change it, except what a user names.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from pytest_ephemeral_ns.errors import ApiError, EphemeralNsError
from pytest_ephemeral_ns.rules.objects import Object
from pytest_ephemeral_ns.rules.terminating import Evidence, Remains, explain

if TYPE_CHECKING:
    from pytest_ephemeral_ns.kube.api import Api
    from pytest_ephemeral_ns.kube.resource import Resource

APISERVICES = "/apis/apiregistration.k8s.io/v1/apiservices"
WEBHOOKS = "/apis/admissionregistration.k8s.io/v1"
# Events go by themselves, and reviews of metrics are not stored.
_IGNORED = frozenset({"events", "events.events.k8s.io", "pods.metrics.k8s.io"})


def explain_stuck(api: Api, namespace: str) -> list[str]:
    """Say why a namespace is still there: dead APIs, webhooks, finalizers, dead nodes, each with what to type.

    Args:
        api: the API server. Rights that are missing make the answer shorter, and it says so.
        namespace: its name.

    Returns:
        Lines for people; empty if it is gone.

    Raises:
        ApiError: the namespace may not be read, or no answer.

    Example:
        >>> explain_stuck(api, "shop-gw0")[0]  # doctest: +SKIP
        'namespace shop-gw0 is being deleted since 2h13m'
    """
    item = api.find(f"/api/v1/namespaces/{namespace}")
    if item is None:
        return []
    notes: list[str] = []
    dead_apis = _dead_apis(api, notes)
    remains = _remains(api, namespace, dead_apis, notes)
    pods = [pod for kind in remains if kind.resource == "pods" for pod in kind.objects]
    evidence = Evidence(
        item, remains, dead_apis, frozenset(_dead_nodes(api, pods)), dict(_webhooks(api, item)), tuple(notes)
    )
    return explain(evidence, now=datetime.fromtimestamp(api.server_time, timezone.utc))


def _dead_apis(api: Api, notes: list[str]) -> dict[str, str]:
    try:
        services = list(api.list(APISERVICES))
    except ApiError as error:
        notes.append(f"APIServices could not be looked at: {error.summary}")
        return {}
    dead = {}
    for service in services:
        for condition in (service.get("status") or {}).get("conditions") or []:
            if condition.get("type") == "Available" and condition.get("status") != "True":
                dead[service["metadata"]["name"]] = str(condition.get("message") or condition.get("reason"))
    return dead


def _remains(api: Api, namespace: str, dead_apis: Iterable[str], notes: list[str]) -> list[Remains]:
    from pytest_ephemeral_ns.kube.discovery import Discovery

    remains, refused = [], []
    seen: set[str] = set()
    for resource in Discovery(api).refresh():
        dead = f"{resource.version}.{resource.group}" in dead_apis
        if dead or resource.full_name in seen or not _deletable(resource):
            continue
        seen.add(resource.full_name)
        try:
            objects = _list(api, resource, namespace)
        except ApiError as error:
            refused.append(f"{resource.full_name} ({error.status or 'no answer'})")
            continue
        if objects:
            remains.append(Remains(resource.full_name, objects))
    if refused:
        notes.append(f"could not be looked at: {', '.join(refused)}")
    return remains


def _deletable(resource: Resource) -> bool:
    wanted = {"list", "delete"} <= resource.verbs
    return resource.namespaced and wanted and resource.full_name not in _IGNORED


def _list(api: Api, resource: Resource, namespace: str) -> list[Object]:
    from pytest_ephemeral_ns.kube.api import METADATA_LIST

    accept = None if resource.full_name == "pods" else METADATA_LIST  # whole pods say node and claims
    return list(api.list(resource.path(namespace=namespace), accept=accept))


def _dead_nodes(api: Api, pods: Sequence[Object]) -> Iterator[str]:
    for name in {str((pod.get("spec") or {}).get("nodeName") or "") for pod in pods} - {""}:
        try:
            node = api.find(f"/api/v1/nodes/{name}")
        except ApiError:  # no right to look at nodes: nothing is said about them
            continue
        conditions = ((node or {}).get("status") or {}).get("conditions") or []
        if not any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions):
            yield name


def _webhooks(api: Api, namespace: Object) -> Iterator[tuple[str, str]]:
    if "failed calling webhook" not in str(namespace.get("status")):
        return
    for kind in ("validatingwebhookconfiguration", "mutatingwebhookconfiguration"):
        try:
            for item in api.list(f"{WEBHOOKS}/{kind}s"):
                for webhook in item.get("webhooks") or []:
                    yield webhook["name"], f"{kind} {item['metadata']['name']}"
        except ApiError:  # then the command does not name the configuration
            continue


def force_finalizers(
    api: Api, namespace: str, kinds: Sequence[str], *, say: Callable[[str], None], dry_run: bool = False
) -> list[str]:
    """Remove the finalizers of objects that are being deleted, for kinds that the user named.

    What a finalizer stands for is not done then: something outside the cluster may stay.

    Args:
        api: the API server.
        namespace: a namespace that is being deleted; others are not touched.
        kinds: as kubectl takes them.
        say: called with one line per object, before it is changed.
        dry_run: whether to change nothing.

    Returns:
        One line per object that could not be changed.

    Raises:
        UsageError: the cluster has no such kind.
        ApiError: the namespace or the objects cannot be read.
    """
    from pytest_ephemeral_ns.kube.discovery import Discovery

    item = api.find(f"/api/v1/namespaces/{namespace}")
    if item is None or not item["metadata"].get("deletionTimestamp"):
        return []
    discovery = Discovery(api)
    problems = []
    for resource in [discovery.by_name(kind) for kind in kinds]:
        for obj in list(api.list(resource.path(namespace=namespace))):
            metadata = obj["metadata"]
            if not metadata.get("deletionTimestamp") or not metadata.get("finalizers"):
                continue
            say(f"remove finalizers of {resource.full_name} {metadata['name']}: {', '.join(metadata['finalizers'])}")
            if dry_run:
                continue
            patch = {"metadata": {"finalizers": None, "resourceVersion": metadata["resourceVersion"]}}
            try:
                api.patch(resource.path(namespace=namespace, name=metadata["name"]), patch)
            except EphemeralNsError as error:
                problems.append(f"{resource.full_name} {metadata['name']} keeps its finalizers: {error.summary}")
    return problems
