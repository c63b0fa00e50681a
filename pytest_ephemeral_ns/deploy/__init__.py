"""DEPLOY: sources become objects in one namespace; this module must never wait until they are ready.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_ephemeral_ns.deploy.copies import attach_pull_secrets, copy_config_map, copy_secret
from pytest_ephemeral_ns.deploy.model import (
    TEMPLATE,
    Chart,
    Deployed,
    Part,
    Plan,
    Release,
    Request,
    Source,
    Tracked,
)
from pytest_ephemeral_ns.deploy.outside import find_outside, remove_cluster_scoped
from pytest_ephemeral_ns.errors import UsageError
from pytest_ephemeral_ns.rules.manifests import without_repeats
from pytest_ephemeral_ns.rules.objects import Ref
from pytest_ephemeral_ns.rules.outside import settle
from pytest_ephemeral_ns.rules.placement import REFUSE, place, refuse_outside

if TYPE_CHECKING:
    from pytest_ephemeral_ns.deadline import Deadline
    from pytest_ephemeral_ns.deploy.kinds import Kinds
    from pytest_ephemeral_ns.kube.api import Api
    from pytest_ephemeral_ns.kube.discovery import Discovery

__all__ = [
    "Chart",
    "Deployed",
    "Plan",
    "Source",
    "Tracked",
    "attach_pull_secrets",
    "copy_config_map",
    "copy_secret",
    "deploy",
    "find_outside",
    "plan",
    "remove_cluster_scoped",
]

SOMEWHERE = "ephemeral"


def plan(sources: Sequence[Source], *, base_dir: Path | None = None, **how: Any) -> Plan:
    """Read and check everything that can be checked without a cluster.

    Args:
        sources: what would be deployed.
        base_dir: what relative paths are relative to; default: the working directory.
        how: fields of :class:`~pytest_ephemeral_ns.deploy.model.Request`.

    Returns:
        What would be applied, kinds that only a cluster knows taken as namespaced.

    Raises:
        UsageError: a path does not exist, nothing is in it, an option is wrong.
        ManifestError: a manifest, kustomization or chart cannot be read, or would touch something outside.

    Example:
        >>> plan([{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}]).warnings
        ()
    """
    request = Request(**{"namespace": SOMEWHERE, **how}, base_dir=base_dir or Path.cwd())
    return _plan(sources, request, None)[0]


def deploy(
    api: Api,
    namespace: str,
    sources: Sequence[Source],
    *,
    deadline: Deadline,
    kubeconfig: Callable[[], Path],
    labels: Mapping[str, str] | None = None,
    base_dir: Path | None = None,
    discovery: Discovery | None = None,
    force_conflicts: bool = False,
    on_progress: Callable[[str], None] | None = None,
    on_tracked: Callable[[Tracked], None] | None = None,
    **how: Any,
) -> Deployed:
    """Deploy sources into a namespace: all or nothing is read and checked first, then applied in stages.

    Args:
        api: the server.
        namespace: which exists.
        sources: paths, objects and charts.
        deadline: for everything.
        kubeconfig: returns the path of one for Helm; asked only when there is a chart.
        labels: put on every object; objects of charts are Helm's and stay as they are.
        base_dir: what relative paths are relative to; default: the working directory.
        discovery: the server's kinds, when somebody knows them already.
        force_conflicts: whether fields that other managers own are taken over.
        on_progress: called with one line now and then.
        on_tracked: called with everything that was made outside the namespace, also when the deploy fails later.
        how: fields of :class:`~pytest_ephemeral_ns.deploy.model.Request`: ``variables``, ``helm_values``,
            ``helm_set``, ``release``, ``cluster_scoped``, ``namespaces`` …

    Returns:
        What was applied, and what happened to each object.

    Raises:
        UsageError: a source is wrong; nothing was created.
        ManifestError: the same, for what is inside it.
        DeployError: the API server or Helm refused something; lists what was created before.

    Example:
        >>> def example(api, deadline, kubeconfig):
        ...     return deploy(api, "shop-gw0", ["k8s/"], deadline=deadline, kubeconfig=lambda: kubeconfig).refs
    """
    from pytest_ephemeral_ns.deploy.apply import Applier, Manner
    from pytest_ephemeral_ns.kube.discovery import Discovery

    tracked: list[Tracked] = []

    def track(thing: Tracked) -> None:
        if thing not in tracked:
            tracked.append(thing)
            if on_tracked:
                on_tracked(thing)

    server = str(api.version().get("gitVersion") or "")
    request = Request(**how, namespace=namespace, base_dir=base_dir or Path.cwd(), kube_version=server)
    planned, kinds = _plan(sources, request, discovery or Discovery(api))
    say = on_progress or (lambda line: None)
    applier = Applier(api, kinds, Manner(namespace, deadline, labels or {}, force_conflicts, say, track))
    refs, releases, warnings = list[Ref](), list[str](), [*planned.warnings]
    for part in planned.parts:
        if isinstance(part, Release):
            say(f"installing release {part.name}")
            found, more = _install(part, request, kinds, kubeconfig, deadline)
            releases.append(part.name)
            refs += found
            warnings += more
        else:
            refs += applier.run(part)
    return Deployed(tuple(refs), applier.actions, tuple(releases), (*warnings, *applier.warnings), tuple(tracked))


def _install(
    release: Release, request: Request, kinds: Kinds, kubeconfig: Callable[[], Path], deadline: Deadline
) -> tuple[list[Ref], list[str]]:
    from pytest_ephemeral_ns.deploy.charts import install

    manifests, warnings = install(release, request.namespace, kubeconfig(), deadline)
    refs = []
    for ref in (manifest.ref for manifest in manifests):
        namespaced = kinds.namespaced(ref.api_version, ref.kind)
        refs.append(replace(ref, namespace=(ref.namespace or request.namespace) if namespaced else ""))
    return refs, warnings


def _plan(sources: Sequence[Source], request: Request, discovery: Discovery | None) -> tuple[Plan, Kinds]:
    from pytest_ephemeral_ns.deploy.kinds import Kinds

    if isinstance(sources, str | Path | Mapping | Chart):
        raise UsageError(f"sources is {sources!r}, not a list of sources")
    parts = _read(sources, request)
    manifests = [m for part in parts for m in (part.manifests if isinstance(part, Release) else part)]
    kinds = Kinds(discovery, manifests)
    if discovery:
        kinds.check(m for part in parts if not isinstance(part, Release) for m in part)
    return _placed(parts, request, kinds), kinds


def _read(sources: Sequence[Source], request: Request) -> list[Part]:
    """Return objects and releases in the order of the sources; neighbours that are not charts become one part."""
    from pytest_ephemeral_ns.deploy.charts import prepare
    from pytest_ephemeral_ns.deploy.sources import read_source

    parts: list[Part] = []
    for source in sources:
        found = read_source(source, request)
        if isinstance(found, Chart):
            release = prepare(found, request)
            if found.mode != TEMPLATE:
                parts.append(release)
                continue
            found = list(release.manifests)
        if parts and not isinstance(parts[-1], Release):
            found = [*parts.pop(), *found]  # type: ignore[misc]
        parts.append(tuple(replace(manifest, part=len(parts)) for manifest in found))
    return parts


def _placed(parts: Sequence[Part], request: Request, kinds: Kinds) -> Plan:
    """Place the objects of all parts together: a namespace that one of them names is the same in all."""
    loose = [manifest for part in parts if not isinstance(part, Release) for manifest in part]
    placement = place(
        loose,
        request.namespace,
        kinds.namespaced,
        cluster_scoped=request.cluster_scoped,
        namespaces=request.namespaces,
    )
    for part in parts:
        if isinstance(part, Release) and request.cluster_scoped == REFUSE:
            refuse_outside(part.manifests, request.namespace, kinds.namespaced)
    settled, warnings = settle((*placement.inside, *placement.outside), request.namespace)
    everything = without_repeats(settled)
    placed = [
        part if isinstance(part, Release) else tuple(m for m in everything if m.part == number)
        for number, part in enumerate(parts)
    ]
    return Plan(tuple(part for part in placed if part), (*placement.warnings, *warnings))
