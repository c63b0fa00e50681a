"""DEPLOY: sources become objects in one namespace; this module must never wait until they are ready.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_ephemeral_ns.deploy.copies import attach_pull_secrets, copy_config_map, copy_secret
from pytest_ephemeral_ns.deploy.guard import MissingRight, api_servers, await_quota, put_guard_rails
from pytest_ephemeral_ns.deploy.model import Chart, Deployed, Plan, Request, Source, Tracked, chart_of
from pytest_ephemeral_ns.deploy.outside import find_outside, remove_cluster_scoped

if TYPE_CHECKING:
    from pytest_ephemeral_ns.deadline import Deadline
    from pytest_ephemeral_ns.kube.api import Api
    from pytest_ephemeral_ns.kube.discovery import Discovery

__all__ = [
    "Chart",
    "Deployed",
    "MissingRight",
    "Plan",
    "Source",
    "Tracked",
    "api_servers",
    "attach_pull_secrets",
    "await_quota",
    "chart_of",
    "copy_config_map",
    "copy_secret",
    "deploy",
    "find_outside",
    "plan",
    "put_guard_rails",
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
    from pytest_ephemeral_ns.deploy.planning import make_plan

    request = Request(**{"namespace": SOMEWHERE, **how}, base_dir=base_dir or Path.cwd())
    return make_plan(sources, request, None)[0]


def deploy(
    api: Api,
    namespace: str,
    sources: Sequence[Source],
    *,
    deadline: Deadline,
    kubeconfig: Callable[[], Path],
    labels: Mapping[str, str] | None = None,
    uid: str = "",
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
        uid: of the namespace: then it owns what is made outside, and the cluster removes that with it.
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
    from pytest_ephemeral_ns.deploy.advice import advise
    from pytest_ephemeral_ns.deploy.apply import Manner
    from pytest_ephemeral_ns.deploy.carry import Carrier
    from pytest_ephemeral_ns.deploy.planning import everything_in, make_plan
    from pytest_ephemeral_ns.kube.discovery import Discovery

    tracked: list[Tracked] = []

    def track(thing: Tracked) -> None:
        if thing not in tracked:
            tracked.append(thing)
            if on_tracked:
                on_tracked(thing)

    discovery = discovery or Discovery(api)
    server = str(api.version().get("gitVersion") or "")
    base_dir = base_dir or Path.cwd()
    request = Request(**how, namespace=namespace, base_dir=base_dir, labels=labels or {}, kube_version=server)
    planned, kinds = make_plan(sources, request, discovery)
    say = on_progress or (lambda line: None)
    manner = Manner(namespace, deadline, labels or {}, uid, force_conflicts, say, track)
    carrier = Carrier(api, kinds, manner, kubeconfig)
    advice = advise(api, [*everything_in(planned.parts)])
    refs = carrier.carry_out(planned)
    warnings = (*planned.warnings, *advice, *carrier.warnings)
    return Deployed(tuple(refs), carrier.actions, tuple(carrier.releases), warnings, tuple(tracked))
