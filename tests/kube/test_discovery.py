"""Which kinds there are: without a request, by one, and by all."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from pytest_ephemeral_ns.errors import ApiError, UsageError
from pytest_ephemeral_ns.kube.api import Api
from pytest_ephemeral_ns.kube.builtin import BUILTIN
from pytest_ephemeral_ns.kube.discovery import Discovery, Resource

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


class NoServer:
    """Fails on any request."""

    def get(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("a request was made")


@pytest.fixture
def offline() -> Discovery:
    return Discovery(NoServer())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("api_version", "kind", "namespace", "name", "sub", "path"),
    [
        ("v1", "Pod", "shop", "", "", "/api/v1/namespaces/shop/pods"),
        ("v1", "Pod", "shop", "api", "log", "/api/v1/namespaces/shop/pods/api/log"),
        ("v1", "Pod", "", "", "", "/api/v1/pods"),
        ("v1", "Namespace", "shop", "shop", "", "/api/v1/namespaces/shop"),
        ("apps/v1", "Deployment", "shop", "api", "scale", "/apis/apps/v1/namespaces/shop/deployments/api/scale"),
        (
            "rbac.authorization.k8s.io/v1",
            "ClusterRole",
            "",
            "system:node/x",
            "",
            "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:node%2Fx",
        ),
    ],
)
def test_common_kinds_cost_no_request(
    offline: Discovery, api_version: str, kind: str, namespace: str, name: str, sub: str, path: str
) -> None:
    assert offline.find(api_version, kind).path(namespace=namespace, name=name, subresource=sub) == path


@pytest.mark.parametrize(
    ("word", "full_name"),
    [
        ("po", "pods"),
        ("pod", "pods"),
        ("svc", "services"),
        ("deploy", "deployments.apps"),
        ("Deployment", "deployments.apps"),
        ("deployments.apps", "deployments.apps"),
        ("deployments.v1.apps", "deployments.apps"),
        ("ev", "events"),
        ("events.events.k8s.io", "events.events.k8s.io"),
        ("netpol", "networkpolicies.networking.k8s.io"),
        ("ingress", "ingresses.networking.k8s.io"),
        ("cm", "configmaps"),
    ],
)
def test_names_that_people_type(offline: Discovery, word: str, full_name: str) -> None:
    assert offline.by_name(word).full_name == full_name


@pytest.mark.cluster
def test_the_table_is_what_the_server_says(server_api: Api) -> None:
    served = {(r.api_version, r.kind): r for r in Discovery(server_api).all()}
    for row in BUILTIN:
        real = served[row.api_version, row.kind]
        assert (row.plural, row.namespaced, row.short_names) == (real.plural, real.namespaced, real.short_names)
        assert row.verbs - real.verbs <= {"deletecollection"}  # namespaces


@pytest.mark.cluster
def test_an_uncommon_kind_costs_one_request_and_everything_two(server_api: Api) -> None:
    discovery = Discovery(server_api)
    before = server_api.requests
    assert discovery.find("flowcontrol.apiserver.k8s.io/v1", "FlowSchema").plural == "flowschemas"
    assert server_api.requests == before + 1
    assert discovery.find("flowcontrol.apiserver.k8s.io/v1", "FlowSchema").namespaced is False
    assert server_api.requests == before + 1
    assert len(discovery.all()) > len(BUILTIN)
    discovery.all()
    assert server_api.requests == before + 3


@pytest.mark.cluster
@pytest.mark.parametrize(
    ("api_version", "kind", "hint"),
    [
        ("apps/v1", "Deploymnet", "did you mean Deployment (apps/v1)?"),
        ("extensions/v1beta1", "Deployment", "this cluster has Deployment as apps/v1"),
        ("policy/v1beta1", "PodDisruptionBudget", "this cluster has PodDisruptionBudget as policy/v1"),
        ("shop.example/v1", "Order", "is the CustomResourceDefinition of Order installed?"),
    ],
)
def test_an_unknown_kind_is_an_error_with_a_hint(server_api: Api, api_version: str, kind: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        Discovery(server_api).find(api_version, kind)
    assert caught.value.summary == f"{kind} ({api_version}): the cluster has no such kind"
    assert caught.value.evidence[0] == hint


@pytest.mark.cluster
def test_an_unknown_name_is_an_error_with_a_hint(server_api: Api) -> None:
    with pytest.raises(UsageError, match=r"did you mean deployments.apps\?"):
        Discovery(server_api).by_name("deploymet")


@pytest.fixture
def group(server_api: Api) -> Iterator[str]:
    """An API group of this test's own, for which it may define kinds."""
    name = f"g{uuid.uuid4().hex[:8]}.example"
    yield name
    for crd in server_api.list(CRDS):
        if crd["spec"]["group"] == name:
            server_api.delete(f"{CRDS}/{crd['metadata']['name']}")


