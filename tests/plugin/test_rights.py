"""The account of docs/permissions.md does what a run does; a right that is missing is said, and nothing else breaks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_ephemeral_ns import ephemeral
from pytest_ephemeral_ns.errors import EphemeralNsError
from pytest_ephemeral_ns.kube.api import Api
from pytest_ephemeral_ns.rules.permissions import RUN_RIGHTS
from tests.accounts import Account, some_account

pytestmark = pytest.mark.cluster
MANIFESTS = """
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {greeting: hello}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: api}
spec:
  replicas: 0
  selector: {matchLabels: {app: api}}
  template:
    metadata: {labels: {app: api}}
    spec: {containers: [{name: api, image: "x:1"}]}
"""
SUITE = """
import pytest

def test_it_is_deployed(ephemeral_ns):
    assert ephemeral_ns.get("cm/settings")["data"]["greeting"] == "hello"

def test_its_own_credentials_are_for_it_only(ephemeral_ns):
    assert "settings" in ephemeral_ns.kubectl("get", "configmaps", "-o", "name")
    with pytest.raises(Exception, match="forbidden"):
        ephemeral_ns.kubectl("get", "secrets", "--all-namespaces")

def test_one_that_fails(ephemeral_ns):
    assert not ephemeral_ns.name
"""


@pytest.fixture(scope="module")
def account(control_plane: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    with Api(control_plane.connection) as admin, some_account(admin, tmp_path_factory.mktemp("account")) as account:
        yield account


def test_the_account_for_ci_is_enough_for_a_whole_run(
    account: Account,
    run_pytest: Callable[..., pytest.RunResult],
    pytester: pytest.Pytester,
    witness: Any,
    monkeypatch: Any,
) -> None:
    account.may(RUN_RIGHTS)
    monkeypatch.setenv("KUBECONFIG", str(account.kubeconfig))
    pytester.path.joinpath("k8s.yaml").write_text(MANIFESTS)
    pytester.makepyfile(SUITE)
    before = set(witness.namespaces())
    result = run_pytest(
        "-n2",
        "--ephemeral-ns-deploy=k8s.yaml",
        f"--ephemeral-ns-context={account.name}",
        "--keep-on-failure",
        "--ephemeral-ns-wait-deleted",
        "--log-level=WARNING",
    )
    result.assert_outcomes(passed=2, failed=1)
    said = result.stdout.str()
    for word in ("warning:", "may not", "forbidden", "403", "run's own rights"):
        assert word not in said, said
    [kept] = set(witness.namespaces()) - before
    assert f"kept: {kept}" in said
    witness.kubectl("delete", "namespace", kept, "--wait=false")


def _use(account: Account, folder: Path, **options: Any) -> Any:
    manifests = folder / "k8s.yaml"
    manifests.write_text(MANIFESTS)
    where = {"cluster": "current", "kubeconfig": str(account.kubeconfig), "context": account.name}
    with ephemeral(manifests, rootdir=folder, **where, **options) as namespace:
        return namespace.kubeconfig.exists()


@pytest.mark.parametrize(
    ("verb", "resource", "words"),
    [
        ("create", "namespaces", ("create namespaces", "403")),
        ("watch", "serviceaccounts", ("serviceaccounts", "403")),
        ("patch", "deployments", ("Deployment/api was refused", "forbidden")),
    ],
)
def test_without_a_right_that_is_needed_the_error_names_it(
    account: Account, tmp_path: Path, verb: str, resource: str, words: tuple[str, ...]
) -> None:
    account.without(RUN_RIGHTS, verb, resource)
    with pytest.raises(EphemeralNsError) as caught:
        _use(account, tmp_path)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("verb", "resource", "words"),
    [
        ("list", "namespaces", ""),
        ("get", "namespaces", ""),
        ("watch", "namespaces", ""),
        ("create", "leases", ""),
        ("create", "serviceaccounts/token", "its kubeconfig has the run's own rights, because"),
        ("create", "rolebindings", "its kubeconfig has the run's own rights, because"),
        ("bind", "clusterroles", "its kubeconfig has the run's own rights, because"),
        ("delete", "namespaces", "was not deleted: "),
    ],
)
def test_without_another_one_the_test_runs_and_the_log_says_what_is_less(
    account: Account,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    witness: Any,
    verb: str,
    resource: str,
    words: str,
) -> None:
    account.without(RUN_RIGHTS, verb, resource)
    before = set(witness.namespaces())
    with caplog.at_level(logging.WARNING, "pytest_ephemeral_ns"):
        assert _use(account, tmp_path)
    said = [record.message for record in caplog.records]
    assert bool(said) is bool(words), said
    assert any(words in line for line in said) or not words
    left = set(witness.namespaces()) - before
    assert bool(left) is ((verb, resource) == ("delete", "namespaces"))
    for name in left:
        witness.kubectl("delete", "namespace", name, "--wait=false")


def test_without_the_right_to_mark_it_what_should_be_kept_stays_until_its_expiry(
    account: Account, tmp_path: Path, caplog: pytest.LogCaptureFixture, witness: Any
) -> None:
    account.without(RUN_RIGHTS, "patch", "namespaces")
    before = set(witness.namespaces())
    assert _use(account, tmp_path, keep="always")
    [name] = set(witness.namespaces()) - before
    assert f"namespace {name} stays, but could not be marked as kept: " in caplog.text
    witness.kubectl("delete", "namespace", name, "--wait=false")


def test_doctor_says_which_one_is_missing(account: Account, capsys: pytest.CaptureFixture[str]) -> None:
    from pytest_ephemeral_ns.cli import main

    where = ["--kubeconfig", str(account.kubeconfig), "--context", account.name]
    account.without(RUN_RIGHTS, "get", "pods/log")
    assert main(["doctor", *where]) == 0
    assert "no: get pods/log" in capsys.readouterr().out
    account.without(RUN_RIGHTS, "create", "namespaces")
    assert main(["doctor", *where]) == 1
    assert "no: create namespaces" in capsys.readouterr().out
