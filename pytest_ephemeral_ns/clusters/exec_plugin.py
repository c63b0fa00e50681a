"""Credential plugins (``exec`` in a kubeconfig), run as client-go does; this module must never print a credential.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_ephemeral_ns.clusters.expiry import timestamp
from pytest_ephemeral_ns.clusters.kubeconfig import B64_VARIABLE, Entry, text
from pytest_ephemeral_ns.clusters.process import run
from pytest_ephemeral_ns.environ import copied
from pytest_ephemeral_ns.errors import ClusterError, UsageError

GROUP = "client.authentication.k8s.io/"
VERSIONS = (GROUP + "v1", GROUP + "v1beta1")
_EXTENSION = GROUP + "exec"
_SECRET_FLAG = re.compile(r"(?i)^--?[\w-]*(?:secret|password|token|key)[\w-]*")


@dataclass(frozen=True)
class Credential:
    """What a plugin returned: a token, a client certificate with its key, or both."""

    token: str = field(default="", repr=False)
    certificate: str = field(default="", repr=False)
    key: str = field(default="", repr=False)
    expires_at: float | None = None


def run_plugin(
    user: Entry,
    cluster: Mapping[str, Any],
    *,
    context: str = "",
    environ: Mapping[str, str],
    timeout: float,
) -> Credential:
    """Run the plugin of a user and return the credential that it gives.

    Not done by the ``kubernetes`` library, which waits for a plugin for ever, only logs its failure and goes on without
    a credential, lends it our terminal, and leaves client keys in files.

    Args:
        user: the user's entry, with an ``exec`` section.
        cluster: the resolved cluster, as the plugin gets it when the section says ``provideClusterInfo``.
        context: the context that it is for; for messages.
        environ: the environment that the plugin inherits.
        timeout: seconds that it may take.

    Returns:
        The credential.

    Raises:
        UsageError: the section is wrong.
        ClusterError: the plugin is missing, failed, did not end in time, or returned no credential; names its command,
            its exit code and the end of what it said.

    Example:
        >>> run_plugin(Entry("me", {"exec": {...}}), {}, environ=os.environ).expires_at  # doctest: +SKIP
        1764000000.0
    """
    section = user.value["exec"]
    _check(user, section)
    command = [_program(user, text(section, "command")), *(str(part) for part in section.get("args") or [])]
    plugin = Plugin(user, context, text(section, "apiVersion"), _shown(command), text(section, "installHint"))
    given = copied(environ) | {item["name"]: text(item, "value") for item in section.get("env") or []}
    about = cluster if section.get("provideClusterInfo") else None
    given["KUBERNETES_EXEC_INFO"] = json.dumps(_question(plugin.version, about))
    try:
        done = run(command, timeout=timeout, environ=given)
    except OSError as error:
        raise plugin.failed(f"cannot be run: {error.strerror or error}", [plugin.hint]) from error
    if not done.ok:
        raise plugin.failed(f"failed: {done.how(timeout)}", done.complaint())
    return _credential(plugin, done.stdout, done.complaint())


@dataclass(frozen=True)
class Plugin:
    """A plugin as error messages name it."""

    user: Entry
    context: str
    version: str
    command: str
    hint: str

    def failed(self, how: str, evidence: list[str]) -> ClusterError:
        """Return the error that says how it failed."""
        return ClusterError(
            f"credential plugin of user {self.user.name} {how}",
            evidence=[
                f"command: {self.command}",
                f"kubeconfig: {self.user.file or B64_VARIABLE}",
                *filter(None, evidence),
            ],
            command=f"kubectl auth whoami{f' --context {self.context}' if self.context else ''}",
        )


def _check(user: Entry, section: Mapping[str, Any]) -> None:
    where = f"kubeconfig {user.file or B64_VARIABLE}: user {user.name}: exec"
    if not text(section, "command"):
        raise UsageError(f"{where} has no command")
    version = text(section, "apiVersion")
    if version not in VERSIONS:
        old = version == GROUP + "v1alpha1"
        raise UsageError(
            f"{where}: apiVersion {version or 'is missing'}{' was removed in Kubernetes 1.24' if old else ''}",
            evidence=[f"known are {', '.join(VERSIONS)}"],
            command="update the entry with the cloud's own command, for example: aws eks update-kubeconfig --name NAME",
        )
    if text(section, "interactiveMode") == "Always":
        raise UsageError(
            f"{where}: the plugin wants a terminal (interactiveMode: Always), which a test run does not lend",
            command="give the tests a context with another kind of credential: --ephemeral-ns-context=NAME",
        )
    for key in ("args", "env"):
        if not isinstance(section.get(key) or [], list):
            raise UsageError(f"{where}: {key} is not a list")
    if not all(isinstance(item, dict) and item.get("name") for item in section.get("env") or []):
        raise UsageError(f"{where}: an item of env has no name")


def _program(user: Entry, command: str) -> str:
    # As client-go: a command with a slash in it is relative to the kubeconfig, one without is looked up on PATH.
    return str(user.path(command)) if os.sep in command else command


def _shown(command: list[str]) -> str:
    """Return the command for messages; the values of flags that sound like secrets are left out."""
    shown: list[str] = []
    for before, part in zip(["", *command], command, strict=False):
        flag = _SECRET_FLAG.match(part)
        if flag and part[flag.end() :].startswith("="):
            shown.append(f"{flag[0]}=***")
        else:
            follows = _SECRET_FLAG.fullmatch(before) and not part.startswith("-")
            shown.append("***" if follows else part)
    return " ".join(shown)


def _question(version: str, cluster: Mapping[str, Any] | None) -> dict[str, Any]:
    spec: dict[str, Any] = {"interactive": False}
    if cluster is not None:
        known = ("server", "tls-server-name", "insecure-skip-tls-verify", "certificate-authority-data", "proxy-url")
        spec["cluster"] = {key: cluster[key] for key in known if cluster.get(key)}
        for extension in cluster.get("extensions") or []:
            if extension.get("name") == _EXTENSION:
                spec["cluster"]["config"] = extension.get("extension")
    return {"apiVersion": version, "kind": "ExecCredential", "spec": spec}


def _credential(plugin: Plugin, printed: str, complaint: list[str]) -> Credential:
    try:
        answer = json.loads(printed)
    except ValueError:
        raise plugin.failed("did not print an ExecCredential: its output is not JSON", complaint) from None
    if not isinstance(answer, dict) or answer.get("kind") != "ExecCredential":
        raise plugin.failed("did not print an ExecCredential", complaint)
    if answer.get("apiVersion") != plugin.version:
        said = f"answered in {answer.get('apiVersion')}, the kubeconfig says {plugin.version}"
        raise plugin.failed(said, complaint)
    status = answer.get("status") or {}
    token, certificate, key = (text(status, name) for name in ("token", "clientCertificateData", "clientKeyData"))
    if not token and not certificate:
        raise plugin.failed("returned neither a token nor a client certificate", complaint)
    if bool(certificate) != bool(key):
        raise plugin.failed("returned a client certificate and no key, or the other way round", complaint)
    return Credential(token, certificate, key, timestamp(text(status, "expirationTimestamp")))
