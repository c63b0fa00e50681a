"""Kubeconfig files, found, read and merged by kubectl's own rules; this module must never read a credential.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from pytest_ephemeral_ns.errors import ClusterError, UsageError

B64_VARIABLE = "EPHEMERAL_NS_KUBECONFIG_B64"
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_KINDS = ("contexts", "clusters", "users")


@dataclass(frozen=True)
class Entry:
    """One named context, cluster or user.

    Args:
        name: its name.
        value: what the file says about it; repr leaves it out, because a user's holds credentials.
        file: the file that it stands in; ``""`` for a kubeconfig that came in a variable.
    """

    name: str
    value: Mapping[str, Any] = field(repr=False)
    file: str = ""

    def path(self, relative: str) -> Path:
        """Return a path of this entry as kubectl resolves it: relative to the file that it stands in."""
        return Path(os.path.dirname(os.path.abspath(self.file)) if self.file else os.getcwd()) / relative


@dataclass(frozen=True)
class Config:
    """What kubectl would use: one file, several merged, or the service account of the pod that we run in.

    Args:
        source: where it came from, in words for messages.
        files: the files that were read, in kubectl's order; empty when it came in a variable or from a pod.
        current_context: ``""`` when none is set.
        contexts: by name.
        clusters: by name.
        users: by name.
        in_cluster: the API server as seen from inside a pod; ``""`` when this is a kubeconfig.
        named: whether the user gave this kubeconfig to us, by option or variable, and not to kubectl.
    """

    source: str
    files: tuple[str, ...] = ()
    current_context: str = ""
    contexts: Mapping[str, Entry] = field(default_factory=dict)
    clusters: Mapping[str, Entry] = field(default_factory=dict)
    users: Mapping[str, Entry] = field(default_factory=dict)
    in_cluster: str = ""
    named: bool = False


def load_config(
    kubeconfig: str | os.PathLike[str] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    b64: str | None = None,
) -> Config:
    """Find, read and merge the kubeconfig, as kubectl does.

    The first of these that is there: ``kubeconfig``, ``b64``, the files of ``KUBECONFIG``, ``~/.kube/config``, the
    service account of our pod. Of several files in ``KUBECONFIG``, missing ones are skipped and the first to set a
    context, cluster, user or the current context wins, with all of that entry (client-go, ``clientcmd/loader.go``).

    Args:
        kubeconfig: one file, which must exist.
        environ: the environment; ours if ``None``.
        b64: a whole kubeconfig in base64, white space allowed; ``EPHEMERAL_NS_KUBECONFIG_B64`` if ``None``.

    Returns:
        The merged kubeconfig; no credential of it has been read.

    Raises:
        UsageError: a file or the variable cannot be read or is not a kubeconfig; names the file and line.
        ClusterError: there is none at all, or only empty ones; says what was looked at.

    Example:
        >>> load_config("/home/me/.kube/config").current_context  # doctest: +SKIP
        'kind-shop'
    """
    environ = os.environ if environ is None else environ
    b64 = environ.get(B64_VARIABLE, "") if b64 is None else b64
    if kubeconfig:
        return _from_files([_existing(kubeconfig)], source=str(kubeconfig), named=True)
    if b64.strip():
        return _merge([(_parse(_decode(b64), B64_VARIABLE), "")], source=B64_VARIABLE, named=True)
    listed = environ.get("KUBECONFIG", "")
    paths = _listed(listed) if listed else [os.path.join(environ.get("HOME") or str(Path.home()), ".kube", "config")]
    present = [path for path in paths if os.path.lexists(path) and not _dangling(path)]
    config = _from_files(present, source=os.pathsep.join(paths), named=False) if present else None
    if config and (config.contexts or config.clusters or config.users or config.current_context):
        return config
    return _in_cluster(environ) or _nothing(listed, paths, empty=present, environ=environ)


def read_files(files: Iterable[str]) -> Config:
    """Read the files of an earlier :func:`load_config` again, because a credential in them may be a new one."""
    paths = list(files)
    return _from_files(paths, source=os.pathsep.join(paths), named=False)


def text(value: Mapping[str, Any], key: str) -> str:
    """Return a field of an entry as text; ``""`` when it is absent or null."""
    found = value.get(key)
    if found is None or isinstance(found, (dict, list)):
        return ""
    return ("true" if found else "false") if isinstance(found, bool) else str(found)


# Finding.


def _existing(kubeconfig: str | os.PathLike[str]) -> str:
    path = os.path.expanduser(os.fspath(kubeconfig))
    if not os.path.exists(path):
        raise UsageError(
            f"kubeconfig {path} does not exist",
            evidence=["it was named by --ephemeral-ns-kubeconfig, EPHEMERAL_NS_KUBECONFIG or ephemeral_ns_kubeconfig"],
            command=f"ls -l {path}",
        )
    return path


def _listed(variable: str) -> list[str]:
    return list(dict.fromkeys(part for part in variable.split(os.pathsep) if part))


def _dangling(path: str) -> bool:
    return os.path.islink(path) and not os.path.exists(path)


def _in_cluster(environ: Mapping[str, str]) -> Config | None:
    host, port = environ.get("KUBERNETES_SERVICE_HOST", ""), environ.get("KUBERNETES_SERVICE_PORT", "")
    if not host or not port or not (SERVICE_ACCOUNT / "token").is_file():
        return None
    host = f"[{host}]" if ":" in host else host
    return Config(source="the service account of this pod", in_cluster=f"https://{host}:{port}")


def _nothing(listed: str, paths: list[str], *, empty: list[str], environ: Mapping[str, str]) -> Config:
    looked = [f"{path} {'is empty' if path in empty else 'does not exist'}" for path in paths]
    if not listed:
        looked.insert(0, "KUBECONFIG is not set")
    in_pod = bool(environ.get("KUBERNETES_SERVICE_HOST"))
    looked.append(f"{SERVICE_ACCOUNT / 'token'} does not exist" if in_pod else "this is not a pod of a cluster")
    raise ClusterError(
        "kubeconfig is empty: it names no cluster" if empty else "no kubeconfig was found",
        evidence=looked,
        command="--ephemeral-ns-kubeconfig=FILE, or a cluster of your own: --ephemeral-ns-cluster=embedded",
    )


# Reading.


def _decode(b64: str) -> bytes:
    try:
        return base64.b64decode("".join(b64.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        plain = "apiVersion" in b64 or "clusters" in b64
        raise UsageError(
            f"{B64_VARIABLE} is not base64{': it holds a kubeconfig as plain text' if plain else ''}",
            evidence=[] if plain else [str(error)],
            command="base64 -w0 < KUBECONFIG",
        ) from None


def _from_files(paths: list[str], *, source: str, named: bool) -> Config:
    return _merge([(_parse(_read(path), path), path) for path in paths], source=source, named=named)


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UsageError(
            f"kubeconfig {path} cannot be read: {error.strerror or error}", command=f"ls -l {path}"
        ) from error


def _parse(content: bytes, where: str) -> dict[str, Any]:
    import yaml

    try:
        value = yaml.load(content, Loader=_loader())  # noqa: S506 (the loader knows only plain values)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UsageError(
            f"kubeconfig {where}{line}: syntax error: {error.problem or error.context}",
            command=f"kubectl config view --kubeconfig {where}" if where != B64_VARIABLE else None,
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"kubeconfig {where} is not YAML text", evidence=[str(error).splitlines()[0]]) from None
    if value is None:
        return {}
    if not isinstance(value, dict) or value.get("kind", "Config") not in ("Config", "", None):
        what = f"a {value['kind']}" if isinstance(value, dict) else f"a {type(value).__name__}"
        raise UsageError(f"kubeconfig {where} is not a kubeconfig: it holds {what}")
    return value


def _loader() -> Any:
    """Return a YAML loader that leaves numbers and dates as they are written, as every field here is text or a flag."""
    import re

    import yaml

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}

    Loader.add_implicit_resolver(
        "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
    )
    Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""])
    return Loader


def _merge(parsed: list[tuple[dict[str, Any], str]], *, source: str, named: bool) -> Config:
    merged: dict[str, dict[str, Entry]] = {kind: {} for kind in _KINDS}
    current = ""
    for value, file in parsed:
        for kind in _KINDS:
            for name, entry in _entries(value, kind, file).items():
                merged[kind].setdefault(name, entry)
        current = current or text(value, "current-context")
    files = tuple(os.path.abspath(file) for _, file in parsed if file)
    return Config(source, files, current, merged["contexts"], merged["clusters"], merged["users"], named=named)


def _entries(value: Mapping[str, Any], kind: str, file: str) -> dict[str, Entry]:
    where = f"kubeconfig {file or B64_VARIABLE}"
    listed = value.get(kind) or []
    if not isinstance(listed, list):
        raise UsageError(f"{where}: {kind} is not a list")
    found: dict[str, Entry] = {}
    for index, item in enumerate(listed):
        singular = kind[:-1]
        name = text(item, "name") if isinstance(item, dict) else ""
        if not name:
            raise UsageError(f"{where}: {kind}[{index}] has no name")
        if name in found:
            raise UsageError(f"{where}: {singular} {name} is there twice")
        inner = item.get(singular)
        if not isinstance(inner, (dict, type(None))):
            raise UsageError(f"{where}: {singular} {name} is not a mapping")
        found[name] = Entry(name, inner or {}, file)
    return found
