"""A person's terminal joined to a command in a container; this module must never be used without a person.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pytest_ephemeral_ns.errors import UsageError
from pytest_ephemeral_ns.kube.channels import V4, V5, Channels
from pytest_ephemeral_ns.kube.execute import RESIZE, STATUS, STDERR, STDIN, STDOUT, ended
from pytest_ephemeral_ns.kube.handshake import open_channels
from pytest_ephemeral_ns.kube.target import default_container

if TYPE_CHECKING:
    from pytest_ephemeral_ns.kube.api import Api

_READ = 1 << 14
_ENOUGH_UNSENT = 256 << 10
_OPEN_SECONDS = 15.0
SHELL = ("sh", "-c", "command -v bash >/dev/null && exec bash || exec sh")


def attach_terminal(
    api: Api,
    namespace: str,
    pod: str,
    command: Sequence[str] = SHELL,
    *,
    container: str = "",
    input_fd: int | None = None,
    output_fd: int | None = None,
) -> int:
    """Run a command in a container with this process's terminal as its own; with a pipe as input, without one.

    Args:
        api: the API server.
        namespace: of the pod.
        pod: its name.
        command: program and arguments; default: bash if the container has it, else sh.
        container: default: the one that the pod's annotation names, else its first.
        input_fd: default: standard input.
        output_fd: default: standard output.

    Returns:
        The command's exit code.

    Raises:
        UsageError: there is a terminal, but not one of a kind that can be handed over (Windows).
        ApiError: there is no such pod or container, it is not running, exec is not allowed, or the connection was lost.

    Example:
        ``sys.exit(attach_terminal(api, "shop", "api-5d9c7-x2x4p"))``
    """
    source = sys.stdin.fileno() if input_fd is None else input_fd
    sink = sys.stdout.fileno() if output_fd is None else output_fd
    pod_path = f"/api/v1/namespaces/{namespace}/pods/{pod}"
    where = container or default_container(api.get(pod_path))
    tty = os.isatty(source)
    params = {
        "command": list(command),
        "container": where,
        "stdin": True,
        "stdout": True,
        "tty": tty,
        "stderr": not tty,
    }
    what = f"exec in Pod/{pod} (container {where}) in namespace {namespace}"
    with (
        open_channels(
            api, f"{pod_path}/exec", params, protocols=(V5, V4), timeout=_OPEN_SECONDS, repeatable=False
        ) as channels,
        _raw(source) if tty else contextlib.nullcontext(),
        _resized(source) if tty else contextlib.nullcontext() as resized,
    ):
        status = _join(channels, source, sink, resized)
    code, why = ended(api, what, pod_path, status, channels.reason)
    if why:
        sys.stderr.write(why + "\n")
    return code


def _join(channels: Channels, source: int, sink: int, resized: int | None) -> bytes:
    """Copy both ways until the command ends; return its status."""
    status = bytearray()
    sinks = {STDOUT: sink, STDERR: sys.stderr.fileno() if sink == sys.stdout.fileno() else sink}
    open_input = True
    if resized is not None:
        _tell_size(channels, source)
    with selectors.DefaultSelector() as selector:
        selector.register(channels, channels.interest)
        if resized is not None:
            selector.register(resized, selectors.EVENT_READ)
        while not channels.closed:
            wanted = open_input and channels.unsent < _ENOUGH_UNSENT
            always_readable = _listen_to(selector, source, wanted)
            selector.modify(channels, channels.interest)
            ready = {key.fd for key, _ in selector.select(0 if always_readable else None)}
            if resized in ready:
                os.read(resized, _READ)
                _tell_size(channels, source)
            if source in ready or always_readable:
                open_input = _forward_input(channels, source)
            for channel, part in channels.receive():
                if channel == STATUS:
                    status += part
                elif channel in sinks:
                    _write(sinks[channel], part)
            channels.flush()
    return bytes(status)


def _listen_to(selector: selectors.BaseSelector, source: int, wanted: bool) -> bool:
    """Watch the input or not; return whether it is a file, which is always readable and cannot be watched."""
    if wanted and source not in selector.get_map():
        try:
            selector.register(source, selectors.EVENT_READ)
        except PermissionError:
            return True
    elif not wanted and source in selector.get_map():
        selector.unregister(source)
    return False


def _forward_input(channels: Channels, source: int) -> bool:
    """Send what was typed; return whether more can come."""
    data = os.read(source, _READ)
    if data:
        channels.send(STDIN, data)
    elif channels.can_end_input:
        channels.end(STDIN)
    return bool(data)


def _write(sink: int, data: bytes) -> None:
    while data:
        data = data[os.write(sink, data) :]


def _tell_size(channels: Channels, terminal: int) -> None:
    with contextlib.suppress(OSError):
        size = os.get_terminal_size(terminal)
        channels.send(RESIZE, json.dumps({"Width": size.columns, "Height": size.lines}).encode())


@contextlib.contextmanager
def _raw(terminal: int) -> Iterator[None]:
    """Let every key through, Ctrl-C too, for the time of the block."""
    try:
        import termios
        import tty
    except ImportError as error:
        raise UsageError("this terminal cannot be joined to a container", command="kubectl exec -it") from error
    before = termios.tcgetattr(terminal)
    tty.setraw(terminal)
    try:
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


@contextlib.contextmanager
def _resized(terminal: int) -> Iterator[int]:
    """Yield a descriptor that is readable when the terminal has another size. Only the main thread may ask."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)

    def tell(*_: Any) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(writing, b"x")

    before = signal.signal(signal.SIGWINCH, tell)
    try:
        yield reading
    finally:
        signal.signal(signal.SIGWINCH, before)
        os.close(reading)
        os.close(writing)
