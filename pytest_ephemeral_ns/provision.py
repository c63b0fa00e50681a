"""PROVISION and RELEASE: a namespace's birth and death; this module must never adopt or delete what is not ours.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_ephemeral_ns.errors import ApiError, ClusterError, EphemeralNsError
from pytest_ephemeral_ns.rules.naming import MANAGED_BY, MANAGER, NONCE, RUN

if TYPE_CHECKING:
    from pytest_ephemeral_ns.deadline import Deadline
    from pytest_ephemeral_ns.kube.api import Api

__tracebackhide__ = True
NAMESPACES = "/api/v1/namespaces"
NAME_ATTEMPTS = 5


@dataclass(frozen=True)
class Record:
    """A namespace that we created: its name cannot be mistaken for another's as long as the UID is compared."""

    name: str
    uid: str


def create_namespace(
    api: Api, name_of: Callable[[str], str], labels: Mapping[str, str], annotations: Mapping[str, str]
) -> Record:
    """Create a namespace that carries its owner, run, identity and expiry from its first moment.

    A name that exists is never adopted: another one is drawn, a few times.

    Args:
        api: the API server.
        name_of: makes a name from a random suffix; the first call gets ``""``.
        labels: labels of the create call.
        annotations: annotations of the create call.

    Returns:
        Name and UID.

    Raises:
        ApiError: the server refused, or five names were taken.

    Example:
        >>> create_namespace(api, lambda more: f"shop-gw0{more}", labels, annotations)  # doctest: +SKIP
    """
    taken: list[str] = []
    for attempt in range(NAME_ATTEMPTS):
        name = name_of("" if attempt == 0 else secrets.token_hex(2))
        try:
            return _create(api, name, labels, annotations)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
            taken.append(name)
    raise ApiError(
        f"namespaces {', '.join(taken)} exist already and are not of this run",
        status=409,
        reason="AlreadyExists",
        command=f"kubectl get namespace {taken[0]} -o yaml",
    )


def _create(api: Api, name: str, labels: Mapping[str, str], annotations: Mapping[str, str]) -> Record:
    # A create whose answer was lost is told from somebody else's namespace by a nonce that only this call knows.
    nonce = secrets.token_hex(8)

    def ours(existing: Mapping[str, Any]) -> bool:
        return bool(existing["metadata"].get("annotations", {}).get(NONCE) == nonce)

    body = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": dict(labels), "annotations": {**annotations, NONCE: nonce}},
    }
    created = api.create(NAMESPACES, body, same=ours)
    return Record(name, created["metadata"]["uid"])


def wait_usable(api: Api, name: str, deadline: Deadline) -> None:
    """Wait until pods can be created: the default ServiceAccount and the root CA exist.

    Args:
        api: the API server.
        name: the namespace.
        deadline: shared with everything that follows.

    Raises:
        ClusterError: one of them did not come; says why, as far as the API server knows.
    """
    for plural, wanted in (("serviceaccounts", "default"), ("configmaps", "kube-root-ca.crt")):
        if not _appears(api, f"{NAMESPACES}/{name}/{plural}", wanted, deadline):
            raise ClusterError(
                f"namespace {name} is not usable: {plural[:-1]} {wanted} did not appear in {deadline.budget:.0f} s",
                evidence=_why_missing(api, name, plural, wanted),
                command=f"kubectl get events --namespace kube-system; kubectl get {plural} --namespace {name}",
            )


def _appears(api: Api, path: str, wanted: str, deadline: Deadline) -> bool:
    """Watch for one object. A watch from version 0 begins with what the API server's cache holds.

    Without a version the server first makes sure that its cache is current, which takes 0.1 s; a name that was never
    used before cannot be in the cache by mistake.
    """
    while not deadline.expired:
        seconds = max(1, int(deadline.sooner(30)))
        params = {
            "watch": "true",
            "resourceVersion": "0",
            "fieldSelector": f"metadata.name={wanted}",
            "timeoutSeconds": str(seconds),
        }
        with api.stream(path, params=params, read_timeout=seconds + 5.0) as lines:
            if any(line.strip() for line in lines):
                return True
    return False


def _why_missing(api: Api, namespace: str, plural: str, wanted: str) -> list[str]:
    """Ask the API server to pretend to create it: an admission refusal is then in its own words."""
    kind = {"serviceaccounts": "ServiceAccount", "configmaps": "ConfigMap"}[plural]
    body = {"apiVersion": "v1", "kind": kind, "metadata": {"name": wanted, "namespace": namespace}}
    try:
        api.create(f"{NAMESPACES}/{namespace}/{plural}", body, params={"dryRun": "All"})
    except ApiError as error:
        if error.reason == "AlreadyExists":
            return [f"{kind} {wanted} exists now: the controller was too slow for the deadline"]
        return [f"creating it by hand (dry run) is refused: {error.summary}"]
    return [
        f"creating {kind} {wanted} by hand (dry run) is allowed, so nothing refuses it",
        "the controller that makes it does not run: look at kube-controller-manager",
    ]


def delete_namespace(api: Api, record: Record, *, timeout: float = 4.0) -> str | None:
    """Send the DELETE and go; never raises, because a tear-down must not become another test's error.

    Args:
        api: the API server.
        record: which; the UID is a precondition, so a namesake is never touched.
        timeout: seconds for the request; an interrupted xdist worker has less than five.

    Returns:
        ``None`` when the server accepted it or it was gone, else one warning with the command to type.
    """
    try:
        api.delete(f"{NAMESPACES}/{record.name}", uid=record.uid, timeout=timeout)
    except EphemeralNsError as error:
        return f"namespace {record.name} was not deleted: {error.summary}; → kubectl delete namespace {record.name}"
    return None


