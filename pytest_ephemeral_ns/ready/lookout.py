"""LOOKOUT: the objects below a wait for an application, looked at while it goes on; this module must never block.

What was ready may fail later: a container without a readiness probe that crashes after a while, a node that goes. Then
no answer will ever come, and the cause is in the objects.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

from pytest_ephemeral_ns.deadline import Deadline
from pytest_ephemeral_ns.ready.history import redactor_of, shorten
from pytest_ephemeral_ns.ready.judge import Judge, Verdicts
from pytest_ephemeral_ns.ready.report import Ending
from pytest_ephemeral_ns.ready.view import View
from pytest_ephemeral_ns.rules.graces import Graces
from pytest_ephemeral_ns.rules.objects import Ref

if TYPE_CHECKING:
    from pytest_ephemeral_ns.kube.api import Api
    from pytest_ephemeral_ns.kube.discovery import Discovery
    from pytest_ephemeral_ns.kube.watch import Watcher

_SHOWN = 10


class Lookout:
    """Looks at objects that were ready; follows nothing before the first look.

    Args:
        api: the API server.
        watcher: shared by all waits of a handle.
        namespace: where the objects are.
        refs: the objects; none is allowed, and then nothing ever fails.
        deadline: of the wait.
        discovery: finds kinds.
        graces: how long each kind of trouble may last.
        secrets: values that are removed from the errors.
        tell: gets what the wait sees, for people.
    """

    def __init__(
        self,
        api: Api,
        watcher: Watcher,
        namespace: str,
        refs: Sequence[Ref],
        deadline: Deadline,
        discovery: Discovery,
        graces: Graces,
        secrets: Collection[str] = (),
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self._api, self._watcher, self._namespace, self._refs = api, watcher, namespace, refs
        self._deadline, self._discovery, self._graces, self._secrets = deadline, discovery, graces, secrets
        self._tell = tell or (lambda line: None)
        self._looking: tuple[View, Judge] | None = None
        self.verdicts: Verdicts = {}

    def look(self, seen: str) -> None:
        """Look once; called each time when what is waited for has not come yet.

        Args:
            seen: what the wait saw instead.

        Raises:
            WaitFailed: an object has failed; with its cause.
        """
        self._tell(seen)
        if not self._refs:
            return
        if self._looking is None:
            view = View(self._api, self._watcher, self._discovery, self._namespace, self._refs, self._deadline)
            self._looking = view, Judge(self._api, view, self._namespace, self._refs, self._graces, None)
        view, judge = self._looking
        self.verdicts = judge.look()
        view.deepen(self.verdicts)
        if any(found.failed for found in self.verdicts.values()):
            ending = Ending(
                self._api,
                self._namespace,
                "application",
                self._deadline,
                redactor_of(self._secrets),
                [*view.troubles(), f"meanwhile waited for: {seen}"],
            )
            raise ending.failed(self.verdicts)

    def lines(self) -> list[str]:
        """Return how the objects are, for people: how many are ready, and each that is not; nothing before a look."""
        if not self.verdicts:
            return []
        late = [(ref, found) for ref, found in self.verdicts.items() if not found.ready]
        ready = len(self._refs) - len(late)
        lines = [f"layer below: infrastructure, {ready}/{len(self._refs)} ready"]
        lines += [f"{ref} {found.state}: {shorten(found.message or found.reason, 400)}" for ref, found in late[:_SHOWN]]
        return [redactor_of(self._secrets).clean(line) for line in lines]
