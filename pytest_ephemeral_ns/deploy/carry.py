"""A plan is carried out, part after part; this module must never read a source.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_ephemeral_ns.deploy.apply import Applier, Manner
from pytest_ephemeral_ns.deploy.charts import events_of_hook
from pytest_ephemeral_ns.deploy.hooks import run_hooks
from pytest_ephemeral_ns.deploy.model import Objects, Plan, Release
from pytest_ephemeral_ns.deploy.releases import Installer
from pytest_ephemeral_ns.rules.objects import Ref

if TYPE_CHECKING:
    from pytest_ephemeral_ns.deploy.kinds import Kinds
    from pytest_ephemeral_ns.kube.api import Api


class Carrier:
    """Carries out plans in one namespace.

    Args:
        api: the server.
        kinds: where objects are found.
        manner: how objects are applied.
        kubeconfig: returns the path of one for Helm; asked only when there is a release.

    Attributes:
        releases: names of the releases that Helm installed.
    """

    def __init__(self, api: Api, kinds: Kinds, manner: Manner, kubeconfig: Callable[[], Path]) -> None:
        self._api, self._kinds, self._manner, self._kubeconfig = api, kinds, manner, kubeconfig
        self._applier = Applier(api, kinds, manner)
        self._upgrades: dict[str, bool] = {}
        self._more: list[str] = []
        self.releases: list[str] = []

    @property
    def actions(self) -> dict[Ref, str]:
        """What happened to each object."""
        return self._applier.actions

    @property
    def warnings(self) -> list[str]:
        """What is worth knowing."""
        return [*self._more, *self._applier.warnings]

    def carry_out(self, plan: Plan) -> list[Ref]:
        """Carry out a plan; an error ends it where it comes.

        Returns:
            What has to be ready: everything but hooks, in order.

        Raises:
            DeployError: the API server or Helm refused something.
        """
        refs: list[Ref] = []
        for part in plan.parts:
            if isinstance(part, Release):
                refs += self._install(part)
            elif part.hook:
                self._hooks(part, plan)
            else:
                refs += self._applier.run(part.manifests)
        return refs

    def _install(self, release: Release) -> list[Ref]:
        # Helm makes the definitions of a chart without a word on whose they are. Made by us, they can be shared.
        made = self._applier.run(release.definitions) if release.definitions else []
        self._manner.say(f"installing release {release.name}")
        installer = Installer(self._api, self._kinds, self._manner, self._kubeconfig())
        found = installer.install(release)
        self._applier.actions.update(found)
        self._more += installer.warnings
        self.releases.append(release.name)
        return [*made, *found]

    def _hooks(self, part: Objects, plan: Plan) -> None:
        name = part.release
        if name not in self._upgrades:
            main = [
                m for p in plan.parts if isinstance(p, Objects) and p.release == name for m in p.manifests if not p.hook
            ]
            self._upgrades[name] = bool(main) and self._applier.any_exists(main)
        event = f"{part.hook}-{'upgrade' if self._upgrades[name] else 'install'}"
        hooks = [manifest for manifest in part.manifests if event in events_of_hook(manifest)]
        self._manner.say(f"running the {event} hooks of {name}: {len(hooks)}")
        run_hooks(self._api, hooks, self._applier.run, self._applier.path_of, self._manner.deadline)
