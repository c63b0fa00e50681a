"""A run says at its start, once, what earlier runs left; the moment is handed in, because nothing can be made old."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from pytest_ephemeral_ns.kube.api import Api
from pytest_ephemeral_ns.rules import naming
from pytest_ephemeral_ns.rules.identity import Identity
from pytest_ephemeral_ns.rules.permissions import RUN_RIGHTS
from tests.accounts import some_account

pytestmark = pytest.mark.cluster
NAMESPACES = "/api/v1/namespaces"
OLD_AT_ONCE = """
from datetime import timedelta
from pytest_ephemeral_ns.rules import retention
retention.MIN_AGE = timedelta()
"""
SUITE = """
def test_one(ephemeral_ns): pass
def test_other(ephemeral_ns): pass
"""
LEAKED = re.compile(
    r"leaked: (?:1 namespace of an earlier run is|\d+ namespaces of earlier runs are) over and still there"
)


@pytest.fixture
def leaked(control_plane: Any) -> Iterator[str]:
    run = uuid.uuid4().hex[:10]
    identity = Identity("shop", "main")
    labels = naming.labels_of(identity, run_id=run, worker_id="gw0", scope="run", owner="ada")
    expires = datetime.now(timezone.utc) - timedelta(hours=1)
    metadata = {"name": f"leaked-{run}", "labels": labels}
    metadata["annotations"] = naming.annotations_of(identity, expires=expires, created_by="me:1")
    with Api(control_plane.connection) as api:
        api.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        yield metadata["name"]
        api.delete(f"{NAMESPACES}/{metadata['name']}")


def test_what_earlier_runs_left_is_said_at_the_start_and_at_the_end(
    leaked: str,
    run_pytest: Callable[..., pytest.RunResult],
    pytester: pytest.Pytester,
    witness: Any,
    control_plane: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytester.makeconftest(OLD_AT_ONCE)
    pytester.makepyfile(SUITE)
    result = run_pytest("-n2")
    result.assert_outcomes(passed=2)
    lines = [line for line in result.outlines if LEAKED.search(line)]
    assert len(lines) == 2, result.stdout.str()
    for line in lines:
        assert f"→ ephemeral-ns reap --once --context {control_plane.connection.context}" in line
    assert result.outlines.index(lines[0]) < result.outlines.index(next(x for x in result.outlines if "passed" in x))
    assert leaked in witness.namespaces()  # counted, not touched
    with Api(control_plane.connection) as admin, some_account(admin, tmp_path) as account:
        account.without(RUN_RIGHTS, "list", "namespaces")
        monkeypatch.setenv("KUBECONFIG", str(account.kubeconfig))
        result = run_pytest("-pno:xdist", f"--ephemeral-ns-context={account.name}")
        result.assert_outcomes(passed=2)
        assert not LEAKED.search(result.stdout.str())
