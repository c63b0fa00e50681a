"""Each worker has a podinfo of its own; each test talks to its worker's."""

import httpx
import pytest

pytestmark = pytest.mark.node
PODINFO = ("svc/quickstart", 9898)


@pytest.mark.parametrize("customer", ["ada", "grace", "edsger"])
def test_a_token_is_issued_and_accepted(ephemeral_ns, customer):
    api = ephemeral_ns.url(*PODINFO)
    token = httpx.post(f"{api}/token", content=customer).json()["token"]

    body = ephemeral_ns.wait_for_contract(
        f"{api}/token/validate",
        headers={"Authorization": f"Bearer {token}"},
        until=lambda body: body["token_name"] == customer,
        timeout=30,
    )

    assert body["token_name"] == customer


def test_the_application_runs_in_a_namespace_of_this_workers_own(ephemeral_ns):
    info = ephemeral_ns.wait_for_contract(
        f"{ephemeral_ns.url(*PODINFO)}/api/info",
        until=lambda body: body["message"] == ephemeral_ns.name,
        timeout=30,
    )

    assert info["version"] == "6.9.2"
