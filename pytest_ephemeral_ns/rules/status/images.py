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
# Nobody is there, or no way leads there: on a test cluster that is an image that was not loaded, as a rule.
_UNREACHABLE = re.compile(r"no such host|network is unreachable|no route to host|connection refused", re.I)
_PASSING = re.compile(
    r"dial tcp|i/o timeout|connection reset|TLS handshake|deadline exceeded|\bEOF\b|too ?many ?requests"
    r"|429 Too Many|50\d (Internal|Bad|Service|Gateway)",
    re.I,
)
_UNAUTHORIZED = re.compile(
    r"401 Unauthorized|403 Forbidden|unauthorized:|authorization failed|authentication required|access denied"
    r"|access forbidden|insufficient_scope|no basic auth credentials|denied: ",
    re.I,
)
_NOT_FOUND = re.compile(
    r"not ?found|manifest unknown|name unknown|name_unknown|manifest_unknown|does not exist|no match for platform"
    r"|invalid reference format|couldn't parse image",
    re.I,
)
# What containerd and the kubelet put before the cause, each naming the image once more.
_PREFIXES = re.compile(
    r"(Back-off pulling image \"[^\"]*\": )|(ErrImagePull: )|(rpc error: code = \w+ desc = )"
    r"|(Failed to pull image \"[^\"]*\": )|(failed to pull and unpack image \"[^\"]*\": )"
    r"|(failed to resolve (reference|image) \"[^\"]*\": )|(failed to copy: )|(failed to do request: )"
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
    if not _VAGUE.match(message):
        message = _PREFIXES.sub("", message)
    else:
        precise = [_PREFIXES.sub("", text) for event in events if not _VAGUE.match(text := _told(event))]
        message = precise[0] if precise else message
    cause = Cause(ref, reason, message or image, since, container=container, topic="image")
    if _VAGUE.match(message):
        cause = replace(cause, topic="image back-off", grace=graces.image_pull)
        known = related.first(replace(cause, topic="image")) or related.first(cause)
        return known or cause
    known = related.first(cause)
    name, grace = _class(message, graces)
    told = message if image in message else f"{image}: {message}"
    return replace(cause, since=min(known.since, since) if known else since, reason=name, grace=grace, message=told)


def _class(message: str, graces: Graces) -> tuple[str, float]:
    if _UNREACHABLE.search(message):
        return "RegistryUnreachable", graces.image_unreachable
    if _PASSING.search(message):
        return "ErrImagePull", graces.image_pull
    if _UNAUTHORIZED.search(message):
        return "ImageUnauthorized", graces.image_unauthorized
    if _NOT_FOUND.search(message):
        return "ImageNotFound", graces.image_not_found
    return "ErrImagePull", graces.image_pull


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
