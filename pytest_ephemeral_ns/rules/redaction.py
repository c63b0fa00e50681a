"""Secrets leave text by value, then by their look; this module must never fetch a secret, or keep one that it met.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote, quote_plus

MASK = "***"
_SHORTEST = 4  # a shorter value would blank out half of the text
_LOOSE = 8  # from this length on a value is removed inside of longer words too
_SHORT = 200  # texts up to here are remembered when they are harmless
_LINE = 12  # lines of a value of several lines that are removed one by one
_HARMLESS = frozenset(
    {"true", "false", "null", "none", "default", "localhost", "127.0.0.1", "0.0.0.0", "http", "https", "Opaque"}  # noqa: S104
)
_SAID_BY_NAME = re.compile(
    r"(?:^|[_.-]|(?<=[a-z0-9])(?=[A-Z]))"
    r"(?i:pass(?:word|wd|phrase)?|pwd|token|(?:api|access|private|secret)[_-]?key|credentials?|dsn"
    r"|(?:app|client|consumer|cookie|hmac|jwt|oauth|session|shared|signing|webhook)[_-]?secret)$"
)
_NAMED = r"(?:pass(?:word|wd|phrase)?|pwd|secret|token|api[_-]?key|access[_-]?key|secret[_-]?key|private[_-]?key)"
_WORDS = ("pass", "pwd", "secret", "token", "key")
# What a secret looks like, where nobody knows its value: name, words without which the pattern need not be tried (in
# lower case), pattern; the group "keep" stays, if there is one.
_Pattern = tuple[str, tuple[str, ...], re.Pattern[str]]
_UNMISTAKABLE: tuple[_Pattern, ...] = (
    (
        "PEM",
        ("-----begin",),
        re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.S),
    ),
    ("JWT", ("eyj",), re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*")),
    (
        "authorization",
        ("bearer", "basic"),
        re.compile(r"(?i)(?P<keep>\b(?:bearer|basic)[ ]+)(?!\*)[A-Za-z0-9._~+/-]{8,}=*"),
    ),
    (
        "URL password",
        ("://",),
        re.compile(r"(?P<keep>\b[a-z][a-z0-9+.-]{1,30}://[^\s:@/\"']{0,80}:)(?![*$])[^\s@/\"']{1,200}(?=@)"),
    ),
    ("AWS key", ("akia", "asia"), re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b")),
    ("Google key", ("aiza",), re.compile(r"\bAIza[0-9A-Za-z_-]{35}\b")),
    (
        "GitHub token",
        ("ghp_", "gho_", "ghu_", "ghr_", "ghs_", "github_pat_"),
        re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{40,})"),
    ),
    ("GitLab token", ("glpat-",), re.compile(r"\bglpat-[A-Za-z0-9_-]{20,}")),
    ("Slack token", ("xox",), re.compile(r"\bxox[abprs]-[A-Za-z0-9-]{10,}")),
    (
        "API key",
        ("sk_", "rk_", "pk_", "sk-"),
        re.compile(r"\b(?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{16,}|\bsk-[A-Za-z0-9_-]{20,}"),
    ),
)
_PATTERNS: tuple[_Pattern, ...] = (
    *_UNMISTAKABLE,
    (
        "DSN password",
        _WORDS,
        re.compile(rf"(?i)(?P<keep>{_NAMED}\s*[=:]\s*)(?![*\s])[^\s,;&\"'{{}}\[\]<>()$|]{{4,}}"),
    ),
    (
        "DSN password",
        _WORDS,
        re.compile(rf"(?i)(?P<keep>{_NAMED}[\"']\s*[:=]\s*[\"'])(?!\*)[^\"'\s]{{4,}}(?=[\"'])"),
    ),
)
_PIECE = 40  # characters that are left on either side of what is left out
_GAP = re.compile(r"(\.\.\.|…)")
_UNSAFE = re.compile(
    r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]"
)


class Redactor:
    """Removes known values in every form in which programs write them, then what looks like a secret; counts both.

    Args:
        values: value → what it is called in the count, for example ``{"hunter22": "Secret/db password"}``; very short
            and harmless ones ("true") are left out.
        public: words that are not secret whatever a Secret says, such as the names of objects.

    Example:
        >>> redactor = Redactor({"hunter2hunter2": "Secret/db password"})
        >>> redactor.clean("login with aHVudGVyMmh1bnRlcjI= or hunter2hunter2")
        'login with *** or ***'
        >>> redactor.counts
        {'Secret/db password': 2}
    """

    def __init__(self, values: Mapping[str, str], *, public: Iterable[str] = ()) -> None:
        self._shown = _HARMLESS.union(public)
        self._left_out: set[str] = set()
        self._labels: dict[str, str] = {}
        self._patterns: tuple[re.Pattern[str], ...] = ()
        self._counts: Counter[str] = Counter()
        self._harmless: set[str] = set()
        self._ends: tuple[set[str], set[str]] | None = None
        self.learn(values)

    def learn(self, values: Mapping[str, str]) -> None:
        """Remove these values as well from now on.

        Args:
            values: value → what it is called in the count.
        """
        for value, label in values.items():
            if value in self._shown:
                self._left_out.add(label)
                continue
            for form in forms(value):
                self._labels.setdefault(form, label)
        self._patterns = tuple(_patterns([*self._labels]))
        self._harmless.clear()
        self._ends = None

    @property
    def left_out(self) -> list[str]:
        """What could not be removed, because something public is called the same."""
        return sorted(self._left_out)

    @property
    def counts(self) -> dict[str, int]:
        """How often what was removed, so that nothing is removed in silence."""
        return dict(self._counts)

    def clean(self, text: str) -> str:
        """Return the text without secrets.

        Args:
            text: any.
        """
        return self._by_look(self.clean_values(text), _PATTERNS)

    def clean_sure(self, text: str) -> str:
        """Return the text without the known values and what is unmistakable (a JWT, a private key).

        For what a user's test printed and for its traceback, where ``token = make_token()`` is code, and where pytest
        leaves out the middle of what is long: what is left of a value there goes as well.

        Args:
            text: any.

        Example:
            >>> Redactor({"hunter2hunter2": "it"}).clean_sure("assert 'hunter...ter2' == ''")
            "assert '***...***' == ''"
        """
        text = self._by_look(self.clean_values(text), _UNMISTAKABLE)
        return self._without_pieces(text) if _GAP.search(text) else text

    def _without_pieces(self, text: str) -> str:
        if self._ends is None:
            pieces = [form for form in self._labels if len(form) >= _LOOSE]
            lengths = range(_SHORTEST, _PIECE + 1)
            self._ends = {form[:k] for form in pieces for k in lengths}, {form[-k:] for form in pieces for k in lengths}
        heads, tails = self._ends
        parts = _GAP.split(text)  # text, gap, text, gap …, text
        for at in range(0, len(parts) - 2, 2):
            left, right = parts[at], parts[at + 2]
            head = next((k for k in range(min(_PIECE, len(left)), _SHORTEST - 1, -1) if left[-k:] in heads), 0)
            tail = next((k for k in range(min(_PIECE, len(right)), _SHORTEST - 1, -1) if right[:k] in tails), 0)
            if head:
                parts[at] = left[:-head] + MASK
            if tail:
                parts[at + 2] = MASK + right[tail:]
            if head or tail:
                self._counts["part of a value"] += bool(head) + bool(tail)
        return "".join(parts)

    def _by_look(self, text: str, patterns: Sequence[_Pattern]) -> str:
        small = text.lower()
        for name, words, pattern in patterns:
            if not any(word in small for word in words):
                continue
            text = pattern.sub(lambda match, name=name: self._masked(name, match), text)  # type: ignore[misc]
        return text

    def clean_values(self, text: str) -> str:
        """Return the text without the known values only."""
        for pattern in self._patterns:
            text = pattern.sub(lambda match: self._masked(self._labels.get(match[0], "value"), match), text)
        return text

    def clean_tree(self, value: Any) -> Any:
        """Return JSON-like data without secrets in any of its texts, keys included, and under names that say it.

        Args:
            value: a mapping, a list or a scalar; not changed.
        """
        if isinstance(value, str):
            return value if value in self._harmless else self._clean_once(value)
        if isinstance(value, Mapping):
            name = str(value.get("name", "")) if "value" in value else ""
            named = name if says_secret(name) else ""
            return {self._key(str(key)): self._under(str(key), item, named) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.clean_tree(item) for item in value]
        return value

    def _under(self, key: str, value: Any, named: str) -> Any:
        """A value below a key; ``named`` is what its neighbour calls secret, where the key is "value"."""
        if (says_secret(key) or (named and key == "value")) and isinstance(value, (str, int)) and value != MASK:
            if value == "" or isinstance(value, bool) or value in self._shown:
                return value
            self._counts[f"variable {named}" if named and key == "value" else f"value of {key}"] += 1
            return MASK
        return self.clean_tree(value)

    def _key(self, key: str) -> str:
        return key if key in self._harmless else self._clean_once(key)

    def _clean_once(self, text: str) -> str:
        """Objects repeat their texts a lot: remember those without a secret."""
        cleaned = self.clean(text)
        if cleaned == text and len(text) < _SHORT:
            self._harmless.add(text)
        return cleaned

    def _masked(self, name: str, match: re.Match[str]) -> str:
        self._counts[name] += 1
        return str(match.groupdict().get("keep") or "") + MASK


def _patterns(forms: Sequence[str]) -> Iterable[re.Pattern[str]]:
    """Two passes: what is removed everywhere, then what is removed as a whole word; the longest first in each."""
    if loose := [form for form in forms if len(form) >= _LOOSE]:
        # Nearly everywhere in a text one look at eight characters is enough; a plain list of a thousand forms, tried at
        # each position, takes minutes for a bundle.
        gate = "".join(f"[{''.join(sorted(map(re.escape, {form[at] for form in loose})))}]" for at in range(_LOOSE))
        yield re.compile(f"(?={gate}){_one_of(loose, 3)}")
    if exact := [form for form in forms if len(form) < _LOOSE]:
        yield re.compile(f"(?<![A-Za-z0-9]){_one_of(exact, 1)}(?![A-Za-z0-9])")


def _one_of(texts: Sequence[str], depth: int) -> str:
    """Return a pattern for any of the texts, the longest first, told apart by their first ``depth`` characters."""
    if depth == 0 or len(texts) == 1 or not all(texts):
        return f"(?:{'|'.join(map(re.escape, sorted(texts, key=len, reverse=True)))})"
    rest: dict[str, list[str]] = defaultdict(list)
    for text in texts:
        rest[text[0]].append(text[1:])
    return f"(?:{'|'.join(re.escape(first) + _one_of(tails, depth - 1) for first, tails in rest.items())})"


def says_secret(name: str) -> bool:
    """Whether the name of a variable, a key or a flag says that its value is secret.

    Args:
        name: for example ``DB_PASSWORD``, ``adminPassword``, ``--api-key``.

    Example:
        >>> says_secret("DB_PASSWORD"), says_secret("adminPassword"), says_secret("existingSecret")
        (True, True, False)
    """
    return bool(_SAID_BY_NAME.search(name))


def forms(value: str) -> set[str]:
    """Return the forms in which programs write a value: plain, JSON, URL, HTML, Python, hex, base64 anywhere in a text.

    Args:
        value: the secret.

    Example:
        >>> {"p%40ss+word", "cEBzcyB3b3Jk"} <= forms("p@ss word")
        True
    """
    found: set[str] = set()
    for plain in {value, value.strip()}:
        if len(plain) >= _SHORTEST:
            found |= _written(plain)
            if len(plain) >= _LOOSE:
                found |= _encoded(plain.encode("utf-8", "surrogateescape"))
    for line in map(str.strip, value.splitlines() if "\n" in value.strip() else ()):
        if len(line) >= _LINE:
            found |= _written(line)
    return {form for form in found if len(form) >= _SHORTEST}


def _written(value: str) -> set[str]:
    plain = value.encode("utf-8", "replace").decode()
    told = {value, plain, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1], repr(value)[1:-1]}
    told |= {quote(plain, safe=""), quote(plain), quote_plus(plain), html.escape(value), value.replace("'", "'\\''")}
    # Go's JSON writes <, > and & as escapes.
    return told | {json.dumps(value)[1:-1].replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")}


def _encoded(data: bytes) -> set[str]:
    """Base64 of a text that has the value somewhere in it: three alignments, without the letters at the edges."""
    found = {data.hex(), data.hex().upper()}
    for before in range(3):
        text = base64.b64encode(b"\0" * before + data).decode()
        start = (0, 2, 3)[before]
        end = len(text.rstrip("=")) - (0 if (before + len(data)) % 3 == 0 else 1)
        core = text[start:end]
        if len(core) >= _LOOSE:
            found |= {core, core.replace("+", "-").replace("/", "_")}
    whole = base64.b64encode(data).decode()
    bare = whole.rstrip("=")
    return found | {whole, bare, whole.replace("+", "-").replace("/", "_"), bare.replace("+", "-").replace("/", "_")}


def printable(text: str) -> str:
    r"""Return the text without colours and other control characters, which a report or XML cannot show.

    Args:
        text: any, also what a binary log looks like as text.

    Example:
        >>> printable("\x1b[31mred\x1b[0m\x00")
        'red'
    """
    return _UNSAFE.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def defused(text: str) -> str:
    """Return the text without what CI systems would take for a command when it is printed.

    Args:
        text: for example a log line of somebody else's program.

    Example:
        >>> defused("##vso[task.setvariable]x"), defused("::set-env name=PATH::x")
        ('# #vso[task.setvariable]x', ': :set-env name=PATH::x')
    """
    return re.sub(r"(?m)^(\s*):(?=:)", r"\1: ", re.sub(r"##(?=\w*\[)", "# #", text))
