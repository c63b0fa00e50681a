"""CONFIGURE: the one table of every option; this module must never read a value, and is all that an idle plugin loads.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, cast

Kind = Literal[
    "switch", "choice", "text", "duration", "count", "quantity", "file", "folder",
    "list", "sources", "files", "images", "reports", "gates", "graces",
]  # fmt: skip
LISTS: frozenset[Kind] = frozenset({"list", "sources", "files", "images", "reports", "gates", "graces"})


class Knob:  # no dataclass: making one costs more than all of this module
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

    __slots__ = ("choices", "default", "kind", "meaning", "metavar", "name")

    def __init__(
        self,
        name: str,
        kind: Kind,
        default: str,
        meaning: str,
        choices: tuple[str, ...] = (),
        metavar: str | None = None,
    ) -> None:
        self.name, self.kind, self.default, self.meaning = name, kind, default, meaning
        self.choices, self.metavar = choices, metavar

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


# What bounds a namespace (quota_*, container_*) stops what runs away and is no budget: an ordinary chart must never
# meet it. Containers get no limits that they do not ask for: one with a request above a default limit would be refused,
# and one that is throttled is slow by chance.
#
# A text, because every pytest of whoever has the plugin installed reads this table: calls would take ten times as long
# where no bytecode may be written. name, kind, default, words of a choice or metavar ("-": none), and the meaning.
_TABLE = """\
enabled                       switch    off         -
    without it, tests that ask for a namespace are skipped with that reason, and no cluster is touched
cluster                       choice    auto        auto|current|kind|embedded
    which cluster to use
nodes                         choice    auto        auto|real|simulated|none
    embedded only: real, simulated (kwok) or no nodes; auto is real where possible, else none
kind_image                    text      -           IMAGE
    node image of a kind cluster that we create
kind_config                   file      -           FILE
    configuration file of a kind cluster that we create
context                       text      -           NAME
    kubeconfig context; naming it is also the permission to use one that does not look local
kubeconfig                    file      -           FILE
    kubeconfig file, instead of KUBECONFIG and ~/.kube/config
scope                         choice    worker      run|worker|module|class|function
    what shares one namespace
deploy                        sources   -           PATH
    what to deploy: chart, kustomization, directory or file, told apart by what is inside (repeatable)
helm_values                   files     -           FILE
    values file, handed to Helm for charts in the list (repeatable)
helm_set                      list      -           KEY=VALUE
    KEY=VALUE, handed to Helm for charts in the list; {commit}, {hostname} … are filled in (repeatable)
cluster_scoped                choice    refuse      refuse|own
    objects outside the namespace, such as ClusterRoles: an error, or our own until the namespace goes
map_namespace                 list      -           NAME[=OTHER]
    objects written for this namespace go into the ephemeral one, or with =OTHER into that (repeatable)
image                         images    -           FILE|IMAGE
    image archive or local image to load into an embedded or kind cluster first (repeatable)
policy                        choice    standard    none|standard|isolated
    guard rails: none, standard (ResourceQuota and LimitRange), isolated (and the network closed)
shared_service                list      -           NAMESPACE
    policy isolated: a namespace that may still be reached (repeatable)
ingress_namespace             list      -           NAMESPACE
    policy isolated: a namespace of an ingress controller, which may come in (repeatable)
isolated_api_server           choice    open        open|closed
    policy isolated: whether pods reach the API server
pull_secret                   list      -           NAMESPACE/NAME
    registry Secret to copy in and attach to the default ServiceAccount (repeatable)
pod_security                  choice    none        none|privileged|baseline|restricted
    Pod Security level of the namespace, as its label; none leaves it to the cluster
node_selector                 list      -           KEY=VALUE
    label of the nodes for all pods deployed (repeatable)
toleration                    list      -           KEY=VALUE:EFFECT
    taint that all pods deployed tolerate, as kubectl taint writes it (repeatable)
quota_pods                    quantity  200         QUANTITY
    quota: pods at once
quota_requests_cpu            quantity  64          QUANTITY
    quota: requests.cpu of all pods together
quota_requests_memory         quantity  256Gi       QUANTITY
    quota: requests.memory of all pods together
quota_limits_cpu              quantity  none        QUANTITY
    quota: limits.cpu of all pods together; every container needs a limit then
quota_limits_memory           quantity  none        QUANTITY
    quota: limits.memory of all pods together; every container needs a limit then
quota_requests_storage        quantity  1Ti         QUANTITY
    quota: requests.storage of all claims together
quota_persistentvolumeclaims  quantity  100         QUANTITY
    quota: claims
quota_services_loadbalancers  quantity  10          QUANTITY
    quota: Services of type LoadBalancer
quota_services_nodeports      quantity  50          QUANTITY
    quota: node ports
container_requests_cpu        quantity  10m         QUANTITY
    requests.cpu of a container that says nothing
container_requests_memory     quantity  32Mi        QUANTITY
    requests.memory of a container that says nothing
container_limits_cpu          quantity  none        QUANTITY
    limits.cpu of a container that says nothing
container_limits_memory       quantity  none        QUANTITY
    limits.memory of a container that says nothing
gate                          gates     -           GATE
    what must hold once the objects are ready: job/NAME, http://svc/NAME:PORT/PATH, tcp://svc/NAME:PORT or
    log/KIND/NAME:PATTERN (repeatable)
grace                         graces    -           CAUSE=DURATION
    how long a kind of trouble may last before it counts as failed: unschedulable=2m, image_pull=never,
    crash_loop_restarts=5 … (repeatable)
timeout                       duration  5m          DURATION
    one deadline for a namespace to become ready
ttl                           duration  2h          DURATION
    when the reaper may take a namespace that nobody released
wait_deleted                  switch    off         -
    at the end, wait until deletion is verified
keep                          choice    never       never|on-failure|always
    which namespaces stay when their tests are over; --keep-on-failure is short for on-failure
keep_ttl                      duration  24h         DURATION
    when the reaper may take a namespace that was kept
keep_max                      count     5           COUNT
    how many namespaces one run may keep
reuse                         text      -           NAMESPACE
    run against this existing namespace: deploy reconciles, nothing is deleted
artifacts                     folder    .ephemeral-ns FOLDER
    where diagnostics go
diagnostics                   choice    on-failure  never|on-failure|always
    when the cluster's side of the story is taken down: in the report of the failed test, and in that folder
log_lines                     count     50          COUNT
    last lines of each container's log in a report
report                        reports   -           FILE
    the run as a timeline: report.html is a page, report.json the same data for programs (repeatable)
name                          text      {project}-{ref}-{commit}-{run}-{worker} TEMPLATE
    the template of a namespace's name, from identity fields
"""


def _knob(entry: str) -> Knob:
    name, kind, *words, meaning = entry.split(None, 4)
    default, value = ("" if word == "-" else word for word in words)
    choices = tuple(value.split("|")) if kind == "choice" else ()
    return Knob(name, cast(Kind, kind), default, meaning, choices, None if choices else value or None)


KNOBS: tuple[Knob, ...] = tuple(map(_knob, _TABLE.replace("\n    ", " ").splitlines()))
BY_NAME: Mapping[str, Knob] = MappingProxyType({knob.name: knob for knob in KNOBS})
