"""Who runs what, for which change, and where; this module must never read the environment or run git itself.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pytest_ephemeral_ns.rules.ci import SYSTEMS, System

# "false" and "" mean absent: Travis and Buildkite set their pull request variables to "false".
_ABSENT = ("", "false")


@dataclass(frozen=True)
class GitFacts:
    """What was found out about the work tree; everything may be empty.

    Args:
        directory: name of the root folder of the tests, without its path.
        branch: the branch that is checked out; empty when detached.
        commit: the full hash of ``HEAD``.
        remote: URL of ``origin``.
    """

    directory: str = ""
    branch: str = ""
    commit: str = ""
    remote: str = ""


@dataclass(frozen=True)
class Identity:
    """Who runs what, for which change, and where. Texts are as their source gave them; names are made from them later.

    Args:
        project: name of the repository without its owner, else of the root folder.
        ref: ``"pr42"``, else the tag, else the branch, else the user's name.
        branch: the branch under test; of a pull request its source. Empty if there is none.
        commit: the full hash of the commit that the author pushed; empty if unknown.
        pr_number: ``"42"``; empty outside pull requests.
        actor: who started it.
        ci: name of the CI system, ``"unknown"`` for one that is not in the table, ``"local"`` outside CI.
        ci_run: what all jobs of one CI run share.
        ci_attempt: which try.
        job_url: where people see the job.
        repository: ``owner/name``, or what the remote URL ends with.
        tag: the tag under test.

    Example:
        >>> identity_from({}, GitFacts(directory="shop", branch="main"), user="ada").ref
        'main'
    """

    project: str
    ref: str
    branch: str = ""
    commit: str = ""
    pr_number: str = ""
    actor: str = ""
    ci: str = "local"
    ci_run: str = ""
    ci_attempt: str = ""
    job_url: str = ""
    repository: str = ""
    tag: str = ""


def detect(environ: Mapping[str, str]) -> System | None:
    """Return the CI system that ``environ`` belongs to, or ``None``.

    Args:
        environ: the process environment.

    Example:
        >>> detect({"GITLAB_CI": "true"}).name
        'gitlab'
    """
    for system in SYSTEMS:
        if all(_fulfilled(condition, environ) for condition in system.detect):
            return system
    return None


def identity_from(
    environ: Mapping[str, str],
    git: GitFacts,
    user: str,
    event: Mapping[str, Any] | None = None,
    properties: Mapping[str, str] | None = None,
) -> Identity:
    """Return the identity of a run: the CI system's word first, then git's, then the user's name.

    Args:
        environ: the process environment.
        git: what the work tree says.
        user: login name of the user.
        event: decoded ``GITHUB_EVENT_PATH``, if there is one.
        properties: TeamCity's build and configuration properties, if there are any.

    Returns:
        The identity; ``project`` and ``ref`` are never empty.

    Example:
        >>> identity_from({"GITHUB_ACTIONS": "true", "GITHUB_REF": "refs/pull/7/merge"}, GitFacts("shop"), "ada").ref
        'pr7'
    """
    system = detect(environ)
    if system is None:
        in_ci = _present(environ.get("CI", ""))
        return _assemble("unknown" if in_ci else "local", git, user)
    facts = _Facts(environ, event or {}, properties or {})
    tag = _tag(system, facts)
    branch = _first(system.branch, facts, _as_branch)
    return _assemble(
        system.name,
        git,
        user,
        pr_number=_first(system.pr, facts, _as_pr_number),
        tag=tag,
        # Several systems set the branch variable to the tag's name.
        branch="" if branch == tag else branch,
        commit=_first(system.commit, facts, _as_commit),
        actor=_first(system.actor, facts),
        ci_run=_first(system.run, facts),
        ci_attempt=_first(system.attempt, facts),
        job_url=_first(system.url, facts),
        repository=_repository(_first(system.repository, facts)),
    )


def _assemble(
    ci: str,
    git: GitFacts,
    user: str,
    *,
    pr_number: str = "",
    tag: str = "",
    branch: str = "",
    commit: str = "",
    actor: str = "",
    ci_run: str = "",
    ci_attempt: str = "",
    job_url: str = "",
    repository: str = "",
) -> Identity:
    repository = repository or _repository(git.remote)
    branch = branch or ("" if tag or pr_number else git.branch)
    return Identity(
        project=repository.rsplit("/", 1)[-1] or git.directory or "project",
        ref=f"pr{pr_number}" if pr_number else tag or branch or user or "nobody",
        branch=branch,
        commit=commit or git.commit,
        pr_number=pr_number,
        actor=actor or user,
        ci=ci,
        ci_run=ci_run,
        ci_attempt=ci_attempt,
        job_url=job_url,
        repository=repository,
        tag=tag,
    )


class _Facts:
    """Variables, event and properties under one kind of name."""

    def __init__(self, environ: Mapping[str, str], event: Mapping[str, Any], properties: Mapping[str, str]) -> None:
        self._environ = environ
        self._event = event
        self._properties = properties

    def get(self, place: str) -> str:
        """Return what ``place`` says (see :class:`System`), or an empty text."""
        if "{" in place:
            names = re.findall(r"{([^{}]+)}", place)
            values = {name: self.get(name) for name in names}
            if not all(values.values()):
                return ""
            return re.sub(r"{([^{}]+)}", lambda match: values[match[1]], place)
        if place.startswith("event."):
            return self._in_event(place.split(".")[1:])
        if place.startswith("properties."):
            return _present(self._properties.get(place.removeprefix("properties."), ""))
        return _present(self._environ.get(place, ""))

    def _in_event(self, keys: list[str]) -> str:
        value: Any = self._event
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        return _present(str(value)) if isinstance(value, str | int) and not isinstance(value, bool) else ""


def _present(value: str) -> str:
    stripped = value.strip()
    return "" if stripped.lower() in _ABSENT else stripped


def _fulfilled(condition: str, environ: Mapping[str, str]) -> bool:
    name, _, wanted = condition.partition("=")
    value = _present(environ.get(name, ""))
    return value == wanted if wanted else bool(value)


def _first(places: tuple[str, ...], facts: _Facts, read: Callable[[str], str] = str) -> str:
    for place in places:
        if (value := facts.get(place)) and (found := read(value)):
            return found
    return ""


def _tag(system: System, facts: _Facts) -> str:
    """A place that can hold any ref must say that it is a tag; the others hold nothing but tags."""
    for place in system.tag:
        value = facts.get(place)
        if match := re.fullmatch(r"(?:refs/tags/|tag/)(.+)", value):
            return match[1]
        if value and "TAG" in place.upper():
            return value
    return ""


# What stands for a pull request or a tag, not for a branch: "refs/pull/7/merge", "7/merge", "pull/7", "PR-7", "pr/7",
# "merge-requests/7/head".
_NOT_A_BRANCH = re.compile(
    r"refs/(?!heads/|remotes/).*|(pull|pulls|pr|merge-requests)/\d+(/.*)?|\d+/(merge|head)|PR-\d+|MR-\d+|tag/.*"
    r"|<default>|HEAD"
)


def _as_branch(value: str) -> str:
    if _NOT_A_BRANCH.fullmatch(value):
        return ""
    return re.sub(r"^(refs/heads/|refs/remotes/origin/|remotes/origin/|origin/|branch/)", "", value)


def _as_pr_number(value: str) -> str:
    """``7``, ``refs/pull/7/merge``, ``pr/7``, ``https://…/pull/7``, or the first of several URLs; nothing else."""
    first = value.split(",")[0].strip().rstrip("/")
    if re.fullmatch(r"\d+", first):
        return first
    match = re.search(r"(?:^|/)(?:pull|pulls|pr|pull-requests|pullrequest|merge_requests|merge-requests)/(\d+)", first)
    return match[1] if match else ""


def _as_commit(value: str) -> str:
    """A hash; Buildkite says ``HEAD`` for builds that were started by hand."""
    return value.lower() if re.fullmatch(r"[0-9a-fA-F]{7,64}", value) else ""


def _repository(text: str) -> str:
    """Return ``owner/name`` of a remote (``https://…``, ``ssh://…``, ``git@host:…``), never its credentials."""
    remote = re.fullmatch(r"[a-z+]+://[^/]+/(.+)|[^/]+@[^/:]+:(.+)", text)
    path = (remote[1] or remote[2] if remote else text).rstrip("/").removesuffix(".git").strip("/")
    is_local_path = text.startswith(("/", ".", "~", "file:")) or "\\" in text
    return re.split(r"[/\\]", path)[-1] if is_local_path else path
