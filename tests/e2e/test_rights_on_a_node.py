"""The account of docs/permissions.md on a real node: commands, listeners, logs; and what fails without each right."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from pytest_ephemeral_ns import Namespace, ephemeral
from pytest_ephemeral_ns.errors import EphemeralNsError
from pytest_ephemeral_ns.kube.api import Api
from pytest_ephemeral_ns.rules.permissions import RUN_RIGHTS
from tests.accounts import Account, some_account

pytestmark = pytest.mark.node
POD = """
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: main
    image: busybox:1.36
    command: [sh, -c, "mkdir /www; echo hello > /www/index.html; echo up; exec httpd -f -p 8080 -h /www"]
    readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
"""


@pytest.fixture(scope="module")
def account(node_cluster: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    with Api(node_cluster.connection) as admin, some_account(admin, tmp_path_factory.mktemp("account")) as account:
        account.may(RUN_RIGHTS)
        yield account


@pytest.fixture(scope="module")
def web(account: Account, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Namespace]:
    folder = tmp_path_factory.mktemp("web")
    (folder / "pod.yaml").write_text(POD)
    where = {"cluster": "current", "kubeconfig": str(account.kubeconfig), "context": account.name}
    with ephemeral(folder / "pod.yaml", rootdir=Path(folder), **where) as namespace:
        yield namespace


def _command(web: Namespace) -> object:
    return web.exec("pod/web", ["hostname"])


def _listen(web: Namespace) -> object:
    address = f"http://127.0.0.1:{web.port_forward('pod/web', 8080).port}"
    return httpx.get(address, timeout=20, trust_env=False).text


def _logs(web: Namespace) -> object:
    return web.logs("pod/web")


def test_the_account_is_enough_for_commands_listeners_and_logs(account: Account, web: Namespace) -> None:
    account.may(RUN_RIGHTS)
    assert "web" in str(_command(web))
    assert _listen(web) == "hello\n"
    assert "up" in str(_logs(web))


@pytest.mark.parametrize(
    ("verb", "resource", "use"),
    [
        ("get", "pods/exec", _command),
        ("create", "pods/exec", _command),
        ("get", "pods/log", _logs),
    ],
)
def test_without_a_right_the_error_names_it(
    account: Account, web: Namespace, verb: str, resource: str, use: Any
) -> None:
    account.without(RUN_RIGHTS, verb, resource)
    with pytest.raises(EphemeralNsError) as caught:
        use(web)
    assert resource.partition("/")[2] in str(caught.value)
    assert "forbidden" in str(caught.value)
    account.may(RUN_RIGHTS)
