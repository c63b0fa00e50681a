"""PROVE: real pods try what a policy denies, and what it allows; this module must never decide what that proves.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pytest_ephemeral_ns.errors import (
    EphemeralNsError,
    IsolationError,
    NotEnforced,
    NotReady,
    UsageError,
    WaitTimeout,
)
from pytest_ephemeral_ns.probes import Paths, probe_pod, tried
from pytest_ephemeral_ns.provision import NAMESPACES, create_namespace, delete_namespace, wait_usable
from pytest_ephemeral_ns.ready import wait_for, wait_ready
from pytest_ephemeral_ns.rules.isolation import (
    ENFORCED,
    NOT_ENFORCED,
    UNKNOWN,
    Seen,
    Verdict,
    denied_by_default,
    evidence,
    host_and_port,
    judge,
    judge_hosts,
)
from pytest_ephemeral_ns.rules.naming import LIMIT, Marks
from pytest_ephemeral_ns.rules.objects import Ref
from pytest_ephemeral_ns.rules.pods import pinned

if TYPE_CHECKING:
    from pytest_ephemeral_ns.deadline import Deadline
    from pytest_ephemeral_ns.kube.api import Api
    from pytest_ephemeral_ns.kube.watch import Watcher

__tracebackhide__ = True
IMAGE = "busybox:1.36"
BOTH = frozenset({"Ingress", "Egress"})


@dataclass(frozen=True)
class Proof:
    """What was proven about a namespace.

    Args:
        namespace: which.
        verdict: ``verdict.word`` is ``"enforced"``, ``"not enforced"`` or ``"unknown"``.
        evidence: one line per path that was tried.
        command: what to type next; empty when there is nothing to do.
    """

    namespace: str
    verdict: Verdict
    evidence: tuple[str, ...] = ()
    command: str = ""

    def __str__(self) -> str:
        lines = [f"namespace {self.namespace}: isolation {self.verdict.word}: {self.verdict.reason}"]
        return "\n".join([*lines, *(f"  {line}" for line in self.evidence)])

    def check(self) -> None:
        """Raise unless isolation is proven.

        Raises:
            NotEnforced: the cluster ignores policies.
            IsolationError: a host that had to be out of reach was not, or it could not be found out.
        """
        verdict, name = self.verdict, self.namespace
        reached = f"namespace {name} reaches {', '.join(verdict.reached)}" if verdict.reached else ""
        if verdict.word == NOT_ENFORCED:
            summary = f"this cluster does not enforce NetworkPolicy: {verdict.reason}"
            also = [reached] if reached else []
            raise NotEnforced(summary, evidence=[*also, *self.evidence], command=self.command or None)
        if reached:
            raise IsolationError(reached, evidence=self.evidence, command=self.command or None)
        if verdict.word == UNKNOWN:
            summary = f"isolation of namespace {name} is not proven: {verdict.reason}"
            raise IsolationError(summary, evidence=self.evidence, command=self.command or None)


@dataclass(frozen=True)
class Probing:
    """How probes are made.

    Args:
        image: a busybox, or anything with ``sh``, ``nc``, ``httpd``, ``awk`` and ``sed``.
        unreachable: ``HOST:PORT`` outside, each to be proven out of reach.
        settle: seconds that the network plugin may take to carry policies out.
        nodes: ``node_selector`` and ``tolerations``, see :func:`~pytest_ephemeral_ns.rules.pods.pinned`.
        say: told one line per step.
    """

    image: str = IMAGE
    unreachable: Sequence[str] = ()
    settle: float = 30.0
    nodes: Mapping[str, Any] = field(default_factory=dict)
    say: Callable[[str], object] = lambda line: None


def prove(
    api: Api,
    watcher: Watcher,
    namespace: str,
    deadline: Deadline,
    probing: Probing,
    *,
    marks: Marks,
) -> Proof:
    """Try what the policies of a namespace deny and allow, with two pods in it and two in another namespace.

    Args:
        api: the API server.
        watcher: for waiting.
        namespace: which; it must have a default-deny, or there is nothing to prove.
        deadline: for all of it.
        probing: how.
        marks: labels and annotations of the other namespace, so that a sweep finds it.

    Returns:
        The verdict with its evidence; what could not be done makes it ``"unknown"``.

    Raises:
        UsageError: the namespace has no default-deny, or a host is not ``HOST:PORT``.

    Example:
        >>> prove(api, watcher, "shop", deadline, Probing(), marks=marks)  # doctest: +SKIP
    """
    hosts = [host_and_port(text) for text in probing.unreachable]
    policies = api.list(f"/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies")
    if missing := BOTH - denied_by_default(policies):
        raise UsageError(
            f"namespace {namespace} is not isolated: no policy denies {' and '.join(sorted(missing))} by default",
            command="pytest --ephemeral-ns --ephemeral-ns-policy=isolated",
        )
    try:
        with (
            _outside(api, namespace, marks, deadline) as outside,
            _pods(api, watcher, namespace, outside, deadline, probing) as pods,
        ):
            return _probed(api, Paths(namespace, outside, pods, hosts), deadline, probing)
    except NotReady as error:
        command = f"ephemeral-ns cluster load {probing.image}" if "mage" in str(error) else error.command or ""
        return Proof(namespace, Verdict(UNKNOWN, f"the probes do not run: {error.summary}"), error.evidence, command)
    except EphemeralNsError as error:
        return Proof(namespace, Verdict(UNKNOWN, error.summary), error.evidence, error.command or "")


@contextmanager
def _outside(api: Api, namespace: str, marks: Marks, deadline: Deadline) -> Iterator[str]:
    """Give a second namespace without policies for the length of a block."""
    stem = namespace[: LIMIT - 16].rstrip("-")
    record = create_namespace(api, lambda more: "-".join(part for part in (stem, "outside", more) if part), *marks)
    try:
        wait_usable(api, record.name, deadline)
        yield record.name
    finally:
        delete_namespace(api, record)


@contextmanager
def _pods(
    api: Api, watcher: Watcher, inside: str, outside: str, deadline: Deadline, probing: Probing
) -> Iterator[dict[tuple[str, str], str]]:
    """Run two pods in each namespace; give ``(namespace, name)`` → address."""
    wanted = [(namespace, f"isolation-probe-{number}") for namespace in (inside, outside) for number in (1, 2)]
    made: list[str] = []
    try:
        for namespace, name in wanted:
            api.create(
                f"{NAMESPACES}/{namespace}/pods", pinned(probe_pod(name, probing.image), **_choice(probing.nodes))
            )
            made.append(f"{NAMESPACES}/{namespace}/pods/{name}")
        for namespace in (inside, outside):
            refs = [Ref("v1", "Pod", name, where) for where, name in wanted if where == namespace]
            wait_ready(api, watcher, namespace, refs, deadline=deadline)
        yield {pair: str(api.get(path)["status"]["podIP"]) for pair, path in zip(wanted, made, strict=True)}
    finally:
        for path in made:
            _remove(api, path)


def _remove(api: Api, path: str) -> None:
    """Delete a probe; where that fails, it goes with its namespace."""
    with suppress(EphemeralNsError):
        api.delete(path, grace_period=0)


def _choice(nodes: Mapping[str, Any]) -> dict[str, Any]:
    return {"node_selector": {}, "tolerations": [], **nodes}


def _probed(api: Api, paths: Paths, deadline: Deadline, probing: Probing) -> Proof:
    """Look until policies are carried out, then once more; then at the hosts, twice as well."""
    seen: list[Seen] = []
    said: set[str] = set()

    def look() -> Verdict:
        seen[:] = tried(api, paths.between_pods())
        verdict = judge(seen)
        if verdict.reason not in said:
            said.add(verdict.reason)
            probing.say(f"isolation {verdict.word}: {verdict.reason}")
        return verdict

    def proven() -> bool:
        return look().word == ENFORCED and look().word == ENFORCED

    with suppress(WaitTimeout):
        wait_for(proven, timeout=deadline.sooner(probing.settle), interval=0.5)
    verdict = judge(seen)
    hosts: list[Seen] = []
    for _ in range(2 if verdict.word == ENFORCED else 1):
        hosts = tried(api, paths.to_hosts())
        verdict = judge_hosts(verdict, hosts)
    return Proof(paths.inside, verdict, tuple(evidence([*seen, *hosts])), _way_on(verdict))


def _way_on(verdict: Verdict) -> str:
    if verdict.word == NOT_ENFORCED:
        return "use a network plugin that carries NetworkPolicy out, for example Calico or Cilium"
    return "kubectl get networkpolicies --output yaml" if verdict.reached or verdict.word == UNKNOWN else ""
