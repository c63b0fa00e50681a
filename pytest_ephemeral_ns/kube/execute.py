"""Commands in a running container: input, output, exit code; this module must never choose the pod.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import json
import re
import selectors
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_ephemeral_ns.deadline import Deadline
from pytest_ephemeral_ns.errors import ApiError, UsageError, WaitTimeout
from pytest_ephemeral_ns.kube.channels import PIECE, V4, V5, Channels
from pytest_ephemeral_ns.kube.handshake import open_channels
from pytest_ephemeral_ns.kube.target import default_container, pod_state

if TYPE_CHECKING:
    from pytest_ephemeral_ns.kube.api import Api

STDIN, STDOUT, STDERR, STATUS, RESIZE = range(5)
_NAMES = {STDOUT: "stdout", STDERR: "stderr"}
_ENOUGH_UNSENT = 256 << 10
_LOOK_SECONDS = 1.0
_TAIL = 2000

# The runtime's words, opencontainers/runc and containers/crun; the exit codes are those of POSIX shells.
_NOT_FOUND = re.compile(r"executable file .*not found|no such file or directory|not found in \$PATH", re.IGNORECASE)
_NOT_ALLOWED = re.compile(r"permission denied|exec format error|is a directory", re.IGNORECASE)
_STARTING = re.compile(
    r"exec failed|failed to exec|unable to start container process|error executing command", re.IGNORECASE
)

OnOutput = Callable[[str, bytes], None]


@dataclass(frozen=True)
class ExecResult:
    """How a command ended and what it wrote.

    Args:
        returncode: exit code; 126 and 127 as a shell would give them when the program cannot be run or is missing.
        stdout_bytes: standard output as it was written.
        stderr_bytes: error output as it was written.

    Example:
        >>> ExecResult(0, b"hello").stdout
        'hello'
    """

    returncode: int
    stdout_bytes: bytes = b""
    stderr_bytes: bytes = b""

    @property
    def stdout(self) -> str:
        """Standard output as text; bytes that are not UTF-8 are replaced."""
        return self.stdout_bytes.decode(errors="replace")

    @property
    def stderr(self) -> str:
        """Error output as text; bytes that are not UTF-8 are replaced."""
        return self.stderr_bytes.decode(errors="replace")


class ExecTimeout(WaitTimeout):
    """The command did not end in time; it may still run in the container.

    Args:
        summary: one line, subject first.
        stdout_bytes: what it had written so far.
        stderr_bytes: the same for its error output.
        evidence: see :class:`~pytest_ephemeral_ns.errors.EphemeralNsError`.
    """

    def __init__(self, summary: str, stdout_bytes: bytes, stderr_bytes: bytes, *, evidence: Sequence[str]) -> None:
        super().__init__(summary, evidence=evidence)
        self.stdout_bytes, self.stderr_bytes = stdout_bytes, stderr_bytes


def execute(
    api: Api,
    namespace: str,
    pod: str,
    command: Sequence[str],
    *,
    container: str = "",
    stdin: bytes | str | None = None,
    timeout: float,
    on_output: OnOutput | None = None,
) -> ExecResult:
    """Run a command in a container and wait for its end.

    Args:
        api: the API server.
        namespace: of the pod.
        pod: its name.
        command: program and arguments; no shell unless you name one.
        container: default: the one that the pod's annotation names, else its first.
        stdin: what it reads; it then sees the end of its input. Nothing when ``None``.
        timeout: seconds until it must have ended.
        on_output: called with ``"stdout"`` or ``"stderr"`` and bytes, as they come.

    Returns:
        Exit code and output. An exit code other than 0 is not an exception.

    Raises:
        UsageError: ``command`` is not a list of strings.
        ApiError: there is no such pod or container, it is not running, exec is not allowed, or the connection was lost.
        ExecTimeout: it did not end in time; carries what it had written. A :class:`TimeoutError`.

    Example:
        ``execute(api, "shop", "db-0", ["psql", "-c", "select 1"], timeout=30).stdout``
    """
    if isinstance(command, str) or not command:
        raise UsageError(
            f"command {command!r} is not a list of strings", evidence=['for a shell: ["sh", "-c", "echo $HOME"]']
        )
    deadline = Deadline.after(timeout)
    path = f"/api/v1/namespaces/{namespace}/pods/{pod}/exec"
    where = container or default_container(api.get(path.removesuffix("/exec")))
    data = stdin.encode() if isinstance(stdin, str) else stdin
    params = {"command": list(command), "container": where, "stdout": True, "stderr": True, "stdin": data is not None}
    what = f"exec in Pod/{pod} (container {where}) in namespace {namespace}"
    with open_channels(
        api, path, params, protocols=(V5, V4), timeout=max(1.0, deadline.remaining()), repeatable=False
    ) as channels:
        if data is not None and not channels.can_end_input:
            raise ApiError(
                f"{what}: this API server cannot be told that input ends", evidence=["needs Kubernetes 1.30"]
            )
        found = _converse(channels, what, data, deadline, on_output)
    code, why = ended(api, what, path.removesuffix("/exec"), bytes(found[STATUS]), channels.reason)
    return ExecResult(code, bytes(found[STDOUT]), bytes(found[STDERR]) + why.encode())


def _converse(
    channels: Channels, what: str, data: bytes | None, deadline: Deadline, on_output: OnOutput | None
) -> dict[int, bytearray]:
    """Send the input and collect each channel's output until the server closes the connection."""
    got = {STDOUT: bytearray(), STDERR: bytearray(), STATUS: bytearray()}
    left, open_input = memoryview(data or b""), data is not None
    with selectors.DefaultSelector() as selector:
        selector.register(channels, channels.interest)
        while not channels.closed:
            while left and channels.unsent < _ENOUGH_UNSENT:
                channels.send(STDIN, left[:PIECE])
                left = left[PIECE:]
            if open_input and not left:
                channels.end(STDIN)
                open_input = False
            if deadline.expired:
                raise _timed_out(what, deadline, got, with_input=bool(data))
            selector.modify(channels, channels.interest)
            selector.select(min(deadline.remaining(), _LOOK_SECONDS))
            for channel, part in channels.receive():
                got.setdefault(channel, bytearray()).extend(part)
                if on_output and channel in _NAMES:
                    on_output(_NAMES[channel], part)
            channels.flush()
    return got


