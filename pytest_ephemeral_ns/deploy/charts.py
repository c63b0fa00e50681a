"""Helm charts are checked and rendered; this module must never install one.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pytest_ephemeral_ns.deploy.model import Chart, Release, Request
from pytest_ephemeral_ns.errors import ManifestError, ToolError, UsageError
from pytest_ephemeral_ns.kube.helm_values import read_values
from pytest_ephemeral_ns.rules.helm_set import Pair, assign, secret_leaves
from pytest_ephemeral_ns.rules.manifests import Manifest, manifests_of
from pytest_ephemeral_ns.rules.objects import Object
from pytest_ephemeral_ns.rules.variables import bare_field, fill, fill_pair
from pytest_ephemeral_ns.rules.yaml_dialect import read_documents

HOOK = "helm.sh/hook"
WEIGHT = "helm.sh/hook-weight"
PRE = frozenset({"pre-install", "pre-upgrade"})
POST = frozenset({"post-install", "post-upgrade"})
TESTS = frozenset({"test", "test-success", "test-failure"})
ANY_VERSION = "v1.35.0"  # what templates see before there is a server; Helm's own default may be years old
LONGEST_NAME = 53


def prepare(chart: Chart, request: Request, capabilities: Sequence[str] = ()) -> Release:
    """Check a chart and render it, before anything is created.

    Args:
        chart: its path exists.
        request: values for all charts, and the fields that they may name.
        capabilities: API versions and kinds of the server, for ``.Capabilities.APIVersions``.

    Raises:
        UsageError: a values file does not exist, or the release's name is not valid.
        ManifestError: a library chart, a chart without its dependencies, or one that does not render; has Helm's words.

    Example:
        >>> def name(request):
        ...     return prepare(Chart("deploy/chart"), request).name
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
    found = _render(chart, name, request, capabilities, definitions=False)
    hooks = [manifest for manifest in found if events_of_hook(manifest)]
    return Release(
        chart,
        name,
        tuple(manifest for manifest in found if not events_of_hook(manifest)),
        tuple(manifest for manifest in hooks if not is_test(manifest.object)),
        tuple(_definitions(chart, name, request, capabilities, found)),
    )


def _definitions(
    chart: Chart, name: str, request: Request, capabilities: Sequence[str], without: Sequence[Manifest]
) -> list[Manifest]:
    """Return what the folder ``crds`` adds; charts whose folder has none are not rendered twice."""
    path = Path(chart.chart)
    if path.is_dir() and not any(path.glob("crds/**/*")) and not any(path.glob("charts/**/*")):
        return []
    known = {manifest.ref for manifest in without}
    return [m for m in _render(chart, name, request, capabilities, definitions=True) if m.ref not in known]


def hooks_of(release: Release, events: Collection[str]) -> list[Manifest]:
    """Return the hooks of a release for some events, in the order in which they run.

    Args:
        release: rendered.
        events: ``{"pre-install"}`` …
    """
    found = [manifest for manifest in release.hooks if events_of_hook(manifest) & set(events)]
    return sorted(found, key=lambda m: (int(_annotations(m).get(WEIGHT) or 0), m.ref.kind, m.ref.name))


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
    pairs = tuple(_fill_pair(pair, fields) for pair in (*request.helm_set, *chart.set))
    strings = tuple(_fill_pair(pair, fields) for pair in (*request.helm_set_string, *chart.set_string))
    return replace(chart, values=tuple(_fill_file(value, fields) for value in files), set=pairs, set_string=strings)


def _fill_pair(pair: Pair, fields: Mapping[str, str]) -> Pair:
    if isinstance(pair, str):
        return fill_pair(pair, fields)
    return fill_pair(pair[0], fields), _fill_tree(pair[1], fields)


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
    if bare := bare_field(text, fields):
        raise UsageError(f'values file {value}:{bare[0]}: {{{bare[1]}}} needs quotes: "{{{bare[1]}}}"')
    if fill(text, fields) == text:
        return value
    filled = _fill_tree(read_values(value), fields)
    assert isinstance(filled, dict)
    return filled


def _fill_tree(value: Any, fields: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return fill(value, fields)
    if isinstance(value, Mapping):
        return {key: _fill_tree(entry, fields) for key, entry in value.items()}
    return [_fill_tree(entry, fields) for entry in value] if isinstance(value, list) else value


def _render(
    chart: Chart, name: str, request: Request, capabilities: Sequence[str], *, definitions: bool
) -> list[Manifest]:
    from pytest_ephemeral_ns.kube.helm import helm_template

    where = f"chart {chart.chart}"
    try:
        with own_home(chart) as home:
            text = helm_template(
                name,
                chart.chart,
                namespace=request.namespace,
                timeout=request.timeout,
                values=chart.values,
                set=chart.set,
                set_string=chart.set_string,
                version=chart.version,
                repo=chart.repo,
                kube_version=request.kube_version or ANY_VERSION,
                api_versions=capabilities,
                include_crds=definitions,
                home=home,
                redact=secrets_of(chart),
            )
    except ToolError as error:
        if error.returncode is None:
            raise
        if "chart requires kubeVersion" in error.output and not request.kube_version:
            return []  # only the server can tell
        raise ManifestError(
            f"{where} does not render", evidence=error.evidence, command=_way_out(chart, error)
        ) from error
    return manifests_of(read_documents(text, where), where)


@contextmanager
def own_home(chart: Chart) -> Iterator[Path | None]:
    """Give Helm a folder of its own for a repository's index: parallel runs would write the same file."""
    if not chart.repo:
        yield None
        return
    with TemporaryDirectory(prefix="ephemeral-ns-helm-") as folder:
        yield Path(folder)


def secrets_of(chart: Chart) -> list[str]:
    """Return the values that look secret by their names: they are removed from what Helm says."""
    given: dict[str, Any] = {}
    for pair in chart.set:
        assign(given, pair)
    for pair in chart.set_string:
        assign(given, pair, as_text=True)
    trees = [*map(read_values, chart.values), given]
    return [value for tree in trees for value in secret_leaves(tree) if value]


def is_test(obj: Object) -> bool:
    """Return whether a hook runs only for ``helm test``."""
    events = events_of_hook(Manifest(obj, ""))
    return bool(events) and events <= TESTS


def _annotations(manifest: Manifest) -> Mapping[str, str]:
    return manifest.object["metadata"].get("annotations") or {}


def events_of_hook(manifest: Manifest) -> set[str]:
    """Return when a hook runs, ``"pre-install"`` and so on; empty for what is no hook."""
    return {event.strip() for event in str(_annotations(manifest).get(HOOK) or "").split(",")} - {""}


def _way_out(chart: Chart, error: ToolError) -> str:
    if "dependencies" in error.output or "dependency" in error.output:
        return f"helm dependency build {chart.chart}"
    return f"helm template {chart.chart} --debug"
