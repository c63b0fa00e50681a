"""What ``helm --set`` means, as values, so that no value needs to be in an argument; this module must never run Helm.

The grammar is that of Helm's ``pkg/strvals``; ``tests/kube/test_helm_values.py`` compares with the real Helm.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from pytest_ephemeral_ns.errors import UsageError

SECRET = re.compile(r"passw|passphrase|secret|token|api_?key|credential|private_?key", re.IGNORECASE)
"""Names of values that are nobody's business."""

Pair = str | tuple[str, Any]
"""``KEY=VALUE`` as ``--set`` takes it, or a key and the value that it gets."""

_LARGEST_INDEX = 65536
_DEEPEST = 30
_WHOLE = re.compile(r"[1-9][0-9]*|[+-][0-9]+|0")
_SPECIAL = re.compile(r"[\\=\[\],.]")


class Whole(int):
    """A whole number of ``--set``. Helm keeps it one; the same number in a values file becomes a floating point one."""


class _Text:
    """Text that is read to its end, character by character."""

    def __init__(self, text: str) -> None:
        self._text, self._at = text, 0

    @property
    def over(self) -> bool:
        return self._at >= len(self._text)

    def skip(self, wanted: str) -> bool:
        """Step over a character if it is the next one."""
        found = self._text[self._at : self._at + 1] == wanted
        self._at += found
        return found

    def until(self, stops: str) -> tuple[str, str]:
        """Return what comes before the first of some characters, and that one; empty at the end of the text."""
        found = ""
        while not self.over:
            char = self._text[self._at]
            self._at += 1
            if char in stops:
                return found, char
            if char == "\\":
                if self.over:
                    break
                char = self._text[self._at]
                self._at += 1
            found += char
        return found, ""


def assign(values: dict[str, Any], pair: Pair, *, as_text: bool = False) -> None:
    """Put what ``--set PAIR`` says into values.

    Args:
        values: changed in place, also where they hold maps and lists.
        pair: ``"image.tag=1.2,hosts={a,b},ports[0].port=80"``, or ``("ports[0].port", 80)``.
        as_text: whether values stay text, as with ``--set-string``.

    Raises:
        UsageError: Helm would refuse it; names the key, never the value.

    Example:
        >>> values = {"image": {"pull": True}}
        >>> assign(values, "image.tag=7,hosts={a,b}")
        >>> values
        {'image': {'pull': True, 'tag': 7}, 'hosts': ['a', 'b']}
    """
    if isinstance(pair, str):
        reader = _Reader(_Text(pair), as_text)
    else:
        given = copy.deepcopy(pair[1])
        reader = _Reader(_Text(f"{pair[0]}=?"), as_text, lambda: given)
    while not reader.text.over:
        reader.key(values, ())


class _Reader:
    """Reads one text; what a method returns as ``bool`` is whether Helm would go on reading after it."""

    def __init__(self, text: _Text, as_text: bool, given: Callable[[], Any] | None = None) -> None:
        self.text, self._as_text, self._given = text, as_text, given

    def key(self, values: dict[str, Any], above: tuple[str, ...]) -> bool:
        name, stop = self.text.until("=[,.")
        path = (*above, name)
        if stop == "=":
            more = not self.text.over
            _put(values, name, self._value())
            return more
        if stop == "[":
            found = values.get(name, [])
            if not isinstance(found, list):
                raise _wrong(path, "is not a list")
            index = self._index(path)
            items, more = self._item(found, index, (*path[:-1], f"{name}[{index}]"))
            _put(values, name, items)
            return more
        if stop == ".":
            return self._below(values, name, path)
        if name or stop:
            raise _wrong(path, "has no value (cannot end with ,)" if stop else "has no value")
        return False

    def _below(self, values: dict[str, Any], name: str, path: tuple[str, ...]) -> bool:
        if len(path) > _DEEPEST:
            raise _wrong(path, f"is deeper than {_DEEPEST} levels")
        inner = values.get(name, {})
        if not isinstance(inner, dict):
            raise _wrong(path, "is not a map")
        more = self.key(inner, path)
        if more and not inner:
            raise _wrong(path, "has no value")
        if inner:
            _put(values, name, inner)
        return more

    def _index(self, path: tuple[str, ...]) -> int:
        text, stop = self.text.until("]")
        if not stop or not re.fullmatch(r"\+?[0-9]+", text):
            raise _wrong(path, f"has an index that is none: [{text}{stop}")
        if int(text) > _LARGEST_INDEX:
            raise _wrong(path, f"has an index above {_LARGEST_INDEX}")
        return int(text)

    def _item(self, items: list[Any], index: int, path: tuple[str, ...]) -> tuple[list[Any], bool]:
        extra, stop = self.text.until("[.=")
        old = items[index] if index < len(items) else None
        if extra:
            raise _wrong(path, "has text after its index")
        if stop == "=":
            return _placed(items, index, self._value()), True
        if stop == "[":
            if not isinstance(old, list) and old is not None:
                raise _wrong(path, "is not a list")
            deeper = self._index(path)
            inner, more = self._item(old or [], deeper, (*path[:-1], f"{path[-1]}[{deeper}]"))
            return _placed(items, index, inner) if more else items, more
        if stop == ".":
            return self._entry(items, index, path)
        return items, False

    def _entry(self, items: list[Any], index: int, path: tuple[str, ...]) -> tuple[list[Any], bool]:
        old = items[index] if index < len(items) else None
        inner = old if isinstance(old, dict) else {}
        if index < len(items):
            items = _placed(items, index, inner)
        more = self.key(inner, path)
        # `a[1].b=` at the end of the text: Helm loses the new entry.
        return _placed(items, index, inner) if more else items, more

    def _value(self) -> Any:
        if self._given:
            self.text.until("")
            return self._given()
        if self.text.skip("{"):
            return self._list()
        return self._typed(self.text.until(",")[0])

    def _list(self) -> list[Any]:
        found: list[Any] = []
        while True:
            text, stop = self.text.until(",}")
            if not stop:
                raise UsageError("a list of --set must end with }")
            found.append(self._typed(text))
            if stop == "}":
                self.text.skip(",")
                return found

    def _typed(self, text: str) -> Any:
        if self._as_text:
            return text
        word = text.lower()
        if word in ("true", "false", "null"):
            return {"true": True, "false": False, "null": None}[word]
        if _WHOLE.fullmatch(text) and -(2**63) <= int(text) < 2**63:
            return Whole(text)
        return text


