"""Claim: the plugin, loaded and unused, costs at most 10 ms of CPU over bare pytest.

Told twice: as the difference of the minima of whole processes, which on a shared machine is a few ms more or less than
nothing, and by a clock around nothing but the plugin's import and hooks, inside the process.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path

import pytest_ephemeral_ns
from benchmarks.measure import Sample, cpu_of, installed, take_turns

ROUNDS = 41
OWN_CLOCK = """
import atexit, functools, sys, time
from importlib.metadata import EntryPoint

spent, load = [], EntryPoint.load

def timed(function):
    @functools.wraps(function)
    def call(*args, **kwargs):
        began = time.process_time()
        try:
            return function(*args, **kwargs)
        finally:
            spent.append(time.process_time() - began)
    return call

def measured(entry):
    if entry.name != "ephemeral_ns":
        return load(entry)
    module = timed(load)(entry)
    for name in ("pytest_addoption", "pytest_configure"):
        setattr(module, name, timed(getattr(module, name)))
    return module

EntryPoint.load = measured
atexit.register(lambda: print("SPENT", len(spent), sum(spent), file=sys.__stderr__))
"""


def run() -> list[Sample]:
    """Return bare pytest, the plugin, and the plugin where no bytecode may be written."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "test_empty.py").write_text("def test_nothing():\n    pass\n")
        Path(folder, "own_clock.py").write_text(OWN_CLOCK)
        # Loaded as a user's pytest loads it, by its entry point: only then does pytest look at rewriting its modules.
        others = {entry.name for entry in entry_points(group="pytest11")} - {"ephemeral_ns"}
        ours = [sys.executable, "-m", "pytest", "-q", "-pno:cacheprovider", *(f"-pno:{name}" for name in others)]
        base = [*ours, "-pno:ephemeral_ns"]
        env = installed(os.environ)
        cold = {**env, "PYTHONDONTWRITEBYTECODE": "1"}
        for warm in (base, ours):
            cpu_of(warm, cwd=folder, env=env)
        samples = take_turns(
            {
                "bare pytest (CPU)": lambda: cpu_of(base, cwd=folder, env=env),
                "with the plugin, unused (CPU)": lambda: cpu_of(ours, cwd=folder, env=env),
                "bare pytest, no bytecode written (CPU)": lambda: cpu_of(base, cwd=folder, env=cold),
                "with the plugin, unused, no bytecode written (CPU)": lambda: cpu_of(ours, cwd=folder, env=cold),
                "its import and hooks": lambda: _own(ours, folder, env),
            },
            ROUNDS,
        )
        _forget_copies()
        samples += take_turns({"its import and hooks, no bytecode written": lambda: _own(ours, folder, cold)}, ROUNDS)
    pairs = (samples[0:2], samples[2:4])
    costs = (min(with_it.values) - min(bare.values) for bare, with_it in pairs)
    names = ("the plugin costs", "the plugin costs, no bytecode written")
    return [*samples, *(Sample(name, (cost,), alone=True) for name, cost in zip(names, costs, strict=True))]


def _forget_copies() -> None:
    """Remove the compiled copies of our modules that pytest keeps: a fresh container has none."""
    for copy in Path(pytest_ephemeral_ns.__file__).parent.rglob("__pycache__/*-pytest-*.pyc"):
        copy.unlink()


def _own(command: Sequence[str], folder: str, env: Mapping[str, str]) -> float:
    """Return the CPU seconds of the plugin's import and of its two hooks that every run calls."""
    done = subprocess.run(
        [*command, "-pown_clock"],
        cwd=folder,
        env={**env, "PYTHONPATH": folder},
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
    )
    _, calls, spent = next(line for line in done.stderr.splitlines() if line.startswith("SPENT")).split()
    assert calls == "3", done.stderr
    return float(spent)
