"""Variables in the text of manifests; this module must never replace anything that nobody asked for.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from functools import partial

from pytest_ephemeral_ns.errors import ManifestError

# ${NAME}, with $${NAME} for the literal text; {{NAME}} only in capitals: {{ .Values }} and {{ $labels }} are others'.
VARIABLE = re.compile(
    r"(?P<escaped>\$\$\{)|\$\{(?P<dollar>[A-Za-z_][A-Za-z0-9_]*)\}|\{\{ ?(?P<braces>[A-Z][A-Z0-9_]*) ?\}\}"
)
FIELD = re.compile(r"\{([a-z_]+)\}")


def substitute(text: str, variables: Mapping[str, str], name: str) -> str:
    """Return ``text`` with ``${NAME}`` and ``{{NAME}}`` replaced.

    Lines that are comments as a whole are left alone. ``$${NAME}`` becomes ``${NAME}``, for shell scripts.

    Args:
        text: of one file.
        variables: name → value.
        name: what to call the file in errors.

    Raises:
        ManifestError: a name that is not among ``variables``; names file, line and the nearest known name.

    Example:
        >>> substitute("image: shop:${TAG}", {"TAG": "1.2"}, "api.yaml")
        'image: shop:1.2'
    """
    lines = text.split("\n")
    for index, line in enumerate(lines):
        if ("${" in line or "{{" in line) and not line.lstrip().startswith("#"):
            lines[index] = VARIABLE.sub(partial(_value, variables, f"{name}:{index + 1}"), line)
    return "\n".join(lines)


def _value(variables: Mapping[str, str], place: str, match: re.Match[str]) -> str:
    if match["escaped"]:
        return "${"
    known = match["dollar"] or match["braces"]
    if known in variables:
        return str(variables[known])
    near = difflib.get_close_matches(known, variables, n=1)
    raise ManifestError(
        f"{place}: unknown variable {match[0]}",
        evidence=[
            *([f"did you mean {near[0]}?"] if near else []),
            f"known: {', '.join(sorted(variables)) or 'none'}",
            *([f"$${{{known}}} stands for the text ${{{known}}} itself"] if match["dollar"] else []),
        ],
    )


def fill(text: str, fields: Mapping[str, str]) -> str:
    """Return a Helm value with ``{field}`` replaced; braces around anything else are Helm's own lists and stay.

    Args:
        text: ``"image.tag={commit}"``.
        fields: identity fields and handles, by name.

    Example:
        >>> fill("image.tag={commit},hosts={a,b}", {"commit": "1a2b3c4"})
        'image.tag=1a2b3c4,hosts={a,b}'
    """
    return FIELD.sub(lambda match: str(fields.get(match[1], match[0])), text)
