from __future__ import annotations

import json
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from pytest_ephemeral_ns.errors import ApiError, UsageError, WaitTimeout
from pytest_ephemeral_ns.kube.api import Api
from pytest_ephemeral_ns.kube.execute import ExecResult, ExecTimeout, execute, exit_code
from tests.kube.conftest import until

node = pytest.mark.node


def run(box: Any, *command: str, timeout: float = 60, **how: Any) -> ExecResult:
    return execute(box.api, box.namespace, box.pod, command, timeout=timeout, **how)


@node
def test_output_error_output_and_exit_code(own_box: Any) -> None:
    result = run(own_box, "sh", "-c", "echo out; echo err >&2; exit 3")
    assert result == ExecResult(3, b"out\n", b"err\n")
    assert (result.stdout, result.stderr) == ("out\n", "err\n")
    assert run(own_box, "true") == ExecResult(0)


@node
def test_arguments_arrive_as_they_are(own_box: Any) -> None:
    words = ["a b", "", "é$HOME", "--flag=&x=1", "line\nline", "%41+"]
    assert run(own_box, "printf", "[%s]", *words).stdout == "".join(f"[{word}]" for word in words)


@node
@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        (["sh", "-c", "no-such-program"], 127, "not found"),
        (["no-such-program"], 127, "not found"),
        (["/no/such/program"], 127, "no such file"),
        (["/etc/passwd"], 126, "permission denied"),
    ],
)
def test_a_program_that_cannot_be_run(own_box: Any, command: list[str], code: int, words: str) -> None:
    result = run(own_box, *command)
    assert result.returncode == code
    assert words in result.stderr


@node
def test_five_megabytes_of_input_come_back_byte_for_byte(own_box: Any) -> None:
    data = os.urandom(5 << 20)
    assert run(own_box, "cat", stdin=data) == ExecResult(0, data)


@node
@pytest.mark.parametrize(("stdin", "seen"), [(None, b"0\n"), (b"", b"0\n"), ("é", b"2\n"), (b"\x00\xff", b"2\n")])
def test_input_has_an_end(own_box: Any, stdin: bytes | str | None, seen: bytes) -> None:
    assert run(own_box, "wc", "-c", stdin=stdin).stdout_bytes == seen


@node
def test_a_program_that_reads_only_the_beginning_of_its_input(own_box: Any) -> None:
    assert run(own_box, "head", "-c", "3", stdin=b"abcdef" * 1000).stdout_bytes == b"abc"


@node
def test_twenty_megabytes_of_output(own_box: Any) -> None:
    result = run(own_box, "head", "-c", str(20 << 20), "/dev/zero")
    assert result.stdout_bytes == bytes(20 << 20)


@node
def test_output_is_told_as_it_comes(own_box: Any) -> None:
    told: list[tuple[str, bytes]] = []
    result = run(own_box, "sh", "-c", "echo a; sleep 0.2; echo b >&2", on_output=lambda *part: told.append(part))
    assert told == [("stdout", b"a\n"), ("stderr", b"b\n")]
    assert result == ExecResult(0, b"a\n", b"b\n")


@node
def test_time_out_is_an_error_that_carries_what_was_written(own_box: Any) -> None:
    with pytest.raises(ExecTimeout, match=r"did not end within 6 s") as caught:
        run(own_box, "sh", "-c", "echo half; echo why >&2; exec sleep 20", timeout=6)
    error = caught.value
    assert isinstance(error, WaitTimeout)
    assert isinstance(error, TimeoutError)
    assert (error.stdout_bytes, error.stderr_bytes) == (b"half\n", b"why\n")
    assert "stdout: … half" in str(error)
    assert "may still be running" in str(error)


@node
def test_time_out_of_a_command_with_input_names_what_some_runtimes_do(own_box: Any) -> None:
    with pytest.raises(ExecTimeout, match="without reading all its input"):
        run(own_box, "sleep", "5", stdin=b"x", timeout=1)


