"""``logs`` and ``shell`` on a cluster with a real node."""

from __future__ import annotations

import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from pytest_ephemeral_ns.kube.api import Api
from pytest_ephemeral_ns.rules import naming
from pytest_ephemeral_ns.rules.identity import Identity

pytestmark = pytest.mark.node
NAMESPACES = "/api/v1/namespaces"


class Place:
    def __init__(self, api: Api, cluster: Any) -> None:
        self.api = api
        self.target = ["--kubeconfig", str(cluster.kubeconfig), "--context", cluster.connection.context]
        run_id = f"l{uuid.uuid4().hex[:9]}"
        self.name = f"look-{run_id}"
        identity = Identity("shop", "main")
        labels = naming.labels_of(identity, run_id=run_id, worker_id="gw0", scope="worker", owner="ada")
        expires = datetime.now(timezone.utc) + timedelta(hours=1)
        annotations = naming.annotations_of(identity, expires=expires, created_by="me:1")
        metadata = {"name": self.name, "labels": labels, "annotations": annotations}
        api.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        until(lambda: api.find(f"{NAMESPACES}/{self.name}/serviceaccounts/default"))

    def pod(self, name: str, script: str) -> None:
        container = {"name": "main", "image": "busybox:1.36", "command": ["sh", "-c", script]}
        spec = {"containers": [container], "restartPolicy": "Never", "terminationGracePeriodSeconds": 0}
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
        self.api.create(f"{NAMESPACES}/{self.name}/pods", body)

    def runs(self, name: str) -> bool:
        return self.api.get(f"{NAMESPACES}/{self.name}/pods/{name}")["status"].get("phase") == "Running"

    def pods(self) -> list[str]:
        return [pod["metadata"]["name"] for pod in self.api.list(f"{NAMESPACES}/{self.name}/pods")]

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "pytest_ephemeral_ns", arguments[0], *self.target, *arguments[1:]]

    def __call__(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        command = self.command(*arguments)
        return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=200, check=False)


def until(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < end, "did not happen in 90 s"
        time.sleep(0.1)


@pytest.fixture
def place(node_cluster: Any) -> Iterator[Place]:
    with Api(node_cluster.connection) as api:
        place = Place(api, node_cluster)
        yield place
        api.delete(f"{NAMESPACES}/{place.name}")


def test_logs_of_all_pods_or_of_one(place: Place) -> None:
    place.pod("one", "echo from one; sleep 3600")
    place.pod("two", "echo from two; sleep 3600")
    until(lambda: place.runs("one") and place.runs("two"))
    done = place("logs", place.name)
    assert sorted(done.stdout.splitlines()) == ["[one/main] from one", "[two/main] from two"]
    assert place("logs", place.name, "pod/two").stdout == "[two/main] from two\n"
    assert place("logs", "nothing-here").returncode == 3
    assert place("logs", place.name, "pod/three").returncode == 3


def test_following_takes_up_pods_that_come_later_and_ends_with_ctrl_c(place: Place) -> None:
    place.pod("one", "echo from one; sleep 3600")
    command = place.command("logs", place.name, "--follow")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "[one/main] from one\n"
        place.pod("two", "echo from two; sleep 3600")
        assert process.stdout.readline() == "[two/main] from two\n"
        process.send_signal(2)
        assert process.wait(30) == 130
        assert "Traceback" not in process.stderr.read()
    finally:
        process.kill()
        process.communicate()


def test_a_shell_goes_to_a_pod_that_runs_and_returns_the_exit_code(place: Place) -> None:
    place.pod("over", "true")
    place.pod("api", "sleep 3600")
    until(lambda: place.runs("api"))
    done = place("shell", place.name, "--", "sh", "-c", "hostname; exit 7")
    assert (done.stdout, done.returncode) == ("api\n", 7)
    assert place("shell", place.name, stdin="echo $((6 * 7))\n").stdout == "42\n"


def test_without_a_running_pod_one_is_made_and_removed(place: Place) -> None:
    done = place("shell", place.name, "--", "hostname")
    assert done.stdout.startswith("ephemeral-ns-shell-")
    assert done.returncode == 0
    until(lambda: place.pods() == [])


def test_an_image_that_cannot_be_had_is_said_and_nothing_stays(place: Place) -> None:
    done = place("shell", place.name, "--debug", "--image", "localhost:1/nothing:1", "--", "true")
    assert done.returncode == 1
    assert "the pod for the shell will not run" in done.stderr
    until(lambda: place.pods() == [])


def test_a_shell_in_what_is_not_ours_is_refused(place: Place) -> None:
    done = place("shell", "default", "--", "true")
    assert done.returncode == 2
    assert "left alone" in done.stderr
