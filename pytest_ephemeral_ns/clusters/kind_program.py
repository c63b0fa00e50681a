"""The kind program and the container engine below it, called; this module must never decide whose a cluster is.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from pytest_ephemeral_ns.clusters.process import Finished, run
from pytest_ephemeral_ns.errors import ClusterError

QUICK = 30.0  # seconds for a command that only looks
DELETE_TIMEOUT = 120.0
_IMAGE_IN_ERROR = re.compile(r'(?:failed to pull image|pull access denied for|manifest for) "?([^\s",]+)')


def engine() -> str:
    """Return the container engine's command that kind uses: ``docker``, unless ``KIND_EXPERIMENTAL_PROVIDER`` says."""
    return os.environ.get("KIND_EXPERIMENTAL_PROVIDER") or "docker"


def engine_answers(timeout: float = QUICK) -> tuple[bool, str]:
    """Say whether the container engine's daemon answers.

    Args:
        timeout: seconds.

    Returns:
        Whether it does, and its version or the reason why not, in its own words.

    Example:
        >>> engine_answers()  # doctest: +SKIP
        (True, '28.2.2')
    """
    program = engine()
    try:
        done = run([program, "info", "--format", "{{json .ServerVersion}}"], timeout=timeout)
    except OSError as error:
        return False, f"{program} is not installed ({error.strerror or error})"
    if done.returncode is None:
        return False, f"{program} info {done.how(timeout)}"
    said = done.stdout.strip().splitlines()
    version = said[-1].strip('"') if said else ""
    # Some versions end with 0 and print an empty version when the daemon does not answer; podman has no such field.
    if done.ok and (version or program != "docker"):
        return True, version
    complaint = [line for line in done.complaint() if line != "errors pretty printing info"]
    return False, complaint[-1] if complaint else f"{program} info: {done.how(timeout)}"


def kind(*arguments: str | os.PathLike[str], timeout: float) -> Finished:
    """Run kind to its end, or to the end of its time.

    Raises:
        ToolError: it is not installed.
        ClusterError: it could not be started.
    """
    from pytest_ephemeral_ns.kube.tools import find

    program = find("kind")
    try:
        return run([program, *arguments], timeout=timeout)
    except OSError as error:
        raise ClusterError(f"{program} cannot be started: {error.strerror or error}") from error


def clusters() -> list[str]:
    """Return the names of all kind clusters on the engine, also of stopped and of half-made ones."""
    done = kind("get", "clusters", timeout=QUICK)
    if not done.ok:
        raise ClusterError(
            f"kind get clusters failed: {done.how(QUICK)}", evidence=done.complaint(), command=f"{engine()} info"
        )
    return done.stdout.split()


def create(name: str, kubeconfig: Path, *, image: str, config: str, timeout: float) -> None:
    """Create a cluster; returns when its API server answers, before its node is ready.

    Raises:
        ClusterError: kind failed or did not end in time. What it made is still there.
    """
    arguments = ["create", "cluster", "--name", name, "--kubeconfig", str(kubeconfig)]
    arguments += ["--image", image] if image else []
    arguments += ["--config", config] if config else []
    done = kind(*arguments, timeout=timeout)
    if done.ok:
        return
    missing = _IMAGE_IN_ERROR.search(done.stderr)
    if missing:
        raise ClusterError(
            f"kind cluster {name} could not be created: its node image {missing[1]} is not to be had",
            evidence=[*done.complaint()[-3:], f"node images on this machine: {', '.join(node_images()) or 'none'}"],
            command=f"{engine()} pull {missing[1]}, or --ephemeral-ns-kind-image=IMAGE",
        )
    raise ClusterError(
        f"kind cluster {name} could not be created: kind {done.how(timeout)}",
        evidence=done.complaint(),
        command=f"kind create cluster --name {name} --retain{f' --image {image}' if image else ''}",
    )


def export_kubeconfig(name: str, kubeconfig: Path) -> None:
    """Write the kubeconfig of a cluster that exists.

    Raises:
        ClusterError: its control plane does not run.
    """
    done = kind("export", "kubeconfig", "--name", name, "--kubeconfig", kubeconfig, timeout=QUICK)
    if not done.ok:
        raise ClusterError(
            f"kind cluster {name} exists and is not running",
            evidence=done.complaint(),
            command=f"kind delete cluster --name {name}",
        )


def delete(name: str, kubeconfig: Path) -> None:
    """Delete a cluster; none of that name is no error.

    Raises:
        ClusterError: kind failed.
    """
    done = kind("delete", "cluster", "--name", name, "--kubeconfig", kubeconfig, timeout=DELETE_TIMEOUT)
    if not done.ok:
        raise ClusterError(
            f"kind cluster {name} could not be deleted: kind {done.how(DELETE_TIMEOUT)}",
            evidence=done.complaint(),
            command=f"kind delete cluster --name {name}",
        )


def load(name: str, how: str, sources: Sequence[str], timeout: float) -> None:
    """Load images into every node.

    Args:
        name: the cluster.
        how: ``"image-archive"`` or ``"docker-image"``.
        sources: files or image names.
        timeout: seconds.

    Raises:
        ClusterError: kind failed.
    """
    done = kind("load", how, *sources, "--name", name, timeout=timeout)
    if not done.ok:
        raise ClusterError(
            f"kind cluster {name}: {', '.join(sources)} could not be loaded: kind {done.how(timeout)}",
            evidence=done.complaint(),
            command=f"kind load {how} {' '.join(sources)} --name {name}",
        )


def node_images() -> list[str]:
    """Return the kind node images that the engine has already; for messages."""
    listing = ["image", "ls", "--format", "{{.Repository}}:{{.Tag}}", "--filter", "reference=kindest/node"]
    try:
        return run([engine(), *listing], timeout=QUICK).stdout.split()
    except OSError:
        return []


def has_image(name: str) -> bool:
    """Return whether the engine has an image of this name."""
    try:
        return run([engine(), "image", "inspect", "--format", "{{.Id}}", name], timeout=QUICK).ok
    except OSError:
        return False
