"""The cache of programs, each checked against the sum that it had when it came; this module must never fetch one.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pytest_ephemeral_ns.clusters.embedded.assets.table import Asset
from pytest_ephemeral_ns.errors import ClusterError

Progress = Callable[[str], None]

_WAIT = 5400.0  # seconds to wait for another process that fetches or builds


class Store:
    """A folder of programs with a list of what they must be.

    Args:
        folder: where the programs are; made when something is put there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._manifest = folder / ".manifest.json"

    def path(self, asset: Asset) -> Path:
        """Return where a program is, or would be."""
        return self.folder / asset.name

    def has(self, asset: Asset) -> bool:
        """Whether the program is there, in the version that the table wants, unchanged since it was put there.

        A program whose size and times are as they were is taken to be unchanged: reading 300 MB at every start of a
        cluster would cost more than starting etcd.
        """
        entry = self._entries().get(asset.name)
        path = self.path(asset)
        if entry is None or entry["recipe"] != asset.recipe or not path.is_file():
            return False
        if entry["stat"] == _stat(path):
            return True
        return bool(entry["sha256"] == sha256(path))

    def put(self, asset: Asset, program: Path, source: str) -> None:
        """Take a program in, as a whole or not at all.

        Args:
            asset: which one it is.
            program: the file, on the same file system; it is moved.
            source: where it came from, for people who read the manifest.
        """
        program.chmod(0o755)
        checksum = sha256(program)
        program.replace(self.path(asset))
        entry = {"recipe": asset.recipe, "version": asset.version, "source": source, "sha256": checksum}
        self._write({**self._entries(), asset.name: {**entry, "stat": _stat(self.path(asset))}})

    @contextlib.contextmanager
    def staging(self) -> Iterator[Path]:
        """Give a folder on the same file system that is gone afterwards, in whatever way the block ends."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for left in self.folder.glob(".staging-*"):  # of a process that was killed: we hold the lock
            shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=".staging-", dir=self.folder) as folder:
            yield Path(folder)

    @contextlib.contextmanager
    def lock(self, progress: Progress) -> Iterator[None]:
        """Let one process at a time fetch or build; the others wait, and say for whom.

        Raises:
            ClusterError: the other one needed more than an hour and a half.
        """
        import filelock

        self.folder.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(self.folder.with_name(f"{self.folder.name}.lock"))
        holder = self.folder.with_name(f"{self.folder.name}.lock.holder")
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            progress(f"waiting for {_read_holder(holder)}, which is fetching or building programs")
            try:
                lock.acquire(timeout=_WAIT)
            except filelock.Timeout:
                raise ClusterError(
                    f"programs cannot be fetched: {_read_holder(holder)} holds the lock for more than {_WAIT:g} s",
                    evidence=[f"lock: {lock.lock_file}"],
                ) from None
        try:
            holder.write_text(f"process {os.getpid()} ({Path(sys.argv[0] or 'python').name})")
            yield
        finally:
            holder.unlink(missing_ok=True)
            lock.release()

    def _entries(self) -> dict[str, Any]:
        try:
            return dict(json.loads(self._manifest.read_bytes()))
        except (OSError, ValueError):
            return {}

    def _write(self, entries: dict[str, Any]) -> None:
        partial = self._manifest.with_suffix(".partial")
        partial.write_text(json.dumps(entries, indent=1, sort_keys=True))
        partial.replace(self._manifest)


@contextlib.contextmanager
def explain_full_disk(folder: Path, what: str) -> Iterator[None]:
    """Turn "no space left on device" into an error that says where, and how much is free.

    Raises:
        ClusterError: the disk, or the user's share of it, is full.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise full_disk(folder, what) from error


def full_disk(folder: Path, what: str) -> ClusterError:
    """Return the error for a full disk."""
    free = shutil.disk_usage(folder).free // 2**20
    return ClusterError(
        f"{what} failed: no space left for {folder}",
        evidence=[f"free: {free} MB", "nothing half-made was kept"],
        command="EPHEMERAL_NS_CACHE_DIR=/a/folder/with/space, or free some",
    )


def sha256(path: Path) -> str:
    """Return a file's SHA-256 as hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _stat(path: Path) -> list[int]:
    found = path.stat()
    return [found.st_size, found.st_mtime_ns, found.st_ino]


def _read_holder(holder: Path) -> str:
    try:
        return holder.read_text() or "another process"
    except OSError:
        return "another process"
