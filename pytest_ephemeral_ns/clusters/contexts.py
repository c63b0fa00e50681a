"""Which context of a kubeconfig, and whether it may be used unasked; this module must never read a credential.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import difflib
import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from urllib.parse import urlsplit

from pytest_ephemeral_ns.clusters.kubeconfig import B64_VARIABLE, SERVICE_ACCOUNT, Config, Entry, text
from pytest_ephemeral_ns.errors import UsageError

IN_CLUSTER = "in-cluster"
LOCAL_NAMES = (
    "kind-*",
    "k3d-*",
    "minikube",
    "docker-desktop",
    "rancher-desktop",
    "orbstack",
    "colima*",
    "ephemeral-ns-*",
)
_LOCAL_SUFFIXES = (".localhost", ".local", ".internal")
# Not ipaddress's is_private: that counts documentation and benchmark ranges, too.
_PRIVATE = tuple(map(ipaddress.ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")))
_SHOWN_NAMES = 20


@dataclass(frozen=True)
class Chosen:
    """A context with the cluster and the user that it names, none of their credentials read yet.

    Args:
        context: its name; ``"in-cluster"`` for the service account of our pod.
        server: the API server's URL.
        namespace: the context's namespace; ``"default"`` if it names none.
        cluster: the cluster's entry.
        user: the user's entry; an empty one if the context names none.
    """

    context: str
    server: str
    namespace: str
    cluster: Entry
    user: Entry


def choose_context(config: Config, context: str | None = None) -> Chosen:
    """Return the named context, or the current one, with its cluster and user.

    Args:
        config: from :func:`load_config`.
        context: a name, or ``None`` or ``""`` for the current context.

    Returns:
        The context with its cluster and user.

    Raises:
        UsageError: there is no such context, or it names a cluster or user that is not there.

    Example:
        >>> choose_context(load_config(), "kind-shop").server  # doctest: +SKIP
        'https://127.0.0.1:41235'
    """
    if config.in_cluster:
        if context and context != IN_CLUSTER:
            raise UsageError(
                f"context {context} does not exist: there is no kubeconfig, only the service account of this pod",
                command="name the kubeconfig that has it: --ephemeral-ns-kubeconfig=FILE",
            )
        nothing = Entry(IN_CLUSTER, {})
        return Chosen(IN_CLUSTER, config.in_cluster, _pod_namespace(), nothing, nothing)
    name = context or config.current_context
    if not name:
        raise UsageError(
            f"kubeconfig {config.source}: no context is chosen, there is no current-context",
            evidence=[f"contexts: {_listed(config.contexts)}"],
            command="kubectl config use-context NAME, or --ephemeral-ns-context=NAME",
        )
    if name not in config.contexts:
        raise _no_such_context(config, name, named=bool(context))
    value = config.contexts[name].value
    cluster = _member(config, name, "cluster", config.clusters, text(value, "cluster"))
    user_name = text(value, "user")
    user = (
        _member(config, name, "user", config.users, user_name)
        if user_name
        else Entry("", {}, config.contexts[name].file)
    )
    return Chosen(name, _server(cluster), text(value, "namespace") or "default", cluster, user)


def context_names(config: Config) -> list[str]:
    """Return the names of all contexts, in the order of the files."""
    return list(config.contexts)


def looks_local(context: str, server: str) -> bool:
    """Say whether a context is that of a cluster on the developer's own machine, as far as its name and server tell.

    Both must: the name is one that kind, k3d, minikube, Docker Desktop, Rancher Desktop, OrbStack, Colima or our own
    embedded cluster give (DESIGN 2.1), and the server is this machine or has a private address. A server on 127.0.0.1
    alone says nothing: a tunnel to production looks like that too.

    Args:
        context: the context's name.
        server: the API server's URL.

    Returns:
        Whether it may be used without having been named.

    Example:
        >>> looks_local("kind-shop", "https://127.0.0.1:41235"), looks_local("prod", "https://127.0.0.1:8443")
        (True, False)
    """
    host = urlsplit(server).hostname or ""
    return any(fnmatchcase(context, pattern) for pattern in LOCAL_NAMES) and _is_near(host)


def _is_near(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host.split("%")[0])
    except ValueError:
        return "." not in host or host.endswith(_LOCAL_SUFFIXES)
    near = address.is_loopback or address.is_link_local or address.is_unspecified
    return near or any(address in network for network in _PRIVATE)


def require_permission(config: Config, chosen: Chosen) -> None:
    """Refuse a context that does not look local and was not named; call it before a credential is read.

    Args:
        config: where it came from.
        chosen: the context that nobody named.

    Raises:
        UsageError: it does not look local; lists the contexts and the flag that would be the permission.

    Example:
        >>> require_permission(config, choose_context(config))  # doctest: +SKIP
    """
    if chosen.context == IN_CLUSTER or looks_local(chosen.context, chosen.server):
        return
    raise UsageError(
        f"context {chosen.context} ({chosen.server}) does not look local, so it is used only when it is named",
        evidence=[
            f"contexts of {config.source}: {_listed(config.contexts)}",
            f"names that look local: {', '.join(LOCAL_NAMES)}",
        ],
        command=f"--ephemeral-ns-context={chosen.context} (or EPHEMERAL_NS_CONTEXT, or ephemeral_ns_context)",
    )


def _pod_namespace() -> str:
    try:
        return (SERVICE_ACCOUNT / "namespace").read_text(encoding="utf-8").strip() or "default"
    except OSError:
        return "default"


def _server(cluster: Entry) -> str:
    server = text(cluster.value, "server").rstrip("/")
    if not server:
        raise UsageError(f"kubeconfig {cluster.file or B64_VARIABLE}: cluster {cluster.name} has no server")
    if "://" in server:
        return server
    # As client-go: https when anything about TLS is said, else http (rest/url_utils.go).
    tls = ("certificate-authority", "certificate-authority-data", "insecure-skip-tls-verify", "tls-server-name")
    return f"{'https' if any(text(cluster.value, key) for key in tls) else 'http'}://{server}"


def _member(config: Config, context: str, kind: str, members: Mapping[str, Entry], name: str) -> Entry:
    if name in members:
        return members[name]
    what = f"names the {kind} {name}, which is not there" if name else f"names no {kind}"
    raise UsageError(
        f"kubeconfig {config.contexts[context].file or config.source}: context {context} {what}",
        evidence=[f"{kind}s: {_listed(members)}"],
        command=f"kubectl config set-context {context} --{kind}=NAME",
    )


def _no_such_context(config: Config, name: str, *, named: bool) -> UsageError:
    near = difflib.get_close_matches(name, config.contexts, n=1, cutoff=0.6)
    what = "context" if named else "current-context"
    return UsageError(
        f"{what} {name} does not exist in kubeconfig {config.source}",
        evidence=[*([f"did you mean {near[0]}?"] if near else []), f"contexts: {_listed(config.contexts)}"],
        command=f"--ephemeral-ns-context={near[0] if near else 'NAME'}" if config.contexts else "kubectl config view",
    )


def _listed(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - _SHOWN_NAMES} more" if len(listed) > _SHOWN_NAMES else ""
    return (", ".join(listed[:_SHOWN_NAMES]) or "none") + more
