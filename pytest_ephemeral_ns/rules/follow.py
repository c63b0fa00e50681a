"""References that follow an object to its new namespace; this module must never decide where an object goes.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from pytest_ephemeral_ns.rules.manifests import Manifest, group_of
from pytest_ephemeral_ns.rules.objects import Object

NAME_LABEL = "kubernetes.io/metadata.name"
# Fields that hold a list of namespaces: ServiceMonitor's matchNames, many operators' watch lists.
_LISTS = frozenset({"matchNames", "namespaces", "watchNamespaces", "targetNamespaces"})
# cert-manager's annotations hold NAMESPACE/NAME.
_ANNOTATIONS = frozenset({"cert-manager.io/inject-ca-from", "cert-manager.io/inject-ca-from-secret"})
_FLAG = re.compile(r"(--[a-z-]*namespaces?=)([a-z0-9.,-]+)")
_QUERY = re.compile(r"""(\bnamespace=\\*["'])([a-z0-9-]+)(?=\\*["'])""")
_NEVER = re.compile(r"(?!)")


def follow(manifests: Iterable[Manifest], namespace: str, old: frozenset[str]) -> Callable[[Manifest], Manifest]:
    """Return a function that rewrites an object's references to namespaces that are now ``namespace``.

    References that name one of the ``old`` namespaces follow. When the set names no namespace at all, those follow
    that name one of its own ServiceAccounts or Services, whatever namespace they say.

    Args:
        manifests: the whole set, placed already.
        namespace: the ephemeral one.
        old: names that it stands for.
    """
    return _Follower(manifests, namespace, old).rewrite


class _Follower:
    def __init__(self, manifests: Iterable[Manifest], namespace: str, old: frozenset[str]) -> None:
        self.namespace = namespace
        self.old = old
        core = [m.ref for m in manifests if m.ref.namespace == namespace and not group_of(m.ref.api_version)]
        self.accounts = frozenset(ref.name for ref in core if ref.kind == "ServiceAccount")
        self.services = frozenset(ref.name for ref in core if ref.kind == "Service")
        self.hosts = self._hosts()

    def _hosts(self) -> re.Pattern[str]:
        """Return what finds ``.NAMESPACE`` in a host name: ``redis.shop.svc``, and ``redis.shop`` of our Services."""
        services = "|".join(map(re.escape, sorted(self.services)))
        if not self.old:
            if not services:
                return _NEVER
            return re.compile(rf"(?<![a-z0-9.-])((?:{services})\.)([a-z0-9-]+)(?=\.svc(?![a-z0-9-]))")
        old = "|".join(map(re.escape, sorted(self.old)))
        # kubernetes.default.svc is the API server, wherever the set came from.
        anyone = rf"(?<![a-z0-9.-])((?!kubernetes\.)[a-z0-9.-]*[a-z0-9]\.)({old})(?=\.svc(?![a-z0-9-]))"
        short = rf"(?<![a-z0-9.-])((?:{services})\.)({old})(?![a-z0-9.-])" if services else r"()()(?!)"
        return re.compile(f"{anyone}|{short}")

    def rewrite(self, manifest: Manifest) -> Manifest:
        obj = manifest.object
        if obj["kind"] == "CustomResourceDefinition":
            return replace(manifest, object=self._definition(obj))
        found: Object = self._value(obj)
        # Where it goes is decided already; only what it refers to follows.
        found["metadata"] = {
            **found["metadata"],
            **{k: obj["metadata"][k] for k in ("name", "namespace") if k in obj["metadata"]},
        }
        if found["kind"] in ("RoleBinding", "ClusterRoleBinding"):
            found["subjects"] = [self._subject(subject) for subject in found.get("subjects") or ()]
        return replace(manifest, object=found)

    def _definition(self, obj: Object) -> Object:
        """Look at the conversion webhook alone: the rest is schema, and up to a megabyte of it."""
        spec = obj.get("spec") or {}
        if "conversion" not in spec:
            return obj
        return {**obj, "spec": {**spec, "conversion": self._value(spec["conversion"])}}

    def _value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, dict):
            return {key: self._field(key, entry, value) for key, entry in value.items()}
        if isinstance(value, list):
            return [self._item(entry, value[index - 1] if index else "") for index, entry in enumerate(value)]
        return value

    def _item(self, entry: Any, before: Any) -> Any:
        if before in ("--namespace", "-n") and isinstance(entry, str):
            return self._name(entry)
        return self._value(entry)

    def _field(self, key: str, entry: Any, holder: Object) -> Any:
        if isinstance(entry, str):
            if key in ("namespace", NAME_LABEL) or (key == "value" and _names_namespace(holder)):
                return self._name(entry)
            if key in _ANNOTATIONS:
                home, _, name = entry.partition("/")
                return f"{self._name(home)}/{name}"
        if isinstance(entry, list) and (key in _LISTS or (key == "values" and holder.get("key") == NAME_LABEL)):
            return [self._name(item) if isinstance(item, str) else self._value(item) for item in entry]
        if key == "service" and isinstance(entry, dict) and "namespace" in entry:
            return {**entry, "namespace": self._home(entry["namespace"], entry.get("name"), self.services)}
        return self._value(entry)

    def _name(self, name: str) -> str:
        return self.namespace if name in self.old else name

    def _home(self, home: Any, name: Any, known: frozenset[str]) -> Any:
        """Return the namespace of a reference to an object that is, by namespace or by name, one of the set."""
        if home in self.old or not home or (not self.old and name in known):
            return self.namespace
        return home

    def _subject(self, subject: Object) -> Object:
        if subject.get("kind") == "ServiceAccount":
            return {**subject, "namespace": self._home(subject.get("namespace"), subject.get("name"), self.accounts)}
        # system:serviceaccounts:NAMESPACE and system:serviceaccount:NAMESPACE:NAME
        parts = str(subject.get("name", "")).split(":")
        if len(parts) > 2 and parts[0] == "system" and parts[1] in ("serviceaccounts", "serviceaccount"):
            parts[2] = self._name(parts[2])
            return {**subject, "name": ":".join(parts)}
        return subject

    def _text(self, text: str) -> str:
        if ".svc" not in text and not any(name in text for name in self.old):
            return text
        text = self.hosts.sub(lambda m: f"{m[(m.lastindex or 2) - 1]}{self.namespace}", text)
        if not self.old:
            return text
        text = _FLAG.sub(lambda m: m[1] + ",".join(map(self._name, m[2].split(","))), text)
        return _QUERY.sub(lambda m: m[1] + self._name(m[2]), text)


def _names_namespace(holder: Object) -> bool:
    """Whether it is an environment variable such as ``WATCH_NAMESPACE``."""
    return str(holder.get("name", "")).upper().endswith("NAMESPACE")
