"""Runs every benchmark, or those named, prints a table and writes JSON: ``python -m benchmarks [--full] [NAME …]``."""

from __future__ import annotations

import json
import os
import platform
import sys
from datetime import datetime, timezone
from importlib import import_module
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.measure import Sample

NAMES = ("loading", "worker", "provisioning", "embedded", "waiting", "deploying", "reaping", "diagnosing")
RESULTS = Path(__file__).parent / "results"


def main(names: list[str]) -> int:
    """Run and report."""
    if "--full" in names:
        os.environ["EPHEMERAL_NS_BENCH_FULL"] = "1"
        names = [name for name in names if name != "--full"]
    console = Console(width=120)
    rows: list[dict[str, object]] = []
    for name in names or NAMES:
        module = import_module(f"benchmarks.{name}")
        console.print(f"[bold]{name}[/bold]: {(module.__doc__ or '').strip()}")
        samples: list[Sample] = module.run()
        rows += [{"benchmark": name, **sample.row()} for sample in samples]
        console.print(_table(samples))
    RESULTS.mkdir(exist_ok=True)
    now = datetime.now(timezone.utc)
    target = RESULTS / f"{now:%Y%m%d-%H%M%S}.json"
    facts = {"at": now.isoformat(), "python": platform.python_version(), "machine": platform.machine()}
    target.write_text(json.dumps({**facts, "figures": rows}, indent=1, ensure_ascii=False) + "\n", "utf-8")
    console.print(f"written to {target.relative_to(Path.cwd())}")
    return 0


def _table(samples: list[Sample]) -> Table:
    table = Table()
    for heading in ("figure", "unit", "min", "median", "max", "runs", "ratio"):
        table.add_column(heading, justify="left" if heading == "figure" else "right")
    for number, sample in enumerate(samples):
        # Contestants come in pairs: ours beside what it is compared with.
        other = samples[number ^ 1] if (number ^ 1) < len(samples) else None
        paired = other and not sample.alone and other.unit == sample.unit and other.median
        ratio = f"{sample.median / other.median:.2f}" if other and paired else ""
        figures = sample.row()
        table.add_row(*(str(figures[key]) for key in ("name", "unit", "min", "median", "max", "runs")), ratio)
    return table


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