@node
def test_the_container_is_the_first_unless_it_is_named(own_box: Any) -> None:
    assert run(own_box, "ls", "/www").stdout == "index.html\n"
    assert run(own_box, "ls", "/www", container="side").returncode == 1


@node
def test_no_such_pod_no_such_container(own_box: Any) -> None:
    with pytest.raises(ApiError, match=r"pods/nobody in namespace \S+: 404 NotFound"):
        execute(own_box.api, own_box.namespace, "nobody", ["true"], timeout=20)
    with pytest.raises(ApiError, match="container nobody is not valid for pod"):
        run(own_box, "true", container="nobody")


@node
def test_a_container_that_is_not_running_says_what_it_does(own_box: Any) -> None:
    box = own_box
    box.start("stuck", "true", image="example.com/nowhere:1")
    until(lambda: "ErrImageNeverPull" in json.dumps(box.api.get(f"{box.path}/pods/stuck")["status"]))
    with pytest.raises(ApiError) as caught:
        execute(box.api, box.namespace, "stuck", ["true"], timeout=20)
    assert "container app waiting: ErrImageNeverPull" in str(caught.value)
    assert caught.value.command == f"kubectl describe pod stuck -n {box.namespace}"
    box.start("finished", "exit 0")
    box.await_phase("finished", "Succeeded")
    with pytest.raises(ApiError, match="Pod/finished: Succeeded, container app terminated: Completed"):
        execute(box.api, box.namespace, "finished", ["true"], timeout=20)


@node
def test_somebody_who_may_not_is_told_what_to_ask_for(own_box: Any) -> None:
    path = f"{own_box.path}/serviceaccounts/default/token"
    token = own_box.api.create(path, {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": {}})
    anybody = replace(own_box.api.connection, client_cert_data="", client_key_data="", token=token["status"]["token"])
    with Api(anybody) as api, pytest.raises(ApiError) as caught:
        execute(api, own_box.namespace, own_box.pod, ["true"], container="app", timeout=20)
    assert caught.value.status == 403
    assert f'on "pods/exec" in namespace {own_box.namespace}' in str(caught.value)
    assert "kubectl create role" in (caught.value.command or "")


@node
def test_exec_and_list_at_once_on_one_client(own_box: Any) -> None:
    pods = f"{own_box.path}/pods"

    def one(number: int) -> bool:
        if number % 2:
            return bool([*own_box.api.list(pods)])
        return run(own_box, "sh", "-c", f"echo {number}").stdout == f"{number}\n"

    with ThreadPoolExecutor(10) as pool:
        assert all(pool.map(one, range(60)))


@node
def test_ctrl_c_is_not_swallowed(own_box: Any) -> None:
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    pod = own_box.pod
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        execute(own_box.api, own_box.namespace, pod, ["sleep", "5"], timeout=30)
    timer.join()


@pytest.mark.parametrize("command", ["ls -l", [], ""])
def test_a_command_is_a_list(command: Any) -> None:
    with pytest.raises(UsageError, match="is not a list of strings"):
        execute(None, "x", "y", command, timeout=1)  # type: ignore[arg-type]


RUNC = 'OCI runtime exec failed: exec failed: unable to start container process: exec: "x": '


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (b'{"metadata":{},"status":"Success"}', 0),
        (
            b'{"status":"Failure","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"7"}]}}',
            7,
        ),
        (b'{"status":"Failure","details":{"causes":[{"reason":"ExitCode","message":"seven"}]}}', None),
        (b'{"status":"Failure","details":{"causes":[{"reason":"Other","message":"7"}]}}', None),
        (
            f'{{"status":"Failure","message":"{RUNC}executable file not found in $PATH"}}'.replace('"x"', "x").encode(),
            127,
        ),
        (f"{RUNC}permission denied".encode(), 126),
        (b'{"status":"Failure","message":"container not found (app)"}', None),
        (b"", None),
        (b"\xff not json", None),
    ],
)
def test_what_a_status_means(status: bytes, code: int | None) -> None:
    assert exit_code(status)[0] == code
