"""GUARD: a new namespace is bounded, and usable, before anything runs in it; this module must never decide on a limit.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_ephemeral_ns.errors import ApiError
from pytest_ephemeral_ns.provision import NAMESPACES, wait_usable
from pytest_ephemeral_ns.rules.guardrails import ISOLATED, STANDARD, Reach, guard_rails
from pytest_ephemeral_ns.rules.naming import RUN

if TYPE_CHECKING:
    from pytest_ephemeral_ns.deadline import Deadline
    from pytest_ephemeral_ns.kube.api import Api
    from pytest_ephemeral_ns.rules.objects import Object
    from pytest_ephemeral_ns.settings import Settings

__tracebackhide__ = True


@dataclass(frozen=True)
class Guard:
    """What is put into a namespace between its creation and its first pod.

    Args:
        settings: the run's: limits, what an isolated namespace may reach, pull secrets.
        policy: ``"none"``, ``"standard"`` or ``"isolated"``.
        asked: whether somebody asked for that policy. One that is a default must not keep those from working who may
            not create a quota: they are told once what to grant.

    Example:
        >>> Guard.of(settings).prepare(api, "shop", "k3x9k3", deadline, warn=print, step=nullcontext)  # doctest: +SKIP
    """

    settings: Settings
    policy: str
    asked: bool

    @classmethod
    def of(cls, settings: Settings, policy: str | None = None) -> Guard:
        """Return the guard of a namespace; ``policy`` is for this one namespace, default: what the settings say.

        A namespace that the user named (``--ephemeral-ns-reuse``) gets no guard rails: one of ours has them since it
        was made, and any other is bounded by whoever owns it.

        Raises:
            UsageError: there is no such policy.
        """
        chosen = policy or settings.policy
        guard_rails(chosen)  # says what is wrong with it before anything is created
        if settings.reuse:
            return cls(settings, "none", False)
        default = chosen == STANDARD and policy is None and "policy" not in settings.provenance
        return cls(settings, chosen, not default)

    def prepare(
        self,
        api: Api,
        namespace: str,
        run_id: str,
        deadline: Deadline,
        *,
        warn: Callable[[str], object],
        step: Callable[[str], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        """Make a namespace usable: guard rails, default ServiceAccount and root CA, pull secrets, a quota that counts.

        Args:
            api: the API server.
            namespace: which was created just now, or is used again.
            run_id: put on everything, as a label.
            deadline: shared with everything that follows.
            warn: told what could not be done and is no error.
            step: stands around each step, to write down how long it takes; default: nothing.

        Raises:
            ClusterError: ServiceAccount or root CA did not come.
            DeployError: a guard rail or a pull secret was refused.
            UsageError: a pull secret is no registry Secret.
        """
        from pytest_ephemeral_ns.deploy import attach_pull_secrets, await_quota, put_guard_rails

        labels = {RUN: run_id}
        rails: list[Object] = []
        with step("guard rails"), _tolerating(self.asked, warn):
            rails = put_guard_rails(api, namespace, self._rails(api), labels=labels)
        if self.policy == ISOLATED:
            self._warn_of_nobody(api, warn)
        # Both wait for controllers that began with the namespace's creation, so the quota's wait is over by then.
        with step("usable"):
            wait_usable(api, namespace, deadline)
            attach_pull_secrets(api, self.settings.pull_secret, namespace, labels=labels)
        with step("guard rails"), _tolerating(self.asked, warn):
            await_quota(api, rails, deadline)

    def _warn_of_nobody(self, api: Api, warn: Callable[[str], object]) -> None:
        """Say which namespaces do not exist: a typing error would look like a service that does not answer."""
        for flag in ("shared_service", "ingress_namespace"):
            for name in getattr(self.settings, flag):
                with suppress(ApiError):  # not everybody may look
                    if api.find(f"{NAMESPACES}/{name}") is None:
                        option = f"--ephemeral-ns-{flag.replace('_', '-')}"
                        warn(f"namespace {name} of {option} does not exist: nothing goes there or comes from there")

    def _rails(self, api: Api) -> Sequence[Object]:
        settings = self.settings
        servers: Sequence[tuple[str, int]] = ()
        if self.policy == ISOLATED and settings.isolated_api_server == "open":
            from pytest_ephemeral_ns.deploy import api_servers

            servers = api_servers(api)
        reach = Reach(shared=settings.shared_service, ingress=settings.ingress_namespace, api_servers=servers)
        return guard_rails(self.policy, limits=settings, reach=reach)


@contextmanager
def _tolerating(asked: bool, warn: Callable[[str], object]) -> Iterator[None]:
    """Turn a right that is missing into a warning, unless somebody asked for what it is needed for."""
    from pytest_ephemeral_ns.deploy import MissingRight

    try:
        yield
    except MissingRight as error:
        if asked:
            raise
        warn("; ".join([error.summary, *error.evidence, f"→ {error.command}"]))
