"""The one way in which this package runs kind, Docker and credential plugins; this module must never use a shell.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

LAST_LINES = 20
_GRACE = 5.0  # seconds between asking a program to end and ending it


@dataclass(frozen=True)
class Finished:
    """What a program left.

    Args:
        returncode: its exit code; ``None`` when it was ended because its time was over.
        stdout: all of it. May hold a credential: never print it.
        stderr: all of it.
    """

    returncode: int | None
    stdout: str
    stderr: str

    @property
    def ok(self) -> bool:
        """Whether it ended by itself with exit code 0."""
        return self.returncode == 0

    def complaint(self) -> list[str]:
        """Return the last lines of what it said on stderr, without control characters; for evidence."""
        lines = [_printable(line) for line in self.stderr.splitlines() if line.strip()]
        return lines[-LAST_LINES:]

    def how(self, timeout: float) -> str:
        """Return how it ended, in words: ``"exit code 1"`` or ``"did not end within 60 s"``."""
        if self.returncode is None:
            return f"did not end within {timeout:g} s"
        return f"exit code {self.returncode}"


def run(
    command: Sequence[str | os.PathLike[str]],
    *,
    timeout: float,
    environ: Mapping[str, str] | None = None,
) -> Finished:
    """Run a program to its end, or to the end of its time.

    It runs in a session of its own without a terminal, so that it and all its children can be ended together: when
    its time is over, and when we are interrupted while waiting.

    Args:
        command: program and arguments.
        timeout: seconds.
        environ: its environment; ours if ``None``.

    Returns:
        Exit code and output; output that is not UTF-8 is kept with replacement characters.

    Raises:
        OSError: it could not be started.

    Example:
        >>> run(["echo", "hello"], timeout=10).stdout.strip()
        'hello'
    """
    with subprocess.Popen(
        [os.fspath(part) for part in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=None if environ is None else dict(environ),
        start_new_session=True,
    ) as process:
        try:
            stdout, stderr = process.communicate(timeout=timeout)
            returncode: int | None = process.returncode
        except subprocess.TimeoutExpired:
            stdout, stderr = _end(process)
            returncode = None
        except BaseException:
            _end(process)
            raise
    return Finished(returncode, stdout.decode("utf-8", "replace"), stderr.decode("utf-8", "replace"))


def _end(process: subprocess.Popen[bytes]) -> tuple[bytes, bytes]:
    """End the program and its children, politely first; return what they had printed."""
    _signal(process, signal.SIGTERM)
    try:
        return process.communicate(timeout=_GRACE)
    except subprocess.TimeoutExpired as late:
        _signal(process, signal.SIGKILL)
        try:
            return process.communicate(timeout=_GRACE)
        except subprocess.TimeoutExpired:  # a grandchild in a session of its own holds the pipe: let it
            return late.output or b"", late.stderr or b""


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    if not hasattr(os, "killpg"):  # Windows has no process groups to signal
        process.kill()
        return
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return  # all of them have ended


def _printable(line: str) -> str:
    return "".join(character if character.isprintable() else " " for character in line).strip()
