"""Honest timing: the contestants take turns, and minimum, median and maximum are all printed."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


def full() -> bool:
    """Whether sizes that take long are wanted, where a benchmark has any: ``python -m benchmarks --full``."""
    return os.environ.get("EPHEMERAL_NS_BENCH_FULL") == "1"


@dataclass(frozen=True)
class Sample:
    """One figure of one contestant, in seconds unless ``unit`` says otherwise; ``alone``: there is none beside it."""

    name: str
    values: tuple[float, ...]
    unit: str = "s"
    alone: bool = False

    @property
    def median(self) -> float:
        """The middle value."""
        return statistics.median(self.values)

    def row(self) -> dict[str, object]:
        """Return the figures as one row of the table."""
        return {
            "name": self.name,
            "unit": self.unit,
            "min": round(min(self.values), 4),
            "median": round(self.median, 4),
            "max": round(max(self.values), 4),
            "runs": len(self.values),
        }


def take_turns(contestants: Mapping[str, Callable[[], float]], rounds: int) -> list[Sample]:
    """Call every contestant once per round, in turn, so that a busy moment hits all of them."""
    values: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, run in contestants.items():
            values[name].append(run())
    return [Sample(name, tuple(found)) for name, found in values.items()]


def installed(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which Python may keep its bytecode, as what pip installed has it."""
    return {name: value for name, value in environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def cpu_of(command: Sequence[str], *, cwd: str, env: Mapping[str, str]) -> float:
    """Run a command and return the user and system CPU seconds of it and its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=cwd, env=dict(env), check=True, capture_output=True, timeout=300)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def wall_of(work: Callable[[], object]) -> float:
    """Return how many seconds ``work`` took."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