def identified(api: Api, record: Record, run_id: str) -> Record | None:
    """Return a record with its UID, or ``None`` where no such namespace of this run exists.

    Args:
        api: the API server.
        record: without UID when an interrupt came between the create call and its answer.
        run_id: the run whose label the namespace must carry.

    Raises:
        ApiError: it could not be looked at.
    """
    if record.uid:
        return record
    item = api.find(f"{NAMESPACES}/{record.name}", timeout=4.0)
    if item is None or (item["metadata"].get("labels") or {}).get(RUN) != run_id:
        return None
    return Record(record.name, item["metadata"]["uid"])


@dataclass(frozen=True)
class Sweep:
    """What a sweep did: names that it deleted, names that were on their way out already, and warnings."""

    deleted: tuple[str, ...] = ()
    terminating: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def sweep(
    api: Api, run_id: str, known: Iterable[Record], keep: Callable[[dict[str, Any]], bool], deadline: Deadline
) -> Sweep:
    """Delete what is left of one run.

    Args:
        api: the API server.
        run_id: the run whose label a namespace must carry.
        known: what the run's processes wrote down; used where listing namespaces is not allowed.
        keep: says whether a namespace, given as its object, stays.
        deadline: for all of it; what is not done by then is a warning.

    Returns:
        What was done, and what could not be confirmed.
    """
    warnings: list[str] = []
    try:
        found = list(api.list(NAMESPACES, label_selector=f"{RUN}={run_id},{MANAGED_BY}={MANAGER}"))
    except ApiError as error:
        if error.status != 403:
            return Sweep(warnings=_unconfirmed(run_id, known, error.summary))
        found, warnings = _look_up(api, run_id, known, deadline)
    going = [item for item in found if item["metadata"].get("deletionTimestamp")]
    kept = [item for item in found if item not in going and keep(item)]
    doomed = [item for item in found if item not in kept and item not in going]
    deleted = []
    for item in doomed:
        record = Record(item["metadata"]["name"], item["metadata"]["uid"])
        problem = delete_namespace(api, record, timeout=deadline.sooner(10.0))
        if problem:
            warnings.append(problem)
        else:
            deleted.append(record.name)
    return Sweep(tuple(deleted), _names(going), _names(kept), tuple(warnings))


def _unconfirmed(run_id: str, known: Iterable[Record], why: str) -> tuple[str, ...]:
    """Return a warning where the server cannot be asked what is left, if there may be something."""
    names = [record.name for record in known]
    if not names:
        return ()
    said = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    command = f"kubectl delete namespace --selector {RUN}={run_id}"
    return (f"could not confirm that what run {run_id} made is gone ({said}): {why}; → {command}",)


def _look_up(
    api: Api, run_id: str, known: Iterable[Record], deadline: Deadline
) -> tuple[list[dict[str, Any]], list[str]]:
    found, warnings = [], []
    for record in known:
        try:
            item = api.find(f"{NAMESPACES}/{record.name}", timeout=deadline.sooner(10.0))
        except ApiError as error:
            warnings.append(f"namespace {record.name} may be left: {error.summary}")
            continue
        if item is None or record.uid not in ("", item["metadata"]["uid"]):
            continue
        if item["metadata"].get("labels", {}).get(RUN) == run_id:
            found.append(item)
    return found, warnings


def _names(items: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    return tuple(str(item["metadata"]["name"]) for item in items)


def wait_deleted(api: Api, records: Iterable[Record], deadline: Deadline) -> list[str]:
    """Wait until namespaces are gone from the API server, not only asked to go.

    Args:
        api: the API server.
        records: which.
        deadline: when to stop waiting.

    Returns:
        One line per namespace that is still there, with what holds it.
    """
    return [line for record in records if record.uid and (line := _wait_gone(api, record, deadline))]


def _wait_gone(api: Api, record: Record, deadline: Deadline) -> str | None:
    path = f"{NAMESPACES}/{record.name}"
    while True:
        try:
            item = api.get(path)
        except ApiError as error:
            if error.status == 404:
                return None
            return f"namespace {record.name}: {error.summary}"
        if item["metadata"]["uid"] != record.uid:
            return None
        if deadline.expired:
            return f"namespace {record.name} is still there: {_held_by(item)}"
        _until_changed(api, record.name, item["metadata"]["resourceVersion"], deadline)


def _until_changed(api: Api, name: str, version: str, deadline: Deadline) -> None:
    seconds = max(1, int(deadline.sooner(30)))
    params = {
        "watch": "true",
        "fieldSelector": f"metadata.name={name}",
        "resourceVersion": version,
        "timeoutSeconds": str(seconds),
    }
    with api.stream(NAMESPACES, params=params, read_timeout=seconds + 5.0) as lines:
        next(iter(lines), None)


def _held_by(item: Mapping[str, Any]) -> str:
    conditions = item.get("status", {}).get("conditions", [])
    held = [f"{c['reason']}: {c['message']}" for c in conditions if c.get("status") == "True"]
    return "; ".join(held) or str(item.get("status", {}).get("phase", "unknown"))
