"""The collector itself, against a server that does as the test says: what is missing is a line, never an error."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from pytest_ephemeral_ns.connection import Connection
from pytest_ephemeral_ns.diagnose import Diagnoses, Diagnosis, Where, diagnose
from pytest_ephemeral_ns.kube.api import Api

CANARY = "canary-a1b2c3d4"
HOME = "/api/v1/namespaces/shop"
KINDS = {"pods": "Pod", "events": "Event", "secrets": "Secret"}


class FakeServer(ThreadingHTTPServer):
    """An API server with one namespace: lists by plural name, logs by a function, refusals by plural name."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.objects: dict[str, list[dict[str, Any]]] = {"secrets": [secret("db", "password", CANARY)]}
        self.refused: dict[str, int] = {}
        self.log: Callable[[dict[str, list[str]]], bytes] = lambda query: b"2026-01-01T00:00:00.5Z hello\n"
        self.asked: list[str] = []
        self.over = threading.Event()

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # the client hung up, as it should


class Answer(BaseHTTPRequestHandler):
    server: FakeServer

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        self.server.asked.append(url.path)
        plural = url.path.rpartition("/")[2]
        code, body = 200, b"{}"
        if plural in self.server.refused:
            code = self.server.refused[plural]
            status = {"kind": "Status", "code": code, "reason": "Forbidden", "message": f"{plural} is forbidden"}
            body = json.dumps(status).encode()
        elif plural == "log":
            body = self.server.log(parse_qs(url.query))
        elif url.path == HOME:
            body = json.dumps({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "shop"}}).encode()
        elif url.path.startswith(HOME) or plural in ("storageclasses", "ingressclasses") or "/namespaces/" in url.path:
            items = self.server.objects.get(plural, [])
            kind = f"{KINDS.get(plural, plural)}List"
            body = json.dumps({"kind": kind, "apiVersion": "v1", "metadata": {}, "items": items}).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def secret(name: str, key: str, value: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "uid": name}, "data": {key: base64.b64encode(value.encode()).decode()}}


def pod(name: str = "api", **state: Any) -> dict[str, Any]:
    box = {"name": "app", "ready": False, "restartCount": 0, "state": state or {"running": {}}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "uid": name, "namespace": "shop"},
        "spec": {"nodeName": "n1", "containers": [{"name": "app", "image": "shop:1"}]},
        "status": {"phase": "Running", "containerStatuses": [box]},
    }


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield made
        made.over.set()
        made.shutdown()
        thread.join()


@pytest.fixture
def api(server: FakeServer) -> Iterator[Api]:
    with Api(Connection(f"http://127.0.0.1:{server.server_port}", token="the-token-of-the-connection")) as made:
        yield made


def look(api: Api, **more: Any) -> Diagnosis:
    return diagnose(api, "shop", **more)[0]


def test_verdict_log_and_bundle(server, api, tmp_path):
    server.objects["pods"] = [pod()]
    server.log = lambda query: f"2026-01-01T00:00:00.123456789Z login {CANARY}\n".encode()
    found = look(api, directory=tmp_path / "run" / "shop", where=Where("kind shop", "--context kind-shop"))
    assert found.text.startswith("namespace shop on kind shop: Pod/api waiting")
    assert "  00:00:00.123 | login ***" in found.text
    assert "kubectl --context kind-shop -n shop describe pod/api" in found.text
    assert found.redactions == {"Secret/db password": 2}  # told, and in the bundle
    assert found.missing == ()
    files = {str(path.relative_to(found.bundle)) for path in Path(found.bundle).rglob("*") if path.is_file()}
    assert files >= {"summary.md", "timeline.json", "describe.txt", "objects/pods.yaml", "logs/api/app.log"}
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and CANARY in path.read_text()]


def test_the_server_is_gone():
    with Api(Connection("http://127.0.0.1:9")) as api:
        found = look(api, budget=3)
    assert "this diagnosis is not complete: " in found.text
    assert len(found.text.splitlines()) == 2


@pytest.mark.parametrize(
    ("plural", "told"), [("events", "Event objects: "), ("log", "log of Pod/api, container app: ")]
)
def test_what_may_not_be_read_is_named(server, api, plural, told):
    server.objects["pods"] = [pod()]
    server.refused = {plural: 403}
    found = look(api)
    assert [line for line in found.missing if line.startswith(told)]
    assert "could not be had:" in found.text
    assert "Pod/api waiting" in found.text


