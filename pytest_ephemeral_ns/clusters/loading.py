"""Puts images into a cluster that we may load: an archive, one of our own making, or one that Docker has.

This module must never pull one from a registry.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from pytest_ephemeral_ns import paths
from pytest_ephemeral_ns.clusters import process
from pytest_ephemeral_ns.clusters.cluster import Cluster
from pytest_ephemeral_ns.errors import EphemeralNsError, UsageError

SAVE_TIMEOUT = 600.0  # seconds


def load_images(cluster: Cluster, images: Sequence[str], *, progress: Callable[[str], None]) -> None:
    """Load images into every node of a cluster.

    Args:
        cluster: a kind or an embedded one, also as the current context.
        images: paths of archives (``docker save`` or OCI layout), or image names.
        progress: told one line per image.

    Raises:
        UsageError: the cluster is not ours to load, or an image is nowhere to be found.
        ClusterError: loading failed.

    Example:
        >>> load_images(cluster, ["build/api.tar", "busybox:1.36"], progress=print)  # doctest: +SKIP
    """
    kind_name, embedded_name = _kind_name(cluster), _embedded_name(cluster)
    if not kind_name and not embedded_name:
        raise UsageError(
            f"images cannot be loaded into context {cluster.name}: its nodes are not ours",
            evidence=[f"--ephemeral-ns-image: {', '.join(images)}"],
            command="push them to a registry that the nodes can pull from, and leave the option out",
        )
    if cluster.nodes in ("none", "simulated"):
        progress(f"images are not loaded: cluster {cluster.name} has no node that runs containers")
        return
    with tempfile.TemporaryDirectory(prefix="ephemeral-ns-images-") as folder:
        for image in images:
            progress(f"loading {image}")
            source = _source(image, Path(folder), for_kind=bool(kind_name))
            if kind_name:
                from pytest_ephemeral_ns.clusters import kind

                kind.load(kind_name, [source])
            else:
                from pytest_ephemeral_ns.clusters import embedded

                embedded.load(embedded_name, [Path(source)])


def offer_image(cluster: Cluster, image: str, *, progress: Callable[[str], None]) -> None:
    """Load one image where that is possible; where it is not, the nodes have it or pull it.

    Args:
        cluster: any.
        image: its name; one of those that we make ourselves is made.
        progress: told what happened.

    Example:
        >>> offer_image(cluster, "busybox:1.36", progress=print)  # doctest: +SKIP
    """
    from pytest_ephemeral_ns.clusters.embedded.images import RECIPES, ensure_images

    if not _kind_name(cluster) and not _embedded_name(cluster):
        return
    try:
        if image in RECIPES:
            ensure_images([image], progress)
        load_images(cluster, [image], progress=progress)
    except EphemeralNsError as error:
        progress(f"image {image} is left to the nodes to pull: {error.summary}")


def _kind_name(cluster: Cluster) -> str:
    """Return the kind cluster's own name, also when it is the user's, found as the current context; else ``""``."""
    if cluster.provider == "current" and cluster.name.startswith("kind-"):
        return cluster.name.removeprefix("kind-")
    return cluster.name if cluster.provider == "kind" else ""


def _embedded_name(cluster: Cluster) -> str:
    """Return the embedded cluster's own name, also when it was found as the current context; else ``""``."""
    if cluster.provider == "embedded":
        return cluster.name
    from pytest_ephemeral_ns.clusters import embedded

    name = cluster.name.removeprefix("ephemeral-ns-")
    if cluster.provider != "current" or name == cluster.name or name not in embedded.names():
        return ""
    known = embedded.status(name)
    path = Path(str(known.get("kubeconfig") or ""))
    same = known["phase"] == "ready" and path.is_file() and cluster.connection.server in path.read_text("utf-8")
    return name if same else ""


def _source(image: str, folder: Path, *, for_kind: bool) -> str:
    """Return an archive, or for kind the name of an image that Docker has."""
    if Path(image).exists():
        return image
    made = paths.image_dir() / f"{image.replace('/', '_').replace(':', '-')}.tar"
    if made.is_file():
        return str(made)
    return image if for_kind else _saved(image, folder)


def _saved(image: str, folder: Path) -> str:
    archive = folder / f"{len(list(folder.iterdir()))}.tar"
    try:
        done = process.run(["docker", "save", "--output", str(archive), image], timeout=SAVE_TIMEOUT)
    except OSError as error:
        raise _nowhere(image, [f"docker cannot be started: {error.strerror}"]) from error
    if not done.ok:
        raise _nowhere(image, done.complaint())
    return str(archive)


def _nowhere(image: str, evidence: Sequence[str]) -> UsageError:
    return UsageError(
        f"image {image} is neither an archive, nor one that we made, nor one that Docker has",
        evidence=evidence,
        command=f"docker pull {image}, or name its archive: --ephemeral-ns-image=FILE.tar",
    )
