"""Gathers what the identity is decided from: git and the user; this module must never decide, and never fails.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import getpass
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_ephemeral_ns.rules.identity import GitFacts, Identity, identity_from

GIT_TIMEOUT = 5.0


def identity(rootdir: Path, environ: Mapping[str, str]) -> Identity:
    """Return who, what and where this run is.

    Args:
        rootdir: the project's folder.
        environ: the process environment; CI variables come first.

    Returns:
        The identity; fields that nothing tells are empty.
    """
    return identity_from(
        environ,
        _git(rootdir),
        _user(environ),
        event=_event(environ.get("GITHUB_EVENT_PATH", "")),
        properties=_properties(environ.get("TEAMCITY_BUILD_PROPERTIES_FILE", "")),
    )


def _git(folder: Path) -> GitFacts:
    lines = _ask_git(folder, "rev-parse", "HEAD", "--abbrev-ref", "HEAD").splitlines()
    if len(lines) < 2:  # no git, no repository, or no commit yet
        return GitFacts(directory=folder.name)
    commit, branch = lines[:2]
    remote = _ask_git(folder, "config", "--get", "remote.origin.url")
    return GitFacts(folder.name, branch="" if branch == "HEAD" else branch, commit=commit, remote=remote)


def _ask_git(folder: Path, *args: str) -> str:
    """Return git's answer, or nothing where there is no git, no repository or no commit."""
    command = ["git", "-C", str(folder), *args]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=GIT_TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _user(environ: Mapping[str, str]) -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # no such user in this container
        return environ.get("USER", "")


def _event(path: str) -> Mapping[str, Any] | None:
    """Return GitHub's event file; an unreadable one is the same as none."""
    try:
        found = json.loads(Path(path).read_text("utf-8")) if path else None
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _properties(path: str) -> Mapping[str, str] | None:
    """Return TeamCity's build properties, and those of the file that they name."""
    found = _read_properties(path)
    if found and (more := found.get("teamcity.configuration.properties.file")):
        found = {**(_read_properties(more) or {}), **found}
    return found


def _read_properties(path: str) -> dict[str, str] | None:
    try:
        text = Path(path).read_text("utf-8") if path else ""
    except OSError:
        return None
    pairs = (line.partition("=") for line in text.splitlines() if not line.startswith(("#", "!")))
    return {key.strip(): value.strip().replace("\\:", ":").replace("\\=", "=") for key, _, value in pairs} or None
