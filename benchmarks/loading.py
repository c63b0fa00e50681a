"""Claim: the plugin, loaded and unused, costs at most 10 ms of CPU over bare pytest.

What it costs is the difference of the minima: whatever disturbs a process makes it dearer, never cheaper.
"""

from __future__ import annotations

import os
import sys
import tempfile
from importlib.metadata import entry_points
from pathlib import Path

from benchmarks.measure import Sample, cpu_of, installed, take_turns

ROUNDS = 41


def run() -> list[Sample]:
    """Return bare pytest, the plugin, and the plugin where no bytecode may be written."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "test_empty.py").write_text("def test_nothing():\n    pass\n")
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
            },
            ROUNDS,
        )
    costs = (min(with_it.values) - min(bare.values) for bare, with_it in zip(samples[::2], samples[1::2], strict=True))
    names = ("the plugin costs", "the plugin costs, no bytecode written")
    return [*samples, *(Sample(name, (cost,), alone=True) for name, cost in zip(names, costs, strict=True))]
