"""Where the programs are that a node needs from this machine; this module must never install one.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from pytest_ephemeral_ns.errors import ClusterError, ToolError

# What has to be there, and the package of Debian and Ubuntu that has it.
PROGRAMS = {
    "containerd": "containerd",
    "containerd-shim-runc-v2": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "iptables": "iptables",
    "nft": "nftables",
    "conntrack": "conntrack",
    "ethtool": "ethtool",
    "ip": "iproute2",
    "unshare": "util-linux",
    "nsenter": "util-linux",
}
PLUGINS = ("ptp", "host-local", "portmap", "loopback")
PLUGIN_FOLDERS = (Path("/usr/lib/cni"), Path("/opt/cni/bin"), Path("/usr/libexec/cni"))
SYSTEM_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")


def search_path() -> str:
    """Return ``PATH`` with the folders of system programs, which some root shells leave out."""
    named = os.environ.get("PATH", "").split(os.pathsep)
    return os.pathsep.join([*named, *(folder for folder in SYSTEM_PATH if folder not in named)])


def find(program: str) -> str:
    """Return the path of a program.

    Raises:
        ToolError: it is not installed.
    """
    if path := shutil.which(program, path=search_path()):
        return path
    raise ToolError(f"{program} is not installed", command=f"apt-get install {PROGRAMS.get(program, program)}")


def plugin_folder() -> Path | None:
    """Return the folder that has every CNI plugin that a node needs."""
    return next((folder for folder in PLUGIN_FOLDERS if all((folder / name).exists() for name in PLUGINS)), None)


def missing_programs() -> dict[str, str]:
    """Return the programs that are not there, each with the Debian package that has it."""
    missing = {name: package for name, package in PROGRAMS.items() if not shutil.which(name, path=search_path())}
    if not plugin_folder():
        missing[f"CNI plugins {', '.join(PLUGINS)}"] = "containernetworking-plugins"
    return missing


def run(program: str, *arguments: str, stdin: str = "", check: bool = True) -> str:
    """Run ``ip`` or ``nft`` and return what it printed.

    Raises:
        ClusterError: it failed.
    """
    command = [find(program), *arguments]
    try:
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60, check=False)
    except subprocess.TimeoutExpired as error:
        raise ClusterError(f"{program} did not end within {error.timeout:.0f} s") from error
    if check and done.returncode:
        raise ClusterError(
            f"the node's network cannot be set up: {program} failed with exit code {done.returncode}",
            evidence=[done.stderr.strip(), *(f"{program}: {line}" for line in stdin.splitlines())],
        )
    return done.stdout
