"""Pods that try to connect, and the paths between them; this module must never decide what an outcome proves.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pytest_ephemeral_ns.errors import EphemeralNsError
from pytest_ephemeral_ns.kube.execute import execute
from pytest_ephemeral_ns.rules.isolation import Role, Seen, outcome_of
from pytest_ephemeral_ns.rules.objects import Object

if TYPE_CHECKING:
    from pytest_ephemeral_ns.kube.api import Api

PORT = 8080
CONNECT = 3  # seconds: SYN is sent at 0 and 1; an answer takes milliseconds
FOLDER = "/probe"

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


def probe_pod(name: str, image: str) -> Object:
    """Return a pod that serves and probes, and that Pod Security allows at every level.

    Args:
        name: of the pod.
        image: see :data:`SCRIPT` for what it needs.

    Example:
        >>> probe_pod("a", "busybox:1.36")["spec"]["containers"][0]["command"][0]
        'httpd'
    """
    container = {
        "name": "probe",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["httpd", "-f", "-p", str(PORT), "-h", FOLDER],
        "volumeMounts": [{"name": "probe", "mountPath": FOLDER}],
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "64Mi"}},
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

    def try_it(self, api: Api) -> Seen:
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


def tried(api: Api, paths: Sequence[Path]) -> list[Seen]:
    """Try paths at the same time; return what was seen in their order.

    Args:
        api: the API server.
        paths: from :class:`Paths`.
    """
    if not paths:
        return []
    with ThreadPoolExecutor(len(paths), thread_name_prefix="ephemeral-ns-probe") as pool:
        return [*pool.map(lambda path: path.try_it(api), paths)]
