"""Which values of a namespace are secret: those of its Secrets, and those whose names say it; never fetches.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import base64
import binascii
import gzip
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pytest_ephemeral_ns.rules.objects import Object
from pytest_ephemeral_ns.rules.redaction import MASK, says_secret

RELEASE = "helm.sh/release.v1"  # a whole chart, packed; what is secret in it is in other Secrets, or named so
_PUBLIC_KEYS = {"kubernetes.io/service-account-token": {"namespace", "ca.crt"}, "kubernetes.io/tls": {"tls.crt"}}
_SHORTEST = 4
_INNER = 8
_FLAG = re.compile(r"^--?([A-Za-z][\w.-]*)(?:=(.*))?$", re.DOTALL)


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
        if kind == RELEASE:
            continue
        name = (secret.get("metadata") or {}).get("name", "")
        for key, text in (secret.get("data") or {}).items():
            if key in _PUBLIC_KEYS.get(kind, ()):
                continue
            value = _decoded(str(text))
            found[value] = f"Secret/{name} {key}"
            found.update({inner: f"Secret/{name} {key}" for inner in _inner(value)})
    return found


def _decoded(text: str) -> str:
    try:
        return base64.b64decode(text).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return text  # not text; programs can only print it encoded


def _inner(value: str) -> list[str]:
    """What is secret inside a value that is JSON, such as the passwords of registries."""
    if not value.lstrip().startswith(("{", "[")):
        return []
    try:
        data = json.loads(value)
    except ValueError:
        return []
    texts = (item for _, item in _walk(data) if isinstance(item, str))
    return [text for text in texts if len(text) >= _INNER and "://" not in text]


def named_values(objects: Iterable[Any]) -> dict[str, str]:
    """Return the values whose names say that they are secret: variables, keys of ConfigMaps, flags, Helm values.

    Args:
        objects: any JSON-like data, for example Pods, ConfigMaps, the values of a release.

    Returns:
        Value → what it is called in a count.

    Example:
        >>> named_values([{"env": [{"name": "DB_PASSWORD", "value": "hunter22"}, {"name": "PORT", "value": "8080"}]}])
        {'hunter22': 'variable DB_PASSWORD'}
    """
    found: dict[str, str] = {}
    for holder, item in _walk([*objects]):
        if isinstance(item, Mapping):
            for name, value in _of_mapping(item):
                found.setdefault(value, name)
        elif isinstance(item, list) and holder in ("args", "command"):
            for name, value in _of_arguments(item):
                found.setdefault(value, name)
    return {value: name for value, name in found.items() if len(value) >= _SHORTEST and value != MASK}


def _of_mapping(item: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    name, value = item.get("name"), item.get("value")
    if isinstance(name, str) and isinstance(value, str) and says_secret(name):
        yield f"variable {name}", value
    for key, text in item.items():
        if isinstance(text, str) and says_secret(str(key)):
            yield f"value of {key}", text


def _of_arguments(arguments: list[Any]) -> Iterator[tuple[str, str]]:
    for number, argument in enumerate(arguments):
        match = _FLAG.match(argument) if isinstance(argument, str) else None
        if match is None or not says_secret(match[1]):
            continue
        value = match[2] if match[2] is not None else (arguments[number + 1 : number + 2] or [""])[0]
        if isinstance(value, str) and not value.startswith(("-", "$(")):
            yield f"argument --{match[1]}", value


def _walk(data: Any) -> Iterator[tuple[str, Any]]:
    """Yield everything inside, each with the key that holds it."""
    todo: list[tuple[str, Any]] = [("", data)]
    while todo:
        holder, item = todo.pop()
        yield holder, item
        if isinstance(item, Mapping):
            todo.extend((str(key), inner) for key, inner in reversed([*item.items()]))
        elif isinstance(item, list):
            todo.extend((holder, inner) for inner in reversed(item))


def release_of(secret: Object) -> dict[str, Any] | None:
    """Return what Helm knows of a release: name, revision, status, description, chart, values; not its objects.

    Args:
        secret: any Secret; one that holds no release, or a damaged one, gives ``None``.
    """
    if secret.get("type") != RELEASE:
        return None
    try:
        packed = base64.b64decode(base64.b64decode(secret["data"]["release"]))
        release = json.loads(gzip.decompress(packed))
    except (KeyError, ValueError, OSError, EOFError):
        return None
    info, chart = release.get("info") or {}, (release.get("chart") or {}).get("metadata") or {}
    return {
        "name": release.get("name"),
        "revision": release.get("version"),
        "status": info.get("status"),
        "description": info.get("description"),
        "chart": f"{chart.get('name')}-{chart.get('version')}",
        "values": release.get("config") or {},
    }
