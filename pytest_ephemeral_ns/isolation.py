"""PROVE: real pods try what a policy denies, and what it allows; this module must never decide what that proves.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pytest_ephemeral_ns.errors import (
    EphemeralNsError,
    IsolationError,
    NotEnforced,
    NotReady,
    UsageError,
    WaitTimeout,
)
from pytest_ephemeral_ns.kube.execute import execute
from pytest_ephemeral_ns.provision import NAMESPACES, create_namespace, delete_namespace, wait_usable
from pytest_ephemeral_ns.ready import wait_for, wait_ready
from pytest_ephemeral_ns.rules.isolation import (
    ENFORCED,
    NOT_ENFORCED,
    UNKNOWN,
    Role,
    Seen,
    Verdict,
    denied_by_default,
    evidence,
    host_and_port,
    judge,
    judge_hosts,
    outcome_of,
)
from pytest_ephemeral_ns.rules.naming import LIMIT, Marks
from pytest_ephemeral_ns.rules.objects import Object, Ref
from pytest_ephemeral_ns.rules.pods import pinned

if TYPE_CHECKING:
    from pytest_ephemeral_ns.deadline import Deadline
    from pytest_ephemeral_ns.kube.api import Api
    from pytest_ephemeral_ns.kube.watch import Watcher

__tracebackhide__ = True
IMAGE = "busybox:1.36"
PORT = 8080
CONNECT = 3  # seconds: SYN is sent at 0 and 1; an answer takes milliseconds
FOLDER = "/probe"
BOTH = frozenset({"Ingress", "Egress"})

# The kernel's own word on the connection: programs that are ended by a time-out lose what they had to say. The socket
# is found by its inode, so that one of another probe to the same port is not mistaken for it.
SCRIPT = """\
file=/probe/$$
connect='echo $$ >"$0.pid"; exec nc "$1" "$2"'
(sh -c "$connect" "$file" "$1" "$2" </dev/null >/dev/null 2>"$file.said"; echo $? >"$file.code") &
tenths=0
while [ ! -s "$file.code" ] && [ $tenths -lt ${3}0 ]; do sleep 0.1; tenths=$((tenths + 1)); done
if [ -s "$file.code" ]; then
  echo "code $(cat "$file.code") $(cat "$file.said")"
else
  pid=$(cat "$file.pid")
  inode=$(ls -l /proc/$pid/fd | sed -n 's/.*socket:.\\([0-9]*\\).*/\\1/p' | head -n 1)
  echo "state $(cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | awk -v inode="$inode" '$10 == inode { print $4 }')"
  kill "$pid"
fi
"""


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
            api.create(f"{NAMESPACES}/{namespace}/pods", pinned(_pod(name, probing.image), **_choice(probing.nodes)))
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


def _pod(name: str, image: str) -> Object:
    """Return a pod that Pod Security allows at every level."""
    container = {
        "name": "probe",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["httpd", "-f", "-p", str(PORT), "-h", FOLDER],
        "volumeMounts": [{"name": "probe", "mountPath": FOLDER}],
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"cpu": "200m", "memory": "64Mi"}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "isolation-probe"}},
        "spec": {
            "containers": [container],
            "volumes": [{"name": "probe", "emptyDir": {}}],
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 65534,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
        },
    }


@dataclass(frozen=True)
class Paths:
    """The paths between two namespaces and to hosts outside.

    Args:
        inside: the namespace that is to be isolated.
        outside: another one.
        pods: ``(namespace, name)`` → address; two in each.
        hosts: host and port.
    """

    inside: str
    outside: str
    pods: Mapping[tuple[str, str], str]
    hosts: Sequence[tuple[str, int]]

    def between_pods(self) -> list[Path]:
        """Return each denied path with its control: the same target, from a pod of the target's own namespace."""
        found = []
        for target, other in ((self.inside, self.outside), (self.outside, self.inside)):
            address = self.pods[target, "isolation-probe-1"]
            found.append(Path(target, "isolation-probe-2", target, address, PORT, "allowed"))
            found.append(Path(other, "isolation-probe-2", target, address, PORT, "denied"))
        return found

    def to_hosts(self) -> list[Path]:
        """Return each host twice: from inside, and from outside for control."""
        roles: list[tuple[str, Role]] = [(self.inside, "host"), (self.outside, "host control")]
        return [
            Path(source, "isolation-probe-2", "", host, port, role)
            for host, port in self.hosts
            for source, role in roles
        ]


@dataclass(frozen=True)
class Path:
    """One attempt: from a pod to an address."""

    namespace: str
    pod: str
    target: str
    host: str
    port: int
    role: Role

    def tried(self, api: Api) -> Seen:
        """Try to connect."""
        shown = f"pod of {self.target} ({self.host}:{self.port})" if self.target else _shown(self.host, self.port)
        seen = Seen(f"pod of {self.namespace}", shown, self.role, "broken")
        command = ["sh", "-c", SCRIPT, "probe", self.host, str(self.port), str(CONNECT)]
        try:
            done = execute(api, self.namespace, self.pod, command, timeout=CONNECT + 20.0)
        except EphemeralNsError as error:
            return replace(seen, said=error.summary)
        outcome, said = outcome_of(done.stdout or f"code {done.returncode} {done.stderr}")
        return replace(seen, outcome=outcome, said=said)


def _shown(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _probed(api: Api, paths: Paths, deadline: Deadline, probing: Probing) -> Proof:
    """Look until policies are carried out, then once more; then at the hosts, twice as well."""
    seen: list[Seen] = []
    in_a_row = 0

    def look() -> bool:
        nonlocal in_a_row
        seen[:] = _tried(api, paths.between_pods())
        verdict = judge(seen)
        in_a_row = in_a_row + 1 if verdict.word == ENFORCED else 0
        probing.say(f"isolation {verdict.word}: {verdict.reason}")
        return in_a_row == 2

    with suppress(WaitTimeout):
        wait_for(look, timeout=deadline.sooner(probing.settle), interval=0.5)
    verdict = judge(seen)
    if verdict.word == ENFORCED and in_a_row < 2:
        verdict = Verdict(UNKNOWN, "a denied path timed out once, and there was no time to look again")
    hosts: list[Seen] = []
    for _ in range(2 if verdict.word == ENFORCED else 1):
        hosts = _tried(api, paths.to_hosts())
        verdict = judge_hosts(verdict, hosts)
    return Proof(paths.inside, verdict, tuple(evidence([*seen, *hosts])), _way_on(verdict))


def _tried(api: Api, paths: Sequence[Path]) -> list[Seen]:
    if not paths:
        return []
    with ThreadPoolExecutor(len(paths), thread_name_prefix="ephemeral-ns-probe") as pool:
        return [*pool.map(lambda path: path.tried(api), paths)]


def _way_on(verdict: Verdict) -> str:
    if verdict.word == NOT_ENFORCED:
        return "use a network plugin that carries NetworkPolicy out, for example Calico or Cilium"
    return "kubectl get networkpolicies --output yaml" if verdict.reached or verdict.word == UNKNOWN else ""
