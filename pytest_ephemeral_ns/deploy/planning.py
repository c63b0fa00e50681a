"""Sources become a plan: read, rendered, placed, checked; this module must never create anything.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_ephemeral_ns.deploy.charts import POST, PRE, hooks_of, prepare
from pytest_ephemeral_ns.deploy.kinds import Kinds, defined_by
from pytest_ephemeral_ns.deploy.model import TEMPLATE, Chart, Objects, Part, Plan, Release, Request, Source
from pytest_ephemeral_ns.deploy.sources import read_source
from pytest_ephemeral_ns.errors import UsageError
from pytest_ephemeral_ns.rules.manifests import Manifest, labelled, without_repeats
from pytest_ephemeral_ns.rules.outside import settle
from pytest_ephemeral_ns.rules.placement import REFUSE, place, refuse_outside
from pytest_ephemeral_ns.rules.pods import pinned

if TYPE_CHECKING:
    from pytest_ephemeral_ns.kube.discovery import Discovery


def make_plan(sources: Sequence[Source], request: Request, discovery: Discovery | None) -> tuple[Plan, Kinds]:
    """Read and check sources.

    Args:
        sources: what is to be deployed.
        request: how.
        discovery: the server's kinds; ``None`` before there is a server.

    Raises:
        UsageError: a source is wrong.
        ManifestError: what is in it is wrong, of an unknown kind, or outside the namespace.
    """
    if isinstance(sources, str | Path | Mapping | Chart):
        raise UsageError(f"sources is {sources!r}, not a list of sources")
    parts = _numbered(_read(sources, request, discovery))
    kinds = Kinds(discovery, [*everything_in(parts)])
    if discovery:
        kinds.check(manifest for part in parts if isinstance(part, Objects) for manifest in part.manifests)
    if request.cluster_scoped == REFUSE:
        for part in parts:
            if isinstance(part, Release):
                new = [m for m in part.definitions if discovery and not _is_served(m, discovery)]
                refuse_outside((*new, *part.manifests, *part.hooks), request.namespace, kinds.namespaced)
    return _placed(parts, request, kinds), kinds


def _read(sources: Sequence[Source], request: Request, discovery: Discovery | None) -> list[Part]:
    """Return objects and releases in the order of the sources; neighbours that are not charts become one part."""
    parts: list[Part] = []
    for source in sources:
        found = read_source(source, request)
        if isinstance(found, Chart):
            release = prepare(found, request, _capabilities(discovery))
            # Helm has no way to choose nodes for a chart that does not offer it; what we apply ourselves is pinned.
            parts += _rendered(release) if found.mode == TEMPLATE or _has_nodes(request) else [release]
        elif parts and isinstance(parts[-1], Objects) and not parts[-1].release:
            parts[-1] = Objects((*parts[-1].manifests, *found))
        else:
            parts.append(Objects(tuple(found)))
    return parts


def _has_nodes(request: Request) -> bool:
    return bool(request.node_selector or request.tolerations)


def _capabilities(discovery: Discovery | None) -> list[str]:
    """Return what charts may ask for with ``.Capabilities.APIVersions.Has``."""
    if discovery is None:
        return []
    return sorted({name for r in discovery.all() for name in (r.api_version, f"{r.api_version}/{r.kind}")})


def _rendered(release: Release) -> list[Part]:
    """Return a release as objects that we apply: its definitions and hooks are parts of their own."""
    parts = [
        Objects(release.definitions, "", release.name),
        Objects(tuple(hooks_of(release, PRE)), "pre", release.name),
        Objects(release.manifests, "", release.name),
        Objects(tuple(hooks_of(release, POST)), "post", release.name),
    ]
    return [part for part in parts if part.manifests]


def _numbered(parts: Sequence[Part]) -> list[Part]:
    return [
        replace(part, manifests=tuple(replace(m, part=number) for m in part.manifests))
        if isinstance(part, Objects)
        else part
        for number, part in enumerate(parts)
    ]


def everything_in(parts: Iterable[Part]) -> Iterable[Manifest]:
    """Yield every object of a plan, those of releases included."""
    for part in parts:
        yield from part.everything if isinstance(part, Release) else part.manifests


def _is_served(definition: Manifest, discovery: Discovery) -> bool:
    try:
        for resource in defined_by(definition):
            discovery.find(resource.api_version, resource.kind)
    except UsageError:
        return False
    return True


def _placed(parts: Sequence[Part], request: Request, kinds: Kinds) -> Plan:
    """Place the objects of all parts together: a namespace that one of them names is the same in all."""
    placement = place(
        [manifest for part in parts if isinstance(part, Objects) for manifest in part.manifests],
        request.namespace,
        kinds.namespaced,
        cluster_scoped=request.cluster_scoped,
        namespaces=request.namespaces,
    )
    settled, warnings = settle((*placement.inside, *placement.outside), request.namespace)
    # An overlay has given its objects the labels already: with them on all, the same object is the same twice.
    settled = [replace(m, object=labelled(m.object, request.labels)) for m in settled]
    everything = [
        replace(m, object=pinned(m.object, request.node_selector, request.tolerations))
        for m in without_repeats(settled)
    ]
    placed: list[Part] = []
    for number, part in enumerate(parts):
        if isinstance(part, Objects):
            part = replace(part, manifests=tuple(m for m in everything if m.part == number))
        if isinstance(part, Release) or part.manifests:
            placed.append(part)
    return Plan(tuple(placed), (*placement.warnings, *warnings))
