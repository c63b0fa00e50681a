"""Claim: the plugin, loaded and unused, costs at most 10 ms of CPU over bare pytest."""

from __future__ import annotations

import os
import sys
import tempfile
from importlib.metadata import entry_points
from pathlib import Path

from benchmarks.measure import Sample, cpu_of, take_turns

ROUNDS = 21


def run() -> list[Sample]:
    """Return bare pytest, the plugin, and the plugin where no bytecode may be written."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "test_empty.py").write_text("def test_nothing():\n    pass\n")
        # Loaded as a user's pytest loads it, by its entry point: only then does pytest look at rewriting its modules.
        others = {entry.name for entry in entry_points(group="pytest11")} - {"ephemeral_ns"}
        ours = [sys.executable, "-m", "pytest", "-q", "-pno:cacheprovider", *(f"-pno:{name}" for name in others)]
        base = [*ours, "-pno:ephemeral_ns"]
        env = dict(os.environ)
        cold = {**env, "PYTHONDONTWRITEBYTECODE": "1"}
        return take_turns(
            {
                "bare pytest (CPU)": lambda: cpu_of(base, cwd=folder, env=env),
                "with the plugin, unused (CPU)": lambda: cpu_of(ours, cwd=folder, env=env),
                "bare pytest, no bytecode written (CPU)": lambda: cpu_of(base, cwd=folder, env=cold),
                "with the plugin, unused, no bytecode written (CPU)": lambda: cpu_of(ours, cwd=folder, env=cold),
            },
            ROUNDS,
        )
