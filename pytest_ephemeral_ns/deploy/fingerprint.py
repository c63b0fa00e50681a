"""Whether sources are what they were a moment ago; this module must never read what is in a file.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from pytest_ephemeral_ns.deploy.model import Chart, Source

Stamp = tuple[str, int, int]
"""A file, when it was written and how long it is."""


def fingerprint(sources: Sequence[Source], base_dir: Path) -> tuple[Stamp, ...]:
    """Return every file of the sources with what tells that it was written anew.

    Args:
        sources: paths, objects and charts.
        base_dir: what relative paths are relative to.

    Example:
        >>> fingerprint([{"kind": "Service"}], Path("/"))
        ()
    """
    return tuple(stamp for source in sources for path in _paths(source) for stamp in _stamps(base_dir / path))


def _paths(source: Source) -> Iterator[Path]:
    named = (source.chart, *source.values) if isinstance(source, Chart) else (source,)
    for one in named:
        if isinstance(one, str | Path):
            yield Path(one).expanduser()


def _stamps(path: Path) -> Iterator[Stamp]:
    try:
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in files:
            found = file.stat()
            yield str(file), found.st_mtime_ns, found.st_size
    except OSError:  # it is not there, or no path at all: whoever reads it says so
        yield str(path), 0, 0
