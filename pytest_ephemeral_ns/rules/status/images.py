"""Why an image can't be had, from what the kubelet and the registry said; this module must never guess from a name.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from pytest_ephemeral_ns.rules.graces import Graces
from pytest_ephemeral_ns.rules.objects import Object, Ref
from pytest_ephemeral_ns.rules.status import fields
from pytest_ephemeral_ns.rules.status.answers import Cause
from pytest_ephemeral_ns.rules.status.related import Related, first_seen

PULL_REASONS = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "ErrImageNeverPull",
        "InvalidImageName",
        "ImageInspectError",
        "RegistryUnavailable",
        "SignatureValidationFailed",
        "ImageVolumeMountFailed",
    }
)
_AT_ONCE = {"InvalidImageName", "ErrImageNeverPull"}
# A registry that can't be resolved says "not found" of a host ("no such host" and the like): that may pass.
_NETWORK = re.compile(
    r"no such host|dial tcp|i/o timeout|connection (refused|reset)|TLS handshake|deadline exceeded"
    r"|\bEOF\b|too ?many ?requests|\b429\b|\b50[0-4]\b",
    re.I,
)
_UNAUTHORIZED = re.compile(
    r"unauthorized|authorization failed|authentication required|access denied|access forbidden|insufficient_scope"
    r"|no basic auth credentials|\b40[13]\b|denied: ",
    re.I,
)
_NOT_FOUND = re.compile(
    r"not ?found|manifest unknown|MANIFEST_UNKNOWN|name unknown|NAME_UNKNOWN|does not exist|no match for platform"
    r"|invalid reference format|couldn't parse image",
    re.I,
)
# The kubelet's words once it waits between two pulls. Newer ones append the error: then it is precise again.
_VAGUE = re.compile(r"^(back-off pulling image \"?[^\s\"]*\"?|)$", re.I)


def pull_cause(
    pod: Object, ref: Ref, container: str, waiting: Mapping[str, Any], related: Related, graces: Graces, now: datetime
) -> Cause:
    """Return the cause for a container that waits for its image.

    Args:
        pod: its pod.
        ref: the pod's reference.
        container: the container's name.
        waiting: the container's ``state.waiting``.
        related: for the pod's events and for what was seen first.
        graces: how long each class of error may last.
        now: the time; the beginning, where nothing older is known.
    """
    reason, message = str(waiting.get("reason", "")), fields.one_line(waiting.get("message"))
    image = _image(pod, container)
    events = [event for event in related.events(pod, "Failed", "InspectFailed") if _about(event, image)]
    since = min((first_seen(event) for event in events), default=now)
    if reason in _AT_ONCE:
        return Cause(ref, reason, message or image, since, graces.image_not_found, container, topic="image")
    if _VAGUE.match(message):
        precise = [text for event in events if not _VAGUE.match(text := _told(event))]
        message = precise[0] if precise else message
    cause = Cause(ref, reason, message or image, since, container=container, topic="image")
    if _VAGUE.match(message):
        cause = replace(cause, topic="image back-off", grace=graces.image_pull)
        known = related.first(replace(cause, topic="image")) or related.first(cause)
        return known or cause
    known = related.first(cause)
    cause = replace(cause, since=min(known.since, since) if known else since)
    return replace(cause, **_class(reason, message, graces))


def _class(reason: str, message: str, graces: Graces) -> dict[str, Any]:
    if _NETWORK.search(message) and not re.search(r"manifest unknown|: not found$", message, re.I):
        return {"grace": graces.image_pull}
    if _UNAUTHORIZED.search(message):
        return {"grace": graces.image_unauthorized, "reason": "ImageUnauthorized"}
    if _NOT_FOUND.search(message):
        return {"grace": graces.image_not_found, "reason": "ImageNotFound"}
    return {"grace": graces.image_pull}


def _image(pod: Object, container: str) -> str:
    for group in ("containers", "initContainers"):
        for spec in fields.dig(pod, "spec", group, default=()):
            if spec.get("name") == container:
                return str(spec.get("image", ""))
    return ""


def _about(event: Object, image: str) -> bool:
    return bool(image) and f'"{image}"' in str(event.get("message", ""))


def _told(event: Object) -> str:
    return fields.one_line(event.get("message"))