def _put(values: dict[str, Any], name: str, value: Any) -> None:
    if name:  # Helm ignores an empty one
        values[name] = value


def _placed(items: list[Any], index: int, value: Any) -> list[Any]:
    longer = [*items, *[None] * (index + 1 - len(items))]
    longer[index] = value
    return longer


def _wrong(path: Sequence[str], problem: str) -> UsageError:
    return UsageError(f"--set: key {'.'.join(path)!r} {problem}")


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return values with others on top, as Helm merges values files: maps are merged, everything else is replaced.

    Example:
        >>> merged({"a": {"x": 1}, "b": [1, 2]}, {"a": {"y": 2}, "b": [3]})
        {'a': {'x': 1, 'y': 2}, 'b': [3]}
    """
    found = copy.deepcopy(dict(below))
    for name, value in above.items():
        old = found.get(name)
        found[name] = merged(old, value) if isinstance(value, Mapping) and isinstance(old, dict) else value
    return found


def arguments_for(values: dict[str, Any]) -> list[str]:
    """Return what a values file cannot say, as pairs for ``--set``: whole numbers.

    A whole number under a name that looks secret is none of them: it is left to the file; a large one as text, because
    Helm would write a large number of a file as ``1.234567e+06``.

    Args:
        values: what goes into the file; changed in place.

    Returns:
        ``["replicas=3", "ports[0].port=80"]``.

    Example:
        >>> arguments_for({"db": {"password": "x", "port": Whole(5432)}})
        ['db.port=5432']
    """
    pairs = []
    for path, holder, key in _wholes(values, ()):
        value = holder[key]
        if not any(isinstance(part, str) and SECRET.search(part) for part in path):
            pairs.append(f"{_written(path)}={value:d}")
        elif abs(value) >= 1_000_000:
            holder[key] = str(int(value))
    return pairs


def _wholes(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], Any, Any]]:
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in steps:
        if isinstance(entry, Whole):
            yield (*path, key), value, key
        else:
            yield from _wholes(entry, (*path, key))


def _written(path: Sequence[str | int]) -> str:
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + _SPECIAL.sub(lambda match: f"\\{match[0]}", part)
    return text


def shown_pair(pair: str) -> str:
    """Return a pair as it may be shown: without its value when anything in it looks secret.

    Example:
        >>> [shown_pair("replicas=2"), shown_pair("db.password=hunter2")]
        ['replicas=2', 'db.password=[redacted]']
    """
    return f"{pair.partition('=')[0]}=[redacted]" if SECRET.search(pair) else pair


def secret_leaves(value: Any, *, secret: bool = False) -> Iterator[str]:
    """Yield every text and number below a name that looks secret.

    Example:
        >>> [*secret_leaves({"db": {"password": "hunter2", "port": 5432}})]
        ['hunter2']
    """
    if isinstance(value, Mapping):
        for key, entry in value.items():
            yield from secret_leaves(entry, secret=secret or bool(SECRET.search(str(key))))
    elif isinstance(value, list):
        for entry in value:
            yield from secret_leaves(entry, secret=secret)
    elif secret and value is not None and not isinstance(value, bool):
        yield str(value)
