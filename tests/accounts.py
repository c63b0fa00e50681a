"""An account with exactly the rights that a test gives it, on the real control plane."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from pytest_ephemeral_ns.clusters.current import write_kubeconfig
from pytest_ephemeral_ns.connection import Connection
from pytest_ephemeral_ns.kube.api import Api
from pytest_ephemeral_ns.rules.permissions import Right, account

ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"
RBAC = "/apis/rbac.authorization.k8s.io/v1"


class Account:
    """A ServiceAccount in ``default``, bound to a ClusterRole of its own."""

    def __init__(self, admin: Api, folder: Path) -> None:
        self._admin = admin
        self._folder = folder
        self.name = f"acct-{uuid.uuid4().hex[:8]}"
        self.connection: Connection

    def may(self, rights: Sequence[Right]) -> None:
        """Give it these rights and no other; returns when the API server goes by them."""
        serviceaccount, role, binding = account(name=self.name, rights=rights)
        self._admin.apply(f"{ACCOUNTS}/{self.name}", serviceaccount)
        self._admin.apply(f"{RBAC}/clusterroles/{self.name}", role)
        self._admin.apply(f"{RBAC}/clusterrolebindings/{self.name}", binding)
        request = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": 3600},
        }
        token = self._admin.create(f"{ACCOUNTS}/{self.name}/token", request)["status"]["token"]
        self.connection = replace(
            self._admin.connection, token=token, client_cert_data="", client_key_data="", context=self.name
        )
        with Api(self.connection) as api:
            _until(lambda: all(self._can(api, right) for right in rights))

    def without(self, rights: Sequence[Right], verb: str, resource: str) -> None:
        """Give it all of these rights but one verb on one resource."""
        left = []
        for right in rights:
            if verb in right.verbs and resource in right.resources:
                others = tuple(name for name in right.resources if name != resource)
                verbs = tuple(one for one in right.verbs if one != verb)
                left += [replace(right, resources=others)] if others else []
                left += [replace(right, resources=(resource,), verbs=verbs)] if verbs else []
            else:
                left.append(right)
        self.may(left)
        name, _, subresource = resource.partition("/")
        [lost] = [right for right in rights if verb in right.verbs and resource in right.resources][:1]
        with Api(self.connection) as api:
            _until(
                lambda: (
                    not api.can(verb, name, group=lost.group, subresource=subresource, name="".join(lost.names[:1]))[0]
                )
            )

    @staticmethod
    def _can(api: Api, right: Right) -> bool:
        verb, resource, subresource = next(iter(right.single()))
        return api.can(verb, resource, group=right.group, subresource=subresource, name="".join(right.names[:1]))[0]

    @property
    def kubeconfig(self) -> Path:
        return write_kubeconfig(self.connection, self._folder / f"{self.name}.kubeconfig")

    def remove(self) -> None:
        for path in (f"{RBAC}/clusterrolebindings/{self.name}", f"{RBAC}/clusterroles/{self.name}"):
            self._admin.delete(path)
        self._admin.delete(f"{ACCOUNTS}/{self.name}")


@contextmanager
def some_account(admin: Api, folder: Path) -> Iterator[Account]:
    """Give an account for the length of a block."""
    one = Account(admin, folder)
    try:
        yield one
    finally:
        one.remove()


def _until(condition: Any) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "the API server does not go by the rights after 60 s"
        time.sleep(0.05)
