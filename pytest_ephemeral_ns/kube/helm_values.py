"""Values on their way to Helm: in files that only we can read; this module must never put a text into an argument.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import contextlib
import copy
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_ephemeral_ns.errors import UsageError
from pytest_ephemeral_ns.rules.helm_set import Pair, arguments_for, assign, merged
from pytest_ephemeral_ns.rules.yaml_dialect import read_documents

Values = str | Path | Mapping[str, Any]
"""A values file, or values themselves."""


@contextlib.contextmanager
def values_flags(
    values: Sequence[Values], set: Sequence[Pair] = (), set_string: Sequence[Pair] = ()
) -> Iterator[list[str]]:
    """Yield the flags that give Helm values, for the length of a block.

    What ``--set`` would say is put into a values file: an argument is seen by every user of the machine. Only whole
    numbers stay arguments, because Helm reads those of a file as floating point; none that has a secret's name.

    Args:
        values: files, or values; later ones win.
        set: ``KEY=VALUE`` pairs as ``--set`` takes them; they win over ``values``.
        set_string: the same, kept as strings; they win over ``set``.

    Raises:
        UsageError: a pair is not one; names its key.
        ManifestError: a values file cannot be read.

    Example:
        >>> with values_flags([], set=["db.password=hunter2", "replicas=2"]) as flags:
        ...     [flag for flag in flags if not flag.startswith("/")]
        ['--values', '--set', 'replicas=2']
    """
    with contextlib.ExitStack() as stack:
        whole: list[str] = []
        if set or set_string:
            # A pair may look into what the files hold: an entry of a list, a map that must be one.
            base = _all(values)
            for pair in set:
                assign(base, pair)
            for pair in set_string:
                assign(base, pair, as_text=True)
            whole = arguments_for(base)
            values = [base]
        yield [*_files(values, stack), *(flag for pair in whole for flag in ("--set", pair))]


def _all(values: Sequence[Values]) -> dict[str, Any]:
    everything: dict[str, Any] = {}
    for value in values:
        everything = merged(everything, read_values(value))
    return everything


def read_values(value: Values) -> dict[str, Any]:
    """Return the values of a file, or those that were given, as a copy.

    Args:
        value: a file that exists, or values.

    Raises:
        UsageError: what is in the file is not a map.
        ManifestError: it is not YAML.
    """
    if isinstance(value, Mapping):
        return copy.deepcopy(dict(value))
    documents = read_documents(Path(value).read_text(encoding="utf-8-sig"), str(value), repeats=True)
    found = documents[0].value if documents else None
    if found is not None and not isinstance(found, dict):
        raise UsageError(f"values file {value} holds no map of values")
    return found or {}


def _files(values: Sequence[Values], stack: contextlib.ExitStack) -> Iterator[str]:
    folder: Path | None = None
    for number, value in enumerate(values):
        path = value
        if isinstance(value, Mapping):
            if folder is None:  # mode 0700
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ephemeral-ns-")))
            path = folder / f"values-{number}.json"
            path.touch(mode=0o600)
            path.write_text(json.dumps(value), encoding="utf-8")
        yield from ("--values", str(path))
