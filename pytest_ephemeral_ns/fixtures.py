"""The fixtures: each says what it needs and delegates; this module must never decide anything.

Not in ``plugin.py``, because pytest compiles that file anew wherever it may not keep a copy, and this one never.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pytest_ephemeral_ns.clusters.cluster import Cluster
    from pytest_ephemeral_ns.deploy import Source
    from pytest_ephemeral_ns.hooks import Hooks
    from pytest_ephemeral_ns.namespace import Namespace
    from pytest_ephemeral_ns.rules.identity import Identity
    from pytest_ephemeral_ns.run import Run
    from pytest_ephemeral_ns.settings import Settings

    Deploy = Callable[[Namespace], Any]
    Filling = list[Source] | Deploy | None
    Factory = Callable[..., AbstractContextManager[Namespace]]

__tracebackhide__ = True
SETTINGS: pytest.StashKey[Settings] = pytest.StashKey()
HOOKS: pytest.StashKey[Hooks] = pytest.StashKey()
SKIPPED = "needs a namespace: run pytest with --ephemeral-ns"


@pytest.fixture(scope="session")
def _ephemeral_ns_enabled(pytestconfig: pytest.Config) -> None:
    if HOOKS not in pytestconfig.stash:
        pytest.skip(SKIPPED)


@pytest.fixture(scope="session")
def ephemeral_ns_settings(pytestconfig: pytest.Config, _ephemeral_ns_enabled: None) -> Settings:
    """The run's settings; override to compute one: ``return dataclasses.replace(ephemeral_ns_settings, deploy=…)``."""
    return pytestconfig.stash[SETTINGS]


@pytest.fixture(scope="session")
def ephemeral_ns_identity(pytestconfig: pytest.Config, ephemeral_ns_settings: Settings) -> Identity:
    """Project, branch or pull request, commit and CI run; namespaces are named from it."""
    from pytest_ephemeral_ns.facts import identity

    return identity(pytestconfig.rootpath, os.environ)


@pytest.fixture(scope="session")
def ephemeral_ns_deploy(ephemeral_ns_settings: Settings) -> Deploy:
    """A function of the namespace that fills it; the default deploys what the settings list and waits until ready."""
    from pytest_ephemeral_ns.lifecycle import default_deploy

    return default_deploy(ephemeral_ns_settings)


@pytest.fixture(scope="session")
def _ephemeral_ns_run(
    pytestconfig: pytest.Config,
    _ephemeral_ns_enabled: None,
    ephemeral_ns_settings: Settings,
    ephemeral_ns_identity: Identity,
) -> Iterator[Run]:
    from pytest_ephemeral_ns.lifecycle import check

    check(ephemeral_ns_settings, ephemeral_ns_identity)
    place = pytestconfig.stash[HOOKS].place
    place.settings = ephemeral_ns_settings
    run = place.run(ephemeral_ns_identity)
    place.watch_owner()
    yield run
    pytestconfig.stash[HOOKS].later.append(run.close)


@pytest.fixture(scope="session")
def ephemeral_ns_cluster(_ephemeral_ns_run: Run) -> Cluster:
    """The cluster: ``kubeconfig`` (a path), ``provider``, ``name``, ``nodes``, ``version``."""
    return _ephemeral_ns_run.cluster


@pytest.fixture(scope="session")
def ephemeral_ns_shared(
    pytestconfig: pytest.Config, _ephemeral_ns_run: Run, ephemeral_ns_deploy: Deploy
) -> Iterator[Namespace]:
    """One namespace for the whole run, the same for every worker; deployed by the first that asks."""
    from pytest_ephemeral_ns.lifecycle import shared

    with pytestconfig.stash[HOOKS].living(shared(_ephemeral_ns_run, ephemeral_ns_deploy)) as namespace:
        yield namespace


def _scope(fixture_name: str, config: pytest.Config) -> Any:
    scope = config.stash[SETTINGS].scope if SETTINGS in config.stash else "worker"
    return {"run": "session", "worker": "session"}.get(scope, scope)


@pytest.fixture(scope=_scope)
def ephemeral_ns(
    request: pytest.FixtureRequest, pytestconfig: pytest.Config, _ephemeral_ns_run: Run, ephemeral_ns_deploy: Deploy
) -> Iterator[Namespace]:
    """A Kubernetes namespace of this worker's (or run's, module's, class's, test's) own, deployed and ready."""
    from pytest_ephemeral_ns.lifecycle import provisioned, shared

    run = _ephemeral_ns_run
    whole_run = pytestconfig.stash[SETTINGS].scope == "run"
    made = shared(run, ephemeral_ns_deploy) if whole_run else provisioned(run, ephemeral_ns_deploy)
    with pytestconfig.stash[HOOKS].living(made) as namespace:
        yield namespace


@pytest.fixture(scope="session")
def ephemeral_ns_factory(pytestconfig: pytest.Config, _ephemeral_ns_run: Run, ephemeral_ns_deploy: Deploy) -> Factory:
    """More namespaces, for a test that needs two.

    ``with ephemeral_ns_factory(deploy=["k8s/"]) as other:`` releases it at the end of the block. ``deploy`` is a list
    of sources, a function of the namespace, or ``None`` for what ``ephemeral_ns`` gets; ``policy`` is ``"none"``,
    ``"standard"`` or ``"isolated"``, default: ``--ephemeral-ns-policy``.
    """
    from pytest_ephemeral_ns.lifecycle import filler, provisioned

    def factory(deploy: Filling = None, policy: str | None = None) -> AbstractContextManager[Namespace]:
        filling = filler(deploy, ephemeral_ns_deploy)
        made = provisioned(_ephemeral_ns_run, filling, policy, gates=deploy is None)
        return pytestconfig.stash[HOOKS].living(made, later=False)

    return factory
