"""Helm charts are checked, rendered and installed; this module must never wait until anything is ready.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_ephemeral_ns.deploy.model import TEMPLATE, Chart, Release, Request
from pytest_ephemeral_ns.errors import DeployError, ManifestError, ToolError, UsageError
from pytest_ephemeral_ns.rules.manifests import Manifest, manifests_of
from pytest_ephemeral_ns.rules.variables import fill
from pytest_ephemeral_ns.rules.yaml_dialect import read_documents

if TYPE_CHECKING:
    from pytest_ephemeral_ns.deadline import Deadline

HOOK = "helm.sh/hook"
ANY_VERSION = "v1.35.0"  # what templates see before there is a server; Helm's own default may be years old
LONGEST_NAME = 53


def prepare(chart: Chart, request: Request) -> Release:
    """Check a chart and render it, before anything is created.

    Args:
        chart: its path exists.
        request: values for all charts, and the fields that they may name.

    Raises:
        UsageError: a values file does not exist, or the release's name is not valid.
        ManifestError: a library chart, a chart without its dependencies, or one that does not render; has Helm's words.
    """
    about = _about(chart)
    if about.get("type") == "library":
        raise ManifestError(
            f"chart {chart.chart} is a library chart: other charts use its templates, it cannot be installed",
            command="deploy the chart that depends on it",
        )
    chart = _filled(chart, request)
    name = chart.release or request.release or _name(chart, about)
    if len(name) > LONGEST_NAME:
        raise UsageError(f"release name {name} has {len(name)} characters; Helm allows {LONGEST_NAME}")
    return Release(chart, name, tuple(_render(chart, name, request)))


def _about(chart: Chart) -> Mapping[str, Any]:
    """Return what Chart.yaml says; empty for charts that are not a folder: Helm reads those."""
    path = Path(chart.chart) / "Chart.yaml"
    if chart.repo or not path.is_file():
        return {}
    documents = read_documents(path.read_text(encoding="utf-8-sig"), str(path))
    value = documents[0].value if documents else None
    return value if isinstance(value, dict) else {}


def _name(chart: Chart, about: Mapping[str, Any]) -> str:
    if about.get("name"):
        return str(about["name"])
    # shop-1.2.3.tgz and oci://registry/charts/shop are named by their last part.
    last = str(chart.chart).rstrip("/").rpartition("/")[2].removesuffix(".tgz").removesuffix(".tar.gz")
    name, _, version = last.rpartition("-")
    return name if name and version[:1].isdigit() else last.partition(":")[0]


def _filled(chart: Chart, request: Request) -> Chart:
    fields = request.known_fields()
    files = [_values(value, request.base_dir) for value in (*request.helm_values, *chart.values)]
    pairs = tuple(fill(pair, fields) for pair in (*request.helm_set, *chart.set))
    strings = tuple(fill(pair, fields) for pair in (*request.helm_set_string, *chart.set_string))
    return replace(chart, values=tuple(_fill_file(value, fields) for value in files), set=pairs, set_string=strings)


def _values(value: str | Path | Mapping[str, Any], base_dir: Path) -> Path | Mapping[str, Any]:
    if isinstance(value, Mapping):
        return value
    path = base_dir / Path(value).expanduser()
    if not path.is_file():
        raise UsageError(f"values file {value} does not exist", evidence=[f"looked for {path}"])
    return path


def _fill_file(value: Path | Mapping[str, Any], fields: Mapping[str, str]) -> Path | Mapping[str, Any]:
    """Return the values with fields filled in; a file that names none is left to Helm."""
    if isinstance(value, Mapping):
        filled = _fill_tree(value, fields)
        assert isinstance(filled, dict)
        return filled
    text = value.read_text(encoding="utf-8-sig")
    if fill(text, fields) == text:
        return value
    documents = read_documents(text, str(value))
    filled = _fill_tree(documents[0].value if documents else {}, fields)
    return filled if isinstance(filled, dict) else value


def _fill_tree(value: Any, fields: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return fill(value, fields)
    if isinstance(value, Mapping):
        return {key: _fill_tree(entry, fields) for key, entry in value.items()}
    return [_fill_tree(entry, fields) for entry in value] if isinstance(value, list) else value


def _render(chart: Chart, name: str, request: Request) -> list[Manifest]:
    from pytest_ephemeral_ns.kube.helm import helm_template

    where = f"chart {chart.chart}"
    try:
        text = helm_template(
            name,
            chart.chart,
            namespace=request.namespace,
            timeout=request.timeout,
            values=chart.values,
            set=chart.set,
            set_string=chart.set_string,
            kube_version=request.kube_version or ANY_VERSION,
        )
    except ToolError as error:
        if error.returncode is None:
            raise
        if "chart requires kubeVersion" in error.output and not request.kube_version:
            return []  # only the server can tell
        raise ManifestError(
            f"{where} does not render", evidence=error.evidence, command=_way_out(chart, error)
        ) from error
    found = manifests_of(read_documents(text, where), where)
    return [manifest for manifest in found if chart.mode == TEMPLATE or not _hooks(manifest)]


def _hooks(manifest: Manifest) -> str:
    return str((manifest.object["metadata"].get("annotations") or {}).get(HOOK) or "")


def _way_out(chart: Chart, error: ToolError) -> str:
    if "dependencies" in error.output or "dependency" in error.output:
        return f"helm dependency build {chart.chart}"
    return f"helm template {chart.chart} --debug"


def install(release: Release, namespace: str, kubeconfig: Path, deadline: Deadline) -> tuple[list[Manifest], list[str]]:
    """Install a chart, or upgrade its release; hooks run, nothing else is awaited.

    Returns:
        The objects of the release, hooks left out, and warnings.

    Raises:
        DeployError: Helm failed; has its words.
    """
    from pytest_ephemeral_ns.kube.helm import helm_upgrade_install

    chart, warnings = release.chart, list[str]()
    try:
        done = helm_upgrade_install(
            release.name,
            chart.chart,
            namespace=namespace,
            kubeconfig=kubeconfig,
            timeout=max(1.0, deadline.remaining()),
            values=chart.values,
            set=chart.set,
            set_string=chart.set_string,
            version=chart.version,
            repo=chart.repo,
            on_recovery=warnings.append,
        )
    except ToolError as error:
        if error.returncode is None:
            raise
        raise DeployError(
            f"release {release.name} of chart {chart.chart} failed",
            evidence=error.evidence,
            command=f"helm history {release.name} --namespace {namespace}",
        ) from error
    where = f"release {release.name}"
    return manifests_of(read_documents(done.manifest, where), where), warnings
