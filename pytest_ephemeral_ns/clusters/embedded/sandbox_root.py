"""The file system that a node sees; this module must never run outside of a mount namespace of its own.

The node gets this machine's programs, read-only, and nothing of its users' files: a pod with a ``hostPath`` volume of
``/home`` or ``/tmp`` reads and writes the node's own. ``/var`` ``/run`` and ``/tmp`` are empty at first, so components
and manifests find the usual places (``/var/lib/kubelet``, ``/var/log/pods``, ``/run/containerd``).

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_ephemeral_ns.clusters.embedded.node_programs import PROGRAMS, find, plugin_folder
from pytest_ephemeral_ns.clusters.embedded.sandbox_mount import bind, change_root, mount

if TYPE_CHECKING:
    from pytest_ephemeral_ns.clusters.embedded.node_spec import NodeSpec

PROGRAM_FOLDERS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32", "usr", "etc", "opt", "nix", "gnu")

# The kubelet wants these values and would set them, but they belong to the whole machine: it is shown them instead.
MACHINE_SETTINGS = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}


def enter(spec: NodeSpec) -> None:
    """Build the node's root and make it this process's, and that of everything it starts."""
    root = spec.directory / "root"
    root.mkdir(exist_ok=True)
    mount("tmpfs", root, "tmpfs", options="mode=755,size=64m")
    for name in PROGRAM_FOLDERS:
        _show_program_folder(Path("/", name), root / name)
    for name in ("dev", "sys"):
        _show(Path("/", name), root)
    for name in ("proc", "run"):
        (root / name).mkdir()
    mount("proc", root / "proc", "proc")
    mount("tmpfs", root / "run", "tmpfs", options="mode=755")
    for name, mode in (("var", 0o755), ("tmp", 0o1777)):
        _own_folder(spec, root, name, mode)
    _show(spec.directory, root, recursive=False)  # or the new root would be seen within itself
    for path in _needed(spec):
        _show(path, root, read_only=True)
    _pin_machine_settings(spec, root)
    if spec.egress:
        _show_resolvers(spec, root)
    change_root(root)


def _show_program_folder(source: Path, target: Path) -> None:
    if source.is_symlink():
        target.symlink_to(os.readlink(source))
    elif source.is_dir():
        target.mkdir()
        bind(source, target, read_only=True)


def _own_folder(spec: NodeSpec, root: Path, name: str, mode: int) -> None:
    folder = spec.directory / name
    folder.mkdir(exist_ok=True)
    folder.chmod(mode)
    (root / name).mkdir()
    bind(folder, root / name)
    if name == "var":
        for part in ("lib", "log", "tmp", "cache"):
            (folder / part).mkdir(exist_ok=True)
        if not (folder / "run").is_symlink():
            (folder / "run").symlink_to("/run")


def _needed(spec: NodeSpec) -> Iterable[Path]:
    """Return what else has to be seen: Python, this package, the cluster's programs, credentials and images."""
    package = Path(__file__).resolve().parents[2]
    programs = [Path(find(program)).parent for program in PROGRAMS]
    programs += [(spec.bin_dir / name).resolve().parent for name in ("kubelet", "kube-proxy")]  # they may be links
    paths = [Path(sys.prefix), Path(sys.base_prefix), package, spec.bin_dir, *programs]
    paths += [spec.kubelet_kubeconfig, spec.proxy_kubeconfig, spec.ca_file, *spec.images]
    paths += [path for path in (plugin_folder(), spec.kubelet_cert, spec.kubelet_key) if path]
    covered = tuple(Path("/", name) for name in PROGRAM_FOLDERS)
    return [path for path in dict.fromkeys(paths) if not any(folder in path.parents for folder in covered)]


def _show(source: Path, root: Path, *, read_only: bool = False, recursive: bool = True) -> None:
    target = root / source.relative_to("/")
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    bind(source, target, read_only=read_only, recursive=recursive)


def _pin_machine_settings(spec: NodeSpec, root: Path) -> None:
    folder = spec.directory / "config" / "machine-settings"
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in MACHINE_SETTINGS.items():
        target = root / "proc/sys" / name
        if target.exists():
            file = folder / name.replace("/", ".")
            file.write_text(f"{value}\n")
            bind(file, target)


def _show_resolvers(spec: NodeSpec, root: Path) -> None:
    """Give containerd the machine's name servers where /etc/resolv.conf is a link into /run, which is hidden."""
    target = Path(os.path.realpath("/etc/resolv.conf"))
    if Path("/run") in target.parents:
        inside = root / target.relative_to("/")
        inside.parent.mkdir(parents=True, exist_ok=True)
        inside.write_bytes((spec.directory / "config" / "resolv.conf").read_bytes())
