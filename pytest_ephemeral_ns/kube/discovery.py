"""Which kinds the server has and under which paths; this module must never ask for a kind that every server has.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from pytest_ephemeral_ns.errors import ApiError, UsageError
from pytest_ephemeral_ns.kube.builtin import BUILTIN
from pytest_ephemeral_ns.kube.resource import Resource, split_api_version

if TYPE_CHECKING:
    from pytest_ephemeral_ns.kube.api import Api

__all__ = ["Discovery", "Resource"]

# Two requests for everything, instead of two and one for each group version (KEP-3352).
_AGGREGATED = ",".join(
    [f"application/json;g=apidiscovery.k8s.io;v={v};as=APIGroupDiscoveryList" for v in ("v2", "v2beta1")]
    + ["application/json"]
)
_POLL = 0.1


class Discovery:
    """The kinds of one server. Thread-safe.

    Common kinds are known without a request. Anything else is asked for by its own group and version, so that a group
    whose server is down does not matter to the others.

    Args:
        api: the server.

    Attributes:
        stale: group versions of the last :meth:`refresh` whose own server (an APIService) does not answer.

    Example:
        >>> def restart(api):
        ...     deployments = Discovery(api).find("apps/v1", "Deployment")
        ...     return api.get(deployments.path(namespace="shop", name="api"))
    """

    def __init__(self, api: Api) -> None:
        self._api = api
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str], Resource] = {(r.api_version, r.kind): r for r in BUILTIN}
        self._all: tuple[Resource, ...] | None = None
        self.stale: tuple[str, ...] = ()

    def find(self, api_version: str, kind: str, *, patience: float = 0.0) -> Resource:
        """Return the resource of a kind, as manifests name it.

        Args:
            api_version: ``"apps/v1"``.
            kind: ``"Deployment"``.
            patience: seconds to ask again for a kind that is not there: one whose definition has just been
                applied appears a moment after it is established.

        Raises:
            UsageError: the server has no such kind; names those that are nearly so.
            ApiError: the server of that group does not answer.
        """
        if found := self._known.get((api_version, kind)):
            return found
        found = self._ask_for(api_version, kind) or (self._ask_until(patience, api_version, kind) if patience else None)
        if found is None:
            raise self._unknown_kind(api_version, kind)
        return found

    def by_name(self, word: str) -> Resource:
        """Return the resource that people mean by ``word``, as kubectl takes it.

        Args:
            word: ``"svc"``, ``"Deployment"``, ``"deployments.apps"``, ``"certificates.v1.cert-manager.io"``.

        Raises:
            UsageError: the server has no such kind; names those that are nearly so.
        """
        found = _named(BUILTIN, word) or _named(self.all(), word) or _named(self.refresh(), word)
        if found is None:
            names = {name: r.full_name for r in self.all() for name in (r.plural, r.kind, *r.short_names)}
            hints = dict.fromkeys(names[hit] for hit in _close(word.partition(".")[0], names))
            evidence = [f"did you mean {' or '.join(hints)}?"] if hints else []
            raise UsageError(
                f"{word}: the cluster has no such kind", evidence=evidence, command="kubectl api-resources"
            )
        return found

    def all(self) -> tuple[Resource, ...]:
        """Return every resource of the server, asked for once; :attr:`stale` says what could not be asked."""
        return self._all if self._all is not None else self.refresh()

    def refresh(self) -> tuple[Resource, ...]:
        """Ask the server for everything again and return it."""
        found: list[Resource] = []
        stale: list[str] = []
        for path in ("/api", "/apis"):
            answer = self._api.get(path, accept=_AGGREGATED)
            if answer.get("kind") == "APIGroupDiscoveryList":
                _read_aggregated(answer, found, stale)
            else:
                self._read_classic(path, answer, found, stale)
        self._learn(found)
        with self._lock:
            self._all, self.stale = tuple(found), tuple(stale)
            return self._all

    def _ask_for(self, api_version: str, kind: str) -> Resource | None:
        self._learn(self._ask_group(api_version))
        return self._known.get((api_version, kind))

    def _ask_until(self, patience: float, api_version: str, kind: str) -> Resource | None:
        import tenacity

        asking = tenacity.Retrying(
            stop=tenacity.stop_after_delay(patience),
            wait=tenacity.wait_fixed(_POLL),
            retry=tenacity.retry_if_result(lambda found: found is None),
            retry_error_callback=lambda _: None,
        )
        found: Resource | None = asking(self._ask_for, api_version, kind)
        return found

    def _learn(self, resources: Iterable[Resource]) -> None:
        with self._lock:
            self._known.update({(r.api_version, r.kind): r for r in resources})

    def _read_classic(self, path: str, answer: dict[str, Any], found: list[Resource], stale: list[str]) -> None:
        if path == "/api":
            versions = list(answer.get("versions") or ())
        else:
            groups = answer.get("groups") or ()
            versions = [version["groupVersion"] for group in groups for version in group["versions"]]
        for api_version in versions:
            try:
                found.extend(self._ask_group(api_version))
            except ApiError:
                stale.append(api_version)

    def _ask_group(self, api_version: str) -> list[Resource]:
        group, version = split_api_version(api_version)
        path = f"/apis/{group}/{version}" if group else f"/api/{version}"
        try:
            answer = self._api.get(path)
        except ApiError as error:
            if error.status == 404:
                return []
            if error.status >= 500:
                raise _dead_group(api_version, error) from error
            raise
        return [
            Resource(
                row.get("group") or group,
                row.get("version") or version,
                row["kind"],
                row["name"],
                bool(row.get("namespaced")),
                frozenset(row.get("verbs") or ()),
                tuple(row.get("shortNames") or ()),
            )
            for row in answer.get("resources") or ()
            if "/" not in row["name"]
        ]

    def _unknown_kind(self, api_version: str, kind: str) -> UsageError:
        resources = self.refresh()
        elsewhere = sorted({r.api_version for r in resources if r.kind == kind})
        if elsewhere:
            evidence = [f"this cluster has {kind} as {' and '.join(elsewhere)}"]
        else:
            names = {r.kind: r.api_version for r in reversed(resources)}
            evidence = [f"{hint} ({names[hint]})" for hint in _close(kind, names)]
            evidence = [f"did you mean {' or '.join(evidence)}?"] if evidence else []
            evidence = evidence or [f"is the CustomResourceDefinition of {kind} installed?"]
        if self.stale:
            evidence.append(f"not known, because their servers do not answer: {', '.join(self.stale)}")
        group = split_api_version(api_version)[0]
        command = "kubectl api-resources" + (f" --api-group={group}" if elsewhere and group in elsewhere else "")
        return UsageError(f"{kind} ({api_version}): the cluster has no such kind", evidence=evidence, command=command)


def _read_aggregated(answer: dict[str, Any], found: list[Resource], stale: list[str]) -> None:
    for group in answer.get("items") or ():
        name = (group.get("metadata") or {}).get("name", "")
        for version in group.get("versions") or ():
            if version.get("freshness") == "Stale":
                stale.append(f"{name}/{version['version']}" if name else version["version"])
            found.extend(_aggregated(name, version["version"], row) for row in version.get("resources") or ())


def _aggregated(group: str, version: str, row: dict[str, Any]) -> Resource:
    kind = row.get("responseKind") or {}
    return Resource(
        group,
        version,
        kind.get("kind", ""),
        row["resource"],
        row.get("scope") == "Namespaced",
        frozenset(row.get("verbs") or ()),
        tuple(row.get("shortNames") or ()),
    )


def _named(resources: Iterable[Resource], word: str) -> Resource | None:
    """Return the first that answers to ``word``, which may end in a group, or in version and group."""
    name, _, rest = word.partition(".")
    for resource in resources:
        full = f"{resource.version}.{resource.group}" if resource.group else resource.version
        if resource.answers_to(name) and rest in ("", resource.group, full):
            return resource
    return None


def _close(word: str, names: Iterable[str]) -> list[str]:
    import difflib

    lowered = {name.lower(): name for name in names}
    return [lowered[hit] for hit in difflib.get_close_matches(word.lower(), lowered, n=3, cutoff=0.7)]


def _dead_group(api_version: str, error: ApiError) -> ApiError:
    group, version = split_api_version(api_version)
    return ApiError(
        f"{api_version}: the server of this API group does not answer",
        status=error.status,
        reason=error.reason,
        body=error.body,
        evidence=[error.summary, *error.evidence],
        command=f"kubectl get apiservice {version}.{group}",
    )
