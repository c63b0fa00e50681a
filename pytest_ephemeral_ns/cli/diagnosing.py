"""``ephemeral-ns diagnose``: the cluster's side of the story, told and written down; this module must never change it.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_ephemeral_ns.cli.screen import FAILED, OK, Commands, add_duration, add_output, note, print_json, say
from pytest_ephemeral_ns.cli.target import access_of, add_target, api_of, find_target

if TYPE_CHECKING:
    from pytest_ephemeral_ns.kube.api import Api

_BUDGET = 60.0  # seconds; nobody's test waits for it


def declare(commands: Commands) -> None:
    """Add ``diagnose``."""
    help = "what is wrong in a namespace and why, with the last words of its containers; all of it in a folder"
    parser = commands.add_parser("diagnose", help=help, description=help, allow_abbrev=False)
    parser.add_argument("name", metavar="NAME")
    parser.add_argument(
        "--artifacts",
        type=Path,
        default=Path(".ephemeral-ns"),
        metavar="FOLDER",
        help="where the bundle goes, in RUN/NAME; default: .ephemeral-ns",
    )
    parser.add_argument("--no-bundle", action="store_true", help="tell only, write nothing")
    parser.add_argument("--log-lines", type=_lines, default=50, metavar="LINES", help="of each container; default: 50")
    add_duration(parser, "--timeout", default=_BUDGET, help="what was not had by then is named; default: 1m")
    add_target(parser)
    add_output(parser, "json")
    parser.set_defaults(handler=_diagnose)


def _lines(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = -1
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} is no number of lines")
    return number


def _diagnose(arguments: argparse.Namespace) -> int:
    from pytest_ephemeral_ns.diagnose import Where, diagnose

    target = find_target(arguments)
    with api_of(target) as api:
        run = _run_of(api, arguments.name)
        folder = None if arguments.no_bundle else _free(arguments.artifacts / run / arguments.name)
        found, _ = diagnose(
            api,
            arguments.name,
            where=Where(target.name, access_of(target, arguments)),
            directory=folder,
            log_lines=arguments.log_lines,
            budget=arguments.timeout,
        )
    if arguments.output:
        print_json(found.to_dict())
    else:
        say(found.text)
    if folder is not None and not found.bundle:
        note(f"no bundle was written to {folder}")
        return FAILED
    return OK if found.signature else FAILED  # there is none when nothing could be read


def _run_of(api: Api, name: str) -> str:
    """Return the run that made the namespace: its folder has what was written down when a test failed."""
    from pytest_ephemeral_ns.errors import ApiError
    from pytest_ephemeral_ns.rules.naming import RUN

    try:
        metadata = api.get(f"/api/v1/namespaces/{name}")["metadata"]
    except ApiError as error:
        if error.status != 403:
            raise
        return "unknown"  # its content may still be read
    return (metadata.get("labels") or {}).get(RUN) or "unknown"


def _free(folder: Path) -> Path:
    """Return the folder, or one beside it: what was written down before is evidence, too."""
    names = (folder, *(folder.with_name(f"{folder.name}-{number}") for number in range(2, 1000)))
    return next((path for path in names if not path.exists()), folder)
