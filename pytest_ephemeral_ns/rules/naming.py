"""Names, labels and annotations of namespaces; this module must never draw a random number or look at a clock.

A name is an RFC 1123 label: at most 63 of ``a-z``, ``0-9`` and ``-``, with a letter or digit at both ends
(https://kubernetes.io/docs/concepts/overview/working-with-objects/names/). A label's value is at most 63 of
``A-Z``, ``a-z``, ``0-9``, ``-``, ``_`` and ``.``, with a letter or digit at both ends.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import hashlib
import re
import string
import unicodedata
from collections.abc import Mapping
from datetime import datetime, timezone

from pytest_ephemeral_ns.errors import UsageError
from pytest_ephemeral_ns.rules.identity import Identity

LIMIT = 63
DEFAULT_TEMPLATE = "{project}-{ref}-{commit}-{run}-{worker}"
FIELDS = ("project", "ref", "branch", "tag", "commit", "pr", "actor", "ci", "ci_run", "ci_attempt", "run", "worker")

MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGER = "pytest-ephemeral-ns"
"""The value of :data:`MANAGED_BY` that says "ours"."""
RUN = f"{MANAGER}/run"
WORKER = f"{MANAGER}/worker"
OWNER = f"{MANAGER}/owner"
PROJECT = f"{MANAGER}/project"
REF = f"{MANAGER}/ref"
COMMIT = f"{MANAGER}/commit"
PR = f"{MANAGER}/pr"
SCOPE = f"{MANAGER}/scope"
KEEP = f"{MANAGER}/keep"
HOME = f"{MANAGER}/namespace"
"""Label of an object outside: the ephemeral namespace that it belongs to."""

EXPIRES = "janitor/expires"
TTL = "janitor/ttl"
"""Read where somebody set it; never written by us, because it counts from the creation and cannot be extended."""
REASON = f"{MANAGER}/reason"
NONCE = f"{MANAGER}/nonce"
BRANCH = f"{MANAGER}/branch"
CREATED_BY = f"{MANAGER}/created-by"
JOB_URL = f"{MANAGER}/job-url"
TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"

_PROTECTED = re.compile(r"default|kube-.*|openshift|openshift-.*")
_HASH = 8


def is_protected(name: str) -> bool:
    """Whether a namespace of this name is the cluster's own: ``default``, ``kube-*``, ``openshift``, ``openshift-*``.

    Args:
        name: name of a namespace.

    Example:
        >>> is_protected("kube-system"), is_protected("kubeflow-tests")
        (True, False)
    """
    return _PROTECTED.fullmatch(name) is not None


def digest(*texts: str, length: int = _HASH) -> str:
    """Return what stands for ``texts`` where they are too long: lower-case letters and digits, a letter first.

    Args:
        texts: what must be told apart.
        length: how many characters, at most 32; 8 tell 2^40 apart.

    Example:
        >>> digest("feature/a") != digest("feature-a")
        True
    """
    number = int.from_bytes(hashlib.sha256("\0".join(texts).encode()).digest(), "big")
    number, letter = divmod(number, 26)
    characters = [string.ascii_lowercase[letter]]
    alphabet = string.digits + string.ascii_lowercase
    for _ in range(length - 1):
        number, index = divmod(number, 36)
        characters.append(alphabet[index])
    return "".join(characters)


def slug(text: str) -> str:
    """Return ``text`` with nothing but ``a-z``, ``0-9`` and single dashes between them.

    Args:
        text: anything; accents are dropped. A text in which nothing can be kept becomes its hash.

    Example:
        >>> slug("Feature/ÜBER_it!"), slug("")
        ('feature-uber-it', '')
    """
    plain = unicodedata.normalize("NFKD", text.casefold()).encode("ascii", "ignore").decode()
    kept = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    return kept or (digest(text, length=6) if text.strip() else "")


def check_template(template: str) -> None:
    """Check the template of a name before anything is made from it.

    Args:
        template: text with fields in braces: ``"{project}-{ref}-{run}-{worker}"``.

    Raises:
        UsageError: an unknown field, a stray brace, or a character that no name can have.

    Example:
        >>> check_template("{project}-{run}")
    """
    _parts(template)


def namespace_name(template: str, identity: Identity, *, run: str, worker: str, extra: str = "") -> str:
    """Return the name of a namespace.

    A name that is too long is not cut: its long fields are shortened and a hash of all that went in is appended, so
    that different namespaces keep different names. A template without ``{worker}`` gets it at its end, because the
    workers of a run must not meet.

    Args:
        template: see :func:`check_template`.
        identity: the run's identity.
        run: what tells this run from others, short.
        worker: ``"gw0"`` …; empty for what all workers share.
        extra: what tells this namespace from others of the same worker; empty if there is one only.

    Returns:
        An RFC 1123 label, never a protected name.

    Raises:
        UsageError: the template is wrong.

    Example:
        >>> namespace_name(DEFAULT_TEMPLATE, Identity("shop", "pr42", commit="1a2b3c4d5e"), run="k3x9", worker="gw0")
        'shop-pr42-1a2b3c4-k3x9-gw0'
    """
    raw = {
        "project": identity.project,
        "ref": identity.ref,
        "branch": identity.branch,
        "tag": identity.tag,
        "commit": identity.commit[:7],
        "pr": identity.pr_number,
        "actor": identity.actor,
        "ci": identity.ci,
        "ci_run": identity.ci_run,
        "ci_attempt": identity.ci_attempt,
        "run": run,
        "worker": worker,
    }
    values = {name: slug(value) for name, value in raw.items()}
    values["worker"], tail = _faithful(worker), _faithful(extra)
    parts = _parts(template)
    name = _render(parts, values, tail)
    if len(name) <= LIMIT:
        return name
    mark = digest(template, *raw.values(), extra)
    return _shorten(parts, values, tail, mark)


def _parts(template: str) -> list[tuple[str, str]]:
    """Return ``(literal, field)`` pairs; the last field may be empty."""
    fields = ", ".join(f"{{{name}}}" for name in FIELDS)
    try:
        parsed = list(string.Formatter().parse(template))
    except ValueError as error:
        raise UsageError(f"name template {template!r}: {error}", evidence=[f"fields: {fields}"]) from error
    parts: list[tuple[str, str]] = []
    for literal, field, spec, conversion in parsed:
        if field is not None and (field not in FIELDS or spec or conversion):
            raise UsageError(
                f"name template {template!r}: unknown field {{{field}{'!' + conversion if conversion else ''}"
                f"{':' + spec if spec else ''}}}",
                evidence=[f"fields: {fields}"],
            )
        if wrong := re.search(r"[^a-z0-9-]", literal):
            raise UsageError(
                f"name template {template!r}: {wrong[0]!r} cannot be part of a namespace's name",
                evidence=["a name has a-z, 0-9 and -", f"fields: {fields}"],
            )
        parts.append((literal, field or ""))
    if not parts:
        raise UsageError("name template is empty", evidence=[f"fields: {fields}", f"default: {DEFAULT_TEMPLATE}"])
    return parts if any(field == "worker" for _, field in parts) else [*parts, ("-", "worker")]


def _faithful(text: str) -> str:
    """Return the slug of ``text``; where something was lost, with a hash, because it must stay unique in its run."""
    kept = slug(text)
    return kept if kept == text else f"{kept}-{digest(text, length=6)}"


def _render(parts: list[tuple[str, str]], values: Mapping[str, str], tail: str) -> str:
    filled = "".join(literal + values.get(field, "") for literal, field in parts)
    name = slug(f"{filled}-{tail}") or "ns"
    return f"ns-{name}" if is_protected(name) else name


def _shorten(parts: list[tuple[str, str]], values: dict[str, str], tail: str, mark: str) -> str:
    """Take from the longest field until the name and its hash fit; run, worker and commit stay readable longest."""
    last_resort = ("commit", "run", "worker")
    room = LIMIT - len(mark) - 1
    used = {field for _, field in parts if field}
    for names in ([n for n in used if n not in last_resort], list(last_resort)):
        candidates = [name for name in names if name in used]
        while (excess := len(_render(parts, values, tail)) - room) > 0 and any(values[n] for n in candidates):
            longest = max(candidates, key=lambda name: (len(values[name]), name))
            others = sorted(len(values[name]) for name in candidates if name != longest)
            # Down to the next longest at most, so that no field is lost while another one is long.
            floor = others[-1] if others else 0
            keep = max(len(values[longest]) - excess, min(floor, len(values[longest]) - 1))
            values[longest] = values[longest][:keep].rstrip("-")
    head = _render(parts, values, tail)[:room].rstrip("-")
    return f"{head}-{mark}"


def label_value(text: str) -> str:
    """Return ``text`` as the value of a label: unchanged if it is one, else shortened with a hash.

    Args:
        text: anything.

    Returns:
        At most 63 allowed characters; empty for an empty text.

    Example:
        >>> label_value("feature/a")
        'feature-a'
    """
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    kept = re.sub(r"[^A-Za-z0-9_.-]+", "-", plain).strip("-_.")
    if not kept:
        return digest(text, length=6) if text.strip() else ""
    if len(kept) <= LIMIT:
        return kept
    return f"{kept[: LIMIT - _HASH - 1].rstrip('-_.')}-{digest(text)}"


def labels_of(identity: Identity, *, run_id: str, worker_id: str, scope: str, owner: str) -> dict[str, str]:
    """Return the labels that a namespace is created with.

    Args:
        identity: the run's identity.
        run_id: the whole run id; the sweep and the reaper select by it.
        worker_id: ``"gw0"`` …
        scope: what shares the namespace.
        owner: who is asked about it.

    Returns:
        Valid labels; what is unknown is left out.

    Example:
        >>> labels_of(Identity("shop", "main"), run_id="k3x9", worker_id="gw0", scope="worker", owner="ada")[RUN]
        'k3x9'
    """
    given = {
        MANAGED_BY: MANAGER,
        RUN: run_id,
        WORKER: worker_id,
        SCOPE: scope,
        OWNER: owner,
        PROJECT: identity.project,
        REF: identity.ref,
        COMMIT: identity.commit[:40],
        PR: identity.pr_number,
    }
    return {key: value for key, text in given.items() if (value := label_value(text))}


def annotations_of(identity: Identity, *, expires: datetime, created_by: str) -> dict[str, str]:
    """Return the annotations that a namespace is created with.

    Args:
        identity: the run's identity.
        expires: when a janitor may take it; with a time zone.
        created_by: ``host:pid`` of the process.

    Returns:
        Annotations; what is unknown is left out.

    Example:
        >>> expires = datetime(2026, 1, 1, tzinfo=timezone.utc)
        >>> annotations_of(Identity("shop", "main"), expires=expires, created_by="me:1")
        {'janitor/expires': '2026-01-01T00:00:00Z', 'pytest-ephemeral-ns/created-by': 'me:1'}
    """
    given = {
        EXPIRES: format_time(expires),
        CREATED_BY: created_by,
        BRANCH: identity.branch,
        f"{MANAGER}/tag": identity.tag,
        f"{MANAGER}/repository": identity.repository,
        f"{MANAGER}/ci": identity.ci if identity.ci != "local" else "",
        f"{MANAGER}/ci-run": identity.ci_run,
        f"{MANAGER}/ci-attempt": identity.ci_attempt,
        JOB_URL: identity.job_url,
    }
    return {key: value for key, value in given.items() if value}


def format_time(moment: datetime) -> str:
    """Return a moment as janitors read it: ``2026-01-01T00:00:00Z``.

    Args:
        moment: with a time zone; a part of a second is dropped.
    """
    return moment.astimezone(timezone.utc).strftime(TIME_FORMAT)


Marks = tuple[dict[str, str], dict[str, str]]
"""Labels and annotations."""


def marks_of(run_id: str, worker_id: str, *, expires: datetime) -> Marks:
    """Return the least that a namespace beside a run's own needs, for the sweep and the reaper.

    Args:
        run_id: the run that it belongs to.
        worker_id: which of its processes made it.
        expires: when it may be taken.

    Example:
        >>> marks_of("k3x9", "gw0", expires=datetime(2026, 11, 24, 9, tzinfo=timezone.utc))[1]
        {'janitor/expires': '2026-11-24T09:00:00Z'}
    """
    return {MANAGED_BY: MANAGER, RUN: run_id, WORKER: worker_id}, {EXPIRES: format_time(expires)}
