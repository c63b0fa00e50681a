"""A real Kubernetes node in a sandbox of Linux namespaces; this module must never change the machine outside of it.

What is outside: a veth pair with one route, cgroups below one of our own name, and the node's directory. All of it is
removed by :func:`clean_up`, also after everything was killed.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from pytest_ephemeral_ns.clusters.embedded import containerd, network, node_cgroups, node_config
from pytest_ephemeral_ns.clusters.embedded.images import PAUSE
from pytest_ephemeral_ns.clusters.embedded.node_process import (
    NodeProcess,
    child_of,
    end,
    failure,
    record,
    running_pid,
)
from pytest_ephemeral_ns.clusters.embedded.node_programs import find, missing_programs, search_path
from pytest_ephemeral_ns.clusters.embedded.node_spec import NodeSpec
from pytest_ephemeral_ns.clusters.embedded.sandbox_mount import mounts_below, unmount
from pytest_ephemeral_ns.errors import ClusterError, EphemeralNsError

__all__ = ["NodeProcess", "NodeSpec", "clean_up", "missing", "prepare_network", "recorded", "running_pid", "start_node"]

SANDBOX = ("--net", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc")
PASSED_ON = (
    "PATH",
    "PYTHONPATH",
    "LANG",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
)


def missing() -> list[str]:
    """Say why a real node is impossible here; an empty list says that nothing is in the way.

    Example:
        >>> missing()  # doctest: +SKIP
        ['not installed: runc (apt-get install runc)']
    """
    if not sys.platform.startswith("linux"):
        return [f"a node needs Linux, this is {sys.platform}"]
    if os.geteuid() != 0:
        return ["a node needs root"]
    reasons = [f"not installed: {name} (apt-get install {package})" for name, package in missing_programs().items()]
    if not reasons and not _may_unshare():
        reasons.append("this root may not make namespaces (unshare failed; in a container, --privileged is needed)")
    if not os.access(node_cgroups.hierarchies()[0] if node_cgroups.ROOT.is_dir() else "/", os.W_OK):
        reasons.append(f"{node_cgroups.ROOT} is read-only (in a container, --privileged is needed)")
    return reasons


def _may_unshare() -> bool:
    done = subprocess.run([find("unshare"), *SANDBOX, "true"], capture_output=True, timeout=30, check=False)
    return done.returncode == 0


def prepare_network(spec: NodeSpec) -> None:
    """Make the link to the node, so that the API server can listen on ``spec.host_ip`` before the node starts.

    Raises:
        ClusterError: the link's name or an address range is in use by something else.
    """
    spec.write()  # first, so that whoever cleans up after us knows what there may be
    network.prepare(spec)


def recorded(directory: Path) -> NodeSpec | None:
    """Return the node that lives in a directory, as :func:`clean_up` needs it; ``None`` when there is none."""
    try:
        return NodeSpec.read(directory / "spec.json")
    except (OSError, ValueError, KeyError, TypeError):
        return None


def start_node(spec: NodeSpec) -> NodeProcess:
    """Start a node and return as soon as its components are being started; wait for the Node object to be Ready.

    A node of the same directory that still runs is ended first; its images and volumes are kept.

    Returns:
        The process; the node lives as long as the process that called this.

    Raises:
        ClusterError: the sandbox cannot be made; names the log.
    """
    end(spec)
    prepare_network(spec)
    spec.logs.mkdir(exist_ok=True)
    node_cgroups.remove(spec.identity)  # of pods that ended with the sandbox before; the kubelet would look into them
    node_cgroups.create(spec.identity)
    node_config.write_config(spec)
    containerd.write_config(spec, PAUSE, _snapshotter(spec))
    command = [
        find("unshare"),
        *SANDBOX,
        sys.executable,
        "-m",
        f"{__package__}.sandbox",
        str(spec.file),
    ]
    environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ} | {"PATH": search_path()}
    with (spec.logs / "node.log").open("wb") as log:
        unshare = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=environment,
            cwd="/",
            start_new_session=True,
        )
    return _join(spec, unshare)


def _join(spec: NodeSpec, unshare: subprocess.Popen[bytes]) -> NodeProcess:
    """Wait until the sandbox exists, give it its link, and let it go on."""
    assert unshare.stdin
    assert unshare.stdout
    ready = unshare.stdout.readline()
    pid = child_of(unshare.pid)
    if not ready or pid is None:
        unshare.kill()
        unshare.communicate(timeout=30)
        raise failure(spec, f"the sandbox of node {spec.name} cannot be made")
    record(spec, pid)
    process = NodeProcess(spec, pid, unshare)
    try:
        network.hand_over(spec, pid)
        unshare.stdin.write(b"linked\n")
        unshare.stdin.flush()
    except BaseException:
        process.stop()
        raise
    return process


def _snapshotter(spec: NodeSpec) -> str:
    """Return ``overlayfs``, or ``native`` (slower) where the directory's file system cannot carry an overlay."""
    trial = spec.directory / "overlay-trial"
    for name in ("lower", "upper", "work", "whole"):
        (trial / name).mkdir(parents=True, exist_ok=True)
    options = f"lowerdir={trial}/lower,upperdir={trial}/upper,workdir={trial}/work"
    command = ["unshare", "--mount", "mount", "-t", "overlay", "overlay", "-o", options, f"{trial}/whole"]
    done = subprocess.run(command, capture_output=True, timeout=30, check=False, env={"PATH": search_path()})
    shutil.rmtree(trial, ignore_errors=True)
    return "native" if done.returncode else "overlayfs"


def clean_up(spec: NodeSpec) -> None:
    """End a node if it runs, and remove everything of it: link, route, rules, cgroups, mounts and directory.

    Can be called at any time and as often as wanted, also when everything was killed.

    Raises:
        ClusterError: something could not be removed. The rest was, but for the directory, which the next call needs.
    """
    end(spec)
    problems: list[EphemeralNsError] = []
    for step in (network.remove, _remove_cgroups, _remove_mounts):
        try:
            step(spec)
        except EphemeralNsError as error:
            problems.append(error)
    if problems:
        first, *rest = problems
        evidence = [*first.evidence, *(str(problem) for problem in rest)]
        raise ClusterError(first.summary, evidence=evidence, command=first.command)
    _remove_directory(spec.directory)


def _remove_cgroups(spec: NodeSpec) -> None:
    node_cgroups.remove(spec.identity)


def _remove_mounts(spec: NodeSpec) -> None:
    for point in mounts_below(spec.directory):
        with contextlib.suppress(OSError):
            unmount(point)
    if left := mounts_below(spec.directory):
        raise ClusterError(f"{left[0]} is still mounted", command=f"umount --lazy {left[0]}")


def _remove_directory(directory: Path) -> None:
    for _ in range(3):  # a file that a dying process makes in between
        shutil.rmtree(directory, ignore_errors=True)
        if not directory.exists():
            return
    shutil.rmtree(directory)