def test_secrets_that_may_not_be_read(server, api):
    server.objects["pods"] = [pod()]
    server.refused = {"secrets": 403}
    server.log = lambda query: b"postgres://me:hunter2@db\n"
    found = look(api)
    assert "removed by their look only" in "".join(found.missing)
    assert "postgres://me:***@db" in found.text


def test_a_namespace_that_is_gone(server, api):
    server.refused = {"shop": 404}
    assert "this diagnosis is not complete: " in look(api).text


def test_a_kubelet_that_hangs_costs_the_budget_and_no_more(server, api, tmp_path):
    server.objects["pods"] = [pod(), pod("other")]
    server.log = lambda query: bytes(server.over.wait(60))
    found = look(api, budget=2, directory=tmp_path / "run" / "shop")
    assert "Pod/api waiting" in found.text.replace("Pod/other", "Pod/api")
    assert any("log of Pod/" in line for line in found.missing)
    assert found.seconds < 20
    assert (tmp_path / "run" / "shop" / "summary.md").exists()


def test_a_log_that_is_one_line_without_end(server, api):
    server.objects["pods"] = [pod()]
    server.log = lambda query: b"x" * int(query["limitBytes"][0])
    assert len(look(api).text.encode()) < 64 * 1024


def test_a_binary_log(server, api):
    server.objects["pods"] = [pod()]
    server.log = lambda query: bytes(range(256)) * 20
    found = look(api)
    assert not any(ord(char) < 32 and char != "\n" for char in found.text.replace("\t", ""))


def test_five_hundred_pods(server, api, tmp_path):
    message = {"waiting": {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "shop:1"'}}
    server.objects["pods"] = [pod(f"api-{n:03}", **message) for n in range(500)]
    found = look(api, directory=tmp_path / "run" / "shop")
    assert len(found.text.encode()) <= 64 * 1024
    assert "more that are not ready" in found.text
    assert found.missing == ()


def test_nothing_is_written_twice_for_the_same_state(server, api, tmp_path):
    server.objects["pods"] = [pod()]
    taken = Diagnoses("shop", directory=tmp_path / "run" / "shop")
    first, second = (taken.take(api, since=None, budget=20) for _ in range(2))
    assert (first.bundle, first.signature) == (second.bundle, second.signature)
    server.objects["pods"] = [pod(waiting={"reason": "ImagePullBackOff"})]
    assert taken.take(api, since=None, budget=20).bundle == f"{first.bundle}-2"


def test_only_the_lines_of_the_tests_own_time_of_what_is_healthy(server, api):
    healthy = pod()
    healthy["status"]["containerStatuses"][0]["ready"] = True
    healthy["status"]["conditions"] = [{"type": "Ready", "status": "True"}]
    server.objects["pods"] = [healthy]
    queries: list[dict[str, list[str]]] = []

    def log(query: dict[str, list[str]]) -> bytes:
        queries.append(query)
        return b"2026-01-01T00:00:00.5Z GET /orders 500\n"

    server.log = log
    found = look(api, since=1_767_225_600.0)
    assert "GET /orders 500" in found.text
    assert "sinceTime" in queries[0]


def test_helm_releases(server, api, tmp_path):
    import gzip

    release = {
        "name": "shop",
        "version": 2,
        "info": {"status": "failed"},
        "config": {"password": CANARY, "replicas": 2},
    }
    packed = base64.b64encode(gzip.compress(json.dumps(release).encode()))
    made = secret("sh.helm.release.v1.shop.v2", "release", packed.decode())
    server.objects["secrets"].append({**made, "type": "helm.sh/release.v1"})
    found = look(api, directory=tmp_path / "run" / "shop")
    told = json.loads((Path(found.bundle) / "helm.json").read_text())
    assert (told[0]["status"], told[0]["values"]) == ("failed", {"password": "***", "replicas": 2})


def test_a_folder_that_cannot_be_written(server, api, tmp_path):
    server.objects["pods"] = [pod()]
    (tmp_path / "run").write_text("a file is in the way")
    found = look(api, directory=tmp_path / "run" / "shop")
    assert "Pod/api waiting" in found.text
    assert "this diagnosis is not complete: " in found.text


def test_it_can_be_handed_to_another_process(server, api):
    found = look(api)
    assert Diagnosis.from_dict(json.loads(json.dumps(found.to_dict()))) == found
