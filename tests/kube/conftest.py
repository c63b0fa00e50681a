"""A real control plane, and a namespace of its own for a test; nothing runs in it."""

from __future__ import annotations

import base64
import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_ephemeral_ns.connection import Connection
from pytest_ephemeral_ns.kube.api import Api


@pytest.fixture(scope="session")
def api_server(request: pytest.FixtureRequest) -> Connection:
    """The run's control plane, or the one of EPHEMERAL_NS_TEST_KUBECONFIG (JSON, embedded certificates)."""
    if named := os.environ.get("EPHEMERAL_NS_TEST_KUBECONFIG"):
        config = json.loads(Path(named).read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        return Connection(
            cluster["server"],
            ca_data=base64.b64decode(cluster["certificate-authority-data"]).decode(),
            client_cert_data=base64.b64decode(user["client-certificate-data"]).decode(),
            client_key_data=base64.b64decode(user["client-key-data"]).decode(),
            context=config["current-context"],
        )
    connection: Connection = request.getfixturevalue("control_plane").connection
    return connection


@pytest.fixture(scope="session")
def server_api(api_server: Connection) -> Iterator[Api]:
    """The server without anything between."""
    with Api(api_server) as api:
        yield api


@pytest.fixture
def namespace(server_api: Api) -> Iterator[str]:
    name = f"kube-{uuid.uuid4().hex[:8]}"
    server_api.create("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    yield name
    server_api.delete(f"/api/v1/namespaces/{name}")
