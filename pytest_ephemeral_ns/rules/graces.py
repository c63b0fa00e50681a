"""How long each kind of trouble may last before it counts as failed; this module must never look at an object.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace

from pytest_ephemeral_ns.errors import UsageError
from pytest_ephemeral_ns.rules.durations import parse_duration

NEVER = math.inf
_FIXED_NODES = 3.0


@dataclass(frozen=True)
class Graces:
    """Seconds that a cause may last before it ends the wait; ``math.inf`` is "never because of this alone".

    A grace is there because the same sign can be trouble or an ordinary start: an application that ends until its
    database is up, a registry that hiccups, a certificate that an operator writes a little later.

    Args:
        image_not_found: the registry knows no such image, its name is invalid, or it must not be pulled.
        image_unauthorized: the registry wants other credentials; the kubelet's next try, after 10 s, has no others.
        image_unreachable: the node has no such image, and nobody answers where its registry should be.
        image_pull: any other pull error: time-outs, rate limits, a registry that stumbles.
        crash_loop: a container in CrashLoopBackOff, since its first crash was seen.
        crash_loop_restarts: a count, not seconds: a crash after so many restarts ends the wait at once.
        crash_loop_patience: instead of these two while other objects of the same wait are on their way, and until a
            crash began after they were ready: an application may end until its database is up.
        start_error: the container's process could not be started, for a reason that may pass.
        config_key: a ConfigMap or Secret exists but has no such key; any other error in a container's configuration.
        config_object: a whole ConfigMap or Secret is missing; an operator may write it yet.
        config_unwritten: the same, when nothing that is waited for may have to do with its being written (a Job, a
            RoleBinding, an Ingress, a custom resource); of no interest if ``config_object`` is not the usual one.
        service_account: the pod's ServiceAccount is missing.
        mount: a volume can't be attached or mounted.
        sandbox: the pod's network or sandbox can't be made.
        no_nodes: the cluster has no node at all.
        unschedulable: no node fits.
        never_fits: the same, and no pod that ends would change that: labels, taints, too small nodes. On clusters that
            never get another node (kind, embedded) it is 3 s, if ``unschedulable`` is the usual one.
        node_not_ready: no node fits because nodes are not ready, or have just joined.
        scale_up: no node fits, and an autoscaler has said that it adds one.
        quota: the ResourceQuota is used up, and no pod of the workload made progress; others come and go.
        quota_full: the same, and no pod in the namespace starts or ends, so nobody makes room.
        refused: a pod is refused whatever one waits: Pod Security, LimitRange, a webhook's denial.
        webhook: an admission webhook does not answer.
        replaced: a managed pod ended as a whole (evicted, pre-empted) and its controller makes another.
        stuck_update: a StatefulSet whose broken pod of the old revision keeps the new one out.
        paused: a paused rollout that is not complete.
        provisioning: a volume that its provisioner can't make.
        storage_class: a claim names no StorageClass that exists, and no volume is there for it.
        load_balancer: a Service of type LoadBalancer that nobody has said a word about.
        wiring: a Service that selects no pod and no workload, or a port that no pod has.
        ingress_address: how long an Ingress may be without an address before it is called ready without one.
        metrics: how long an autoscaler's metrics may be missing before it is called ready without them.
        scale_target: an autoscaler that can't find what it scales.
        api_service: an aggregated API that has no backend that answers.
        custom: a custom resource whose controller says that it failed, in a phase or a negative condition.
        unobserved: how long a custom resource without any status counts as "not observed yet"; then it is ready.
        unprobed: a container without a readiness probe must have run so long before "ready" is believed; then its
            runtime is asked whether it still does.
        steady: a container without a readiness probe that has crashed is "ready" again as soon as it runs: it must run
            for as long as before its crash, but at most about so long, before that is believed.
        gone: an object that existed and is gone or being deleted, in case it is made again.
        namespace: the namespace is being deleted.

    Example:
        >>> Graces(unschedulable=120).unschedulable
        120
    """

    image_not_found: float = 0.0
    image_unauthorized: float = 0.0
    image_unreachable: float = 1.0
    image_pull: float = 20.0
    crash_loop: float = 45.0
    crash_loop_restarts: int = 2
    crash_loop_patience: float = 240.0
    start_error: float = 10.0
    config_key: float = 1.5
    config_object: float = 10.0
    config_unwritten: float = 3.0
    service_account: float = 1.5
    mount: float = 60.0
    sandbox: float = 45.0
    no_nodes: float = 0.0
    unschedulable: float = 15.0
    never_fits: float = NEVER
    node_not_ready: float = 60.0
    scale_up: float = 300.0
    quota: float = 10.0
    quota_full: float = 1.5
    refused: float = 1.0
    webhook: float = 30.0
    replaced: float = 60.0
    stuck_update: float = 5.0
    paused: float = 15.0
    provisioning: float = 30.0
    storage_class: float = 5.0
    load_balancer: float = 60.0
    wiring: float = 60.0
    ingress_address: float = 30.0
    metrics: float = 20.0
    scale_target: float = 15.0
    api_service: float = 60.0
    custom: float = 10.0
    unobserved: float = 5.0
    unprobed: float = 1.0
    steady: float = 10.0
    gone: float = 5.0
    namespace: float = 0.0

    def without_writers(self) -> Graces:
        """Return them for a wait in which nothing may write a ConfigMap or Secret later.

        Example:
            >>> Graces().without_writers().config_object, Graces(config_object=60).without_writers().config_object
            (3.0, 60)
        """
        usual = self.config_object == Graces.config_object
        return replace(self, config_object=min(self.config_object, self.config_unwritten)) if usual else self

    def with_fixed_nodes(self) -> Graces:
        """Return them for a cluster that never gets another node, nor another label on one.

        Example:
            >>> Graces().with_fixed_nodes().never_fits, Graces(unschedulable=120).with_fixed_nodes().never_fits
            (3.0, inf)
        """
        usual = self.unschedulable == Graces.unschedulable and self.never_fits == Graces.never_fits
        return replace(self, never_fits=_FIXED_NODES) if usual else self

    def changed(self, pairs: Iterable[str]) -> Graces:
        """Return a copy with some values changed.

        Args:
            pairs: ``"unschedulable=2m"``, ``"crash_loop_restarts=5"``, ``"quota=never"``.

        Raises:
            UsageError: no such grace, or not a duration.

        Example:
            >>> Graces().changed(["unschedulable=2m"]).unschedulable
            120.0
        """
        names = sorted(item.name for item in fields(self))
        values: dict[str, float] = {}
        for pair in pairs:
            name, _, text = (part.strip() for part in pair.partition("="))
            name = name.replace("-", "_")
            if name not in names:
                raise UsageError(f"grace {name!r} does not exist", evidence=[f"known: {', '.join(names)}"])
            values[name] = _value(name, text)
        return replace(self, **values)  # type: ignore[arg-type]


def _value(name: str, text: str) -> float:
    if name == "crash_loop_restarts":
        if not text.isdigit():
            raise UsageError(f"grace {name}={text!r} is not a count")
        return int(text)
    return NEVER if text == "never" else parse_duration(text)
