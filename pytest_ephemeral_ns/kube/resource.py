"""One kind as a server serves it, and its paths; this module must never ask a server.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote


@dataclass(frozen=True)
class Resource:
    """A kind of object and where it is found.

    Args:
        group: API group; empty for the core one.
        version: ``"v1"``.
        kind: ``"Deployment"``.
        plural: ``"deployments"``.
        namespaced: whether its objects are in a namespace.
        verbs: what the server can do with it: ``get``, ``list``, ``watch``, ``create`` ...
        short_names: what people type: ``"deploy"``.

    Example:
        >>> Resource("apps", "v1", "Deployment", "deployments", True).path(namespace="shop", name="api")
        '/apis/apps/v1/namespaces/shop/deployments/api'
    """

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool
    verbs: frozenset[str] = frozenset()
    short_names: tuple[str, ...] = ()

    @property
    def api_version(self) -> str:
        """Return it as manifests write it: ``"apps/v1"``, ``"v1"``."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def full_name(self) -> str:
        """Return plural and group as kubectl takes them: ``"deployments.apps"``."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, *, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """Return the path of the collection, of one object, or of its subresource.

        Args:
            namespace: left out for kinds that are not namespaced; empty for all namespaces.
            name: of the object; empty for the collection.
            subresource: ``"status"``, ``"log"`` ...
        """
        parts = ["/apis", self.group, self.version] if self.group else ["/api", self.version]
        if self.namespaced and namespace:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        parts += [quote(part, safe=":") for part in (name, subresource) if part]
        return "/".join(parts)

    def answers_to(self, word: str) -> bool:
        """Return whether people may mean it by ``word``: kind, singular, plural or short name, any case."""
        word = word.lower()
        return word in (self.kind.lower(), self.plural, *self.short_names)


def split_api_version(api_version: str) -> tuple[str, str]:
    """Return group and version.

    Example:
        >>> split_api_version("apps/v1"), split_api_version("v1")
        (('apps', 'v1'), ('', 'v1'))
    """
    group, _, version = api_version.rpartition("/")
    return group, version
