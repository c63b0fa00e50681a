"""From where a program comes, decided in one order for all; this module must never prefer speed to a checked sum.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from pytest_ephemeral_ns import paths
from pytest_ephemeral_ns.clusters.embedded.assets import build, download
from pytest_ephemeral_ns.clusters.embedded.assets.store import Progress, Store, explain_full_disk
from pytest_ephemeral_ns.clusters.embedded.assets.table import BY_NAME, KUBERNETES, Asset, Release, select
from pytest_ephemeral_ns.errors import EphemeralNsError, UsageError


def ensure(names: Iterable[str], progress: Progress = lambda line: None) -> Path:
    """Return a folder that has some programs, fetching or building what is missing.

    One process at a time does that; others wait. What is there already costs a look at each file.

    Args:
        names: programs and groups: ``"control-plane"``, ``"node"``, ``"simulated"``, ``"tools"``, ``"kind"``,
            ``"podinfo"``, ``"all"``, ``"etcd"`` …
        progress: called with one line of text for each step.

    Returns:
        The folder that the user named if it has all of them, else the cache; a folder of links if some are in one and
        some in the other.

    Raises:
        UsageError: an unknown name, or ``EPHEMERAL_NS_ASSETS`` is no folder.
        ToolError: no Go, or a build failed.
        ClusterError: a checksum is wrong, or the disk is full.

    Example:
        >>> ensure(["control-plane"]) / "etcd"  # doctest: +SKIP
        PosixPath('/home/ann/.cache/pytest-ephemeral-ns/bin/etcd')
    """
    wanted = select(names)
    named = _from_named_folders(wanted, progress)
    store = Store(paths.bin_dir())
    rest = [asset for asset in wanted if asset.name not in named]
    if missing := [asset for asset in rest if not store.has(asset)]:
        with store.lock(progress):
            missing = [asset for asset in missing if not store.has(asset)]
            _obtain(missing, store, progress)
    found = {**named, **{asset.name: store.path(asset) for asset in rest}}
    folders = {path.parent for path in found.values()}
    return folders.pop() if len(folders) == 1 else _linked(found)


def _from_named_folders(wanted: Sequence[Asset], progress: Progress) -> dict[str, Path]:
    """Return what is in the folders that the user names; ours first, then the one of controller-runtime's envtest."""
    folders = []
    if named := os.environ.get("EPHEMERAL_NS_ASSETS"):
        if not Path(named).is_dir():
            raise UsageError(f"EPHEMERAL_NS_ASSETS={named} is not a folder")
        folders.append(Path(named).absolute())
    if named := os.environ.get("KUBEBUILDER_ASSETS"):
        folders.append(Path(named).absolute())
    found: dict[str, Path] = {}
    for folder in folders:
        there = {a.name: folder / a.name for a in wanted if os.access(folder / a.name, os.X_OK)}
        for name, path in _usable(there, wanted, folder, progress).items():
            found.setdefault(name, path)
    return found


def _usable(there: dict[str, Path], wanted: Sequence[Asset], folder: Path, progress: Progress) -> dict[str, Path]:
    """Leave Kubernetes out if the folder has only a part of it, in another version: the parts would not fit together.

    envtest's folders have an API server and no controllers, for example.
    """
    kubernetes = [asset.name for asset in wanted if asset.version == KUBERNETES and asset.name != "kubectl"]
    present = [name for name in kubernetes if name in there]
    if not present or len(present) == len(kubernetes):
        return there
    if _minor(_version(there[present[0]])) == _minor(KUBERNETES):
        return there
    progress(f"{folder} has only {', '.join(present)} of Kubernetes, not {KUBERNETES}: not used")
    return {name: path for name, path in there.items() if name not in present}


def _version(program: Path) -> str:
    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return (done.stdout.split() or [""])[-1]


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _obtain(missing: Sequence[Asset], store: Store, progress: Progress) -> None:
    published = {asset.name: release for asset in missing if (release := asset.published())}
    reachable = _reachable(published, progress)
    left: list[Asset] = []
    for number, asset in enumerate(missing, 1):
        release = reachable.get(asset.name)
        if release is None or not _fetch(asset, release, store, _numbered(progress, number, len(missing))):
            left.append(asset)
    if left:
        with explain_full_disk(store.folder, f"building {', '.join(asset.name for asset in left)}"):
            build.build_all(left, store, progress)


def _reachable(published: dict[str, Release], progress: Progress) -> dict[str, Release]:
    unreachable = download.find_unreachable(published.values())
    if not unreachable:
        return published
    reasons = ", ".join(f"{server} ({why})" for server, why in sorted(unreachable.items()))
    progress(f"release servers that cannot be reached: {reasons}; building with Go instead")
    return {name: release for name, release in published.items() if download.server_of(release) not in unreachable}


def _fetch(asset: Asset, release: Release, store: Store, progress: Progress) -> bool:
    try:
        program = download.fetch(asset, release, paths.cache_dir() / "downloads", progress)
    except download.Unavailable as error:
        progress(f"{asset.name} cannot be fetched: {error}; building it with Go instead")
        return False
    with explain_full_disk(store.folder, f"keeping {asset.name}"):
        store.folder.mkdir(parents=True, exist_ok=True)
        store.put(asset, program, release.url)
    return True


def _numbered(progress: Progress, number: int, total: int) -> Progress:
    said = 0.0

    def report(line: str) -> None:
        nonlocal said
        if time.monotonic() - said > 2:  # a line for every megabyte would be too many
            said = time.monotonic()
            progress(f"{line} ({number} of {total})")

    return report


def _linked(found: dict[str, Path]) -> Path:
    """Return a folder of links to programs from several folders."""
    text = "\n".join(f"{name}={path}" for name, path in sorted(found.items()))
    folder = paths.cache_dir() / "linked" / hashlib.sha256(text.encode()).hexdigest()[:12]
    folder.mkdir(parents=True, exist_ok=True)
    for name, path in found.items():
        partial = folder / f".{name}.{os.getpid()}"
        partial.unlink(missing_ok=True)
        partial.symlink_to(path)
        partial.replace(folder / name)
    return folder


def main(arguments: Sequence[str]) -> int:
    """Fetch or build groups and programs, with progress on stderr; print the folder. No arguments: everything.

    Returns:
        0, or 1 after an error that was printed.
    """

    def say(line: object) -> None:
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()

    try:
        folder = ensure(arguments or [*BY_NAME], say)
    except EphemeralNsError as error:
        say(error)
        return 1
    sys.stdout.write(f"{folder}\n")
    return 0
