"""Secrets leave text by value, then by their look; this module must never fetch a secret, or keep one that it met.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import base64
import binascii
import html
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote, quote_plus

from pytest_ephemeral_ns.rules.objects import Object

MASK = "***"
_SHORTEST = 4  # a shorter value would blank out half of the text
_LOOSE = 8  # from this length on a value is removed inside of longer words too
_SHORT = 200  # texts up to here are remembered when they are harmless
_LINE = 12  # lines of a value of several lines that are removed one by one
_HARMLESS = frozenset(
    {"true", "false", "null", "none", "default", "localhost", "127.0.0.1", "0.0.0.0", "http", "https", "Opaque"}  # noqa: S104
)
_PUBLIC_KEYS = {"kubernetes.io/service-account-token": {"namespace", "ca.crt"}, "kubernetes.io/tls": {"tls.crt"}}
_RELEASE = "helm.sh/release.v1"  # a whole chart, packed; what is secret in it is in other Secrets too
_SECRET_NAME = re.compile(
    r"(?i)(?:^|[_.-])(?:pass(?:word|wd|phrase)?|pwd|secret|token|api[_-]?key|access[_-]?key|private[_-]?key"
    r"|credentials?|dsn)$"
)
_NAMED = r"(?:pass(?:word|wd|phrase)?|pwd|secret|token|api[_-]?key|access[_-]?key|secret[_-]?key|private[_-]?key)"
# What a secret looks like, where nobody knows its value: name → pattern; the group "keep" stays, if there is one.
_PATTERNS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("PEM", re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.S)),
    ("JWT", re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*")),
    ("authorization", re.compile(r"(?i)(?P<keep>\b(?:bearer|basic)[ ]+)(?!\*)[A-Za-z0-9._~+/-]{8,}=*")),
    (
        "URL password",
        re.compile(r"(?P<keep>\b[a-z][a-z0-9+.-]{1,30}://[^\s:@/\"']{0,80}:)(?!\*)[^\s@/\"']{1,200}(?=@)"),
    ),
    ("AWS key", re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b")),
    ("Google key", re.compile(r"\bAIza[0-9A-Za-z_-]{35}\b")),
    ("GitHub token", re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{40,})")),
    ("GitLab token", re.compile(r"\bglpat-[A-Za-z0-9_-]{20,}")),
    ("Slack token", re.compile(r"\bxox[abprs]-[A-Za-z0-9-]{10,}")),
    ("API key", re.compile(r"\b(?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{16,}|\bsk-[A-Za-z0-9_-]{20,}")),
    ("DSN password", re.compile(rf"(?i)(?P<keep>\b\w*?{_NAMED}\s*[=:]\s*)(?![*\s])[^\s,;&\"'{{}}\[\]<>()$|]{{4,}}")),
    ("DSN password", re.compile(rf"(?i)(?P<keep>[\"']\w*?{_NAMED}[\"']\s*[:=]\s*[\"'])(?!\*)[^\"'\s]{{4,}}(?=[\"'])")),
)
# Most texts have nothing of all that: one look instead of a dozen.
_HINT = re.compile(
    r"(?i)-----BEGIN|eyJ|bearer|basic|://|AKIA|ASIA|AIza|gh[pousr]_|github_pat|glpat-|xox|[srp]k[-_]|pass|pwd|secret"
    r"|token|key"
)
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
        shown = _HARMLESS.union(public)
        self.left_out = sorted({label for value, label in values.items() if value in shown})
        self._labels: dict[str, str] = {}
        for value, label in values.items():
            if value not in shown:
                for form in forms(value):
                    self._labels.setdefault(form, label)
        # One pass, the longest first: nothing of a long value stays because a short one was removed from it.
        ordered = sorted(self._labels, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(_exactly, ordered))) if ordered else None
        self._counts: Counter[str] = Counter()
        self._harmless: set[str] = set()

    @property
    def counts(self) -> dict[str, int]:
        """How often what was removed, so that nothing is removed in silence."""
        return dict(self._counts)

    def clean(self, text: str) -> str:
        """Return the text without secrets.

        Args:
            text: any.
        """
        text = self.clean_values(text)
        if not _HINT.search(text):
            return text
        for name, pattern in _PATTERNS:
            text = pattern.sub(lambda match, name=name: self._masked(name, match), text)  # type: ignore[misc]
        return text

    def clean_values(self, text: str) -> str:
        """Return the text without the known values only; for text that is the user's own."""
        if self._pattern is None:
            return text
        return self._pattern.sub(lambda match: self._masked(self._labels.get(match[0], "value"), match), text)

    def clean_tree(self, value: Any) -> Any:
        """Return JSON-like data without secrets in any of its texts, keys included.

        Args:
            value: a mapping, a list or a scalar; not changed.
        """
        if isinstance(value, str):
            return value if value in self._harmless else self._clean_once(value)
        if isinstance(value, Mapping):
            return {self._key(str(key)): self.clean_tree(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.clean_tree(item) for item in value]
        return value

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


def _exactly(form: str) -> str:
    if len(form) >= _LOOSE:
        return re.escape(form)
    return rf"(?<![A-Za-z0-9]){re.escape(form)}(?![A-Za-z0-9])"


def forms(value: str) -> set[str]:
    """Return the forms in which programs write a value: plain, JSON, URL, HTML, Python, hex, base64 anywhere in a text.

    Args:
        value: the secret.

    Example:
        >>> {"p%40ss+word", "cEBzcyB3b3Jk"} <= forms("p@ss word")
        True
    """
    found: set[str] = set()
    lines = [line.strip() for line in value.splitlines()] if "\n" in value.strip() else []
    for plain in {value, value.strip(), *(line for line in lines if len(line) >= _LINE)}:
        if len(plain) >= _SHORTEST:
            found |= _written(plain)
            if len(plain) >= _LOOSE:
                found |= _encoded(plain.encode("utf-8", "surrogateescape"))
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


def secret_values(secrets: Iterable[Object]) -> dict[str, str]:
    """Return every value of the Secrets → which one it is.

    Args:
        secrets: Secret objects as the API server gives them.

    Returns:
        Decoded values; Helm's packed releases and what is public in a Secret (CA certificates) are left out.

    Example:
        >>> secret_values([{"metadata": {"name": "db"}, "data": {"password": "aHVudGVyMjI="}}])
        {'hunter22': 'Secret/db password'}
    """
    found: dict[str, str] = {}
    for secret in secrets:
        kind = str(secret.get("type") or "")
        if kind == _RELEASE:
            continue
        name = (secret.get("metadata") or {}).get("name", "")
        for key, text in (secret.get("data") or {}).items():
            if key in _PUBLIC_KEYS.get(kind, ()):
                continue
            try:
                value = base64.b64decode(str(text)).decode("utf-8")
            except (binascii.Error, UnicodeDecodeError):
                value = str(text)  # not text; programs can only print it encoded
            found[value] = f"Secret/{name} {key}"
            found.update({inner: f"Secret/{name} {key}" for inner in _inner(value)})
    return found


def _inner(value: str) -> list[str]:
    """What is secret inside a value that is JSON, such as the passwords of registries."""
    if not value.lstrip().startswith(("{", "[")):
        return []
    try:
        data = json.loads(value)
    except ValueError:
        return []
    found: list[str] = []
    todo = [data]
    while todo:
        item = todo.pop()
        todo.extend(item.values() if isinstance(item, dict) else item if isinstance(item, list) else ())
        if isinstance(item, str) and len(item) >= _LOOSE and "://" not in item:
            found.append(item)
    return found


def env_values(pods: Iterable[Object]) -> dict[str, str]:
    """Return the values of plain environment variables whose names say that they are secret.

    Args:
        pods: Pod objects.

    Example:
        >>> env_values([{"metadata": {"name": "api"}, "spec": {"containers": [
        ...     {"env": [{"name": "DB_PASSWORD", "value": "hunter22"}, {"name": "PORT", "value": "8080"}]}]}}])
        {'hunter22': 'variable DB_PASSWORD'}
    """
    found: dict[str, str] = {}
    for pod in pods:
        spec = pod.get("spec") or {}
        for container in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ())):
            for variable in container.get("env") or ():
                name, value = str(variable.get("name")), str(variable.get("value") or "")
                if len(value) >= _SHORTEST and _SECRET_NAME.search(name):
                    found[value] = f"variable {name}"
    return found


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
