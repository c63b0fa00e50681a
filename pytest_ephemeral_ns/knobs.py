"""CONFIGURE: the one table of every option; this module must never read a value, and is all that an idle plugin loads.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Kind = Literal[
    "switch", "choice", "text", "duration", "count", "quantity", "file", "folder",
    "list", "sources", "files", "images", "reports", "gates", "graces",
]  # fmt: skip
LISTS: frozenset[Kind] = frozenset({"list", "sources", "files", "images", "reports", "gates", "graces"})


@dataclass(frozen=True)
class Knob:
    """One option: its flag, its ini key, its environment variable, its default and its meaning.

    Args:
        name: field of ``settings.Settings``; ``"kind_image"`` is ``--ephemeral-ns-kind-image``.
        kind: how its text is read and checked; ``sources`` and ``files`` are lists of paths that must exist, a
            ``quantity`` is one of Kubernetes (``"500m"``, ``"64Gi"``) or ``"none"``.
        default: its default, written as a user would.
        meaning: one sentence for ``--help`` and the README.
        choices: the words that a ``choice`` allows.
        metavar: what ``--help`` shows for its value.
    """

    name: str
    kind: Kind
    default: str
    meaning: str
    choices: tuple[str, ...] = ()
    metavar: str | None = None

    @property
    def flag(self) -> str:
        """The command-line flag."""
        return "--ephemeral-ns" if self.name == "enabled" else f"--ephemeral-ns-{self.name.replace('_', '-')}"

    @property
    def collected(self) -> dict[str, str | None]:
        """How argparse collects it; values are checked in settings.py, where environment and ini file are too."""
        if self.kind == "switch":
            return {"action": "store_true"}
        action = "append" if self.kind in LISTS else "store"
        return {"action": action, "metavar": self.metavar or "|".join(self.choices)}

    @property
    def ini(self) -> str:
        """The ini key; also argparse's ``dest``."""
        return self.flag.lstrip("-").replace("-", "_")

    @property
    def env(self) -> str:
        """The environment variable."""
        return self.ini.upper()


# Name, default and meaning of what bounds a namespace, in the words of ResourceQuota and LimitRange. They stop what
# runs away and are no budget: an ordinary chart must never meet them. Containers get no limits that they do not ask
# for: one with a request above a default limit would be refused, and one that is throttled is slow by chance.
_BOUNDS = (
    ("quota_pods", "200", "quota: pods at once"),
    ("quota_requests_cpu", "64", "quota: requests.cpu of all pods together"),
    ("quota_requests_memory", "256Gi", "quota: requests.memory of all pods together"),
    ("quota_limits_cpu", "none", "quota: limits.cpu of all pods together; every container needs a limit then"),
    ("quota_limits_memory", "none", "quota: limits.memory of all pods together; every container needs a limit then"),
    ("quota_requests_storage", "1Ti", "quota: requests.storage of all claims together"),
    ("quota_persistentvolumeclaims", "100", "quota: claims"),
    ("quota_services_loadbalancers", "10", "quota: Services of type LoadBalancer"),
    ("quota_services_nodeports", "50", "quota: node ports"),
    ("container_requests_cpu", "10m", "requests.cpu of a container that says nothing"),
    ("container_requests_memory", "32Mi", "requests.memory of a container that says nothing"),
    ("container_limits_cpu", "none", "limits.cpu of a container that says nothing"),
    ("container_limits_memory", "none", "limits.memory of a container that says nothing"),
)

