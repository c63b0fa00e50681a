"""Every right that a run or the janitor uses, what for, and what happens without it; must never ask a server.

One table makes the manifest of a CI account, what ``ephemeral-ns doctor`` checks, the janitor's ClusterRole, and
``docs/permissions.md`` (``scripts/write-permissions``).

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_ephemeral_ns.rules.naming import MANAGER
from pytest_ephemeral_ns.rules.objects import Object
from pytest_ephemeral_ns.rules.retention import HEARTBEAT

RBAC = "rbac.authorization.k8s.io"
ACCOUNT = f"{MANAGER}-ci"
_READ = ("get", "list", "watch")
_WRITE = ("create", "update", "patch", "delete")
_CREDENTIALS = "`ns.kubeconfig`, `ns.env`, Helm: credentials for one namespace only"
_OWN_RIGHTS = "they get the run's own rights, and a line in the log says so"
_DEPLOYING = "deploying manifests and charts, waiting, diagnosing"
_NO_DEPLOY = "the deploy fails at the object, with the server's own words; the report names what could not be had"
_VERBS = (*_READ, *_WRITE, "bind")


@dataclass(frozen=True)
class Right:
    """Some verbs on some resources of one API group, used for one thing.

    Args:
        verbs: as RBAC spells them.
        resources: plural names, with a subresource: ``"pods/log"``.
        purpose: what it is used for.
        without: what happens where it is missing.
        group: API group; ``""`` is the core.
        names: the only objects that it is needed for; empty for all.
        needed: whether no test can run without it.

    Example:
        >>> Right(("get",), ("pods/log",), "logs", "no logs").what
        'get pods/log'
    """

    verbs: tuple[str, ...]
    resources: tuple[str, ...]
    purpose: str
    without: str
    group: str = ""
    names: tuple[str, ...] = ()
    needed: bool = False

    @property
    def what(self) -> str:
        """Return it in one line for people."""
        suffix = f".{self.group}" if self.group else ""
        verbs = {_READ: "read", _READ + _WRITE: "read and write"}.get(self.verbs, ", ".join(self.verbs))
        what = f"{verbs} {', '.join(f'{name}{suffix}' for name in self.resources)}"
        return f"{what} ({', '.join(self.names)})" if self.names else what

    def single(self) -> Iterator[tuple[str, str, str]]:
        """Yield every verb with every resource and its subresource, as a SelfSubjectAccessReview asks for them."""
        for resource in self.resources:
            name, _, subresource = resource.partition("/")
            yield from ((verb, name, subresource) for verb in self.verbs)


RUN_RIGHTS: tuple[Right, ...] = (
    Right(
        ("create", "delete"),
        ("namespaces",),
        "a namespace for each worker, and its end",
        "no test can run: the first one fails with the server's own words",
        needed=True,
    ),
    Right(
        ("watch",),
        ("serviceaccounts", "configmaps"),
        "waiting until pods can be created in it",
        "no test can run: nobody knows when the namespace is usable",
        needed=True,
    ),
    Right(
        ("get",),
        ("namespaces",),
        "`--ephemeral-ns-reuse`, `--ephemeral-ns-wait-deleted`, and the sweep where listing is not allowed",
        "these say that they may not look",
    ),
    Right(
        ("list",),
        ("namespaces",),
        "the sweep of what dead workers left, the warning about earlier runs, `list`, `reap`",
        "the sweep goes by what the run wrote down; earlier runs are not looked at; `list` and `reap` say so and end",
    ),
    Right(
        ("watch",),
        ("namespaces",),
        "`--ephemeral-ns-wait-deleted`, `wait_ready`",
        "a warning that deletion could not be confirmed",
    ),
    Right(
        ("patch",),
        ("namespaces",),
        "`--keep-on-failure`, `keep`, `extend`",
        "what failed stays until its TTL, with a warning that it could not be marked as kept",
    ),
    Right(
        ("create", "patch"),
        ("leases",),
        "the heartbeat by which the janitor tells a dead run from a live one",
        "the janitor waits for the expiry; a run that is longer than `--ephemeral-ns-ttl` is not protected",
        "coordination.k8s.io",
    ),
    Right(
        ("create",),
        ("serviceaccounts", "serviceaccounts/token"),
        _CREDENTIALS,
        _OWN_RIGHTS,
    ),
    Right(("create",), ("roles", "rolebindings"), _CREDENTIALS, _OWN_RIGHTS, RBAC),
    Right(
        ("bind",),
        ("clusterroles",),
        f"{_CREDENTIALS} (nobody may hand on rights that they do not have)",
        f"{_OWN_RIGHTS}; an administrator does not need it",
        RBAC,
        ("edit",),
    ),
    Right(
        _READ + _WRITE,
        ("configmaps", "secrets", "services", "serviceaccounts", "persistentvolumeclaims", "pods"),
        f"{_DEPLOYING} (Helm keeps its releases in Secrets)",
        _NO_DEPLOY,
    ),
    Right(
        _READ + _WRITE,
        ("deployments", "statefulsets", "daemonsets", "replicasets"),
        _DEPLOYING,
        _NO_DEPLOY,
        "apps",
    ),
    Right(_READ + _WRITE, ("jobs", "cronjobs"), f"{_DEPLOYING}; `ns.run`", _NO_DEPLOY, "batch"),
    Right(_READ + _WRITE, ("ingresses", "networkpolicies"), _DEPLOYING, _NO_DEPLOY, "networking.k8s.io"),
    Right(_READ + _WRITE, ("horizontalpodautoscalers",), _DEPLOYING, _NO_DEPLOY, "autoscaling"),
    Right(_READ + _WRITE, ("poddisruptionbudgets",), _DEPLOYING, _NO_DEPLOY, "policy"),
    Right(
        (*_READ, "create", "patch"),
        ("resourcequotas", "limitranges"),
        "guard rails, and naming a quota as the cause",
        "no guard rails: a warning, or an error where a policy was asked for; a quota is not named",
    ),
    Right(
        _READ,
        ("events",),
        "saying why something is not ready",
        "causes that only events tell are missing, and the report says so",
    ),
    Right(
        _READ,
        ("endpointslices",),
        "waiting for Services, `url`",
        "a Service's endpoints are not waited for",
        "discovery.k8s.io",
    ),
    Right(("get",), ("pods/log",), "logs in reports, `ns.logs`, `logs`", "the report says that it has no logs"),
    Right(
        ("get", "create"),
        ("pods/exec",),
        "`ns.exec`, `shell` (get for the upgrade to a websocket, create since Kubernetes 1.35)",
        "they fail with the server's own words",
    ),
    Right(
        ("get", "create"),
        ("pods/attach",),
        "asking whether a container that nothing probes still runs, before it is called ready",
        "its kubelet is believed, which knows a second later that it has ended",
    ),
    Right(
        ("get", "create"),
        ("pods/portforward",),
        "`ns.url`, `ns.port_forward` (get and create for the same reason)",
        "they fail with the server's own words",
    ),
)

JANITOR_RIGHTS: tuple[Right, ...] = (
    Right(
        ("list", "delete"),
        ("namespaces",),
        "finding and deleting what is over",
        "nothing is found, or nothing is deleted; exit code 1",
        needed=True,
    ),
    Right(
        ("get",),
        ("namespaces",),
        "telling one that changed from one that is gone, when a deletion is refused",
        "that one is reported as not deleted",
    ),
    Right(
        ("list",),
        ("leases",),
        "telling a dead run from a live one",
        "only the expiry counts, and a note says so",
        "coordination.k8s.io",
    ),
    Right(
        ("delete",),
        ("leases",),
        "removing dead heartbeats from namespaces that stay",
        "they stay, and a note says so",
        "coordination.k8s.io",
        (HEARTBEAT,),
    ),
)
JANITOR_EVENTS = Right(
    ("create",),
    ("events",),
    "an event for each deletion, in `default`",
    "no trace, and a note says so",
)
OUTSIDE_RIGHTS: tuple[Right, ...] = tuple(
    Right(
        ("list", "delete"),
        resources,
        "what deploys of dead runs left outside their namespaces; not with `--namespaces-only`",
        "it stays, and a note says so",
        group,
    )
    for group, resources in (
        ("", ("persistentvolumes",)),
        (
            "admissionregistration.k8s.io",
            (
                "mutatingwebhookconfigurations",
                "validatingadmissionpolicies",
                "validatingadmissionpolicybindings",
                "validatingwebhookconfigurations",
            ),
        ),
        ("apiextensions.k8s.io", ("customresourcedefinitions",)),
        ("apiregistration.k8s.io", ("apiservices",)),
        ("networking.k8s.io", ("ingressclasses",)),
        (RBAC, ("clusterrolebindings", "clusterroles", "rolebindings", "roles")),
        ("scheduling.k8s.io", ("priorityclasses",)),
        ("storage.k8s.io", ("storageclasses",)),
    )
)


def rules_of(rights: Iterable[Right]) -> list[Object]:
    """Return the rules of a Role or ClusterRole: each right once, none wider than what is in the table.

    Args:
        rights: of the table.

    Example:
        >>> rules_of([Right(("get",), ("pods/log",), "", "")])
        [{'apiGroups': [''], 'resources': ['pods/log'], 'verbs': ['get']}]
    """
    found: dict[tuple[str, str, tuple[str, ...]], list[str]] = {}
    for right in rights:
        for resource in right.resources:
            verbs = found.setdefault((right.group, resource, right.names), [])
            verbs += [verb for verb in right.verbs if verb not in verbs]
    alike: dict[tuple[str, tuple[str, ...], tuple[str, ...]], list[str]] = {}
    for (group, resource, names), verbs in found.items():
        alike.setdefault((group, tuple(sorted(verbs, key=_VERBS.index)), names), []).append(resource)
    return [
        {
            "apiGroups": [group],
            "resources": resources,
            "verbs": list(verbs),
            **({"resourceNames": list(names)} if names else {}),
        }
        for (group, verbs, names), resources in alike.items()
    ]


def bound(
    name: str, rights: Iterable[Right], subject: Sequence[tuple[str, str]], *, namespace: str = ""
) -> list[Object]:
    """Return a role with some rights, and its binding to ServiceAccounts.

    Args:
        name: of the role and of the binding.
        rights: what it allows.
        subject: name and namespace of each ServiceAccount.
        namespace: where it counts; everywhere if empty.

    Returns:
        A ClusterRole and a ClusterRoleBinding, or a Role and a RoleBinding.
    """
    kind = "Role" if namespace else "ClusterRole"
    subjects = [{"kind": "ServiceAccount", "name": one, "namespace": home} for one, home in subject]
    reference = {"apiGroup": RBAC, "kind": kind, "name": name}
    return [
        _object(kind, name, namespace, {"rules": rules_of(rights)}),
        _object(f"{kind}Binding", name, namespace, {"roleRef": reference, "subjects": subjects}),
    ]


def _object(kind: str, name: str, namespace: str, rest: dict[str, Any]) -> Object:
    metadata = {"name": name, "namespace": namespace} if namespace else {"name": name}
    return {"apiVersion": f"{RBAC}/v1", "kind": kind, "metadata": metadata, **rest}


def account(*, name: str = ACCOUNT, namespace: str = "default", rights: Sequence[Right] = RUN_RIGHTS) -> list[Object]:
    """Return the manifests of an account that may do what a run does, and nothing else.

    Args:
        name: of the ServiceAccount and its role.
        namespace: where the ServiceAccount lives.
        rights: what it may do.

    Returns:
        A ServiceAccount, a ClusterRole and a ClusterRoleBinding.

    Example:
        >>> [obj["kind"] for obj in account()]
        ['ServiceAccount', 'ClusterRole', 'ClusterRoleBinding']
    """
    metadata = {"name": name, "namespace": namespace}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        *bound(name, rights, [(name, namespace)]),
    ]
