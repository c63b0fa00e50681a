"""YAML and JSON text as Kubernetes reads it: values in Go's dialect; this module must never open a file.

kubectl and Helm read manifests with ``sigs.k8s.io/yaml``, which resolves plain scalars as ``go.yaml.in/yaml/v2`` does
and then goes through JSON. PyYAML differs: it reads ``12:30`` as 750, ``2026-01-01`` as a date, ``1e3`` as text.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import base64
import copy
import json
import math
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import yaml

from pytest_ephemeral_ns.errors import ManifestError


@dataclass(frozen=True)
class Document:
    """One document of a file.

    Args:
        value: what it says, as JSON values; ``None`` for an empty document.
        number: 1 for the first one of the file.
        line: the line on which it begins, from 1.
    """

    value: Any
    number: int
    line: int


LONG = "tag:yaml.org,2002:"
MAX_NODES = 1_000_000  # a bomb of aliases is refused before it fills the memory; the largest real set seen has 150,000

# resolve.go: what is looked up in a map when the first character says that it may be there.
WORDS: dict[str, Any] = {
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
}
NUMERIC = frozenset("+-.0123456789")
INTEGER = re.compile(r"[-+]?(?:0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO]?[0-7]+|0|[1-9][0-9]*)")
BETWEEN_DIGITS = re.compile(r"(?<=[0-9])_(?=[0-9])")
FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")


def resolve_plain(text: str) -> Any:
    """Return what an unquoted scalar means.

    The rules are those of ``resolve.go`` in ``go.yaml.in/yaml/v2``; dates stay text, as its decoder leaves them.

    Args:
        text: the scalar as it is written.

    Example:
        >>> [resolve_plain(text) for text in ("1e3", "12:30", "yes", "=", "0x1F", "017")]
        [1000, '12:30', True, '=', 31, 15]
    """
    if text in WORDS:
        return WORDS[text]
    if text[0] not in NUMERIC:
        return text
    number = _float(BETWEEN_DIGITS.sub("", text)) if text[0] == "." else _number(text.replace("_", ""))
    return text if number is None else number


def _number(digits: str) -> int | float | None:
    if INTEGER.fullmatch(digits):
        value = _integer(digits)
        if -(2**63) <= value < 2**63:
            return value
        if 0 < value < 2**64:  # JSON numbers that no int64 holds are read as floating point
            return float(value)
    return _float(digits)


def _integer(digits: str) -> int:
    sign = -1 if digits[0] == "-" else 1
    digits = digits.lstrip("+-")
    if digits[0] == "0" and digits[1:2].isdigit():
        return sign * int(digits, 8)
    return sign * int(digits, 0)


def _float(text: str) -> float | int | None:
    if not FLOAT.fullmatch(text):
        return None
    value = float(text)
    return None if math.isinf(value) else _as_json(value)


def _as_json(value: float) -> float | int:
    """Return the number that is left after Go wrote it as JSON and read it again: 1000.0 is written ``1000``."""
    if value.is_integer() and abs(value) < 2**63:
        return int(value)
    return value


def read_documents(text: str, name: str, *, repeats: bool = False) -> list[Document]:
    r"""Return the documents of one file, YAML or JSON: the first character tells, as for kubectl.

    Args:
        text: the file's text.
        name: what to call it in errors, usually its path.
        repeats: whether a key may come twice, as Helm allows it in values: the last one counts.

    Returns:
        One :class:`Document` each, empty ones included.

    Raises:
        ManifestError: a syntax error or a duplicate key; names file, document and line.

    Example:
        >>> [d.value for d in read_documents("a: 1\n---\nb: on\n", "x.yaml")]
        [{'a': 1}, {'b': True}]
    """
    text = text.removeprefix("\ufeff")
    if text.lstrip()[:1] == "{":
        found = _read_json(text)
        if found is not None:
            return found
    return _read_yaml(text, name, repeats)


class _Duplicate(ValueError):
    pass


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Duplicate
    return found


def _read_json(text: str) -> list[Document] | None:
    """Return the objects of a JSON stream, or None when it is none; flow-style YAML begins with a brace too."""
    decoder = json.JSONDecoder(object_pairs_hook=_unique)
    documents: list[Document] = []
    position = 0
    while True:
        position = len(text) - len(text[position:].lstrip())
        if position == len(text):
            return documents
        try:
            value, end = decoder.raw_decode(text, position)
        except ValueError:  # the YAML parser knows lines: it finds the same fault and says where
            return None
        documents.append(Document(_round(value), len(documents) + 1, text.count("\n", 0, position) + 1))
        position = end


def _round(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _round(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_round(entry) for entry in value]
    return _as_json(value) if isinstance(value, float) and math.isfinite(value) else value


_Parser: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _read_yaml(text: str, name: str, repeats: bool) -> list[Document]:
    """Build values straight from libyaml's events: PyYAML's nodes and constructors would take most of the time."""
    documents: list[Document] = []
    parser = None
    try:
        parser = _Parser(text)
        while type(event := parser.get_event()) is not yaml.StreamEndEvent:
            if type(event) is yaml.DocumentStartEvent:
                first = parser.get_event()
                value = _Builder(parser.get_event, repeats).build(first)
                documents.append(Document(value, len(documents) + 1, first.start_mark.line + 1))
    except _Fault as fault:
        raise _error(name, len(documents) + 1, fault.line, fault.problem) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = ": ".join(part for part in (error.context, error.problem) if part)
        raise _error(name, len(documents) + 1, mark.line + 1 if mark else 0, problem, text) from None
    except yaml.YAMLError as error:
        raise _error(name, len(documents) + 1, 0, str(error).splitlines()[0]) from None
    except RecursionError:
        raise _error(name, len(documents) + 1, 0, "nested too deeply") from None
    finally:
        if parser is not None:
            parser.dispose()
    return documents


def _error(name: str, number: int, line: int, problem: str, text: str = "") -> ManifestError:
    """Return the error without the line itself: it may be the one that holds a password."""
    place = f"{name}:{line}" if line else name
    lines = text.splitlines()
    tab = 0 < line <= len(lines) and "\t" in lines[line - 1][: len(lines[line - 1]) - len(lines[line - 1].lstrip())]
    evidence = ["YAML does not allow tabs for indentation"] if tab else []
    return ManifestError(f"{place}: document {number}: {problem}", evidence=evidence)


class _Fault(Exception):
    def __init__(self, problem: str, event: Any) -> None:
        super().__init__(problem)
        self.problem = problem
        self.line = event.start_mark.line + 1


_OPEN = object()


class _Builder:
    """Turns the events of one document into JSON values.

    Aliases give copies: a later edit of one must not show in the other.
    """

    def __init__(self, get_event: Callable[[], Any], repeats: bool) -> None:
        self.next = get_event
        self.repeats = repeats
        self.anchors: dict[str, Any] = {}
        self.left = MAX_NODES

    def build(self, event: Any) -> Any:
        kind = type(event)
        if kind is yaml.ScalarEvent:
            value = _scalar(event)
            if event.anchor:
                self.anchors[event.anchor] = value
            return value
        if kind is yaml.AliasEvent:
            return self._copy(event)
        if event.anchor:
            self.anchors[event.anchor] = _OPEN
        value = self._mapping() if kind is yaml.MappingStartEvent else self._sequence()
        if event.anchor:
            self.anchors[event.anchor] = value
        return value

    def _copy(self, event: Any) -> Any:
        value = self.anchors.get(event.anchor, self)
        if value is self:
            raise _Fault(f"undefined alias *{event.anchor}", event)
        if value is _OPEN:
            raise _Fault(f"anchor &{event.anchor} contains itself", event)
        self.left -= _size(value)
        if self.left < 0:
            raise _Fault("excessive aliasing", event)
        return copy.deepcopy(value)

    def _sequence(self) -> list[Any]:
        found: list[Any] = []
        while type(event := self.next()) is not yaml.SequenceEndEvent:
            found.append(self.build(event))
        return found

    def _mapping(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        merged: set[str] = set()
        while type(event := self.next()) is not yaml.MappingEndEvent:
            if type(event) is yaml.ScalarEvent and event.value == "<<" and _is_plain(event):
                more = self._merge(self.next())
                found.update(more)  # also over keys above it: the Go library does so
                merged.update(more)
                continue
            key = self._key(event)
            if key in found and key not in merged and not self.repeats:
                raise _Fault(f"duplicate key {json.dumps(key, ensure_ascii=False)}", event)
            found[key] = self.build(self.next())
        return found

    def _key(self, event: Any) -> str:
        value = self.build(event)
        if type(value) is str:
            return value
        if isinstance(value, dict | list):
            raise _Fault("a mapping or list cannot be a key", event)
        return _key(value, event)

    def _merge(self, event: Any) -> dict[str, Any]:
        value = self.build(event)
        several = value if isinstance(value, list) else [value]
        if not all(isinstance(entry, dict) for entry in several):
            raise _Fault("<< needs a mapping or a list of mappings", event)
        return {key: entry[key] for entry in reversed(several) for key in entry}  # earlier ones win


def _size(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + sum(map(_size, value.values()))
    return 1 + sum(map(_size, value)) if isinstance(value, list) else 1


def _is_plain(event: Any) -> bool:
    return event.tag is None and bool(event.implicit[0])


def _scalar(event: Any) -> Any:
    if event.tag is not None:
        return _tagged(event)
    return _json_safe(resolve_plain(event.value), event) if event.implicit[0] else event.value


def _json_safe(value: Any, event: Any) -> Any:
    if type(value) is float and not math.isfinite(value):
        raise _Fault(f"{event.value} is not a number that JSON has", event)
    return value


def _tagged(event: Any) -> Any:
    """Return a scalar with an explicit tag: ``!!int "5"``. Tags that nobody knows leave the text as it is."""
    name = event.tag.removeprefix(LONG)
    if name == "binary":
        try:
            return base64.b64decode(event.value, validate=False).decode("utf-8", "replace")
        except ValueError:
            raise _Fault("!!binary value is not base64", event) from None
    types = {"bool": bool, "int": int, "float": (int, float), "null": type(None)}
    if name not in types:
        return event.value
    value = resolve_plain(event.value)
    if not isinstance(value, types[name]) or (isinstance(value, bool) and name != "bool"):  # type: ignore[arg-type]
        raise _Fault(f"not a value of type !!{name}", event)
    return _json_safe(value, event)


def _key(value: Any, event: Any) -> str:
    """Return a key as JSON must have it: text. Integers and booleans have one spelling each, numbers Go's."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        raise _Fault("null cannot be a key", event)
    written = getattr(event, "value", str(value))  # an alias has none
    return str(value) if INTEGER.fullmatch(written.replace("_", "")) else _short_float(float(value))


def _single(value: float) -> float:
    return float(struct.unpack("f", struct.pack("f", value))[0])


def _short_float(value: float) -> str:
    """Return Go's ``FormatFloat(value, 'g', -1, 32)``: the shortest text that is the same 32-bit number."""
    single = _single(value)
    digits = next(
        p for p in range(1, 10) if struct.unpack("f", struct.pack("f", float(f"{single:.{p}g}")))[0] == single
    )
    mantissa, _, exponent = f"{single:.{digits - 1}e}".partition("e")
    if -4 <= int(exponent) < 6:
        return f"{single:.{max(digits, int(exponent) + 1)}g}"
    return f"{mantissa}e{exponent}"
