"""Jobs and CronJobs: a running Job is not done, one that its TTL took away is; this module must never retry.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from pytest_ephemeral_ns.rules.graces import NEVER, Graces
from pytest_ephemeral_ns.rules.objects import Object
from pytest_ephemeral_ns.rules.status import fields
from pytest_ephemeral_ns.rules.status.answers import Cause, Verdict, not_ready, ready
from pytest_ephemeral_ns.rules.status.fields import dig, number
from pytest_ephemeral_ns.rules.status.pods import pod_causes
from pytest_ephemeral_ns.rules.status.refusals import refusals
from pytest_ephemeral_ns.rules.status.related import Related

_FAILED_EVENTS = (
    "BackoffLimitExceeded",
    "DeadlineExceeded",
    "PodFailurePolicy",
    "FailedIndexes",
    "MaxFailedIndexesExceeded",
)


def job_verdict(job: Object, related: Related, now: datetime, graces: Graces) -> Verdict:
    """Return the verdict for a Job: Complete is ready, Failed is failed, running is waiting.

    A suspended Job is ready: it does what its manifest says, which is nothing.

    Args:
        job: the Job.
        related: its pods and events.
        now: the time, on the API server's clock.
        graces: how long each cause may last.
    """
    succeeded, wanted = number(job, "status", "succeeded"), number(job, "spec", "completions", default=1)
    if fields.is_true(job, "Complete"):
        return ready("Complete", f"Succeeded: {succeeded}/{wanted}")
    progress = f"Succeeded: {succeeded}/{wanted}, failed: {number(job, 'status', 'failed')}"
    # FailureTarget says so before the last pod has ended (Kubernetes 1.31 and later).
    for kind in ("Failed", "FailureTarget"):
        if fields.is_true(job, kind):
            return not_ready(
                "Failed", progress, _failure(job, fields.condition(job, kind), related, now, graces), now, related.seen
            )
    if dig(job, "spec", "suspend") is True and fields.is_true(job, "Suspended"):
        return ready("Suspended", "it is suspended, and does nothing until it is resumed")
    return not_ready("Running", progress, _running(job, related, now, graces), now, related.seen)


def _failure(job: Object, condition: Mapping[str, Any], related: Related, now: datetime, graces: Graces) -> list[Cause]:
    ref = fields.ref_of(job, "batch/v1", "Job")
    since = fields.when(condition.get("lastTransitionTime"), now)
    reason, message = str(condition.get("reason") or "Failed"), fields.one_line(condition.get("message"))
    causes = [Cause(ref, reason, message, since, 0.0)]
    for pod in _newest_first(job, related)[:1]:
        causes += [replace(cause, grace=0.0, since=since) for cause in pod_causes(pod, related, now, graces)]
    return causes


def _running(job: Object, related: Related, now: datetime, graces: Graces) -> list[Cause]:
    """Its own controller counts crashes against backoffLimit; what never ends by itself is told here."""
    pods = _newest_first(job, related)
    causes = refusals(job, fields.ref_of(job, "batch/v1", "Job"), pods, related, graces)
    for pod in pods:
        if fields.deleting_since(pod) or dig(pod, "status", "phase") == "Succeeded":
            continue
        ended = dig(pod, "status", "phase") == "Failed"
        for cause in pod_causes(pod, related, now, graces):
            if cause.topic in ("probe", "restarted"):
                continue
            counted = ended or cause.log or cause.topic == "crash"
            causes.append(replace(cause, grace=NEVER) if counted else cause)
    return causes


def _newest_first(job: Object, related: Related) -> list[Object]:
    return sorted(related.owned_by(fields.uid(job), "Pod"), key=fields.created, reverse=True)


def job_gone(job: Object, related: Related, now: datetime, graces: Graces) -> Verdict:
    """Return the verdict for a Job that was seen and is gone.

    Args:
        job: the Job as it was seen last.
        related: its events, which outlive it.
        now: the time, on the API server's clock.
        graces: how long each cause may last.
    """
    if fields.is_true(job, "Failed"):
        return job_verdict(job, related, now, graces)
    ref = fields.ref_of(job, "batch/v1", "Job")
    for event in related.events(job, *_FAILED_EVENTS):
        message = fields.one_line(event.get("message"))
        cause = Cause(ref, str(event["reason"]), message, now, 0.0)
        return not_ready("Failed", "it is gone", [cause], now, related.seen)
    finished = related.events(job, "Completed") or fields.is_true(job, "Complete")
    if finished or dig(job, "spec", "ttlSecondsAfterFinished") is not None:
        return ready("RemovedAfterFinishing", "it finished, and its TTL took it away")
    cause = Cause(ref, "Gone", "it existed, and was deleted", now, graces.gone, topic="gone")
    return not_ready("Gone", "", [cause], now, related.seen)


def cron_job_verdict(cron_job: Object, related: Related, now: datetime, graces: Graces) -> Verdict:
    """Return "ready": a CronJob's Jobs come later, by its schedule.

    Args:
        cron_job: the CronJob.
        related: unused.
        now: unused.
        graces: unused.
    """
    return ready("Exists", "suspended" if dig(cron_job, "spec", "suspend") is True else "")
