"""What can be deployed, how, and what came of it, as values; this module must never touch a file or a cluster.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_ephemeral_ns.errors import UsageError
from pytest_ephemeral_ns.rules.helm_set import Pair
from pytest_ephemeral_ns.rules.manifests import Manifest
from pytest_ephemeral_ns.rules.objects import Ref
from pytest_ephemeral_ns.rules.placement import REFUSE

CREATED = "created"
CONFIGURED = "configured"
UNCHANGED = "unchanged"

Values = str | Path | Mapping[str, Any]
"""A values file, or values themselves."""

INSTALL = "install"
TEMPLATE = "template"


@dataclass(frozen=True)
class Chart:
    """A Helm chart with what belongs to it, for a list of sources.

    Args:
        chart: folder, archive, ``oci://`` reference, URL of an archive, ``NAME/CHART`` of a repository that Helm knows,
            or a chart's name when ``repo`` is given.
        release: its name; default: the chart's name.
        values: values files, or values as a mapping; later ones win.
        set: ``KEY=VALUE`` pairs as ``--set`` takes them, or keys with the value that they get; never an argument that
            others on this machine could see.
        set_string: the same, kept as strings.
        version: of the chart, for repositories and registries.
        repo: URL of the chart's repository.
        mode: ``"install"`` for ``helm upgrade --install``, ``"template"`` to render it and apply the objects ourselves.

    Example:
        >>> Chart("deploy/chart", set=("image.tag={commit}",)).mode
        'install'
    """

    chart: str | Path
    release: str = ""
    values: tuple[Values, ...] = ()
    set: tuple[Pair, ...] = ()
    set_string: tuple[Pair, ...] = ()
    version: str = ""
    repo: str = ""
    mode: str = INSTALL

    def __post_init__(self) -> None:
        if self.mode not in (INSTALL, TEMPLATE):
            raise UsageError(f"mode is {self.mode!r}, not {INSTALL!r} or {TEMPLATE!r}")


def chart_of(
    chart: str | Path,
    release: str | None = None,
    values: Values | Sequence[Values] | None = None,
    set: Mapping[str, Any] | Sequence[str] | None = None,
    set_string: Mapping[str, Any] | Sequence[str] | None = None,
    **more: str,
) -> Chart:
    """Return a chart from what a test writes.

    Args:
        chart: see :class:`~pytest_ephemeral_ns.deploy.model.Chart`.
        release: its name.
        values: one file or mapping, or several.
        set: ``KEY=VALUE`` pairs, or a mapping of keys: text is read as ``--set`` reads it, anything else is kept.
        set_string: the same for ``--set-string``.
        more: ``version``, ``repo``, ``mode``.

    Example:
        >>> chart_of("c", set={"tag": "7", "hosts": ["a", "b"], "debug": True}).set
        ('tag=7', ('hosts', ['a', 'b']), 'debug=true')
    """
    given = [values] if isinstance(values, str | Path | Mapping) else [*(values or ())]
    return Chart(chart, release or "", tuple(given), _pairs(set), _pairs(set_string), **more)


def _pairs(given: Mapping[str, Any] | Sequence[str] | None) -> tuple[Pair, ...]:
    if isinstance(given, Mapping):
        return tuple(_pair(key, value) for key, value in given.items())
    return (given,) if isinstance(given, str) else tuple(given or ())


def _pair(key: str, value: Any) -> Pair:
    if isinstance(value, str):
        return f"{key}={value}"
    # bool is an int: true, false, null and whole numbers are what --set knows besides text.
    return f"{key}={json.dumps(value)}" if value is None or isinstance(value, int) else (key, value)


Source = str | Path | Mapping[str, Any] | Chart
"""A path (file, folder, kustomization, chart), a chart's reference, one object, or a :class:`Chart`."""


