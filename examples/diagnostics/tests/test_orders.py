import httpx


def test_an_order_is_confirmed(ephemeral_ns):
    answer = httpx.get(f"{ephemeral_ns.url('svc/orders', 80)}/hostname")
    assert answer.status_code == 200
