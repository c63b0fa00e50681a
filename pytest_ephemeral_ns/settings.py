"""CONFIGURE: every knob of the table, read and checked into one frozen value; this module must never touch a cluster.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pytest_ephemeral_ns.errors import UsageError
from pytest_ephemeral_ns.knobs import BY_NAME, KNOBS, LISTS, Kind, Knob
from pytest_ephemeral_ns.rules.durations import format_duration, parse_duration
from pytest_ephemeral_ns.rules.gates import parse_gate
from pytest_ephemeral_ns.rules.graces import Graces
from pytest_ephemeral_ns.rules.guardrails import Limits
from pytest_ephemeral_ns.rules.helm_set import shown_pair
from pytest_ephemeral_ns.rules.quantities import parse_quantity
from pytest_ephemeral_ns.rules.retention import Policy

__all__ = ["BY_NAME", "KNOBS", "Given", "Knob", "Settings", "load", "read"]


@dataclass(frozen=True)
class Settings(Limits):
    """Every knob's value, checked, and where the ones that are not defaults came from.

    The bounds of a namespace are those of :class:`~pytest_ephemeral_ns.rules.guardrails.Limits`, each an option of its
    own. Durations are seconds. Paths are absolute. ``provenance`` maps a knob's name to its source, for example
    ``{"scope": "--ephemeral-ns-scope"}`` or ``{"deploy": "pyproject.toml"}``.
    """

    enabled: bool = False
    cluster: str = "auto"
    nodes: str = "auto"
    kind_image: str = ""
    kind_config: str = ""
    context: str = ""
    kubeconfig: str = ""
    scope: str = "worker"
    deploy: tuple[str, ...] = ()
    helm_values: tuple[str, ...] = ()
    helm_set: tuple[str, ...] = ()
    cluster_scoped: str = "refuse"
    map_namespace: tuple[str, ...] = ()
    image: tuple[str, ...] = ()
    policy: str = "standard"
    shared_service: tuple[str, ...] = ()
    ingress_namespace: tuple[str, ...] = ()
    isolated_api_server: str = "open"
    pull_secret: tuple[str, ...] = ()
    pod_security: str = "none"
    node_selector: tuple[str, ...] = ()
    toleration: tuple[str, ...] = ()
    gate: tuple[str, ...] = ()
    grace: tuple[str, ...] = ()
    timeout: float = 300.0
    ttl: float = 7200.0
    wait_deleted: bool = False
    keep: Policy = "never"
    keep_ttl: float = 86400.0
    keep_max: int = 5
    reuse: str = ""
    artifacts: str = BY_NAME["artifacts"].default
    diagnostics: str = "on-failure"
    log_lines: int = 50
    report: tuple[str, ...] = ()
    name: str = BY_NAME["name"].default
    provenance: Mapping[str, str] = field(default_factory=dict)

    @property
    def namespaces(self) -> dict[str, str | None] | None:
        """What is done with objects that name a namespace: ``{"monitoring": None}``; ``None`` when nothing is said."""
        pairs = [item.partition("=") for item in self.map_namespace]
        return {name: other or None for name, _, other in pairs} or None

    def describe(self) -> list[str]:
        """Return one line per value that is not a default: ``"scope: function (--ephemeral-ns-scope)"``."""
        return [
            f"{name}: {_shown(name, getattr(self, name))} ({source})"
            for name, source in self.provenance.items()
            if name != "enabled"
        ]


@dataclass(frozen=True)
class Given:
    """One text that somebody gave for a knob.

    Args:
        value: the text, a list of texts, or a truth value.
        source: who gave it, as it is printed: ``"--ephemeral-ns-scope"``, ``"EPHEMERAL_NS_SCOPE"``, ``"pytest.ini"``.
        base: folder that relative paths start from.
    """

    value: Any
    source: str
    base: Path


def load(
    flags: Mapping[str, Any],
    environ: Mapping[str, str],
    ini: Mapping[str, Any],
    *,
    cwd: Path,
    ini_path: Path | None = None,
) -> Settings:
    """Read every knob: flag over environment over ini over default.

    Args:
        flags: knob name → what the command line gave, or a :class:`Given` where another flag stands for it; ``None`` or
            ``[]`` where it gave nothing.
        environ: the process environment.
        ini: knob name → what the configuration file gave; absent, ``None``, ``""`` or ``[]`` where it gave nothing.
        cwd: folder that relative paths of flags and environment start from.
        ini_path: the configuration file; relative paths in it start from its folder.

    Returns:
        The checked settings with their provenance.

    Raises:
        UsageError: a value is wrong; names the option, its source and what would be right.

    Example:
        >>> load({"scope": "module"}, {}, {}, cwd=Path("/")).scope
        'module'
    """
    values: dict[str, Any] = {}
    provenance: dict[str, str] = {}
    for knob in KNOBS:
        given = _given(knob, flags, environ, ini, cwd, ini_path)
        if given is not None:
            values[knob.name] = read(knob, given)
            provenance[knob.name] = given.source
    values.setdefault("artifacts", str(cwd / BY_NAME["artifacts"].default))  # a test may change the working folder
    settings = Settings(**values, provenance=MappingProxyType(provenance))
    _check_together(settings)
    return settings


def _given(
    knob: Knob,
    flags: Mapping[str, Any],
    environ: Mapping[str, str],
    ini: Mapping[str, Any],
    cwd: Path,
    ini_path: Path | None,
) -> Given | None:
    if isinstance(flags.get(knob.name), Given):
        return flags[knob.name]  # type: ignore[no-any-return]
    if flags.get(knob.name) not in (None, [], ()):
        return Given(flags[knob.name], knob.flag, cwd)
    if environ.get(knob.env, "") != "":
        text = environ[knob.env]
        return Given(_words(text, knob) if knob.kind in LISTS else text, knob.env, cwd)
    if ini.get(knob.name) not in (None, "", [], ()):
        return Given(ini[knob.name], ini_path.name if ini_path else "ini", ini_path.parent if ini_path else cwd)
    return None


def _words(text: str, knob: Knob) -> list[str]:
    """Split a list in an environment variable: a line each, or words as a shell would read them."""
    if "\n" in text:
        return [line.strip() for line in text.splitlines() if line.strip()]
    try:
        return shlex.split(text)
    except ValueError as error:
        raise UsageError(f"{knob.env}={text!r} cannot be split into words: {error}") from error


def read(knob: Knob, given: Given) -> Any:
    """Read and check one value.

    Args:
        knob: which.
        given: its text and source.

    Returns:
        The typed value: ``bool``, ``str``, ``float`` seconds, ``int`` or a tuple of ``str``.

    Raises:
        UsageError: the value is wrong.
    """
    return _READERS[knob.kind](knob, given)


def _wrong(given: Given, value: object, problem: str, knob: Knob) -> UsageError:
    return UsageError(f"{given.source}: {value!r} {problem}", evidence=[f"{knob.flag}: {knob.meaning}"])


_TRUTH = {
    **dict.fromkeys(("1", "true", "yes", "on"), True),
    **dict.fromkeys(("0", "false", "no", "off"), False),
}


def _switch(knob: Knob, given: Given) -> bool:
    if isinstance(given.value, bool):
        return given.value
    try:
        return _TRUTH[str(given.value).strip().lower()]
    except KeyError:
        raise _wrong(given, given.value, "is not one of on, off, true, false, yes, no, 1, 0", knob) from None


def _choice(knob: Knob, given: Given) -> str:
    if given.value not in knob.choices:
        raise _wrong(given, given.value, f"is not one of {', '.join(knob.choices)}", knob)
    return str(given.value)


def _text(knob: Knob, given: Given) -> str:
    return str(given.value).strip()


def _duration(knob: Knob, given: Given) -> float:
    text = str(given.value).strip()
    try:
        seconds = parse_duration(text)
    except UsageError:
        problem = "is not a duration such as 90s, 5m, 2h, 1d, 1h30m or plain seconds"
        raise _wrong(given, text, problem, knob) from None
    if seconds <= 0:
        raise _wrong(given, text, "is not longer than 0 seconds", knob)
    return seconds


def _count(knob: Knob, given: Given) -> int:
    if not re.fullmatch(r"\d+", str(given.value).strip()):
        raise _wrong(given, given.value, "is not a whole number of 0 or more", knob)
    return int(given.value)


def _quantity(knob: Knob, given: Given) -> str:
    text = str(given.value).strip()
    try:
        good = text == "none" or parse_quantity(text) >= 0
    except UsageError:
        good = False
    if not good:
        raise _wrong(given, text, "is not none or a quantity such as 250m, 4 or 16Gi", knob)
    return text


def _path(knob: Knob, given: Given, value: str) -> str:
    path = (given.base / Path(value).expanduser()).absolute()
    if not path.exists():
        raise _wrong(given, value, f"does not exist (looked for {path})", knob)
    return str(path)


def _file(knob: Knob, given: Given) -> str:
    path = _path(knob, given, str(given.value))
    if not Path(path).is_file():
        raise _wrong(given, given.value, "is not a file", knob)
    return path


def _folder(knob: Knob, given: Given) -> str:
    path = (given.base / Path(str(given.value)).expanduser()).absolute()
    if path.exists() and not path.is_dir():
        raise _wrong(given, given.value, "is not a folder", knob)
    return str(path)


def _items(given: Given) -> Sequence[str]:
    return [given.value] if isinstance(given.value, str) else [str(value) for value in given.value]


_LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_KEY = r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_VALUE = r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?"
_EFFECTS = "NoSchedule|PreferNoSchedule|NoExecute"
_FORMS: Mapping[str, tuple[str, str]] = {
    "helm_set": (r"(?s).*=.*", "is not of the form KEY=VALUE"),
    "map_namespace": (rf"{_LABEL}(={_LABEL})?", "is not of the form NAME or NAME=OTHER"),
    "shared_service": (_LABEL, "is not the name of a namespace"),
    "ingress_namespace": (_LABEL, "is not the name of a namespace"),
    "pull_secret": (rf"{_LABEL}/{_LABEL}(\.{_LABEL})*", "is not of the form NAMESPACE/NAME"),
    "node_selector": (f"{_KEY}={_VALUE}", "is not of the form KEY=VALUE"),
    "toleration": (f"{_KEY}(={_VALUE})?(:({_EFFECTS}))?", f"is not of the form KEY[=VALUE][:{_EFFECTS}]"),
}


def _list(knob: Knob, given: Given) -> tuple[str, ...]:
    form, problem = _FORMS[knob.name]
    for item in _items(given):
        if not re.fullmatch(form, item):
            raise _wrong(given, item, problem, knob)
    return tuple(_items(given))


def _sources(knob: Knob, given: Given) -> tuple[str, ...]:
    # Charts in a registry are Helm's to find; everything else is on this machine.
    return tuple(item if item.startswith("oci://") else _path(knob, given, item) for item in _items(given))


def _files(knob: Knob, given: Given) -> tuple[str, ...]:
    return tuple(_file(knob, Given(item, given.source, given.base)) for item in _items(given))


def _images(knob: Knob, given: Given) -> tuple[str, ...]:
    # A name with a path's look is an archive on this machine; everything else is an image that Docker knows.
    looks_like_path = re.compile(r"^(\.{0,2}/|~)|\.(tar|tgz|tar\.gz)$")
    return tuple(_path(knob, given, item) if looks_like_path.search(item) else item for item in _items(given))


def _reports(knob: Knob, given: Given) -> tuple[str, ...]:
    found = []
    for item in _items(given):
        path = (given.base / Path(item).expanduser()).absolute()
        if path.suffix not in (".html", ".json"):
            raise _wrong(given, item, "ends neither in .html nor in .json", knob)
        if path.is_dir():
            raise _wrong(given, item, "is a folder", knob)
        found.append(str(path))
    return tuple(found)


def _gates(knob: Knob, given: Given) -> tuple[str, ...]:
    return tuple(str(_understood(parse_gate, item, given)) for item in _items(given))


def _graces(knob: Knob, given: Given) -> tuple[str, ...]:
    for item in _items(given):
        _understood(lambda pair: Graces().changed([pair]), item, given)
    return tuple(_items(given))


def _understood(parse: Callable[[str], Any], item: str, given: Given) -> Any:
    """A rule says what is wrong with a text; who gave it is known here."""
    try:
        return parse(item)
    except UsageError as error:
        raise UsageError(f"{given.source}: {error.summary}", evidence=error.evidence) from None


_READERS: Mapping[Kind, Callable[[Knob, Given], Any]] = {
    "switch": _switch,
    "choice": _choice,
    "text": _text,
    "duration": _duration,
    "count": _count,
    "quantity": _quantity,
    "file": _file,
    "folder": _folder,
    "list": _list,
    "sources": _sources,
    "files": _files,
    "images": _images,
    "reports": _reports,
    "gates": _gates,
    "graces": _graces,
}


def _check_together(settings: Settings) -> None:
    if settings.context and settings.cluster in ("kind", "embedded"):
        raise UsageError(
            f"--ephemeral-ns-context={settings.context} ({settings.provenance['context']}) does not go with "
            f"--ephemeral-ns-cluster={settings.cluster} ({settings.provenance['cluster']})",
            command=f"pytest --ephemeral-ns --ephemeral-ns-context={settings.context}",
        )


def _shown(name: str, value: object) -> str:
    if BY_NAME[name].kind == "duration":
        return format_duration(float(str(value)))
    if name == "helm_set" and isinstance(value, tuple):
        value = tuple(map(shown_pair, value))
    return ", ".join(value) if isinstance(value, tuple) else str(value)
