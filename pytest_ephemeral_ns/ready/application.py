"""APPLICATION: what the programs themselves must have done: a Job, a check of the user's own.

This module must never judge a body: that is the contract's part.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

from pytest_ephemeral_ns.deadline import Deadline
from pytest_ephemeral_ns.ready.contract import wait_for_contract
from pytest_ephemeral_ns.ready.loop import Progress, wait_ready
from pytest_ephemeral_ns.rules.graces import Graces
from pytest_ephemeral_ns.rules.objects import Ref
from pytest_ephemeral_ns.rules.status import Verdict

if TYPE_CHECKING:
    from pytest_ephemeral_ns.kube.api import Api
    from pytest_ephemeral_ns.kube.watch import Watcher

LAYER = "application"

__tracebackhide__ = True


def wait_for_job(
    api: Api,
    watcher: Watcher,
    namespace: str,
    name: str,
    *,
    deadline: Deadline,
    graces: Graces | None = None,
    on_progress: Progress | None = None,
    secrets: Collection[str] = (),
) -> Verdict:
    """Wait until a Job is complete; it need not exist yet.

    Args:
        api: the API server.
        watcher: shared by all waits of a handle.
        namespace: of the Job.
        name: of the Job.
        deadline: when to give up.
        graces: how long each kind of trouble may last.
        on_progress: gets a line when something changes.
        secrets: values that are removed from the errors.

    Returns:
        Its verdict.

    Raises:
        WaitFailed: it failed, or can never run; with the last lines of its log. Raised at once.
        WaitTimeout: the deadline passed.

    Example:
        >>> wait_for_job(api, watcher, "shop", "migrate", deadline=Deadline.after(60))  # doctest: +SKIP
    """
    ref = Ref("batch/v1", "Job", name, namespace)
    report = wait_ready(
        api,
        watcher,
        namespace,
        [ref],
        deadline=deadline,
        graces=graces,
        on_progress=on_progress,
        secrets=secrets,
        layer=LAYER,
        refine=complete,
    )
    return report.objects[ref]


def complete(ref: Ref, found: Verdict) -> Verdict:
    """Return a Job's verdict: a suspended one is ready as an object, but it has not done its work.

    Args:
        ref: the Job.
        found: its verdict as an object.
    """
    return Verdict("waiting", found.reason, found.message) if found.ready and found.reason == "Suspended" else found


def wait_for(
    check: Callable[[], Any],
    *,
    timeout: float = 60.0,
    interval: float = 0.5,
    secrets: Collection[str] = (),
    layer: str = LAYER,
) -> Any:
    """Call ``check`` until it returns something true.

    Args:
        check: an AssertionError or OSError means not yet, :class:`NeverReady` means never.
        timeout: seconds.
        interval: seconds between two calls.
        secrets: values that are removed from the errors.
        layer: named in the errors.

    Returns:
        What ``check`` returned.

    Raises:
        WaitFailed: ``check`` raised NeverReady.
        WaitTimeout: the time is over; names all that was seen.

    Example:
        >>> wait_for(lambda: "ready", timeout=1)
        'ready'
    """
    return wait_for_contract(check, until=bool, timeout=timeout, interval=interval, secrets=secrets, layer=layer)
