"""The images that this package makes itself, out of static programs; this module must never pull one from a registry.

An example adds an image of its own in the same way: :func:`image_archive.write_archive` with its files, then
:func:`pytest_ephemeral_ns.clusters.embedded.containerd.load`, or ``ephemeral-ns cluster load FILE``.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_ephemeral_ns import paths
from pytest_ephemeral_ns.clusters.embedded.image_archive import File, architecture, write_archive
from pytest_ephemeral_ns.clusters.embedded.image_busybox import busybox_files, find_busybox
from pytest_ephemeral_ns.clusters.embedded.image_python import ENVIRONMENT, python_files
from pytest_ephemeral_ns.errors import ToolError, UsageError

BUSYBOX = "busybox:1.36"
PODINFO = "ghcr.io/stefanprodan/podinfo:6.9.2"
PAUSE = "localhost/pytest-ephemeral-ns/pause:1"
COREDNS = "registry.k8s.io/coredns/coredns:v1.13.1"
JANITOR = "localhost/pytest-ephemeral-ns/janitor:dev"
NODE_IMAGES = (PAUSE, COREDNS)
USUAL = (*NODE_IMAGES, BUSYBOX, PODINFO)  # the janitor's has 200 MB, and only who runs it in a cluster needs it
PODINFO_MODULE = "github.com/stefanprodan/podinfo@v1.8.1-0.20250910200901-e86405a8674e"

# Ends at once on SIGTERM, and reaps what the containers of a pod with a shared process namespace leave behind.
PAUSE_SCRIPT = 'trap "exit 0" TERM INT; while :; do sleep 86400 & wait $!; done'

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Recipe:
    """How an image is made.

    Args:
        name: its name and tag.
        programs: what it needs from the cluster's binaries, for example ``("podinfo", "podcli")``.
        files: given the folder of the binaries, what is in the image.
        config: the ``config`` part of the image configuration.
    """

    name: str
    programs: tuple[str, ...]
    files: Callable[[Path], list[File]]
    config: dict[str, Any]

    @property
    def archive(self) -> Path:
        """Where the archive is kept."""
        return paths.image_dir() / f"{self.name.replace('/', '_').replace(':', '-')}.tar"


def _busybox(_: Path) -> list[File]:
    return busybox_files()


def _pause(_: Path) -> list[File]:
    busybox = File("bin/busybox", source=find_busybox())
    return [busybox, *(File(f"bin/{applet}", link="busybox") for applet in ("sh", "sleep"))]


def _coredns(bin_dir: Path) -> list[File]:
    return [File("coredns", source=bin_dir / "coredns")]


def _podinfo(bin_dir: Path) -> list[File]:
    owner = (100, 101)  # what Alpine's `adduser -S app` gives in the original image
    home = "home/app"
    ui = _podinfo_ui()
    return [
        *busybox_files(users={"app": owner}),
        File(home, directory=True, owner=owner),
        File(f"{home}/podinfo", source=bin_dir / "podinfo", owner=owner),
        File("usr/local/bin/podcli", source=bin_dir / "podcli"),
        File(f"{home}/ui", directory=True, owner=owner),
        *(File(f"{home}/ui/{page.name}", source=page, mode=0o644, owner=owner) for page in ui),
    ]


def _podinfo_ui() -> list[Path]:
    """Return the pages for browsers, which are files of the Go module; none where the module is not at hand."""
    go = shutil.which("go")
    if not go:
        return []
    try:
        done = subprocess.run(
            [go, "mod", "download", "-json", PODINFO_MODULE],
            capture_output=True,
            timeout=120,
            check=True,
            cwd="/",
        )
    except (subprocess.SubprocessError, OSError):
        return []
    return sorted(Path(json.loads(done.stdout)["Dir"], "ui").glob("*.html"))


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(PAUSE, (), _pause, {"Entrypoint": ["/bin/sh", "-c", PAUSE_SCRIPT]}),
        Recipe(COREDNS, ("coredns",), _coredns, {"Entrypoint": ["/coredns"]}),
        Recipe(
            JANITOR,
            (),
            lambda _: python_files(),
            {"Entrypoint": ["python", "-m", "pytest_ephemeral_ns"], "Env": ENVIRONMENT, "User": "65532"},
        ),
        Recipe(BUSYBOX, (), _busybox, {"Cmd": ["sh"]}),
        Recipe(
            PODINFO,
            ("podinfo", "podcli"),
            _podinfo,
            {"Cmd": ["./podinfo"], "WorkingDir": "/home/app", "User": "100"},
        ),
    )
}


def ensure_images(
    names: Sequence[str] = USUAL, progress: Progress = lambda _: None, *, bin_dir: Path | None = None
) -> list[Path]:
    """Make the archives that are missing or older than what they are made from.

    Args:
        names: which images, by name and tag; by default all but the janitor's.
        progress: told one line per image.
        bin_dir: where the programs are; fetched or built if it is not given.

    Returns:
        One archive per name, in the same order, under :func:`paths.image_dir`.

    Raises:
        UsageError: a name that no recipe makes.
        ToolError: busybox or a program cannot be had.

    Example:
        >>> ensure_images(["busybox:1.36"], print)  # doctest: +SKIP
        [PosixPath('…/images/busybox-1.36.tar')]
    """
    from filelock import FileLock

    unknown = [name for name in names if name not in RECIPES]
    if unknown:
        raise UsageError(f"no recipe makes the image {unknown[0]}", evidence=[f"known: {', '.join(RECIPES)}"])
    recipes = [RECIPES[name] for name in names]
    programs = sorted({program for recipe in recipes for program in recipe.programs})
    if programs and bin_dir is None:
        from pytest_ephemeral_ns.clusters.embedded import assets

        bin_dir = assets.ensure(programs, progress)
    paths.image_dir().mkdir(parents=True, exist_ok=True)
    with FileLock(paths.image_dir() / ".lock", timeout=600):
        for recipe in recipes:
            _make(recipe, bin_dir or paths.bin_dir(), progress)
    return [recipe.archive for recipe in recipes]


def _make(recipe: Recipe, bin_dir: Path, progress: Progress) -> None:
    try:
        files = recipe.files(bin_dir)
        fingerprint = _fingerprint(recipe, files)
        stamp = recipe.archive.with_suffix(".stamp")
        if recipe.archive.exists() and stamp.exists() and stamp.read_text() == fingerprint:
            return
        progress(f"image {recipe.name}: making {recipe.archive}")
        stamp.unlink(missing_ok=True)
        write_archive(recipe.archive, recipe.name, files, recipe.config)
        stamp.write_text(fingerprint)
    except OSError as error:
        raise ToolError(
            f"image {recipe.name} cannot be made: {error.strerror or error}",
            evidence=[
                f"{what}: {path}" for what, path in (("file", error.filename), ("archive", recipe.archive)) if path
            ],
            command=f"df -h {paths.image_dir()}",
        ) from error


def _fingerprint(recipe: Recipe, files: Sequence[File]) -> str:
    """Return a digest of everything that goes in; of a program, its size and time."""
    facts: list[object] = [recipe.name, recipe.config, architecture()]
    for file in files:
        stat = file.source.stat() if file.source else None
        source = (stat.st_size, stat.st_mtime_ns) if stat else ()
        facts.append([file.path, source, file.data.decode(), file.link, file.mode, file.owner])
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def main(arguments: Sequence[str]) -> int:
    """Make the images that are named on the command line, or the usual ones."""
    from pytest_ephemeral_ns.errors import EphemeralNsError

    try:
        archives = ensure_images(arguments or USUAL, lambda line: print(line, flush=True))  # noqa: T201
    except EphemeralNsError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    print(*archives, sep="\n")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
