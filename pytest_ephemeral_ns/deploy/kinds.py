"""The kinds of one deploy: those that the server has and those that the deploy brings; this module must never apply.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from pytest_ephemeral_ns.errors import ManifestError, UsageError
from pytest_ephemeral_ns.kube.resource import Resource
from pytest_ephemeral_ns.rules.manifests import Manifest
from pytest_ephemeral_ns.rules.placement import definitions_in, is_namespaced

if TYPE_CHECKING:
    from pytest_ephemeral_ns.kube.discovery import Discovery


class Kinds:
    """Knows scope and path of every kind of a set.

    Args:
        discovery: of the server; ``None`` before there is one: kinds that nobody knows then count as namespaced.
        manifests: the set; its CustomResourceDefinitions define kinds.
    """

    def __init__(self, discovery: Discovery | None, manifests: Sequence[Manifest]) -> None:
        self._discovery = discovery
        self._scopes: Mapping[tuple[str, str], bool] = definitions_in(manifests)
        self._defined = {(r.api_version, r.kind): r for m in manifests for r in defined_by(m)}

    def namespaced(self, api_version: str, kind: str) -> bool:
        """Return whether objects of a kind live in namespaces."""
        known = is_namespaced(api_version, kind, self._scopes)
        if known is not None:
            return known
        return self._discovery.find(api_version, kind).namespaced if self._discovery else True

    def resource(self, api_version: str, kind: str) -> Resource:
        """Return where objects of a kind are found.

        Raises:
            UsageError: neither the server nor the set has it.
        """
        defined = self._defined.get((api_version, kind))
        if defined:
            return defined
        assert self._discovery is not None
        return self._discovery.find(api_version, kind)

    def is_defined_here(self, api_version: str, kind: str) -> bool:
        """Return whether the set itself brings the kind."""
        return (api_version, kind) in self._defined

    def check(self, manifests: Iterable[Manifest]) -> None:
        """Make sure that every kind is known, before anything is created.

        Raises:
            ManifestError: names every object of an unknown kind, and the near misses.
        """
        unknown: dict[str, tuple[UsageError, list[str]]] = {}
        for manifest in manifests:
            ref = manifest.ref
            kind = f"{ref.kind} ({ref.api_version})"
            if kind in unknown:
                unknown[kind][1].append(manifest.labelled)
                continue
            try:
                self.resource(ref.api_version, ref.kind)
            except UsageError as error:
                unknown[kind] = (error, [manifest.labelled])
        if unknown:
            lines = [[kind, *error.evidence, *_some(places)] for kind, (error, places) in unknown.items()]
            evidence = [line if at == 0 else f"  {line}" for block in lines for at, line in enumerate(block)]
            command = next(iter(unknown.values()))[0].command
            raise ManifestError(f"the cluster has no {' and no '.join(unknown)}", evidence=evidence, command=command)


def _some(places: Sequence[str]) -> list[str]:
    return [*places[:5], *([f"and {len(places) - 5} more"] if len(places) > 5 else [])]


def defined_by(manifest: Manifest) -> list[Resource]:
    """Return the kinds that a CustomResourceDefinition defines, one for each served version; none for anything else."""
    if manifest.object["kind"] != "CustomResourceDefinition":
        return []
    spec = manifest.object.get("spec") or {}
    names = spec.get("names") or {}
    return [
        Resource(
            str(spec.get("group") or ""),
            str(version.get("name") or ""),
            str(names.get("kind") or ""),
            str(names.get("plural") or ""),
            spec.get("scope") != "Cluster",
        )
        for version in spec.get("versions") or ()
        if version.get("served")
    ]
