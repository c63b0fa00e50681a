"""A containerd of the node's own: how it is configured, and how images get into it; it must never use the machine's.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

from pytest_ephemeral_ns.clusters.embedded.image_archive import copy
from pytest_ephemeral_ns.clusters.embedded.image_names import Archive, open_tar, read_archive
from pytest_ephemeral_ns.clusters.embedded.node_programs import find, plugin_folder
from pytest_ephemeral_ns.errors import ClusterError

if TYPE_CHECKING:
    from pytest_ephemeral_ns.clusters.embedded.node_spec import NodeSpec

SOCKET = Path("/run/containerd/containerd.sock")
NAMESPACE = "k8s.io"


def write_config(spec: NodeSpec, pause_image: str, snapshotter: str) -> None:
    """Write containerd's and CNI's configuration files."""
    (spec.config / "cni").mkdir(parents=True, exist_ok=True)
    (spec.config / "cni" / "10-pods.conflist").write_text(json.dumps(_cni(spec), indent=1))
    (spec.config / "containerd.toml").write_text(_toml(spec, pause_image, snapshotter))


def _cni(spec: NodeSpec) -> dict[str, object]:
    """Return the pods' network: a link for each, everything routed, so that Services need no bridge filter module."""
    ipam = {
        "type": "host-local",
        "dataDir": "/run/cni-addresses",  # forgotten with the sandbox, as the pods' network namespaces are
        "ranges": [[{"subnet": spec.pod_range}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    plugins = [
        {"type": "ptp", "ipMasq": False, "mtu": 1500, "ipam": ipam},
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ]
    return {"cniVersion": "0.4.0", "name": "pods", "plugins": plugins}


def _toml(spec: NodeSpec, pause_image: str, snapshotter: str) -> str:
    # restrict_oom_score_adj: without CAP_SYS_RESOURCE no score below our own can be set, and pods would not start.
    # disable_apparmor: its profile would be loaded into the machine's kernel.
    return f"""version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
oom_score = 0
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs", "io.containerd.internal.v1.opt"]

[grpc]
  address = "{SOCKET}"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause_image}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  tolerate_missing_hugetlb_controller = true
  disable_hugetlb_controller = true

  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{plugin_folder()}"
    conf_dir = "{spec.config / "cni"}"

  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "/etc/containerd/certs.d"

  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "{snapshotter}"
    default_runtime_name = "runc"

    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"

      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
"""


def load(spec: NodeSpec, archives: Sequence[Path]) -> list[str]:
    """Import image archives into a running node; every archive is looked at before the first is imported.

    Args:
        spec: the node.
        archives: files of ``docker save``, or OCI layouts (tar files or directories).

    Returns:
        The full names of the images that arrived, for example ``["docker.io/library/busybox:1.36"]``.

    Raises:
        UsageError: an archive does not exist, is not one, has no name, or is for another kind of machine.
        ClusterError: no node is running, or containerd refused the archive.

    Example:
        >>> load(spec, [Path("busybox-1.36.tar")])  # doctest: +SKIP
        ['docker.io/library/busybox:1.36']
    """
    from pytest_ephemeral_ns.clusters.embedded.node_process import running_pid

    known = [read_archive(path) for path in archives]
    pid = running_pid(spec)
    if pid is None:
        raise ClusterError(f"node {spec.name} is not running", command="ephemeral-ns cluster up")
    enter = [find("nsenter"), "--target", str(pid), "--mount", "--"]
    for archive in known:
        import_archive(archive, enter)
    return [name for archive in known for name in archive.names]


def import_archive(archive: Archive, enter: Sequence[str] = (), *, unpack: bool = True) -> None:
    """Hand one archive to containerd as a stream, its names made full.

    Args:
        archive: what :func:`image_names.read_archive` returned.
        enter: the command that leads into the sandbox; empty where we are inside.
        unpack: whether to unpack now, which finds broken layers, or when the first container needs it.
    """
    ctr = [find("ctr"), "--address", str(SOCKET), "--namespace", NAMESPACE]
    command = [*enter, *ctr, "images", "import", *(() if unpack else ("--no-unpack",)), "-"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdin
        assert process.stdout
        try:
            _send(archive, process.stdin)
            process.stdin.close()
        except BrokenPipeError:
            pass  # it ended early, and says why
        said = process.stdout.read().decode(errors="replace").strip()
        process.wait(timeout=300)
    if process.returncode:
        raise ClusterError(
            f"containerd cannot import {archive.path}",
            evidence=[said or f"ctr ended with exit code {process.returncode}"],
        )


def _send(archive: Archive, out: IO[bytes]) -> None:
    if archive.layout == "docker":
        with open_tar(archive.path) as tar:
            assert tar.fileobj
            tar.fileobj.seek(0)
            copy(tar.fileobj, out)  # type: ignore[arg-type]  # decompressed, if it was compressed
        return
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.GNU_FORMAT) as target:
        info = tarfile.TarInfo("index.json")
        info.size = len(archive.index)
        target.addfile(info, io.BytesIO(archive.index))
        if archive.path.is_dir():
            for path in sorted(archive.path.rglob("*")):
                if path.is_file() and path.relative_to(archive.path).as_posix() != "index.json":
                    target.add(path, path.relative_to(archive.path).as_posix())
            return
        with open_tar(archive.path) as source:
            for member in source:
                member.name = member.name.removeprefix("./")
                if member.isfile() and member.name != "index.json":
                    target.addfile(member, source.extractfile(member))
