"""The proxy in front of the real control plane."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pytest_ephemeral_ns.connection import Connection
from pytest_ephemeral_ns.kube.api import Api
from tests.faults.proxy import FaultProxy
from tests.kube.conftest import api_server, namespace, server_api

__all__ = ["api", "api_server", "namespace", "proxy", "server_api"]


@pytest.fixture
def proxy(api_server: Connection) -> Iterator[FaultProxy]:
    with FaultProxy(api_server) as proxy:
        yield proxy


@pytest.fixture
def api(proxy: FaultProxy) -> Iterator[Api]:
    """The server, through the proxy."""
    with Api(proxy.connection, timeout=20.0) as api:
        yield api
