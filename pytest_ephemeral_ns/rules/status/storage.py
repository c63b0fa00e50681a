"""Volume claims and the classes that serve them; this module must never wait for a consumer that nobody asked for.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from datetime import datetime

from pytest_ephemeral_ns.rules.graces import Graces
from pytest_ephemeral_ns.rules.objects import Object
from pytest_ephemeral_ns.rules.status import fields
from pytest_ephemeral_ns.rules.status.answers import Cause, Verdict, not_ready, ready
from pytest_ephemeral_ns.rules.status.related import Related, first_seen

DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
_LATE = ("WaitForFirstConsumer", "WaitForPodScheduled")


def claim_verdict(claim: Object, related: Related, now: datetime, graces: Graces) -> Verdict:
    """Return the verdict for a PersistentVolumeClaim.

    Bound is ready; so is one whose class binds when its first pod is scheduled, because waiting for it before there is
    a pod is a deadlock.

    Args:
        claim: the claim.
        related: StorageClasses, if they may be read, and events.
        now: the time, on the API server's clock.
        graces: how long each cause may last.
    """
    phase = fields.dig(claim, "status", "phase", default="Pending")
    if phase == "Bound":
        return ready("Bound")
    causes = claim_causes(claim, related, now, graces)
    if phase != "Lost" and not causes and _binds_late(claim, related):
        return ready("WaitForFirstConsumer", "it is bound when its first pod is scheduled")
    return not_ready("Unbound", f"Phase: {phase}", causes, now, related.seen)


def claim_causes(claim: Object, related: Related, now: datetime, graces: Graces) -> list[Cause]:
    """Return why a claim is not bound; empty when it only needs time.

    Args:
        claim: the claim.
        related: StorageClasses, if they may be read, and events.
        now: the time, on the API server's clock.
        graces: how long each cause may last.
    """
    ref = fields.ref_of(claim, "v1", "PersistentVolumeClaim")
    if fields.dig(claim, "status", "phase") == "Lost":
        return [Cause(ref, "Lost", "its volume is gone, and its data with it", fields.created(claim), 0.0)]
    if fields.dig(claim, "status", "phase") == "Bound":
        return []
    named = fields.dig(claim, "spec", "storageClassName")
    made = fields.created(claim)
    if related.knows("StorageClass") and not fields.dig(claim, "spec", "volumeName"):
        known = [fields.name(item) for item in related.all("StorageClass")]
        there = f"there are: {', '.join(sorted(known))}" if known else "there is none"
        if named and named not in known:
            message = f"StorageClass {named!r} does not exist; {there}"
            return [Cause(ref, "StorageClassNotFound", message, made, graces.storage_class)]
        if named is None and _class_of(claim, related) is None:
            message = f"it names no StorageClass and none is the default; {there}"
            return [Cause(ref, "NoStorageClass", message, made, graces.storage_class)]
    for event in reversed(
        related.events(claim, "ProvisioningFailed", "FailedBinding", "VolumeMismatch", "VolumeResizeFailed")
    ):
        message = fields.one_line(event.get("message"))
        hopeless = "no storage class is set" in message or ("storageclass" in message and "not found" in message)
        grace = graces.storage_class if hopeless else graces.provisioning
        return [Cause(ref, str(event["reason"]), message, first_seen(event), grace)]
    return []


def claims_of(pod: Object, related: Related, now: datetime, graces: Graces) -> list[Cause]:
    """Return why a pod's claims are not bound.

    Args:
        pod: the pod.
        related: claims, StorageClasses and events.
        now: the time, on the API server's clock.
        graces: how long each cause may last.
    """
    causes: list[Cause] = []
    for volume in fields.dig(pod, "spec", "volumes", default=()):
        wanted = fields.dig(volume, "persistentVolumeClaim", "claimName")
        claim = related.named("PersistentVolumeClaim", wanted) if wanted else None
        if claim:
            causes.extend(claim_causes(claim, related, now, graces))
    return causes


def _class_of(claim: Object, related: Related) -> Object | None:
    named = fields.dig(claim, "spec", "storageClassName")
    if named is not None:
        return related.named("StorageClass", named)
    # With several defaults the API server takes the newest (Kubernetes 1.26 and later).
    defaults = [
        item
        for item in related.all("StorageClass")
        if fields.dig(item, "metadata", "annotations", DEFAULT_CLASS) == "true"
    ]
    return max(defaults, key=fields.created, default=None)


def _binds_late(claim: Object, related: Related) -> bool:
    found = _class_of(claim, related)
    if found is not None:
        return bool(found.get("volumeBindingMode") == "WaitForFirstConsumer")
    return bool(related.events(claim, *_LATE))
