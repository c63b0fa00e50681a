"""Sources are told apart by what is inside, and read; this module must never ask a cluster.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pytest_ephemeral_ns.deploy.model import Chart, Request, Source
from pytest_ephemeral_ns.errors import ManifestError, UsageError
from pytest_ephemeral_ns.rules.manifests import Manifest, manifests_of
from pytest_ephemeral_ns.rules.variables import substitute, substitute_in
from pytest_ephemeral_ns.rules.yaml_dialect import Document, read_documents

MANIFEST_SUFFIXES = (".yaml", ".yml", ".json")
KUSTOMIZATIONS = ("kustomization.yaml", "kustomization.yml", "Kustomization")
CHART_FILE = "Chart.yaml"
ARCHIVES = (".tgz", ".tar.gz")
_OF_A_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_PASSWORD = re.compile(r"[a-z]+://[^/@]*:[^/@]*@")


def read_source(source: Source, request: Request) -> Chart | list[Manifest]:
    """Return the objects of a source, or the chart that it is.

    Args:
        source: see :data:`~pytest_ephemeral_ns.deploy.model.Source`.
        request: how to read it.

    Raises:
        UsageError: the path does not exist, or nothing that can be deployed is in it.
        ManifestError: a manifest is wrong, or a kustomization does not build.
    """
    if isinstance(source, Chart):
        return replace(source, chart=_chart_path(source, request.base_dir))
    if isinstance(source, Mapping):
        return _given(source)
    if not isinstance(source, str | Path):
        raise UsageError(f"{source!r} cannot be deployed: not a path, an object or a Chart")
    if _is_remote_chart(str(source)):
        return Chart(str(source))
    path = request.base_dir / Path(source).expanduser()
    if not path.exists():
        remote = (
            ["manifests are not fetched from the network: a kustomization may name them"]
            if "://" in str(source)
            else []
        )
        raise UsageError(f"{source} does not exist", evidence=remote or [f"looked for {path}"])
    return _read_folder(path, str(source), request) if path.is_dir() else _read_path(path, str(source), request)


def _is_remote_chart(source: str) -> bool:
    return source.startswith("oci://") or (source.startswith(("https://", "http://")) and source.endswith(ARCHIVES))


def _chart_path(chart: Chart, base_dir: Path) -> str | Path:
    for url in filter(_PASSWORD.match, (chart.repo, str(chart.chart))):
        raise UsageError(
            f"{url.partition('://')[0]}://…@{url.rpartition('@')[2]} has a password in it",
            evidence=["every user of this machine would see it among Helm's arguments"],
            command="helm repo add NAME URL --username USER --password-stdin, then name the chart NAME/CHART",
        )
    if chart.repo or _is_remote_chart(str(chart.chart)):
        return chart.chart
    path = base_dir / Path(chart.chart).expanduser()
    if not path.exists():
        if _OF_A_REPOSITORY.fullmatch(str(chart.chart)) and not path.parent.exists():
            return chart.chart  # Helm knows its repositories
        raise UsageError(f"chart {chart.chart} does not exist", evidence=[f"looked for {path}"])
    if path.is_dir() and not (path / CHART_FILE).is_file():
        raise UsageError(f"{chart.chart} is not a chart: it has no {CHART_FILE}")
    return path


def _given(source: Mapping[str, Any]) -> list[Manifest]:
    found = manifests_of([Document(copy.deepcopy(dict(source)), 1, 0)], "object")
    return [replace(manifest, where="given as an object") for manifest in found]


def _read_path(path: Path, name: str, request: Request) -> Chart | list[Manifest]:
    if path.name == CHART_FILE:
        return Chart(path.parent)
    if path.name in KUSTOMIZATIONS:
        return _kustomization(path, str(Path(name).parent), request)
    if path.name.endswith(ARCHIVES):
        return Chart(path)
    found = read_file(path, name, request)
    if not found:
        raise UsageError(f"{name} holds no object")
    return found


def _read_folder(path: Path, name: str, request: Request) -> Chart | list[Manifest]:
    is_chart = (path / CHART_FILE).is_file()
    kustomization = next((entry for entry in KUSTOMIZATIONS if (path / entry).is_file()), None)
    if is_chart and kustomization:
        raise UsageError(
            f"{name} is a chart and a kustomization",
            command=f"name the one: {name}/{CHART_FILE} or {name}/{kustomization}",
        )
    if is_chart:
        return Chart(path)
    if kustomization:
        return _kustomization(path / kustomization, name, request)
    files = sorted(entry for entry in path.iterdir() if entry.is_file() and entry.suffix in MANIFEST_SUFFIXES)
    found = [manifest for file in files for manifest in read_file(file, f"{name.rstrip('/')}/{file.name}", request)]
    if not found:
        raise _nothing_in(path, name, files)
    return found


def _nothing_in(path: Path, name: str, files: Sequence[Path]) -> UsageError:
    folders = sorted(entry.name for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    looked = f"its {', '.join(f.name for f in files)} hold no object" if files else "no .yaml, .yml or .json in it"
    below = [f"sub-folders are not searched; name the ones that you mean: {', '.join(folders)}"] if folders else []
    return UsageError(f"{name}: nothing to deploy", evidence=[looked, *below])


def _kustomization(file: Path, name: str, request: Request) -> list[Manifest]:
    from pytest_ephemeral_ns.deploy.overlay import render

    text, placed = render(file, request.namespace, request.labels, request.timeout)
    called = f"kustomization {name}"
    known = request.known_variables()
    found: list[Manifest] = []
    for document in read_documents(text, called):
        # Before variables are replaced: a namespace that is written as one is written.
        unwritten = placed and _namespace_in(document.value) == request.namespace
        if request.variables is not None:
            document = replace(document, value=substitute_in(document.value, known, called))
        found += [replace(m, unwritten=unwritten) for m in manifests_of([document], called)]
    if not found:
        raise UsageError(f"{called} builds to nothing")
    return found


def _namespace_in(value: Any) -> Any:
    metadata = value.get("metadata") if isinstance(value, dict) else None
    return metadata.get("namespace") if isinstance(metadata, dict) else None


def read_file(path: Path, name: str, request: Request) -> list[Manifest]:
    """Return the objects of one file, variables replaced.

    Raises:
        ManifestError: it cannot be read, or is wrong; names document and line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ManifestError(f"{name} is not UTF-8 text", evidence=[str(error)]) from None
    except OSError as error:
        raise ManifestError(f"{name} cannot be read: {error.strerror}") from error
    return parse(text, name, request)


def parse(text: str, name: str, request: Request) -> list[Manifest]:
    """Return the objects of a text, variables replaced if any were asked for."""
    if request.variables is not None:
        text = substitute(text, request.known_variables(), name)
    return manifests_of(read_documents(text, name), name)
