"""The ledger of a run: what one of its processes must tell the others; this module must never touch a cluster.

Small files in a folder that only this user can read, all or nothing each, so that a SIGKILL leaves none half written.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pytest_ephemeral_ns.provision import Record

__tracebackhide__ = True
LOCK_TIMEOUT = 1800.0  # a first build of the binaries takes minutes, and the others wait for it


class Ledger:
    """One process's access to the ledger.

    Args:
        directory: the folder that all processes of the run share.
        worker_id: this process's place in the run.
    """

    def __init__(self, directory: Path, worker_id: str) -> None:
        self.directory = directory
        self.worker_id = worker_id

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Hold a lock that every process of the run knows by ``name``."""
        import filelock

        with filelock.FileLock(self.directory / f"{name}.lock", timeout=LOCK_TIMEOUT):
            yield

    def read(self, name: str) -> dict[str, Any] | None:
        """Return what was written under ``name``, or ``None``."""
        try:
            text = (self.directory / f"{name}.json").read_text("utf-8")
        except FileNotFoundError:
            return None
        found: dict[str, Any] = json.loads(text)
        return found

    def write(self, name: str, value: Mapping[str, Any]) -> None:
        """Write ``value`` under ``name``, mode 0600, all or nothing."""
        target = self.directory / f"{name}.json"
        target.parent.mkdir(mode=0o700, exist_ok=True)
        part = target.with_suffix(f".{os.getpid()}.part")
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            json.dump(value, file)
        part.replace(target)

    def forget(self, name: str) -> None:
        """Take back what was written under ``name``."""
        (self.directory / f"{name}.json").unlink(missing_ok=True)

    def read_all(self, folder: str) -> list[dict[str, Any]]:
        """Return everything that was written under ``folder/…``, by name."""
        files = sorted((self.directory / folder).glob("*.json"))
        return [json.loads(file.read_text("utf-8")) for file in files]

    # Namespaces: made, failed in, let go

    def remember(self, record: Record, worker: str) -> None:
        """Write down a namespace for whoever must let it go.

        Args:
            record: without UID before it is created: an interrupt may come before the UID is known.
            worker: the place of the process that lets it go, or ``"shared"``.
        """
        self.write(f"created/{record.name}", {"name": record.name, "uid": record.uid, "worker": worker})

    def created(self) -> list[Record]:
        """Return every namespace that any process of the run wrote down; without UID if it may not exist."""
        return [Record(told["name"], told["uid"]) for told in self.read_all("created")]

    def unreleased(self) -> list[Record]:
        """Return what this process created and did not let go."""
        mine = (told for told in self.read_all("created") if told["worker"] == self.worker_id)
        return [Record(told["name"], told["uid"]) for told in mine if not self.is_released(told["name"])]

    def mark_released(self, name: str) -> None:
        """Write down that the process that made a namespace has decided what becomes of it."""
        self.write(f"released/{name}", {})

    def is_released(self, name: str) -> bool:
        """Whether the process that made a namespace has decided what becomes of it."""
        return self.read(f"released/{name}") is not None

    def mark_failed(self, name: str, why: str) -> None:
        """Write down what failed in a namespace, at once: its process may not live to tell. The first one counts."""
        if self.read(f"failed/{name}") is None:
            self.write(f"failed/{name}", {"why": why})

    def failure_of(self, name: str) -> str:
        """Return the first thing that failed in a namespace, or nothing: also the test in which its worker crashed."""
        told = self.read(f"failed/{name}")
        if told is None:
            maker = (self.read(f"created/{name}") or {}).get("worker", "")
            told = self.read(f"crashed/{maker}")
        return str(told["why"]) if told else ""

    # Warnings

    def warn(self, text: str) -> None:
        """Keep a warning for the end of the run: a tear-down's problem must not become another test's error."""
        self.write(f"warnings/{os.getpid()}-{time.monotonic_ns()}", {"text": text})

    def warnings(self) -> tuple[str, ...]:
        """Return what any process of the run warned of, each once: workers deploy the same."""
        return tuple(dict.fromkeys(told["text"] for told in self.read_all("warnings")))
