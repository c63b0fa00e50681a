"""The CronJob of ``reap --print-cronjob``, applied with kubectl, run from an image of this package on a real node."""

from __future__ import annotations

import json
import subprocess
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from pytest_ephemeral_ns.cli import main
from pytest_ephemeral_ns.clusters.embedded import load
from pytest_ephemeral_ns.clusters.embedded.images import JANITOR, ensure_images
from pytest_ephemeral_ns.kube.api import Api
from pytest_ephemeral_ns.paths import bin_dir
from pytest_ephemeral_ns.rules import naming
from pytest_ephemeral_ns.rules.identity import Identity

pytestmark = pytest.mark.node
NAMESPACES = "/api/v1/namespaces"
CRONJOB = "cronjob/pytest-ephemeral-ns-janitor"
# Nothing can be made old, so that one pass is told that nothing is too young. All else is what the CronJob runs.
HASTY = """
import sys
from datetime import timedelta
from pytest_ephemeral_ns.rules import retention
retention.MIN_AGE = timedelta()
from pytest_ephemeral_ns.cli import main
sys.exit(main(sys.argv[1:]))
"""


class Janitor:
    def __init__(self, cluster: Any, capsys: pytest.CaptureFixture[str]) -> None:
        self.home = f"janitor-{uuid.uuid4().hex[:6]}"
        self._kubectl = [str(bin_dir() / "kubectl"), "--kubeconfig", str(cluster.kubeconfig)]
        load(cluster.name, ensure_images([JANITOR]))
        command = ["reap", "--print-cronjob", "--image", JANITOR, "--namespace", self.home, "--schedule", "0 0 1 1 *"]
        assert main(command) == 0
        self.manifests = capsys.readouterr().out
        self.kubectl("apply", "-f", "-", stdin=self.manifests)

    def kubectl(self, *arguments: str, stdin: str = "") -> str:
        command = [*self._kubectl, *arguments]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=180, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def run(self, name: str, *, hasty: bool = False) -> str:
        """Trigger a Job from the CronJob and return what its pod said."""
        create = ("create", "job", name, f"--from={CRONJOB}", "-n", self.home)
        job = json.loads(self.kubectl(*create, "--dry-run=client", "-o", "json"))
        if hasty:
            job["spec"]["template"]["spec"]["containers"][0]["command"] = ["python", "-c", HASTY]
        self.kubectl("create", "-f", "-", stdin=json.dumps(job))
        self.kubectl("wait", "--for=condition=complete", f"job/{name}", "-n", self.home, "--timeout=120s")
        return self.kubectl("logs", f"job/{name}", "-n", self.home)


@pytest.fixture
def janitor(node_cluster: Any, capsys: pytest.CaptureFixture[str]) -> Iterator[Janitor]:
    janitor = Janitor(node_cluster, capsys)
    yield janitor
    janitor.kubectl("delete", "--wait=false", "-f", "-", stdin=janitor.manifests)


def _namespace(api: Api, name: str, run: str, expires: timedelta) -> str:
    identity = Identity("shop", "main")
    labels = naming.labels_of(identity, run_id=run, worker_id="gw0", scope="run", owner="ada")
    moment = datetime.now(timezone.utc) + expires
    metadata = {"name": f"{name}-{run}", "labels": labels}
    metadata["annotations"] = naming.annotations_of(identity, expires=moment, created_by="me:1")
    api.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    return str(metadata["name"])


def test_a_job_of_the_cronjob_takes_what_has_expired_and_leaves_the_rest(node_cluster: Any, janitor: Janitor) -> None:
    run = uuid.uuid4().hex[:10]
    with Api(node_cluster.connection) as api:
        old = _namespace(api, "old", run, timedelta(hours=-1))
        new = _namespace(api, "new", run, timedelta(hours=1))
        assert janitor.run("as-it-is") == ""  # too young, and no word of a right that is missing
        said = janitor.run("hasty", hasty=True)
        assert [line for line in said.splitlines() if run in line] == [
            line for line in said.splitlines() if line.startswith(f"delete {old}: expired ")
        ]
        assert "403" not in said
        found = {name: api.find(f"{NAMESPACES}/{name}") for name in (old, new)}
        assert found[old] is None or found[old]["metadata"].get("deletionTimestamp")
        assert found[new] is not None
        assert not found[new]["metadata"].get("deletionTimestamp")
        api.delete(f"{NAMESPACES}/{new}")
