"""Wait for a line of a log, over restarts and replaced pods; this module must never keep more than it needs.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from pytest_ephemeral_ns.deadline import Deadline
from pytest_ephemeral_ns.errors import ApiError, NotReady
from pytest_ephemeral_ns.ready.history import redactor_of
from pytest_ephemeral_ns.ready.report import Ending
from pytest_ephemeral_ns.rules.graces import Graces
from pytest_ephemeral_ns.rules.objects import Object, Ref
from pytest_ephemeral_ns.rules.status import Cause, Related, Verdict, remember, verdict

if TYPE_CHECKING:
    from pytest_ephemeral_ns.kube.api import Api

_PAUSE = 0.3
_LOOK_AGAIN = 1.0
_ENDED = ("Succeeded", "Failed")

__tracebackhide__ = True


def wait_for_log(
    api: Api,
    namespace: str,
    target: str,
    pattern: str | re.Pattern[str],
    *,
    deadline: Deadline,
    container: str = "",
    graces: Graces | None = None,
    secrets: Collection[str] = (),
) -> str:
    """Wait until a line of a target's logs matches; lines that are there already count.

    Args:
        api: the API server.
        namespace: of the target.
        target: ``"pod/x"``, ``"deploy/x"``, ``"job/x"``, ``"svc/x"`` ...: every pod of it; need not exist yet.
        pattern: a regular expression that is searched for in each line.
        deadline: when to give up.
        container: only this one; empty for all, init containers included.
        graces: how long each kind of trouble of its pods may last.
        secrets: values that are removed from the errors.

    Returns:
        The first line that matches, without its time.

    Raises:
        WaitFailed: a pod can never run, or all has ended without such a line.
        WaitTimeout: the deadline passed.

    Example:
        >>> wait_for_log(api, "shop", "deploy/api", "listening on", deadline=Deadline.after(60))  # doctest: +SKIP
    """
    search = _Search(api, namespace, target, re.compile(pattern), container, graces or Graces())
    while True:
        line = search.look()
        if line is None and search.verdict.failed:
            line = search.look()  # what it wrote between our reading and its end
        if line is not None:
            return line
        if search.verdict.failed or deadline.expired:
            ending = Ending(api, namespace, "application", deadline, redactor_of(secrets))
            told = {search.ref: search.verdict}
            raise ending.failed(told) if search.verdict.failed else ending.timed_out(told)
        time.sleep(deadline.sooner(_PAUSE))


class _Search:
    """Reads what is new in the logs of a target's pods."""

    def __init__(
        self, api: Api, namespace: str, target: str, pattern: re.Pattern[str], container: str, graces: Graces
    ) -> None:
        kind, _, name = target.rpartition("/")
        self.ref = Ref("", kind or "pod", name, namespace)
        self.verdict = Verdict("waiting", "NoPodsYet", "there is no pod yet")
        self._api, self._namespace, self._target = api, namespace, target
        self._pattern, self._container, self._graces = pattern, container, graces
        self._since: dict[tuple[str, str], str] = {}
        self._seen: dict[tuple[str, str, str], Cause] = {}
        self._pods: Sequence[Object] = ()
        self._listed = float("-inf")

    def look(self) -> str | None:
        """Return a line that matches, if there is one now; else say in :attr:`verdict` how things are."""
        if time.monotonic() - self._listed >= _LOOK_AGAIN:
            self._pods, self._listed = self._list(), time.monotonic()
        for pod in self._pods:
            for container in self._containers(pod):
                for line in self._new_lines(pod, container):
                    if self._pattern.search(line):
                        return line
        self._judge()
        return None

    def _list(self) -> Sequence[Object]:
        from pytest_ephemeral_ns.kube.target import pods_of

        try:
            return pods_of(self._api, self._namespace, self._target)
        except NotReady:
            return ()
        except ApiError as error:
            if error.status == 404:
                return ()
            raise

    def _containers(self, pod: Object) -> list[str]:
        groups = ("initContainerStatuses", "containerStatuses")
        known = [item for group in groups for item in pod.get("status", {}).get(group) or ()]
        begun = [item["name"] for item in known if {"running", "terminated"} & set(item.get("state") or {})]
        begun += [item["name"] for item in known if item.get("restartCount") and item["name"] not in begun]
        return [name for name in begun if self._container in ("", name)]

    def _new_lines(self, pod: Object, container: str) -> Iterator[str]:
        key = (pod["metadata"]["uid"], container)
        path = f"/api/v1/namespaces/{self._namespace}/pods/{pod['metadata']['name']}/log"
        params: dict[str, Any] = {"container": container, "timestamps": True}
        if key in self._since:
            params["sinceTime"] = self._since[key]
        try:
            text = self._api.text(path, params=params, timeout=10.0)
        except ApiError as error:
            if error.status in (0, 400, 404) or error.status >= 500:
                return  # not started, replaced, or out of reach for a moment
            raise
        for line in text.splitlines():
            stamp, _, rest = line.partition(" ")
            self._since[key] = stamp if stamp[:4].isdigit() else self._since.get(key, "")
            yield rest
        if not self._since.get(key):
            self._since.pop(key, None)

    def _judge(self) -> None:
        """One pod that can never run, or the end of all of them, ends the search."""
        if not self._pods:
            self.verdict = Verdict("waiting", "NoPodsYet", "there is no pod yet")
            return
        now = datetime.fromtimestamp(self._api.server_time, timezone.utc)
        related = Related({"Pod": self._pods}, seen=self._seen)
        pods = [{**pod, "apiVersion": "v1", "kind": "Pod"} for pod in self._pods]
        if job := self._job():
            self.verdict = self._of_job(verdict(job, related, now, self._graces), now)
            return
        found = [verdict(pod, related, now, self._graces) for pod in pods]
        self._seen = remember(self._seen, (cause for item in found for cause in item.causes))
        lost = [item for item in found if item.failed]
        wanted = f"no line matches {self._pattern.pattern!r}"
        if len(lost) == len(found):
            self.verdict = Verdict("failed", lost[0].reason, f"{wanted}; {lost[0].message}", lost[0].causes)
        elif all(pod.get("status", {}).get("phase") in _ENDED for pod in pods):
            self.verdict = Verdict("failed", "EndedWithoutIt", f"{wanted}, and its pods have ended")
        else:
            self.verdict = self._no_line(now, [cause for item in found for cause in item.causes])

    def _job(self) -> Object | None:
        """A Job's pods may fail and be followed by others: it knows itself when it has ended."""
        kind, _, name = self._target.rpartition("/")
        if kind.partition(".")[0].lower() not in ("job", "jobs"):
            return None
        job = self._api.find(f"/apis/batch/v1/namespaces/{self._namespace}/jobs/{name}")
        return {**job, "apiVersion": "batch/v1", "kind": "Job"} if job else None

    def _of_job(self, found: Verdict, now: datetime) -> Verdict:
        wanted = f"no line matches {self._pattern.pattern!r}"
        if found.reason == "Complete":
            return Verdict("failed", "EndedWithoutIt", f"{wanted}, and it is complete")
        if found.failed:
            return Verdict("failed", found.reason, f"{wanted}; {found.message}", found.causes)
        return self._no_line(now, found.causes)

    def _no_line(self, now: datetime, causes: Sequence[Cause]) -> Verdict:
        wanted = f"no line matches {self._pattern.pattern!r}"
        command = f"kubectl -n {self._namespace} logs {self._target} --all-containers"
        own = Cause(self.ref, "NoSuchLine", wanted, now, command=command)
        return Verdict("waiting", "NoSuchLine", wanted, (*causes, own))