@dataclass(frozen=True)
class Request:
    """How sources are read and placed.

    Args:
        namespace: the ephemeral one.
        base_dir: what relative paths are relative to.
        variables: replaced in manifests as ``${NAME}``; ``None`` replaces nothing.
        fields: identity fields and handles, by name in lower case: ``{commit}`` in Helm values, and ``${COMMIT}``.
        helm_values: values files for every chart.
        helm_set: ``KEY=VALUE`` pairs for every chart.
        helm_set_string: the same, kept as strings.
        release: name of the release, when there is one chart.
        cluster_scoped: see :func:`pytest_ephemeral_ns.rules.placement.place`.
        namespaces: see :func:`pytest_ephemeral_ns.rules.placement.place`.
        timeout: seconds for one rendering.
        kube_version: the server's; empty before there is one.
        node_selector: labels of the nodes for all pods; with it, or tolerations, charts are rendered and applied by us.
        tolerations: for all pods.
        labels: put on every object that we apply.
    """

    namespace: str
    base_dir: Path
    variables: Mapping[str, str] | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    helm_values: Sequence[Values] = ()
    helm_set: Sequence[Pair] = ()
    helm_set_string: Sequence[Pair] = ()
    release: str = ""
    cluster_scoped: str = REFUSE
    namespaces: Mapping[str, str | None] | None = None
    timeout: float = 60.0
    kube_version: str = ""
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: Sequence[Mapping[str, Any]] = ()
    labels: Mapping[str, str] = field(default_factory=dict)

    def known_variables(self) -> dict[str, str]:
        """Return every variable by name: the identity's, the namespace, and those that were given."""
        identity = {name.upper(): str(value) for name, value in self.fields.items()}
        given = {name: str(value) for name, value in (self.variables or {}).items()}
        return {**identity, "NAMESPACE": self.namespace, **given}

    def known_fields(self) -> dict[str, str]:
        """Return every field that a Helm value may name in braces."""
        return {**{name: str(value) for name, value in self.fields.items()}, "namespace": self.namespace}


@dataclass(frozen=True)
class Release:
    """A chart that is ready to be installed, with what it renders to.

    Args:
        chart: with its paths resolved and the fields of its values filled in.
        name: of the release.
        manifests: what it renders to, hooks left out.
        hooks: its hooks, tests left out.
        definitions: the CustomResourceDefinitions of its ``crds`` folder, which Helm makes once and then leaves alone.
    """

    chart: Chart
    name: str
    manifests: tuple[Manifest, ...]
    hooks: tuple[Manifest, ...] = ()
    definitions: tuple[Manifest, ...] = ()

    @property
    def everything(self) -> tuple[Manifest, ...]:
        """Return every object that installing it makes."""
        return (*self.definitions, *self.manifests, *self.hooks)


@dataclass(frozen=True)
class Objects:
    """Objects that are applied together.

    Args:
        manifests: the objects.
        hook: ``"pre"`` or ``"post"`` for the hooks of the release that is rendered into the objects next to them.
        release: whose they are; empty for objects of no chart.
    """

    manifests: tuple[Manifest, ...]
    hook: str = ""
    release: str = ""


Part = Objects | Release
"""Objects that are applied together, or a release."""


@dataclass(frozen=True)
class Tracked:
    """Something outside the namespace that this deploy made.

    Args:
        ref: with its UID: another object of the same name is not ours.
        path: of the object on the API server.
        shared: whether namespaces of the same run use it together; the last one removes it.
        home: the ephemeral namespace that it belongs to; empty when it is shared.
    """

    ref: Ref
    path: str
    shared: bool = False
    home: str = ""


@dataclass(frozen=True)
class Plan:
    """Sources that were read and checked.

    Args:
        parts: in the order of the sources; neighbours that are not charts are one part.
        warnings: what is worth knowing and is no error.
    """

    parts: tuple[Part, ...]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Deployed:
    """What came of a deploy.

    Args:
        refs: everything that was applied, in order, with UIDs.
        actions: what happened to each: ``"created"``, ``"configured"`` or ``"unchanged"``.
        releases: names of the Helm releases.
        warnings: the API server's warnings, and what was left out.
        tracked: what was made outside the namespace, for :func:`remove_cluster_scoped`.
    """

    refs: tuple[Ref, ...]
    actions: Mapping[Ref, str] = field(default_factory=dict)
    releases: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    tracked: tuple[Tracked, ...] = ()
