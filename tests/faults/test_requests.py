"""Requests over a way that breaks: what is repeated, what is not, and what is said in the end."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from email.utils import formatdate
from time import time
from typing import Any

import pytest

from pytest_ephemeral_ns.errors import ApiError
from pytest_ephemeral_ns.kube.api import JSON_PATCH, Api
from tests.faults.proxy import FaultProxy

pytestmark = pytest.mark.cluster


def configmap(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def statuses(proxy: FaultProxy, **which: Any) -> list[int]:
    return [request.status for request in proxy.seen(**which)]


@pytest.fixture
def path(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/configmaps"


@pytest.mark.parametrize("retry_after", ["seconds", "date"])
@pytest.mark.parametrize("status", [429, 503])
def test_a_create_that_was_refused_before_it_began_is_repeated(
    proxy: FaultProxy, api: Api, path: str, status: int, retry_after: str
) -> None:
    value = "1" if retry_after == "seconds" else formatdate(time() + 1, usegmt=True)
    proxy.fail(status, method="POST", headers={"Retry-After": value})
    api.create(path, configmap("a"))
    assert statuses(proxy, method="POST") == [status, 201]


def test_the_server_is_given_the_time_that_it_asks_for(proxy: FaultProxy, api: Api, path: str) -> None:
    proxy.fail(429, headers={"Retry-After": "1"})
    api.find(f"{path}/a")
    first, second = proxy.requests
    assert second.at - first.at >= 1.0


@pytest.mark.parametrize("status", [500, 502, 503, 504])
@pytest.mark.parametrize("method", ["GET", "DELETE", "PATCH"])
def test_a_server_error_is_repeated_where_twice_is_as_good_as_once(
    proxy: FaultProxy, api: Api, path: str, method: str, status: int
) -> None:
    proxy.fail(status, times=2)
    calls = {
        "GET": lambda: api.find(f"{path}/a"),
        "DELETE": lambda: api.delete(f"{path}/a"),
        "PATCH": lambda: api.apply(f"{path}/a", configmap("a")),
    }
    calls[method]()
    assert statuses(proxy, method=method)[:2] == [status, status]
    assert len(proxy.requests) == 3


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_server_error_to_a_create_is_told(proxy: FaultProxy, api: Api, path: str, status: int) -> None:
    proxy.fail(status, method="POST")
    with pytest.raises(ApiError, match=rf"create configmaps/a .*: unknown whether it was created: {status}"):
        api.create(path, configmap("a"))
    assert len(proxy.requests) == 1


def test_a_json_patch_and_a_versioned_replace_are_not_repeated(proxy: FaultProxy, api: Api, path: str) -> None:
    made = api.create(path, configmap("a", n="1"))
    proxy.cut("before", method="PATCH")
    with pytest.raises(ApiError):
        api.patch(f"{path}/a", [{"op": "add", "path": "/data/m", "value": "2"}], content_type=JSON_PATCH)
    proxy.cut("before", method="PUT")
    with pytest.raises(ApiError):
        api.replace(f"{path}/a", made)
    assert len(proxy.seen(method="PATCH")) == len(proxy.seen(method="PUT")) == 1


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_lost_connection_is_repeated_where_twice_is_as_good_as_once(
    proxy: FaultProxy, api: Api, path: str, moment: str
) -> None:
    proxy.cut(moment, method="PATCH")
    api.apply(f"{path}/a", configmap("a"))
    proxy.cut(moment, method="GET")
    uid = api.get(f"{path}/a")["metadata"]["uid"]
    proxy.cut(moment, method="DELETE")
    api.delete(f"{path}/a", uid=uid)
    assert api.find(f"{path}/a") is None


def test_an_answer_that_ends_in_the_middle_is_no_answer(proxy: FaultProxy, api: Api, path: str) -> None:
    api.create(path, configmap("a", text="line\n" * 100))
    proxy.cut("within", method="GET", half_event=True)
    assert api.get(f"{path}/a")["data"]["text"].startswith("line\n")
    assert len(proxy.seen(method="GET")) == 2


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_create_whose_answer_was_lost_is_an_error_that_says_so(
    proxy: FaultProxy, api: Api, server_api: Api, path: str, moment: str
) -> None:
    proxy.cut(moment, method="POST")
    with pytest.raises(ApiError, match=r"create configmaps/a .*: unknown whether it was created") as caught:
        api.create(path, configmap("a"))
    assert caught.value.status == 0
    assert caught.value.command is not None
    assert caught.value.command.startswith("kubectl get configmaps/a -n kube-")
    assert (server_api.find(f"{path}/a") is None) == (moment == "before")
    assert len(proxy.requests) == 1


@pytest.mark.parametrize("fault", ["cut before", "cut after", "504", "504 after"])
def test_a_create_that_knows_its_own_child_survives_a_lost_answer(
    proxy: FaultProxy, api: Api, path: str, fault: str
) -> None:
    if fault.startswith("cut"):
        proxy.cut(fault.split()[1], method="POST")
    elif fault == "504":
        proxy.fail(504, method="POST")
    else:
        proxy.fail_after(504, method="POST")
    nonce = uuid.uuid4().hex
    made = api.create(path, configmap("a", nonce=nonce), same=lambda found: found["data"].get("nonce") == nonce)
    assert made["data"] == {"nonce": nonce}
    assert len(proxy.seen(method="POST")) == 2


def test_a_create_whose_answer_was_lost_does_not_adopt_a_stranger(
    proxy: FaultProxy, api: Api, server_api: Api, path: str
) -> None:
    server_api.create(path, configmap("a", nonce="somebody else's"))
    proxy.cut("before", method="POST")
    with pytest.raises(ApiError) as caught:
        api.create(path, configmap("a", nonce="mine"), same=lambda found: found["data"].get("nonce") == "mine")
    assert (caught.value.status, caught.value.reason) == (409, "AlreadyExists")


def test_a_passing_conflict_is_repeated(proxy: FaultProxy, api: Api, path: str) -> None:
    proxy.fail(409, reason="Conflict", message="the object has been modified", times=3)
    api.create(path, configmap("a"))
    assert statuses(proxy) == [409, 409, 409, 201]


def test_a_deletion_that_conflicts_is_settled_by_looking(proxy: FaultProxy, api: Api, path: str) -> None:
    uid = api.create(path, configmap("a"))["metadata"]["uid"]
    proxy.fail_after(409, reason="Conflict", message="Precondition failed", method="DELETE")
    assert api.delete(f"{path}/a", uid=uid) is None
    assert [request.method for request in proxy.requests] == ["POST", "DELETE", "GET"]


def test_attempts_end(proxy: FaultProxy, api: Api, path: str) -> None:
    proxy.fail(503, times=None)
    with pytest.raises(ApiError) as caught:
        api.find(f"{path}/a")
    assert caught.value.status == 503
    assert len(proxy.requests) == 6


def test_attempts_end_with_the_time_of_the_call(proxy: FaultProxy, api: Api, path: str) -> None:
    proxy.fail(429, headers={"Retry-After": "30"}, times=None)
    with pytest.raises(ApiError) as caught:
        api.find(f"{path}/a", timeout=5.0)
    assert caught.value.status == 429
    assert len(proxy.requests) == 1


def test_a_slow_server_is_waited_for_as_long_as_said(proxy: FaultProxy, api: Api, path: str) -> None:
    proxy.delay(0.3)
    api.get("/version")
    proxy.delay(5.0)
    with pytest.raises(ApiError, match=r"list configmaps .* \(timed out\)") as caught:
        api.get(path, timeout=0.3)
    assert caught.value.status == 0


def test_a_restart_of_the_server_is_waited_for(proxy: FaultProxy, api: Api) -> None:
    api.version()
    with ThreadPoolExecutor(1) as threads:
        with proxy.down():
            answer = threads.submit(api.version)
            with pytest.raises(NotYet):
                answer.result(0.5)
        assert answer.result(20)["major"] == "1"


def test_a_server_that_was_never_there_is_given_up_sooner(proxy: FaultProxy) -> None:
    with proxy.down(), Api(proxy.connection) as api:
        with pytest.raises(ApiError, match="connection refused: nothing listens there") as caught:
            api.version()
        assert f"127.0.0.1:{proxy.port}" in caught.value.summary
        assert caught.value.evidence[0].startswith("tried 4 times in ")
        assert api.requests == 4


def test_closing_ends_pauses_of_other_threads(proxy: FaultProxy) -> None:
    proxy.fail(429, headers={"Retry-After": "20"}, times=None)
    api = Api(proxy.connection, timeout=60.0)
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(api.version)
        proxy.wait_for(1)
        api.close()
        with pytest.raises(ApiError):
            answer.result(5)


def test_a_list_whose_snapshot_has_ended_is_begun_again(
    proxy: FaultProxy, api: Api, server_api: Api, path: str
) -> None:
    for number in range(6):
        server_api.create(path, configmap(f"c{number}"))
    proxy.fail(410, reason="Expired", when=lambda request: "continue" in request.query)
    found = [item["metadata"]["name"] for item in api.list(path, limit=3)]
    assert sorted(found) == sorted([*(f"c{number}" for number in range(6)), "kube-root-ca.crt"])
    assert [("continue" in request.query, request.status) for request in proxy.requests] == [
        (False, 200),
        (True, 410),
        (False, 200),
        (True, 200),
        (True, 200),
    ]


def test_a_snapshot_is_begun_again_as_a_whole(proxy: FaultProxy, api: Api, server_api: Api, path: str) -> None:
    for number in range(4):
        server_api.create(path, configmap(f"c{number}"))

    def meanwhile(request: Any) -> bool:
        if "continue" not in request.query:
            return False
        server_api.delete(f"{path}/c0")
        return True

    proxy.fail(410, reason="Expired", when=meanwhile)
    items, version = api.list_all(path, limit=2)
    assert [item["metadata"]["name"] for item in items] == ["c1", "c2", "c3", "kube-root-ca.crt"]
    assert int(version) >= max(int(item["metadata"]["resourceVersion"]) for item in items)


def test_gone_on_the_first_page_is_an_error(proxy: FaultProxy, api: Api, path: str) -> None:
    proxy.fail(410, reason="Expired")
    with pytest.raises(ApiError) as caught:
        api.list_all(path)
    assert caught.value.status == 410


def test_a_followed_log_or_watch_that_is_cut_is_an_error(proxy: FaultProxy, api: Api, path: str) -> None:
    proxy.cut("within", watch=True, after_events=1)
    with api.stream(path, params={"watch": True}) as stream:
        lines = iter(stream)
        assert next(lines)
        with pytest.raises(ApiError) as caught:
            next(lines)
    assert caught.value.status == 0


def test_opening_a_stream_is_repeated(proxy: FaultProxy, api: Api, path: str) -> None:
    proxy.fail(429, headers={"Retry-After": "0"}, times=2)
    with api.stream(path, params={"watch": True}) as lines:
        assert next(iter(lines))
    assert statuses(proxy) == [429, 429, 200]


def test_an_answer_that_is_not_from_kubernetes(proxy: FaultProxy, api: Api) -> None:
    proxy.fail(403).body = b"<html>Blocked by your company</html>"
    with pytest.raises(ApiError, match="not in Kubernetes' words: <html>Blocked by your company"):
        api.version()
