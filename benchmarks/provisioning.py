"""Claim: create → usable takes at most twice what the same takes by plain HTTP on one connection."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import ssl
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.measure import Sample, take_turns, wall_of
from pytest_ephemeral_ns.clusters import embedded
from pytest_ephemeral_ns.connection import Connection
from pytest_ephemeral_ns.deadline import Deadline
from pytest_ephemeral_ns.guarding import Guard
from pytest_ephemeral_ns.kube.api import Api
from pytest_ephemeral_ns.provision import create_namespace, wait_usable
from pytest_ephemeral_ns.settings import load

ROUNDS = 30


def run() -> list[Sample]:
    """Create namespaces in turn by our own way and by the shortest way that there is."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["EPHEMERAL_NS_STATE_DIR"] = folder
        cluster = embedded.up("bench", nodes="none", owner_pid=os.getpid(), progress=lambda line: None)
        try:
            return _compare(cluster.connection, Path(folder))
        finally:
            embedded.down("bench")
            del os.environ["EPHEMERAL_NS_STATE_DIR"]


def _compare(connection: Connection, folder: Path) -> list[Sample]:
    number = itertools.count()
    guard = Guard.of(load({}, {}, {}, cwd=folder))
    plain = _plain(connection, folder)
    with Api(connection) as api:

        def ours() -> float:
            def work() -> None:
                record = create_namespace(api, lambda more: f"ours-{next(number)}{more}", {}, {})
                wait_usable(api, record.name, Deadline.after(60))

            return wall_of(work)

        def bounded() -> float:
            def work() -> None:
                record = create_namespace(api, lambda more: f"bounded-{next(number)}{more}", {}, {})
                guard.prepare(api, record.name, "bench", Deadline.after(60), warn=print)

            return wall_of(work)

        def theirs() -> float:
            return wall_of(lambda: _by_hand(plain, f"plain-{next(number)}"))

        ours(), bounded(), theirs()  # the first of each opens its connection
        turns = {
            "create → usable, ours": ours,
            "create → usable, plain HTTP": theirs,
            "create → usable, guard rails count, ours": bounded,
        }
        found = take_turns(turns, ROUNDS)
    plain.close()
    return found


def _plain(connection: Connection, folder: Path) -> http.client.HTTPSConnection:
    pem = folder / "client.pem"
    pem.touch(mode=0o600)
    pem.write_text(connection.client_cert_data + connection.client_key_data)
    context = ssl.create_default_context(cadata=connection.ca_data)
    context.load_cert_chain(pem)
    target = urlsplit(connection.server)
    return http.client.HTTPSConnection(target.hostname or "", target.port, context=context, timeout=30)


def _by_hand(plain: http.client.HTTPSConnection, name: str) -> None:
    body = json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    _ask(plain, "POST", "/api/v1/namespaces", body)
    for path in ("serviceaccounts/default", "configmaps/kube-root-ca.crt"):
        while _ask(plain, "GET", f"/api/v1/namespaces/{name}/{path}") != 200:
            continue


def _ask(plain: http.client.HTTPSConnection, method: str, path: str, body: str | None = None) -> int:
    plain.request(method, path, body, {"Content-Type": "application/json"})
    answer = plain.getresponse()
    answer.read()
    return answer.status
