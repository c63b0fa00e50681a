"""The page that a CI system shows for a step, as Markdown; this module must never write it.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import html
from collections.abc import Sequence

from pytest_ephemeral_ns.ci.failure import Failure

LIMIT = 900 * 1024  # bytes; GitHub takes 1 MiB of a step
_ROWS = 50


def markdown(failures: Sequence[Failure], lines: Sequence[str], directory: str, limit: int = LIMIT) -> str:
    """Return the page: a table of what failed, each story folded, then what the end of the run has to say.

    Args:
        failures: what failed.
        lines: what the end of the run has to say.
        directory: the folder of the bundles, for whoever looks into the artifacts.
        limit: bytes.

    Example:
        >>> print(markdown([Failure("t.py::a", "t.py", 1, "shop", "Pod/api failed", "...")], [], "x").splitlines()[4])
        | `t.py::a` | `shop` | Pod/api failed |
    """
    parts: list[str] = []
    if failures:
        parts += ["### What the cluster did", "", "| test | namespace | what |", "|---|---|---|"]
        parts += [_row(failure) for failure in failures[:_ROWS]]
        parts += [f"\nand {len(failures) - _ROWS} more"] if len(failures) > _ROWS else []
        parts += ["", f"Everything else is in the folder `{directory}`.", ""]
    if lines:
        parts += ["<pre>", *(html.escape(line) for line in lines), "</pre>", ""]
    room = limit - sum(len(part.encode("utf-8", "replace")) + 1 for part in parts)
    for failure in failures[:_ROWS]:
        story = _story(failure)
        room -= len(story.encode("utf-8", "replace")) + 1
        if room < 0:
            break
        parts.append(story)
    return "\n".join(parts) + "\n"


def _row(failure: Failure) -> str:
    what = " ".join(html.escape(failure.headline).split()).replace("|", "\\|")
    return f"| `{failure.test.replace('|', '¦')}` | `{failure.namespace}` | {what} |"


def _story(failure: Failure) -> str:
    title = html.escape(f"{failure.test}: {failure.namespace}")
    return f"<details><summary>{title}</summary>\n\n<pre>\n{html.escape(failure.text)}\n</pre>\n</details>\n"
