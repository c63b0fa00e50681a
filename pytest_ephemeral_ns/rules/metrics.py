"""What the janitor counts, in the text format of Prometheus; this module must never write a file.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Counted:
    """One namespace of ours, as far as it is counted.

    Args:
        state: a state of :mod:`pytest_ephemeral_ns.rules.retention`.
        owner: value of its owner label.
        age: seconds since it was created.
        leaked: whether it should have been gone before the janitor came.
    """

    state: str
    owner: str
    age: float
    leaked: bool


def prometheus(found: Sequence[Counted], *, reaped: int, failed: int, now: float, outside: int = 0) -> str:
    """Return the figures of one pass of the janitor.

    What to alert on is in ``docs/janitor.md``.

    Args:
        found: every namespace of ours, as it was before the pass.
        reaped: how many were deleted.
        failed: how many should have been deleted and could not be.
        now: seconds since the epoch.
        outside: how many objects were removed beside namespaces.

    Returns:
        Text that ends with a line break.

    Example:
        >>> print(prometheus([], reaped=0, failed=0, now=0).splitlines()[2])
        # HELP ephemeral_ns_leaked Namespaces that were expired or whose run was dead when the pass began.
    """
    by_owner = Counter((one.state, one.owner) for one in found)
    states = [(f'{{state="{_quoted(s)}",owner="{_quoted(o)}"}}', n) for (s, o), n in sorted(by_owner.items())]
    oldest = max((one.age for one in found), default=0.0)
    figures: Iterable[tuple[str, str, Sequence[tuple[str, float]]]] = (
        ("namespaces", "Namespaces of ours by state and owner, before the pass.", states),
        (
            "leaked",
            "Namespaces that were expired or whose run was dead when the pass began.",
            [("", sum(one.leaked for one in found))],
        ),
        ("stuck", "Namespaces that are being deleted for too long.", [("", sum(o.state == "stuck" for o in found))]),
        ("reaped", "Namespaces that the pass deleted.", [("", reaped)]),
        ("outside_reaped", "Objects that the pass removed beside namespaces.", [("", outside)]),
        ("failures", "What the pass could not delete.", [("", failed)]),
        ("oldest_age_seconds", "Age of the oldest namespace of ours.", [("", round(oldest))]),
        ("last_pass_timestamp_seconds", "When the pass ended.", [("", round(now))]),
    )
    return "".join(_figure(f"ephemeral_ns_{name}", help, samples) for name, help, samples in figures)


def _figure(name: str, help: str, samples: Sequence[tuple[str, float]]) -> str:
    lines = [f"# HELP {name} {help}", f"# TYPE {name} gauge", *(f"{name}{labels} {n}" for labels, n in samples)]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
