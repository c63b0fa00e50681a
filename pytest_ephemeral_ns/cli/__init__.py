"""Face for people: the command ``ephemeral-ns``; this module must never do what the functions below it do not offer.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from pytest_ephemeral_ns.cli import clusters, completing, diagnosing, doctor, keeping, listing, looking, reaping
from pytest_ephemeral_ns.cli.screen import FAILED, INTERRUPTED, NOT_FOUND, USAGE, say
from pytest_ephemeral_ns.errors import ApiError, EphemeralNsError, UsageError

_EPILOG = """\
exit codes:
  0    it worked
  1    something failed, or doctor found a problem
  2    the command line is wrong, or names what may not be used
  3    what was named does not exist
  130  interrupted

which cluster:
  the context or kubeconfig that is named; else the current context, if it looks local (kind, k3d, minikube,
  docker-desktop, …); else a kind or embedded cluster of ours that runs. A context that does not look local is used
  only when it is named. Nothing but "cluster up" starts a cluster.

The environment variables EPHEMERAL_NS_CONTEXT, EPHEMERAL_NS_KUBECONFIG and EPHEMERAL_NS_CLUSTER stand for the options
of the same name.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: arguments without the program's name; those of the process if ``None``.

    Returns:
        The exit code, see ``ephemeral-ns --help``.

    Example:
        >>> main(["cluster", "status"])  # doctest: +SKIP
        0
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        arguments = _parser().parse_args(words[: _end(words)])
    except SystemExit as end:  # --help, --version and usage errors, said already
        return int(end.code or 0)
    arguments.command = words[_end(words) + 1 :]
    try:
        return int(arguments.handler(arguments))
    except UsageError as error:
        return _say(error, USAGE)
    except ApiError as error:
        return _say(error, NOT_FOUND if error.status == 404 else FAILED)
    except EphemeralNsError as error:
        return _say(error, FAILED)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # `ephemeral-ns list | head`: nobody reads on; keep the interpreter's flush quiet, too
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def _end(words: Sequence[str]) -> int:
    """Where the words for ``shell``'s command begin: argparse takes none that come after an option."""
    return words.index("--") if words[:1] == ["shell"] and "--" in words else len(words)


def _say(error: EphemeralNsError, code: int) -> int:
    sys.stderr.write(f"{error}\n")
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ephemeral-ns",
        description="Ephemeral Kubernetes namespaces for tests: their clusters, and what runs left behind.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for group in (listing, looking, diagnosing, keeping, reaping, clusters, doctor, completing):
        group.declare(commands)
    return parser


class _Version(argparse.Action):
    """Asks for the version only when it is wanted: that reads package metadata."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        say(f"ephemeral-ns {version('pytest-ephemeral-ns')}")
        parser.exit()
