"""Requests to a real control plane."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import httpx
import pytest

from pytest_ephemeral_ns.connection import Connection
from pytest_ephemeral_ns.errors import ApiError, UsageError
from pytest_ephemeral_ns.kube.api import APPLY_PATCH, JSON_PATCH, METADATA_LIST, STRATEGIC_PATCH, Api

pytestmark = pytest.mark.cluster


def configmap(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


@pytest.fixture
def path(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/configmaps"


def test_an_object_from_birth_to_death(server_api: Api, path: str) -> None:
    made = server_api.create(path, configmap("a", x="1"))
    assert made["kind"] == "ConfigMap"
    assert server_api.get(f"{path}/a")["data"] == {"x": "1"}
    made["data"]["x"] = "2"
    assert server_api.replace(f"{path}/a", made)["data"] == {"x": "2"}
    assert server_api.patch(f"{path}/a", {"data": {"y": "3"}})["data"] == {"x": "2", "y": "3"}
    strategic = server_api.patch(f"{path}/a", {"data": {"x": None}}, content_type=STRATEGIC_PATCH)
    assert strategic["data"] == {"y": "3"}
    patch = [{"op": "replace", "path": "/data/y", "value": "4"}]
    assert server_api.patch(f"{path}/a", patch, content_type=JSON_PATCH)["data"] == {"y": "4"}
    assert server_api.delete(f"{path}/a", uid=made["metadata"]["uid"]) is not None
    assert server_api.find(f"{path}/a") is None
    assert server_api.delete(f"{path}/a", uid=made["metadata"]["uid"]) is None


def test_a_missing_object_is_an_error_that_names_it(server_api: Api, path: str, namespace: str) -> None:
    with pytest.raises(ApiError, match=f"get configmaps/nope in namespace {namespace}: 404 NotFound") as caught:
        server_api.get(f"{path}/nope")
    assert (caught.value.status, caught.value.reason) == (404, "NotFound")


def test_a_name_that_exists_is_not_adopted(server_api: Api, path: str) -> None:
    server_api.create(path, configmap("a"))
    with pytest.raises(ApiError) as caught:
        server_api.create(path, configmap("a"), same=lambda existing: True)
    assert (caught.value.status, caught.value.reason) == (409, "AlreadyExists")


def test_deletion_spares_another_object_of_the_same_name(server_api: Api, path: str) -> None:
    first = server_api.create(path, configmap("a"))
    server_api.delete(f"{path}/a")
    second = server_api.create(path, configmap("a"))
    with pytest.raises(ApiError, match="it is another object now") as caught:
        server_api.delete(f"{path}/a", uid=first["metadata"]["uid"])
    assert (caught.value.status, caught.value.reason) == (409, "Conflict")
    assert server_api.get(f"{path}/a")["metadata"]["uid"] == second["metadata"]["uid"]


def test_deletion_at_a_version(server_api: Api, path: str) -> None:
    made = server_api.create(path, configmap("a"))
    server_api.patch(f"{path}/a", {"data": {"x": "1"}})
    with pytest.raises(ApiError) as caught:
        server_api.delete(f"{path}/a", resource_version=made["metadata"]["resourceVersion"])
    assert caught.value.reason == "Conflict"


def test_a_namespace_that_is_being_deleted_may_be_deleted_again(server_api: Api, namespace: str) -> None:
    uid = server_api.get(f"/api/v1/namespaces/{namespace}")["metadata"]["uid"]
    server_api.delete(f"/api/v1/namespaces/{namespace}", uid=uid)
    server_api.delete(f"/api/v1/namespaces/{namespace}", uid=uid)


def test_apply_creates_changes_and_owns(server_api: Api, path: str) -> None:
    assert server_api.apply(f"{path}/a", configmap("a", x="1"))["data"] == {"x": "1"}
    assert server_api.apply(f"{path}/a", configmap("a", y="2"))["data"] == {"y": "2"}
    with pytest.raises(ApiError) as caught:
        server_api.apply(f"{path}/a", configmap("a", y="3"), field_manager="other", force=False)
    assert caught.value.reason == "Conflict"
    assert '.data.y: conflict with "pytest-ephemeral-ns"' in str(caught.value)
    assert server_api.apply(f"{path}/a", configmap("a", y="3"), field_manager="other")["data"] == {"y": "3"}
    server_api.apply(f"{path}/b", configmap("b"), dry_run=True)
    assert server_api.find(f"{path}/b") is None


def test_unknown_fields_are_refused_and_named(server_api: Api, path: str) -> None:
    with pytest.raises(ApiError, match='unknown field "dta"') as caught:
        server_api.create(path, {**configmap("a"), "dta": {}})
    assert caught.value.status == 400
    with pytest.raises(ApiError, match="dta: field not declared in schema"):
        server_api.apply(f"{path}/a", {**configmap("a"), "dta": {}})


def test_a_wrong_field_in_an_apply_is_refused_at_once(server_api: Api, path: str) -> None:
    before = server_api.requests
    with pytest.raises(ApiError):
        server_api.patch(
            f"{path}/a", {**configmap("a"), "dta": {}}, content_type=APPLY_PATCH, params={"fieldManager": "x"}
        )
    assert server_api.requests == before + 1


def test_the_servers_warnings_are_handed_over(server_api: Api, path: str) -> None:
    warnings: list[str] = []
    server_api.create(path, {**configmap("a"), "dta": {}}, params={"fieldValidation": "Warn"}, warnings=warnings)
    assert warnings == ['unknown field "dta"']


def test_lists_are_paged(server_api: Api, path: str) -> None:
    for number in range(7):
        body = configmap(f"c{number}")
        body["metadata"]["labels"] = {"odd": str(number % 2)}
        server_api.create(path, body)
    before = server_api.requests
    found = [*server_api.list(path, limit=3)]
    assert server_api.requests - before == 3  # 7 and kube-root-ca.crt
    assert {item["metadata"]["name"] for item in found} >= {f"c{number}" for number in range(7)}
    assert {(item["kind"], item["apiVersion"]) for item in found} == {("ConfigMap", "v1")}
    odd, version = server_api.list_all(path, label_selector="odd=1", limit=1)
    assert [item["metadata"]["name"] for item in odd] == ["c1", "c3", "c5"]
    assert int(version) > 0
    (only,) = server_api.list(path, field_selector="metadata.name=c2", accept=METADATA_LIST)
    assert "data" not in only


def test_a_list_that_is_not_read_to_its_end_leaves_nothing_open(api_server: Connection) -> None:
    with Api(api_server) as api:
        assert next(iter(api.list("/api/v1/namespaces", limit=1)))


def test_text(server_api: Api) -> None:
    assert server_api.text("/readyz") == "ok"
    assert "etcd ok" in server_api.text("/readyz", params={"verbose": True})


def test_version(server_api: Api) -> None:
    assert server_api.version()["gitVersion"].startswith("v1.")


def test_may_i(server_api: Api, api_server: Connection) -> None:
    assert server_api.can("create", "namespaces")[0] is True
    assert server_api.can("get", "pods", group="", namespace="default", name="x", subresource="log")[0] is True
    with Api(replace(api_server, headers=(("Impersonate-User", "jane"),))) as jane:
        assert jane.can("create", "namespaces")[0] is False


def test_a_missing_permission_names_verb_resource_and_user(api_server: Connection, path: str) -> None:
    groups = (("Impersonate-User", "jane"), ("Impersonate-Group", "a"), ("Impersonate-Group", "b"))
    with Api(replace(api_server, headers=groups)) as jane, pytest.raises(ApiError) as caught:
        jane.create(path, configmap("a"))
    assert caught.value.status == 403
    assert 'missing permission: verb "create" on "configmaps"' in str(caught.value)
    assert "--user=jane" in str(caught.value.command)


def test_every_header_line_is_sent_also_when_a_name_comes_twice(api_server: Connection) -> None:
    groups = (("Impersonate-User", "jane"), ("Impersonate-Group", "a"), ("Impersonate-Group", "b"))
    with Api(replace(api_server, headers=groups)) as jane:
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        review = jane.create("/apis/authentication.k8s.io/v1/selfsubjectreviews", body)
    assert review["status"]["userInfo"]["groups"] == ["a", "b", "system:authenticated"]


def test_many_threads_share_one_client(server_api: Api, path: str) -> None:
    def one(number: int) -> str:
        server_api.create(path, configmap(f"t{number}"))
        return str(server_api.get(f"{path}/t{number}")["metadata"]["name"])

    before = server_api.requests
    with ThreadPoolExecutor(8) as threads:
        assert [*threads.map(one, range(40))] == [f"t{number}" for number in range(40)]
    assert server_api.requests - before == 80


def test_a_stream_is_ended_by_another_thread_without_an_exception(server_api: Api, path: str) -> None:
    server_api.create(path, configmap("a"))
    lines: list[dict[str, Any]] = []
    first = threading.Event()

    def read() -> None:
        with stream:
            for line in stream:
                lines.append(json.loads(line))
                first.set()

    stream = server_api.stream(path, params={"watch": True, "fieldSelector": "metadata.name=a"})
    reader = threading.Thread(target=read)
    reader.start()
    assert first.wait(10)
    stream.close()
    reader.join(1)
    assert not reader.is_alive()
    assert [line["type"] for line in lines] == ["ADDED"]


def test_a_stream_that_was_closed_before_it_was_entered_is_empty(server_api: Api, path: str) -> None:
    stream = server_api.stream(path, params={"watch": True})
    stream.close()
    with stream:
        assert [*stream] == []


def test_closing_the_api_ends_its_streams(api_server: Connection) -> None:
    api = Api(api_server)
    begun = threading.Event()
    ended = threading.Event()

    def read() -> None:
        with api.stream("/api/v1/namespaces", params={"watch": True}) as lines:
            for _ in lines:
                begun.set()
        ended.set()

    reader = threading.Thread(target=read)
    reader.start()
    assert begun.wait(10)
    api.close()
    assert ended.wait(2)
    reader.join()


def test_a_stream_that_is_silent_for_too_long_is_an_error(server_api: Api, path: str) -> None:
    params = {"watch": True, "fieldSelector": "metadata.name=nobody"}
    with (
        server_api.stream(path, params=params, read_timeout=0.2) as lines,
        pytest.raises(ApiError, match=r"watch configmaps in namespace .*: .*timed out") as caught,
    ):
        next(iter(lines))
    assert caught.value.status == 0


def test_a_refused_stream_is_an_error(server_api: Api, path: str) -> None:
    with pytest.raises(ApiError) as caught, server_api.stream(path, params={"watch": True, "labelSelector": "=="}):
        pass
    assert caught.value.status == 400


def test_calls_after_close_are_errors_at_once(api_server: Connection) -> None:
    api = Api(api_server)
    api.close()
    with pytest.raises(ApiError, match="closed by this program"):
        api.version()


def test_a_forked_process_does_not_use_its_parents_connections(server_api: Api) -> None:
    server_api.version()
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if server_api.version()["major"] == "1" else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert server_api.version()["major"] == "1"


def test_our_requests_do_not_turn_up_in_the_users_logs(server_api: Api, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        server_api.version()
        with server_api.stream("/api/v1/namespaces", params={"watch": True}) as lines:
            next(iter(lines))
        logging.getLogger("httpx").info("the suite's own")
    assert [record.message for record in caplog.records] == ["the suite's own"]


def test_a_suite_that_fakes_httpx_does_not_fake_the_api_server(
    api_server: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What pytest-httpx does: it replaces this method on the class."""
    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", lambda *_: httpx.Response(200, json={"major": "fake"}))
    with Api(api_server) as api:
        assert api.version()["major"] == "1"
    assert httpx.get("http://127.0.0.1:1").json() == {"major": "fake"}


def test_first_use_imports_neither_kubernetes_nor_tenacity(api_server: Connection) -> None:
    code = (
        "import sys, json; from pytest_ephemeral_ns.connection import Connection\n"
        "from pytest_ephemeral_ns.kube.api import Api\n"
        "with Api(Connection.from_dict(json.load(sys.stdin))) as api: api.version()\n"
        "print([name for name in ('kubernetes', 'tenacity', 'yaml', 'requests') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(api_server.to_dict()),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("ca_data", "no PEM", "the cluster's CA certificate cannot be read"),
        ("client_cert_data", "no PEM", "the client certificate or its key cannot be read"),
        ("proxy_url", "ftp://proxy.example", "this proxy cannot be used"),
    ],
)
def test_a_connection_that_cannot_be_used(api_server: Connection, field: str, value: str, expected: str) -> None:
    with pytest.raises(UsageError, match=expected):
        Api(replace(api_server, **{field: value}))
