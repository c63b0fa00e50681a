from __future__ import annotations

import fcntl
import os
import signal
import struct
import termios
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from pytest_ephemeral_ns.errors import ApiError
from pytest_ephemeral_ns.kube.terminal import attach_terminal

pytestmark = pytest.mark.node


class Person:
    """Sits at the other end of a terminal, reads and types."""

    def __init__(self) -> None:
        self.end, self.terminal = os.openpty()
        self.resize(24, 80)
        self.seen = ""
        self._script: list[tuple[str, str]] = []

    def resize(self, lines: int, columns: int) -> None:
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def will(self, *script: tuple[str, str]) -> threading.Thread:
        """Type the second word of each pair when the first one has been seen."""
        thread = threading.Thread(target=self._live, args=(script,))
        thread.start()
        return thread

    def _live(self, script: tuple[tuple[str, str], ...]) -> None:
        for expected, typed in script:
            while expected not in self.seen:
                self.seen += os.read(self.end, 4096).decode()
            self.seen = self.seen.partition(expected)[2]
            if typed == "RESIZE":
                self.resize(50, 132)
                os.kill(os.getpid(), signal.SIGWINCH)
            else:
                os.write(self.end, typed.encode())


@pytest.fixture
def person() -> Iterator[Person]:
    person = Person()
    yield person
    os.close(person.end)
    os.close(person.terminal)


def test_a_shell_with_a_terminal(own_box: Any, person: Person) -> None:
    before = termios.tcgetattr(person.terminal)
    typing = person.will(
        ("# ", "stty size\r"),
        ("24 80", "RESIZE"),
        ("# ", "sleep 1; stty size; tty\r"),
        ("50 132", ""),
        ("/dev/pts/", "echo now; sleep 100\r"),
        ("\nnow\r", "\x03"),
        ("# ", "exit 7\r"),
    )
    fds = {"input_fd": person.terminal, "output_fd": person.terminal}
    assert attach_terminal(own_box.api, own_box.namespace, own_box.pod, **fds) == 7
    typing.join()
    assert termios.tcgetattr(person.terminal) == before
    assert signal.getsignal(signal.SIGWINCH) is signal.SIG_DFL


@pytest.mark.parametrize("kind", ["pipe", "file"])
def test_without_a_terminal_input_has_an_end(own_box: Any, kind: str, tmp_path: Any) -> None:
    source, writing = os.pipe()
    reading, sink = os.pipe()
    os.write(writing, b"echo $((6*7)); exit 5\n")
    os.close(writing)
    if kind == "file":
        script = tmp_path / "script"
        script.write_text("echo $((6*7)); exit 5\n")
        os.close(source)
        source = os.open(script, os.O_RDONLY)
    code = attach_terminal(own_box.api, own_box.namespace, own_box.pod, ["sh"], input_fd=source, output_fd=sink)
    assert (code, os.read(reading, 100)) == (5, b"42\n")
    for descriptor in (source, reading, sink):
        os.close(descriptor)


def test_the_terminal_is_as_before_after_an_error(own_box: Any, person: Person) -> None:
    before = termios.tcgetattr(person.terminal)
    with pytest.raises(ApiError, match="404"):
        attach_terminal(own_box.api, own_box.namespace, "nobody", input_fd=person.terminal)
    assert termios.tcgetattr(person.terminal) == before
