from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from pytest_ephemeral_ns.errors import ApiError, NotReady, UsageError
from pytest_ephemeral_ns.kube.logs import ContainerLog, all_logs, follow_logs, read_logs
from tests.kube.conftest import until

pytestmark = pytest.mark.node
COUNT = "i=0; while [ $i -lt 5 ]; do echo line $i; i=$((i+1)); done"


@pytest.fixture(scope="module")
def printed(box: Any) -> str:
    """A pod that has printed five lines and ended."""
    box.start("printed", COUNT)
    box.await_phase("printed", "Succeeded")
    return "pod/printed"


def logs(box: Any, target: str, **how: Any) -> list[str]:
    return read_logs(box.api, box.namespace, target, **how).splitlines()


def test_all_of_it_and_its_parts(own_box: Any, printed: str) -> None:
    lines = [f"line {i}" for i in range(5)]
    assert logs(own_box, printed) == lines
    assert logs(own_box, "printed", tail=2) == lines[-2:]
    assert logs(own_box, printed, tail=0) == []
    assert logs(own_box, printed, since=3600) == lines
    assert logs(own_box, printed, limit_bytes=10) == ["line 0", "lin"]
    assert logs(own_box, printed, timestamps=True, tail=1)[0].endswith("Z line 4")


def test_since_leaves_out_what_is_older(own_box: Any) -> None:
    own_box.start("slow", "echo early; sleep 3; echo late; sleep 1000")
    until(lambda: "early" in logs_or_nothing(own_box, "pod/slow"))
    until(lambda: "late" in logs(own_box, "pod/slow"))
    assert logs(own_box, "pod/slow", since=0.5) == ["late"]


def logs_or_nothing(box: Any, target: str) -> list[str]:
    try:
        return logs(box, target)
    except ApiError as error:
        if error.status != 400:
            raise
        return []


def test_the_container_is_the_first_unless_it_is_named(own_box: Any) -> None:
    assert logs(own_box, "deploy/box") == []
    assert logs(own_box, "deploy/box", container="side") == ["from the side"]
    with pytest.raises(ApiError, match="container nobody is not valid"):
        logs(own_box, "deploy/box", container="nobody")


def test_every_container_of_every_pod(own_box: Any) -> None:
    found = [*all_logs(own_box.api, own_box.namespace, "deploy/box")]
    pod = own_box.pod
    assert found[-2:] == [ContainerLog(pod, "app", ""), ContainerLog(pod, "side", "from the side\n")]
    previous = [*all_logs(own_box.api, own_box.namespace, f"pod/{pod}", previous=True)]
    assert [log.container for log in previous] == ["app", "side"]
    assert "previous terminated container" in previous[0].error


def test_the_log_before_the_last_restart(own_box: Any) -> None:
    script = "[ -e /kept/again ] && { echo second; exec sleep 1000; }; touch /kept/again; echo first; exit 1"
    mount = {"name": "kept", "mountPath": "/kept"}
    container = {"name": "app", "image": "busybox:1.36", "command": ["sh", "-c", script], "volumeMounts": [mount]}
    volume = {"name": "kept", "emptyDir": {}}
    own_box.start("again", "", restartPolicy="OnFailure", volumes=[volume], containers=[container])
    until(lambda: "second" in logs_or_nothing(own_box, "pod/again"))
    assert logs(own_box, "pod/again", previous=True) == ["first"]


def test_follow_gives_lines_as_they_come_and_ends_with_the_container(own_box: Any) -> None:
    own_box.start("talking", f"{COUNT}; sleep 1; echo last")
    own_box.await_phase("talking", "Running")
    with follow_logs(own_box.api, own_box.namespace, "pod/talking") as lines:
        assert [*lines] == [*(f"line {i}".encode() for i in range(5)), b"last"]


def test_follow_can_be_ended_by_another_thread(own_box: Any) -> None:
    with follow_logs(own_box.api, own_box.namespace, "deploy/box", container="side") as lines:
        timer = threading.Timer(0.5, lines.close)
        timer.start()
        assert [*lines] == [b"from the side"]
        timer.join()


def test_what_cannot_be_read_says_why(own_box: Any) -> None:
    own_box.start("unstarted", "true", image="example.com/nowhere:2")
    until(lambda: "ErrImageNeverPull" in json.dumps(own_box.api.get(f"{own_box.path}/pods/unstarted")["status"]))
    with pytest.raises(ApiError, match="ErrImageNeverPull") as caught:
        logs(own_box, "pod/unstarted")
    assert caught.value.status == 400
    with pytest.raises(ApiError, match='pods "nobody" not found'):
        logs(own_box, "pod/nobody")
    with pytest.raises(UsageError, match="is not KIND/NAME"):
        logs(own_box, "secret/x")


def test_a_target_without_pods(own_box: Any) -> None:
    port = {"port": 80}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "empty"}}
    own_box.api.create(f"{own_box.path}/services", {**service, "spec": {"selector": {"app": "none"}, "ports": [port]}})
    with pytest.raises(NotReady, match=r"svc/empty in namespace .* has no pod"):
        logs(own_box, "svc/empty")