def define_order(api: Api, group: str) -> None:
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    names = {"kind": "Order", "plural": "orders", "singular": "order", "shortNames": ["ord"]}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema}
    crd = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"orders.{group}"},
        "spec": {"group": group, "names": names, "scope": "Namespaced", "versions": [version]},
    }
    api.create(CRDS, crd)


@pytest.mark.cluster
def test_a_kind_that_is_defined_later_is_found(server_api: Api, group: str) -> None:
    discovery = Discovery(server_api)
    discovery.all()
    with pytest.raises(UsageError):
        discovery.find(f"{group}/v1", "Order")
    define_order(server_api, group)
    order = discovery.find(f"{group}/v1", "Order", patience=20.0)
    expected = Resource(group, "v1", "Order", "orders", True, order.verbs, ("ord",))
    assert order == expected
    assert discovery.by_name(f"ord.{group}") == expected


class PaperServer:
    """Answers from a table, as a server some of whose groups are down."""

    def __init__(self, table: dict[str, Any]) -> None:
        self.table = table

    def get(self, path: str, *, accept: str | None = None) -> Any:
        answer = self.table.get(path, 404)
        if isinstance(answer, int):
            raise ApiError(f"get {path}: {answer}", status=answer)
        return answer


ROW = {"name": "orders", "kind": "Order", "namespaced": True, "verbs": ["get"]}
DOWN_CLASSIC = {
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/api/v1": {
        "resources": [{"name": "pods", "kind": "Pod", "namespaced": True}, {"name": "pods/log", "kind": "Pod"}]
    },
    "/apis": {
        "kind": "APIGroupList",
        "groups": [
            {"name": "dead.example", "versions": [{"groupVersion": "dead.example/v1"}]},
            {"name": "shop.example", "versions": [{"groupVersion": "shop.example/v1"}]},
        ],
    },
    "/apis/dead.example/v1": 503,
    "/apis/shop.example/v1": {"resources": [ROW]},
}
DOWN_AGGREGATED = {
    **DOWN_CLASSIC,
    "/api": {"kind": "APIGroupDiscoveryList", "items": []},
    "/apis": {
        "kind": "APIGroupDiscoveryList",
        "items": [
            {"metadata": {"name": "dead.example"}, "versions": [{"version": "v1", "freshness": "Stale"}]},
            {
                "metadata": {"name": "shop.example"},
                "versions": [
                    {
                        "version": "v1",
                        "freshness": "Current",
                        "resources": [{"resource": "orders", "responseKind": {"kind": "Order"}, "scope": "Namespaced"}],
                    }
                ],
            },
        ],
    },
}


@pytest.mark.parametrize("table", [DOWN_CLASSIC, DOWN_AGGREGATED], ids=["classic", "aggregated"])
def test_a_group_that_is_down_does_not_take_the_others_with_it(table: dict[str, Any]) -> None:
    discovery = Discovery(PaperServer(table))  # type: ignore[arg-type]
    assert discovery.find("shop.example/v1", "Order").full_name == "orders.shop.example"
    assert discovery.by_name("orders").kind == "Order"
    assert discovery.stale == ("dead.example/v1",)
    with pytest.raises(UsageError) as unknown:
        discovery.find("shop.example/v1", "Invoice")
    assert "not known, because their servers do not answer: dead.example/v1" in str(unknown.value)
    with pytest.raises(ApiError, match=r"dead\.example/v1: the server of this API group does not answer") as dead:
        discovery.find("dead.example/v1", "Ghost")
    assert dead.value.command == "kubectl get apiservice v1.dead.example"


@pytest.mark.cluster
def test_the_classic_answers_say_the_same(server_api: Api) -> None:
    class Classic:
        """A server that does not know aggregated discovery."""

        def get(self, path: str, *, accept: str | None = None) -> dict[str, Any]:
            return server_api.get(path)

    def facts(discovery: Discovery) -> set[tuple[str, str, str, bool]]:
        return {(r.api_version, r.kind, r.plural, r.namespaced) for r in discovery.all() if "example" not in r.group}

    assert facts(Discovery(Classic())) == facts(Discovery(server_api))  # type: ignore[arg-type]
