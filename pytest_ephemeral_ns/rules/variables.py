"""Variables in the text of manifests; this module must never replace anything that nobody asked for.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from functools import partial
from typing import Any

from pytest_ephemeral_ns.errors import ManifestError
from pytest_ephemeral_ns.rules.yaml_dialect import resolve_plain

# ${NAME}, with $${NAME} for the literal text; {{NAME}} only in capitals: {{ .Values }} and {{ $labels }} are others'.
VARIABLE = re.compile(
    r"(?P<escaped>\$\$\{)|\$\{(?P<dollar>[A-Za-z_][A-Za-z0-9_]*)\}|\{\{ ?(?P<braces>[A-Z][A-Z0-9_]*) ?\}\}"
)
FIELD = re.compile(r"\{([a-z_]+)\}")
_BARE = re.compile(r":\s+\{([a-z_]+)\}\s*(?:#.*)?$", re.MULTILINE)
_SET = re.compile(r"[\\,={}\[\].]")


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


# Where Kubernetes takes nothing but text.
_TEXTS = frozenset({"data", "stringData", "labels", "annotations", "matchLabels", "nodeSelector", "args", "command"})
_TEXT = frozenset({"name", "namespace", "value", "key", "image", "hostname", "host"})


def substitute_in(value: Any, variables: Mapping[str, str], name: str) -> Any:
    """Return an object that was built with its variables in it, for example by kustomize, with all of them replaced.

    A build takes quotes away: whether ``"${PORT}"`` was text is told by the place. Where Kubernetes takes nothing but
    text, it is text; everywhere else what stands alone is read as YAML reads it.

    Args:
        value: as it was read.
        variables: name → value.
        name: what to call it in errors.

    Raises:
        ManifestError: a name that is not among ``variables``.

    Example:
        >>> substitute_in({"replicas": "${N}", "labels": {"n": "${N}"}}, {"N": "3"}, "x")
        {'replicas': 3, 'labels': {'n': '3'}}
    """
    return _replaced(value, variables, name, text=False)


def _replaced(value: Any, variables: Mapping[str, str], place: str, *, text: bool) -> Any:
    if isinstance(value, dict):
        return {
            _text(key, variables, place): _replaced(
                entry, variables, f"{place}: {key}", text=text or key in _TEXTS or key in _TEXT
            )
            for key, entry in value.items()
        }
    if isinstance(value, list):
        return [_replaced(entry, variables, place, text=text) for entry in value]
    if not isinstance(value, str) or not VARIABLE.search(value):
        return value
    found = _text(value, variables, place)
    return found if text else resolve_plain(found)


def _text(text: str, variables: Mapping[str, str], place: str) -> str:
    return VARIABLE.sub(partial(_value, variables, place), text)


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


def fill_pair(pair: str, fields: Mapping[str, str]) -> str:
    r"""Return a pair of ``--set`` with ``{field}`` replaced; what stands for it is one value, whatever is in it.

    Args:
        pair: ``"image.tag={commit}"``.
        fields: identity fields and handles, by name.

    Example:
        >>> fill_pair("branch={branch}", {"branch": "fix/a,b=c"})
        'branch=fix/a\\,b\\=c'
    """
    return fill(pair, {name: _SET.sub(lambda match: f"\\{match[0]}", value) for name, value in fields.items()})


def bare_field(text: str, fields: Mapping[str, str]) -> tuple[int, str] | None:
    r"""Return line and name of the first field in YAML that needs quotes: ``tag: {commit}`` is a map for YAML.

    Args:
        text: of a values file.
        fields: identity fields and handles, by name.

    Example:
        >>> bare_field("image:\n  tag: {commit}", {"commit": "1a2b"})
        (2, 'commit')
    """
    for match in _BARE.finditer(text):
        if match[1] in fields:
            return text.count("\n", 0, match.start()) + 1, match[1]
    return None
