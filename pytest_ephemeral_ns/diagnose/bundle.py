"""A folder that appears whole or not at all, and has a size; this module must never know what is written into it.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

SIZE = 20_000_000  # bytes of one bundle
_RESERVE = 200_000  # bytes of it that only the summary may use


class Bundle:
    """A bundle that is being written. What there is no room for is named in :attr:`left_out`.

    Args:
        path: an empty folder.
        size: bytes of all files together.

    Attributes:
        left_out: a line for each thing that is not there, or not whole.
    """

    def __init__(self, path: Path, size: int = SIZE) -> None:
        self.path = path
        self.left_out: list[str] = []
        self._reserve = min(_RESERVE, size // 4)
        self._room = size - self._reserve

    @property
    def room(self) -> int:
        """How many bytes may still be written."""
        return max(0, self._room)

    def write(self, name: str, text: str) -> None:
        """Write a file, whole or not at all.

        Args:
            name: relative to the bundle, with ``/``.
            text: what it contains; no secret.
        """
        if not self.put(name, text):
            size = len(text.encode("utf-8", "replace"))
            self.left_out.append(f"{name}: {size} bytes have no room in the bundle")

    def put(self, name: str, text: str) -> bool:
        """Write a file as :meth:`write` does, and leave it to the caller to name what has no room.

        Args:
            name: relative to the bundle, with ``/``.
            text: what it contains; no secret.

        Returns:
            Whether it is there.
        """
        data = text.encode("utf-8", "replace")
        if len(data) > self._room:
            return False
        self._put(name, data)
        return True

    def write_parts(self, name: str, parts: Iterable[str], share: float = 1.0) -> None:
        """Write a file from parts, as many of the first ones as there is room for.

        Args:
            name: relative to the bundle.
            parts: texts, each with its own line end.
            share: of the room that is left, which the file may use.
        """
        room, data, left = int(self.room * share), bytearray(), 0
        for part in parts:
            told = part.encode("utf-8", "replace")
            if left or len(data) + len(told) > room:
                left += 1
            else:
                data += told
        if left:
            self.left_out.append(f"{name}: the last {left} parts of it have no room in the bundle")
        if data:
            self._put(name, bytes(data))

    def close(self, name: str, text: str) -> None:
        """Write the file that tells what there is; room for it was kept.

        Args:
            name: relative to the bundle.
            text: what it contains; its end is left out where it is very long.
        """
        data = text.encode("utf-8", "replace")
        self._put(name, data[: self.room + self._reserve])

    def _put(self, name: str, data: bytes) -> None:
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        self._room -= len(data)

    def files(self) -> list[str]:
        """Return the names of all files, sorted."""
        return sorted(path.relative_to(self.path).as_posix() for path in self.path.rglob("*") if path.is_file())


@contextmanager
def bundle(directory: Path, size: int = SIZE) -> Iterator[Bundle]:
    """Give a bundle for the length of a block, and its name when the block has ended well; else it is removed.

    Args:
        directory: what it will be called; replaced if it exists.
        size: bytes of all files together.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    _hide_from_git(directory.parent.parent)
    begun = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    try:
        yield Bundle(begun, size)
        os.chmod(begun, 0o755)  # noqa: S103 # holds no secret, and whoever uploads it may be another user
        if directory.exists():
            shutil.rmtree(directory)
        begun.replace(directory)
    finally:
        shutil.rmtree(begun, ignore_errors=True)


def _hide_from_git(root: Path) -> None:
    ignore = root / ".gitignore"
    if root.name.startswith(".") and not ignore.exists():
        with contextlib.suppress(OSError):
            ignore.write_text("# Made by pytest-ephemeral-ns.\n*\n", "utf-8")
