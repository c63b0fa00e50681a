"""Starts one program, talks to it and ends it with its whole process group; this module must never know which program.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

LARGEST_OUTPUT = 128 << 20
_CHUNK = 1 << 16
_LAST_WORDS = 64 << 10
_GRACE_SECONDS = 5.0


class Cut(Exception):
    """The program was ended by us.

    Args:
        why: ``"did not end within 30 s"``; follows the program's name.
        output: the end of what it had printed, at most 64 KiB of each stream.
    """

    def __init__(self, why: str, output: str) -> None:
        super().__init__(why)
        self.why, self.output = why, output


def converse(
    argv: Sequence[str], *, env: Mapping[str, str], cwd: Path | None, data: bytes, timeout: float
) -> tuple[bytes, bytes, int]:
    r"""Run a program to its end and return its output, its error output and its exit code.

    Args:
        argv: program and arguments.
        env: its whole environment.
        cwd: its working directory; ours when ``None``.
        data: what it reads from standard input.
        timeout: seconds. Then its group gets SIGTERM and, 5 s later, SIGKILL; so too on Ctrl-C.

    Raises:
        OSError: it could not be started.
        Cut: it took too long or printed more than 128 MiB.

    Example:
        >>> converse(["echo", "hello"], env={}, cwd=None, data=b"", timeout=10)
        (b'hello\n', b'', 0)
    """
    process = subprocess.Popen(
        argv,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=dict(env),
        cwd=cwd,
        # Ctrl-C on the terminal reaches us alone; we end the group in order.
        start_new_session=True,
    )
    try:
        stdout, stderr = _exchange(process, data, timeout)
        return stdout, stderr, process.wait()
    except BaseException:
        _end(process)
        raise
    finally:
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


def _exchange(process: subprocess.Popen[bytes], data: bytes, timeout: float) -> tuple[bytes, bytes]:
    """Write and read until both outputs have ended; raise :class:`Cut` at the time or size limit."""
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    ends = time.monotonic() + timeout
    parts: dict[IO[bytes], bytearray] = {process.stdout: bytearray(), process.stderr: bytearray()}

    def cut(why: str) -> Cut:
        return Cut(why, "".join(part[-_LAST_WORDS:].decode(errors="replace") for part in parts.values()))

    with selectors.DefaultSelector() as selector:
        for pipe in parts:
            selector.register(pipe, selectors.EVENT_READ)
        left = memoryview(data)
        os.set_blocking(process.stdin.fileno(), False)
        selector.register(process.stdin, selectors.EVENT_WRITE)
        while selector.get_map():
            if (remaining := ends - time.monotonic()) <= 0:
                raise cut(f"did not end within {timeout:g} s")
            ready = selector.select(min(remaining, 0.25))
            if not ready and process.poll() is not None:
                break  # a grandchild holds the pipes open: what it prints is nobody's
            for key, _ in ready:
                if key.fileobj is process.stdin:
                    left = _write(process.stdin, left, selector)
                else:
                    _read(key.fileobj, parts, selector)  # type: ignore[arg-type]
            if sum(map(len, parts.values())) > LARGEST_OUTPUT:
                raise cut(f"printed more than {LARGEST_OUTPUT >> 20} MiB")
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, ends - time.monotonic()))
        if process.poll() is None:
            raise cut(f"did not end within {timeout:g} s")
    return bytes(parts[process.stdout]), bytes(parts[process.stderr])


def _read(pipe: IO[bytes], parts: dict[IO[bytes], bytearray], selector: selectors.BaseSelector) -> None:
    if part := os.read(pipe.fileno(), _CHUNK):
        parts[pipe] += part
    else:
        selector.unregister(pipe)


def _write(pipe: IO[bytes], left: memoryview, selector: selectors.BaseSelector) -> memoryview:
    try:
        left = left[os.write(pipe.fileno(), left[:_CHUNK]) :]
    except BlockingIOError:
        return left
    except BrokenPipeError:
        left = left[:0]  # it does not want the rest; its exit code says whether that is an error
    if not left:
        selector.unregister(pipe)
        with contextlib.suppress(BrokenPipeError):
            pipe.close()
    return left


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process and its whole group: politely first, so that Helm can write down that a release failed."""
    if process.poll() is None:
        _signal(process, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_SECONDS)
    _signal(process, getattr(signal, "SIGKILL", signal.SIGTERM))
    process.wait()


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, number)
        elif process.poll() is None:
            process.send_signal(number)
