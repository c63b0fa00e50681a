"""Guard rails are put into a namespace before anything else; this module must never decide what they are.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pytest_ephemeral_ns.deploy.watching import events_of
from pytest_ephemeral_ns.errors import ApiError, DeployError
from pytest_ephemeral_ns.kube.resource import Resource
from pytest_ephemeral_ns.rules.manifests import appliable
from pytest_ephemeral_ns.rules.objects import Object, Ref

if TYPE_CHECKING:
    from pytest_ephemeral_ns.deadline import Deadline
    from pytest_ephemeral_ns.kube.api import Api

ENDPOINTS = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
_PLURALS = {"LimitRange": "limitranges", "ResourceQuota": "resourcequotas", "NetworkPolicy": "networkpolicies"}


def put_guard_rails(
    api: Api, namespace: str, rails: Sequence[Object], deadline: Deadline, *, labels: Mapping[str, str] | None = None
) -> list[Ref]:
    """Apply guard rails and wait until the quota counts: before that, a pod is refused ("status unknown for quota").

    Args:
        api: the server.
        namespace: which exists.
        rails: from :func:`pytest_ephemeral_ns.rules.guardrails.guard_rails`.
        deadline: for all of it.
        labels: put on every object.

    Raises:
        DeployError: the server refused one, or the quota never counts.

    Example:
        >>> def example(api, deadline):
        ...     return put_guard_rails(api, "shop-gw0", guard_rails("standard"), deadline)
    """
    applied: list[tuple[str, Object]] = []
    for rail in rails:
        path = _path(rail, namespace)
        metadata = {**rail["metadata"], "namespace": namespace}
        try:
            applied.append((path, api.apply(path, appliable({**rail, "metadata": metadata}, labels or {}))))
        except ApiError as error:
            raise DeployError(
                f"guard rail {Ref.of(rail)} was refused in namespace {namespace}",
                evidence=[error.summary, *error.evidence],
                command=error.command or "pytest --ephemeral-ns-policy=none",
            ) from error
    for path, answer in applied:
        if answer["kind"] == "ResourceQuota":
            _await_counting(api, path, answer, deadline)
    return [Ref.of(answer) for _, answer in applied]


def api_servers(api: Api) -> list[tuple[str, int]]:
    """Return address and port of the API server as pods reach it, for the rule that lets them.

    Network policies look at addresses after translation, so it is the endpoints of Service ``default/kubernetes``
    that count. Empty when they may not be read.
    """
    selector = "kubernetes.io/service-name=kubernetes"
    try:
        slices = [*api.list(ENDPOINTS, label_selector=selector)]
    except ApiError as error:
        if error.status in (403, 404):
            return []
        raise
    return sorted(
        {
            (address, int(port["port"]))
            for found in slices
            for endpoint in found.get("endpoints") or ()
            for address in endpoint.get("addresses") or ()
            for port in found.get("ports") or ()
        }
    )


def _path(rail: Object, namespace: str) -> str:
    group, _, version = rail["apiVersion"].rpartition("/")
    resource = Resource(group, version, rail["kind"], _PLURALS[rail["kind"]], True)
    return resource.path(namespace=namespace, name=rail["metadata"]["name"])


def _await_counting(api: Api, path: str, quota: Object, deadline: Deadline) -> None:
    wanted = set(quota["spec"]["hard"])
    if wanted <= set((quota.get("status") or {}).get("hard") or ()):
        return
    for event in events_of(api, path, quota["metadata"]["resourceVersion"], deadline):
        if wanted <= set((event["object"].get("status") or {}).get("hard") or ()):
            return
    name, namespace = quota["metadata"]["name"], quota["metadata"]["namespace"]
    raise DeployError(
        f"{Ref.of(quota)} does not count after {deadline.budget:.0f} s: pods would be refused",
        evidence=["the kube-controller-manager's resourcequota controller fills its status"],
        command=f"kubectl describe resourcequota {name} --namespace {namespace}",
    )
