"""Helm releases are installed, and what they make outside is tracked; this module must never wait until they are ready.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_ephemeral_ns.deploy.charts import is_test, own_home, secrets_of
from pytest_ephemeral_ns.deploy.definitions import METADATA
from pytest_ephemeral_ns.deploy.model import CONFIGURED, CREATED, UNCHANGED, Release, Tracked
from pytest_ephemeral_ns.errors import ApiError, DeployError, ToolError
from pytest_ephemeral_ns.kube.api import FIELD_MANAGER, METADATA_LIST
from pytest_ephemeral_ns.rules.manifests import Manifest, manifests_of
from pytest_ephemeral_ns.rules.objects import Object, Ref
from pytest_ephemeral_ns.rules.yaml_dialect import read_documents

if TYPE_CHECKING:
    from pytest_ephemeral_ns.deploy.apply import Manner
    from pytest_ephemeral_ns.deploy.kinds import Kinds
    from pytest_ephemeral_ns.kube.api import Api
    from pytest_ephemeral_ns.kube.helm import Release as HelmRelease

RELEASE_NAMESPACE = "meta.helm.sh/release-namespace"


class Installer:
    """Installs releases into one namespace.

    Args:
        api: the server.
        kinds: where objects are found.
        manner: namespace, deadline, labels.
        kubeconfig: for Helm.

    Attributes:
        warnings: what was put in order.
    """

    def __init__(self, api: Api, kinds: Kinds, manner: Manner, kubeconfig: Path) -> None:
        self._api, self._kinds, self._manner, self._kubeconfig = api, kinds, manner, kubeconfig
        self.warnings: list[str] = []

    def install(self, release: Release) -> dict[Ref, str]:
        """Install a release or upgrade it; hooks run and are awaited by Helm, nothing else is.

        A release that is deployed already and would be the same is left alone: its hooks do not run again.

        Returns:
            The objects of the release, hooks left out, and what happened to each.

        Raises:
            DeployError: Helm failed; has its words.
        """
        there = self._there(release)
        outside = [m for m in (*release.manifests, *release.hooks) if self._home(m) != self._manner.namespace]
        before = {self._path(manifest): self._metadata(manifest) for manifest in outside}
        old = self._objects(there.manifest, release) if there else {}
        if there and self._is_same(there, old, release):
            self._track(outside, before)
            return dict.fromkeys(old, UNCHANGED)
        try:
            text = self._upgrade(release)
        finally:
            # Also when Helm failed in the middle: what it made outside would stay otherwise.
            self._track(outside, before)
        new = self._objects(text, release)
        return {
            ref: CREATED if ref not in old else UNCHANGED if obj == old[ref] else CONFIGURED for ref, obj in new.items()
        }

    def _there(self, release: Release) -> HelmRelease | None:
        """Return the release as it is deployed; Helm is asked only when one of its Secrets is there."""
        from pytest_ephemeral_ns.kube.helm import helm_get

        namespace, selector = self._manner.namespace, f"owner=helm,name={release.name}"
        secrets = self._api.list(
            f"/api/v1/namespaces/{namespace}/secrets", label_selector=selector, accept=METADATA_LIST
        )
        states = {str((secret["metadata"].get("labels") or {}).get("status")) for secret in secrets}
        if "deployed" not in states or not states <= {"deployed", "superseded"}:
            return None
        return helm_get(release.name, namespace=namespace, kubeconfig=self._kubeconfig)

    def _is_same(self, there: HelmRelease, old: Mapping[Ref, Object], release: Release) -> bool:
        hooks = {ref: obj for ref, obj in self._objects(there.hooks, release).items() if not is_test(obj)}
        return old == self._by_ref(release.manifests) and hooks == self._by_ref(release.hooks)

    def _objects(self, text: str, release: Release) -> dict[Ref, Object]:
        where = f"release {release.name}"
        return self._by_ref(manifests_of(read_documents(text, where), where))

    def _by_ref(self, manifests: Iterable[Manifest]) -> dict[Ref, Object]:
        return {replace(m.ref, namespace=self._home(m)): m.object for m in manifests}

    def _upgrade(self, release: Release) -> str:
        from pytest_ephemeral_ns.kube.helm import helm_upgrade_install

        chart, namespace = release.chart, self._manner.namespace
        try:
            with own_home(chart) as home:
                return helm_upgrade_install(
                    release.name,
                    chart.chart,
                    namespace=namespace,
                    kubeconfig=self._kubeconfig,
                    timeout=max(1.0, self._manner.deadline.remaining()),
                    values=chart.values,
                    set=chart.set,
                    set_string=chart.set_string,
                    version=chart.version,
                    repo=chart.repo,
                    home=home,
                    redact=secrets_of(chart),
                    on_recovery=self.warnings.append,
                ).manifest
        except ToolError as error:
            if error.returncode is None and not error.output:
                raise
            foreign = "invalid ownership metadata" in error.output
            hint = ['another release has it: Chart(..., mode="template") gives each namespace names of its own']
            raise DeployError(
                f"release {release.name} of chart {chart.chart} failed",
                evidence=[*error.evidence, *(hint if foreign else [])],
                command=f"helm history {release.name} --namespace {namespace}",
            ) from error

    def _home(self, manifest: Manifest) -> str:
        ref = manifest.ref
        if not self._kinds.namespaced(ref.api_version, ref.kind):
            return ""
        return ref.namespace or self._manner.namespace

    def _path(self, manifest: Manifest) -> str:
        ref = manifest.ref
        return self._kinds.resource(ref.api_version, ref.kind).path(namespace=self._home(manifest), name=ref.name)

    def _metadata(self, manifest: Manifest) -> Object | None:
        try:
            return self._api.get(self._path(manifest), accept=METADATA)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def _track(self, outside: Sequence[Manifest], before: dict[str, Object | None]) -> None:
        for manifest in outside:
            path, found = self._path(manifest), self._metadata(manifest)
            annotations = (found or {"metadata": {}})["metadata"].get("annotations") or {}
            ours = annotations.get(RELEASE_NAMESPACE) == self._manner.namespace or before[path] is None
            if not found or not ours:
                continue
            uid = found["metadata"]["uid"]
            self._manner.track(Tracked(replace(manifest.ref, uid=uid), path, home=self._manner.namespace))
            owned = self._manner.owned
            if found["metadata"].get("ownerReferences"):
                owned.pop("ownerReferences", None)
            # Only so that whoever cleans up after a killed process finds it; it is tracked in any case.
            self._api.patch(path, {"metadata": {**owned, "uid": uid}}, params={"fieldManager": FIELD_MANAGER})
