"""The calls of the real Helm, 3 or 4, that a deploy needs; this module must never wait until objects are ready.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_ephemeral_ns.deadline import Deadline
from pytest_ephemeral_ns.errors import ToolError
from pytest_ephemeral_ns.kube.helm_values import Values, values_flags
from pytest_ephemeral_ns.kube.tools import Completed, find, run
from pytest_ephemeral_ns.rules.helm_set import Pair

_SHORT = 30.0
# helm.sh/helm pkg/action: errPending, and what a killed uninstall or first install leads to.
_STUCK = re.compile(r"another operation \(install/upgrade/rollback\) is in progress|has no deployed releases")
_UNFINISHED = {"pending-install", "pending-upgrade", "pending-rollback", "uninstalling"}


@dataclass(frozen=True)
class Release:
    """One release as Helm tells it.

    Args:
        name: of the release.
        namespace: where it is stored.
        revision: 1 for the first.
        status: ``"deployed"``, ``"failed"``, ``"pending-upgrade"`` …
        chart: ``name-version``; empty from :func:`helm_get`, Helm leaves it out there.
        manifest: the objects as YAML documents; holds Secrets. Empty in lists.
        hooks: the hooks' objects as YAML documents; empty in lists.
        notes: the chart's notes; empty in lists.
    """

    name: str
    namespace: str
    revision: int
    status: str
    chart: str = ""
    manifest: str = ""
    hooks: str = ""
    notes: str = ""


def helm_version(program: Path | None = None) -> tuple[int, int]:
    """Return major and minor version of Helm.

    Args:
        program: default: the one that :func:`~pytest_ephemeral_ns.kube.tools.find` finds.

    Raises:
        ToolError: it is missing, or does not say its version.

    Example:
        ``helm_version() >= (4, 0)``
    """
    return _version_of(program or find("helm"))


@functools.cache
def _version_of(program: Path) -> tuple[int, int]:
    done = run(program, ["version", "--template", "{{.Version}}"], timeout=_SHORT)
    if match := re.match(r"v?(\d+)(?:\.(\d+))?", done.stdout.strip()):
        return int(match[1]), int(match[2] or 0)
    raise ToolError(f"{program} does not say its version", output=done.stdout, evidence=done.stdout.splitlines()[:5])


def helm_upgrade_install(
    release: str,
    chart: str | Path,
    *,
    namespace: str,
    kubeconfig: Path,
    timeout: float,
    values: Sequence[Values] = (),
    set: Sequence[Pair] = (),
    set_string: Sequence[Pair] = (),
    version: str = "",
    repo: str = "",
    home: Path | None = None,
    redact: Sequence[str] = (),
    on_recovery: Callable[[str], None] | None = None,
) -> Release:
    """Install a chart, or upgrade its release; hooks are run and awaited, the chart's objects are not.

    A release that a killed run left unfinished is put in order first: rolled back to the last revision that was
    deployed, or uninstalled when there is none. The caller makes sure that nobody else works on the release.

    Args:
        release: its name.
        chart: folder, archive, ``oci://`` reference or URL.
        namespace: which must exist.
        kubeconfig: the cluster and the rights.
        timeout: seconds for everything, hooks and recovery included.
        values: files or values, later ones win.
        set: ``KEY=VALUE`` pairs as ``--set`` takes them; never in an argument, see ``helm_values``.
        set_string: the same, kept as strings.
        version: of the chart, for repositories and registries.
        repo: URL of the chart's repository; then ``home`` should be given as well.
        home: folder for Helm's cache, configuration and data, so that parallel runs do not write the same files.
        redact: values that are removed from every error text.
        on_recovery: called with one sentence when an unfinished release is put in order.

    Returns:
        The release, with manifest and hooks.

    Raises:
        ToolError: Helm is missing, failed or was too slow; carries its own words.

    Example:
        ``helm_upgrade_install("shop", "deploy/chart", namespace="shop-gw0", kubeconfig=path, timeout=300)``
    """
    deadline = Deadline.after(timeout)
    # Without --reset-values an upgrade that names no values silently takes those of the last one.
    flags = ["--install", "--reset-values", "--output", "json", *_choices(version, repo)]

    def upgrade(files: Sequence[str]) -> Completed:
        left = max(1.0, deadline.remaining())
        # Helm's own time-out ends a little earlier than ours: then it says which hook it waited for.
        own = ["--timeout", f"{max(1, round(left - min(2.0, left / 10)))}s"]
        args = ["upgrade", release, str(chart), "--namespace", namespace, *flags, *own, *files]
        what = f"helm upgrade --install {release} {Path(chart).name}"
        return run("helm", args, kubeconfig=kubeconfig, env=_home(home), timeout=left, redact=redact, what=what)

    with values_flags(values, set, set_string) as files:
        try:
            done = upgrade(files)
        except ToolError as error:
            if not _STUCK.search("\n".join(error.evidence)):
                raise
            left = deadline.remaining()
            did = helm_recover(release, namespace=namespace, kubeconfig=kubeconfig, timeout=left, redact=redact)
            if not did:
                raise
            if on_recovery:
                on_recovery(did)
            done = upgrade(files)
    return _release(json.loads(done.stdout[max(0, done.stdout.find("{")) :]))


def helm_recover(release: str, *, namespace: str, kubeconfig: Path, timeout: float, redact: Sequence[str] = ()) -> str:
    """Put a release in order that a killed run left unfinished, without running hooks.

    Args:
        release: its name.
        namespace: where it is stored.
        kubeconfig: the cluster and the rights.
        timeout: seconds.
        redact: see :func:`helm_upgrade_install`.

    Returns:
        What was done, as a sentence; empty when the release is not unfinished.

    Raises:
        ToolError: Helm failed or was too slow.
    """
    left = max(1.0, timeout)

    def helm(*args: str) -> Completed:
        own = [args[0], release, *args[1:], "--namespace", namespace]
        return run("helm", own, kubeconfig=kubeconfig, timeout=left, redact=redact)

    revisions = sorted(json.loads(helm("history", "--output", "json").stdout), key=lambda r: int(r["revision"]))
    status = str(revisions[-1]["status"]) if revisions else ""
    if status not in _UNFINISHED:
        return ""
    good = [str(r["revision"]) for r in revisions if r["status"] in ("deployed", "superseded")]
    if good and status != "uninstalling":
        helm("rollback", good[-1], "--no-hooks")
        return f"release {release} was {status}: rolled back to revision {good[-1]}"
    helm("uninstall", "--no-hooks", "--wait", "--timeout", f"{round(left)}s")
    return f"release {release} was {status} and never deployed: uninstalled"


def helm_template(
    release: str,
    chart: str | Path,
    *,
    namespace: str,
    timeout: float,
    values: Sequence[Values] = (),
    set: Sequence[Pair] = (),
    set_string: Sequence[Pair] = (),
    version: str = "",
    repo: str = "",
    kube_version: str = "",
    api_versions: Sequence[str] = (),
    include_crds: bool = True,
    home: Path | None = None,
    redact: Sequence[str] = (),
) -> str:
    """Return the YAML that a chart renders to, hooks included; no cluster is asked.

    Args:
        release: its name in the templates.
        chart: folder, archive, ``oci://`` reference or URL.
        namespace: its namespace in the templates.
        timeout: seconds.
        values: see :func:`helm_upgrade_install`.
        set: see :func:`helm_upgrade_install`.
        set_string: see :func:`helm_upgrade_install`.
        version: see :func:`helm_upgrade_install`.
        repo: see :func:`helm_upgrade_install`.
        kube_version: what ``.Capabilities.KubeVersion`` says, for example ``"v1.35.4"``.
        api_versions: what ``.Capabilities.APIVersions`` has besides the built-in ones.
        include_crds: whether the chart's ``crds`` folder is part of it.
        home: see :func:`helm_upgrade_install`.
        redact: see :func:`helm_upgrade_install`.

    Raises:
        ToolError: it does not render; carries Helm's own words.

    Example:
        ``helm_template("shop", "deploy/chart", namespace="shop-gw0", timeout=60)``
    """
    flags = [*(["--include-crds"] if include_crds else []), *_choices(version, repo)]
    flags += ["--kube-version", kube_version] if kube_version else []
    flags += [flag for api in api_versions for flag in ("--api-versions", api)]
    with values_flags(values, set, set_string) as files:
        args = ["template", release, str(chart), "--namespace", namespace, *flags, *files]
        what = f"helm template {release} {Path(chart).name}"
        return run("helm", args, env=_home(home), timeout=timeout, redact=redact, what=what).stdout


def helm_get(release: str, *, namespace: str, kubeconfig: Path, timeout: float = _SHORT) -> Release:
    """Return a release that exists, with manifest and hooks.

    Raises:
        ToolError: there is none of that name, or Helm failed.
    """
    args = ["status", release, "--namespace", namespace, "--output", "json"]
    return _release(json.loads(run("helm", args, kubeconfig=kubeconfig, timeout=timeout).stdout))


def helm_list(*, namespace: str, kubeconfig: Path, timeout: float = _SHORT) -> tuple[Release, ...]:
    """Return all releases of a namespace, whatever their status.

    Raises:
        ToolError: Helm is missing, failed or was too slow.
    """
    # Every one by name: --all is the default, and no flag, in some releases of Helm 4.
    states = ["--deployed", "--failed", "--pending", "--uninstalled", "--uninstalling"]
    found: list[Release] = []
    while True:
        page = ["--max", "256", "--offset", str(len(found))]
        args = ["list", *states, "--namespace", namespace, "--output", "json", *page]
        rows = json.loads(run("helm", args, kubeconfig=kubeconfig, timeout=timeout).stdout or "[]")
        found += [
            Release(row["name"], row["namespace"], int(row["revision"]), row["status"], row.get("chart", ""))
            for row in rows
        ]
        if len(rows) < 256:
            return tuple(found)


def helm_uninstall(
    release: str, *, namespace: str, kubeconfig: Path, timeout: float, hooks: bool = True, wait: bool = False
) -> bool:
    """Remove a release and what it contains.

    Args:
        release: its name.
        namespace: where it is stored.
        kubeconfig: the cluster and the rights.
        timeout: seconds.
        hooks: whether its delete hooks run.
        wait: whether to wait until its objects are gone.

    Returns:
        Whether it was there.

    Raises:
        ToolError: Helm is missing, failed or was too slow.
    """
    flags = [
        *([] if hooks else ["--no-hooks"]),
        *(["--wait"] if wait else []),
        "--timeout",
        f"{max(1, round(timeout))}s",
    ]
    args = ["uninstall", release, "--namespace", namespace, *flags]
    try:
        run("helm", args, kubeconfig=kubeconfig, timeout=timeout)
    except ToolError as error:
        if "release: not found" in "\n".join(error.evidence):
            return False
        raise
    return True


def _release(told: Mapping[str, Any]) -> Release:
    metadata = ((told.get("chart") or {}).get("metadata")) or {}
    hooks = [str(hook.get("manifest") or "") for hook in told.get("hooks") or ()]
    info = told.get("info") or {}
    return Release(
        name=str(told["name"]),
        namespace=str(told.get("namespace") or ""),
        revision=int(told.get("version") or 0),
        status=str(info.get("status") or ""),
        chart=f"{metadata.get('name', '')}-{metadata.get('version', '')}".strip("-"),
        manifest=str(told.get("manifest") or ""),
        hooks="\n---\n".join(hooks),
        notes=str(info.get("notes") or ""),
    )


def _choices(version: str, repo: str) -> list[str]:
    return [*(["--version", version] if version else []), *(["--repo", repo] if repo else [])]


def _home(home: Path | None) -> dict[str, str]:
    if home is None:
        return {}
    return {f"HELM_{kind}_HOME": str(home / kind.lower()) for kind in ("CACHE", "CONFIG", "DATA")}