def _timed_out(what: str, deadline: Deadline, got: Mapping[int, bytearray], *, with_input: bool) -> ExecTimeout:
    written = [f"{name}: … {_tail(got[channel])}" for channel, name in _NAMES.items() if got[channel]]
    # Seen with containerd 1.6, also with kubectl: the end of a command that left its input unread is not reported.
    stuck = ["or it has ended without reading all its input, which some runtimes never report"] if with_input else []
    return ExecTimeout(
        f"{what} did not end within {deadline.budget:g} s",
        bytes(got[STDOUT]),
        bytes(got[STDERR]),
        evidence=[*(written or ["it has written nothing"]), "it may still be running in the container", *stuck],
    )


def _tail(data: bytes | bytearray) -> str:
    return data[-_TAIL:].decode(errors="replace").strip()


def ended(api: Api, what: str, pod_path: str, status: bytes, lost: str) -> tuple[int, str]:
    """Return the exit code that a command ended with, and the runtime's words if it could not be started.

    Args:
        api: the API server, asked for the pod's state when the command was not run.
        what: the subject of errors.
        pod_path: of the pod.
        status: what came on the status channel.
        lost: why the connection ended.

    Raises:
        ApiError: the command was not run, or how it ended is not known.
    """
    code, why = exit_code(status)
    if code is not None:
        return code, why
    pod = api.find(pod_path)
    namespace, name = pod_path.split("/")[4::2]
    raise ApiError(
        f"{what}: {why if status else 'the connection ended before the command did'}",
        status=500 if status else 0,
        reason="InternalError" if status else "",
        evidence=[*([lost] if lost and not status else []), pod_state(pod) if pod else "the pod is gone"],
        command=f"kubectl describe pod {name} -n {namespace}",
    )


def exit_code(status: bytes) -> tuple[int | None, str]:
    """Return the exit code that a Status on the error channel means, and the runtime's words; ``None`` if it is none.

    Args:
        status: ``metav1.Status`` as JSON; older servers send nothing when all is well, or plain text.

    Example:
        >>> exit_code(b'{"status":"Success"}')
        (0, '')
    """
    try:
        told = json.loads(status)
    except ValueError:
        told = {"message": status.decode(errors="replace")}
    if told.get("status") == "Success":
        return 0, ""
    causes = (told.get("details") or {}).get("causes") or ()
    for cause in causes:
        if cause.get("reason") == "ExitCode" and str(cause.get("message")).lstrip("-").isdigit():
            return int(cause["message"]), ""
    message = str(told.get("message") or "no reason given")
    if _STARTING.search(message) and (_NOT_FOUND.search(message) or _NOT_ALLOWED.search(message)):
        return (127 if _NOT_FOUND.search(message) else 126), message
    return None, message
