"""What the example in examples/diagnostics prints, with names, times and places that are the same each time."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "diagnostics"
README = EXAMPLE / "README.md"
BEGIN, END = "<!-- output: made by scripts/write-example-output -->\n```text\n", "```\n<!-- end of output -->"
NAMESPACE = "diagnostics-main-1a2b3c4-k3x9-main"
_SAME = (
    # A node that has much to do is late with a volume; that is no part of the example.
    (r"(?m)^.* FailedMount: .*timed out waiting for the condition\n", ""),
    (r"diagnostics-[a-z0-9-]+?-main", NAMESPACE),
    (r"\b(migrate|orders)-[a-z0-9]{9,10}-[a-z0-9]{5}\b", r"\1-6d4cf56db6-x7k2p"),
    (r"\b(migrate)-[a-z0-9]{5}\b", r"\1-x7k2p"),
    (r"\b(orders)-[a-f0-9]{8,10}\b", r"\1-6d4cf56db6"),
    (r"\d\d:\d\d:\d\d\.\d+", "09:00:00.000"),
    (r"\d\d:\d\d:\d\d", "09:00:00"),
    (r"(?<=after )[\d.]+ s", "1.0 s"),
    (r"(?<= on )(?:embedded |ephemeral-ns-)\S+(?=:)", "embedded run"),
    (r"(?<= on )(?:embedded |current )\S+(?=>)", "embedded run"),
    (r"(?<=on node )\S+", "run-node"),
    (r"(?<=\.ephemeral-ns/)[a-z0-9]{10}", "k3x9abcdef"),
    (r"\S*/(?=\.ephemeral-ns/)", ""),
    (r"[\w./-]*/examples/diagnostics/", ""),
    (r" in [\d.]+s(?: \([\d:]+\))?", " in 9.00s"),
    (r"([=_-])\1{5,}", r"\1" * 8),
)


def run(folder: Path, *cluster: str) -> str:
    """Run the example in a folder and return what it prints from its first error on.

    Args:
        folder: an empty one; the example is copied into it.
        cluster: options that say which.
    """
    project = shutil.copytree(EXAMPLE, folder / "examples" / "diagnostics")
    command = [sys.executable, "-m", "pytest", "-pno:cacheprovider", "-pno:xdist", "--ephemeral-ns", *cluster]
    quiet = {name: value for name, value in os.environ.items() if not name.startswith(("CI", "GITHUB", "PYTEST"))}
    environ = {**quiet, "COLUMNS": "110"}
    done = subprocess.run(command, cwd=project, env=environ, capture_output=True, text=True, timeout=400)
    start = done.stdout.find("= ERRORS =")
    assert start > 0, done.stdout + done.stderr
    return same(done.stdout[done.stdout.rfind("\n", 0, start) + 1 :])


def same(text: str) -> str:
    """Return the text with what differs from run to run made the same.

    Args:
        text: what pytest printed.
    """
    for pattern, instead in _SAME:
        text = re.sub(pattern, instead, text)
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


def shown() -> str:
    """Return what the README shows."""
    return README.read_text("utf-8").partition(BEGIN)[2].partition(END)[0]


def write(output: str) -> None:
    """Put the output into the README.

    Args:
        output: of :func:`run`.
    """
    text = README.read_text("utf-8")
    before, _, rest = text.partition(BEGIN)
    README.write_text(before + BEGIN + output + END + rest.partition(END)[2], "utf-8")
