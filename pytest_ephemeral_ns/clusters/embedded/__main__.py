"""``python -m pytest_ephemeral_ns.clusters.embedded up|down|status|names``: for scripts; it must never know a cluster.

People use ``ephemeral-ns cluster``.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable

from pytest_ephemeral_ns.clusters.embedded.cluster import DEFAULT, down, names, status, up
from pytest_ephemeral_ns.errors import EphemeralNsError


def main() -> int:
    """Run one action and print its result as JSON; progress and errors go to stderr."""
    parser = argparse.ArgumentParser(prog="python -m pytest_ephemeral_ns.clusters.embedded")
    parser.add_argument("action", choices=("up", "down", "status", "names"))
    parser.add_argument("--name", default=DEFAULT)
    parser.add_argument("--nodes", default="auto")
    arguments = parser.parse_args()
    results: dict[str, Callable[[], object]] = {
        "up": lambda: str(up(arguments.name, nodes=arguments.nodes, progress=_to_stderr).kubeconfig),
        "down": lambda: down(arguments.name),
        "status": lambda: status(arguments.name),
        "names": names,
    }
    try:
        result = results[arguments.action]()
    except EphemeralNsError as error:
        _to_stderr(str(error))
        return 1
    sys.stdout.write(json.dumps(result, indent=1) + "\n")
    return 0


def _to_stderr(line: str) -> None:
    sys.stderr.write(line + "\n")


if __name__ == "__main__":
    sys.exit(main())