KNOBS: tuple[Knob, ...] = (
    Knob(
        "enabled",
        "switch",
        "off",
        "without it, tests that ask for a namespace are skipped with that reason, and no cluster is touched",
    ),
    Knob("cluster", "choice", "auto", "which cluster to use", ("auto", "current", "kind", "embedded")),
    Knob(
        "nodes",
        "choice",
        "auto",
        "embedded only: real, simulated (kwok) or no nodes; auto is real where possible, else none",
        ("auto", "real", "simulated", "none"),
    ),
    Knob("kind_image", "text", "", "node image of a kind cluster that we create", metavar="IMAGE"),
    Knob("kind_config", "file", "", "configuration file of a kind cluster that we create", metavar="FILE"),
    Knob(
        "context",
        "text",
        "",
        "kubeconfig context; naming it is also the permission to use one that does not look local",
        metavar="NAME",
    ),
    Knob("kubeconfig", "file", "", "kubeconfig file, instead of KUBECONFIG and ~/.kube/config", metavar="FILE"),
    Knob(
        "scope",
        "choice",
        "worker",
        "what shares one namespace",
        ("run", "worker", "module", "class", "function"),
    ),
    Knob(
        "deploy",
        "sources",
        "",
        "what to deploy: chart, kustomization, directory or file, told apart by what is inside (repeatable)",
        metavar="PATH",
    ),
    Knob("helm_values", "files", "", "values file, handed to Helm for charts in the list (repeatable)", metavar="FILE"),
    Knob(
        "helm_set",
        "list",
        "",
        "KEY=VALUE, handed to Helm for charts in the list; {commit}, {hostname} … are filled in (repeatable)",
        metavar="KEY=VALUE",
    ),
    Knob(
        "cluster_scoped",
        "choice",
        "refuse",
        "objects outside the namespace, such as ClusterRoles: an error, or our own until the namespace goes",
        ("refuse", "own"),
    ),
    Knob(
        "map_namespace",
        "list",
        "",
        "objects written for this namespace go into the ephemeral one, or with =OTHER into that (repeatable)",
        metavar="NAME[=OTHER]",
    ),
    Knob(
        "image",
        "images",
        "",
        "image archive or local image to load into an embedded or kind cluster first (repeatable)",
        metavar="FILE|IMAGE",
    ),
    Knob(
        "policy",
        "choice",
        "standard",
        "guard rails: none, standard (ResourceQuota and LimitRange), isolated (and the network closed)",
        ("none", "standard", "isolated"),
    ),
    Knob(
        "shared_service",
        "list",
        "",
        "policy isolated: a namespace that may still be reached (repeatable)",
        metavar="NAMESPACE",
    ),
    Knob(
        "ingress_namespace",
        "list",
        "",
        "policy isolated: a namespace of an ingress controller, which may come in (repeatable)",
        metavar="NAMESPACE",
    ),
    Knob(
        "isolated_api_server",
        "choice",
        "open",
        "policy isolated: whether pods reach the API server",
        ("open", "closed"),
    ),
    Knob(
        "pull_secret",
        "list",
        "",
        "registry Secret to copy in and attach to the default ServiceAccount (repeatable)",
        metavar="NAMESPACE/NAME",
    ),
    Knob(
        "pod_security",
        "choice",
        "none",
        "Pod Security level of the namespace, as its label; none leaves it to the cluster",
        ("none", "privileged", "baseline", "restricted"),
    ),
    Knob("node_selector", "list", "", "label of the nodes for all pods deployed (repeatable)", metavar="KEY=VALUE"),
    Knob(
        "toleration",
        "list",
        "",
        "taint that all pods deployed tolerate, as kubectl taint writes it (repeatable)",
        metavar="KEY=VALUE:EFFECT",
    ),
    *(Knob(name, "quantity", default, meaning, metavar="QUANTITY") for name, default, meaning in _BOUNDS),
    Knob(
        "gate",
        "gates",
        "",
        "what must hold once the objects are ready: job/NAME, http://svc/NAME:PORT/PATH, tcp://svc/NAME:PORT or "
        "log/KIND/NAME:PATTERN (repeatable)",
        metavar="GATE",
    ),
    Knob(
        "grace",
        "graces",
        "",
        "how long a kind of trouble may last before it counts as failed: unschedulable=2m, image_pull=never, "
        "crash_loop_restarts=5 … (repeatable)",
        metavar="CAUSE=DURATION",
    ),
    Knob("timeout", "duration", "5m", "one deadline for a namespace to become ready", metavar="DURATION"),
    Knob("ttl", "duration", "2h", "when the reaper may take a namespace that nobody released", metavar="DURATION"),
    Knob("wait_deleted", "switch", "off", "at the end, wait until deletion is verified"),
    Knob(
        "keep",
        "choice",
        "never",
        "which namespaces stay when their tests are over; --keep-on-failure is short for on-failure",
        ("never", "on-failure", "always"),
    ),
    Knob("keep_ttl", "duration", "24h", "when the reaper may take a namespace that was kept", metavar="DURATION"),
    Knob("keep_max", "count", "5", "how many namespaces one run may keep", metavar="COUNT"),
    Knob(
        "reuse",
        "text",
        "",
        "run against this existing namespace: deploy reconciles, nothing is deleted",
        metavar="NAMESPACE",
    ),
    Knob("artifacts", "folder", ".ephemeral-ns", "where diagnostics go", metavar="FOLDER"),
    Knob(
        "diagnostics",
        "choice",
        "on-failure",
        "when the cluster's side of the story is taken down: in the report of the failed test, and in that folder",
        ("never", "on-failure", "always"),
    ),
    Knob("log_lines", "count", "50", "last lines of each container's log in a report", metavar="COUNT"),
    Knob(
        "report",
        "reports",
        "",
        "the run as a timeline: report.html is a page, report.json the same data for programs (repeatable)",
        metavar="FILE",
    ),
    Knob(
        "name",
        "text",
        "{project}-{ref}-{commit}-{run}-{worker}",
        "the template of a namespace's name, from identity fields",
        metavar="TEMPLATE",
    ),
)
BY_NAME: Mapping[str, Knob] = MappingProxyType({knob.name: knob for knob in KNOBS})
