"""Guard rails are put into a namespace before anything else; this module must never decide what they are.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from pytest_ephemeral_ns.deploy.watching import ERROR, events_of
from pytest_ephemeral_ns.errors import ApiError, DeployError
from pytest_ephemeral_ns.kube.resource import Resource
from pytest_ephemeral_ns.rules.manifests import CONTENT, appliable
from pytest_ephemeral_ns.rules.objects import Object, Ref

if TYPE_CHECKING:
    from pytest_ephemeral_ns.deadline import Deadline
    from pytest_ephemeral_ns.kube.api import Api

ENDPOINTS = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
QUOTA, NETWORK_POLICY = "ResourceQuota", "NetworkPolicy"
_PLURALS = {"LimitRange": "limitranges", QUOTA: "resourcequotas", NETWORK_POLICY: "networkpolicies"}
AT_ONCE = 4


class MissingRight(DeployError):
    """This identity may not put guard rails in; the namespace is as usable as without them."""


def put_guard_rails(
    api: Api, namespace: str, rails: Sequence[Object], *, labels: Mapping[str, str] | None = None
) -> list[Object]:
    """Put guard rails into a namespace; those that are there already are brought up to date.

    The LimitRange comes before the quota: should it be refused, there must be no quota that refuses every pod.

    Args:
        api: the server.
        namespace: which exists.
        rails: from :func:`pytest_ephemeral_ns.rules.guardrails.guard_rails`.
        labels: put on every object.

    Returns:
        The objects as the server has them, for :func:`await_quota`.

    Raises:
        MissingRight: this identity may not create one of them; says what to grant.
        DeployError: the server refused one.

    Example:
        >>> def example(api, deadline):
        ...     await_quota(api, put_guard_rails(api, "shop-gw0", guard_rails("standard")), deadline)
    """

    def put(rail: Object) -> Object:
        return _put(api, namespace, rail, labels or {})

    bounds = [rail for rail in rails if rail["kind"] != NETWORK_POLICY]
    policies = [rail for rail in rails if rail["kind"] == NETWORK_POLICY]
    if not policies:
        return [put(rail) for rail in bounds]
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="ephemeral-ns-guard") as pool:
        closed = pool.map(put, policies)
        return [*map(put, bounds), *closed]


def _put(api: Api, namespace: str, rail: Object, labels: Mapping[str, str]) -> Object:
    path = _path(rail, namespace)
    body = appliable({**rail, "metadata": {**rail["metadata"], "namespace": namespace}}, labels)
    try:
        try:
            return api.create(path.rpartition("/")[0], body, same=lambda existing: _content(existing) == _content(body))
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
            return api.apply(path, body)
    except ApiError as error:
        if error.reason == "Forbidden":
            raise _missing(_PLURALS[rail["kind"]], error) from error
        raise DeployError(
            f"guard rail {Ref.of(rail)} was refused in namespace {namespace}",
            evidence=[error.summary, *error.evidence],
            command=error.command or "pytest --ephemeral-ns-policy=none",
        ) from error


def _content(obj: Object) -> str:
    return str((obj["metadata"].get("annotations") or {}).get(CONTENT, ""))


def _missing(plural: str, error: ApiError) -> MissingRight:
    wanted = "--verb=create,get,patch,watch --resource=limitranges,resourcequotas,networkpolicies.networking.k8s.io"
    return MissingRight(
        f"guard rails: this identity may not create, get or watch {plural} in the namespaces that it makes",
        evidence=[error.summary, "do without: --ephemeral-ns-policy=none"],
        command=f"kubectl create clusterrole ephemeral-ns-guard-rails {wanted}",
    )


def await_quota(api: Api, rails: Sequence[Object], deadline: Deadline) -> None:
    """Wait until the quota counts: before that, a pod is refused ("status unknown for quota").

    Args:
        api: the server.
        rails: what :func:`put_guard_rails` returned.
        deadline: for all of it.

    Raises:
        MissingRight: this identity may not watch it.
        DeployError: it never counts.
    """
    for rail in rails:
        if rail["kind"] == QUOTA:
            try:
                _await_counting(api, _path(rail, rail["metadata"]["namespace"]), rail, deadline)
            except ApiError as error:
                if error.reason != "Forbidden":
                    raise
                raise _missing(_PLURALS[QUOTA], error) from error


def api_servers(api: Api) -> list[tuple[str, int]]:
    """Return address and port of the API server as pods reach it, for the rule that lets them.

    Network policies look at addresses after translation, so it is the endpoints of Service ``default/kubernetes``
    that count. Empty where there is none, which is so on a control plane without nodes.

    Raises:
        MissingRight: they may not be read.
    """
    selector = "kubernetes.io/service-name=kubernetes"
    try:
        slices = [*api.list(ENDPOINTS, label_selector=selector)]
    except ApiError as error:
        if error.reason != "Forbidden":
            raise
        raise MissingRight(
            "policy isolated: the address of the API server may not be read, so pods could not reach it",
            evidence=[error.summary, "do without it: --ephemeral-ns-isolated-api-server=closed"],
            command="kubectl create role read-endpoints --namespace default --verb=list --resource=endpointslices",
        ) from error
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
    # By now it counts, mostly: one look costs less than a watch, which has a connection of its own.
    quota = quota if _counts(quota) else api.get(path)
    if _counts(quota):
        return
    for event in events_of(api, path, quota["metadata"]["resourceVersion"], deadline):
        if event["type"] != ERROR and _counts(event["object"]):
            return
    name, namespace = quota["metadata"]["name"], quota["metadata"]["namespace"]
    raise DeployError(
        f"{Ref.of(quota)} does not count after {deadline.budget:.0f} s: pods would be refused",
        evidence=["the kube-controller-manager's resourcequota controller fills its status"],
        command=f"kubectl describe resourcequota {name} --namespace {namespace}",
    )


def _counts(quota: Object) -> bool:
    return set((quota.get("spec") or {}).get("hard") or ()) <= set((quota.get("status") or {}).get("hard") or ())
