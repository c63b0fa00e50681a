"""HOW WE TELL a CI system: annotations, folded sections, a summary page; this package must never decide what to tell.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pytest_ephemeral_ns.ci import summary, systems
from pytest_ephemeral_ns.ci.failure import Failure

__all__ = ["Failure", "detect", "terminal_lines", "write_step_summary"]

ANNOTATIONS = 10  # GitHub shows no more of one step
SECTIONS = 50
_DETECT = {
    "TEAMCITY_VERSION": "teamcity",
    "GITHUB_ACTIONS": "github",  # Gitea and Forgejo set it too, and read the same commands
    "GITLAB_CI": "gitlab",
    "TF_BUILD": "azure",
    "BUILDKITE": "buildkite",
}


def detect(environ: Mapping[str, str]) -> str:
    """Return the CI system whose log this is: ``github``, ``gitlab``, ``azure``, ``buildkite``, ``teamcity`` or ``""``.

    Args:
        environ: the process environment.

    Example:
        >>> detect({"GITHUB_ACTIONS": "true"})
        'github'
    """
    return next((name for variable, name in _DETECT.items() if environ.get(variable, "") not in ("", "false")), "")


def terminal_lines(environ: Mapping[str, str], failures: Sequence[Failure], now: float) -> Iterator[str]:
    """Yield the lines that the CI system reads from the log: a folded section for each story, then annotations.

    Args:
        environ: the process environment.
        failures: what failed; at most 50 sections and 10 annotations are written.
        now: seconds since the epoch.

    Example:
        >>> failure = Failure("test_a.py::test_a", "test_a.py", 3, "shop", "Pod/api failed", "Pod/api failed: 50% up")
        >>> [*terminal_lines({"GITHUB_ACTIONS": "true"}, [failure], 0.0)][-1]
        '::error file=test_a.py,line=3,title=test_a.py%3A%3Atest_a::shop: Pod/api failed'
    """
    system = detect(environ)
    if not system:
        return
    for number, failure in enumerate(failures[:SECTIONS]):
        yield from systems.section(system, failure, number, now)
    for failure in failures[:ANNOTATIONS]:
        yield from systems.annotation(system, failure)


def write_step_summary(
    environ: Mapping[str, str], failures: Sequence[Failure], lines: Sequence[str], directory: Path
) -> None:
    """Append to the page that GitHub shows for a step, where it has one.

    Args:
        environ: ``GITHUB_STEP_SUMMARY`` names the file.
        failures: what failed.
        lines: what the end of the run has to say.
        directory: where the bundles are.

    Raises:
        OSError: the page cannot be written.
    """
    page = environ.get("GITHUB_STEP_SUMMARY", "")
    if page and (failures or lines):
        with open(page, "a", encoding="utf-8", errors="replace") as file:
            file.write(summary.markdown(failures, lines, directory.name))
