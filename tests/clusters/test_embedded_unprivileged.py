"""The control plane needs no root; and where the system has no PID namespaces either, it still ends completely."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_ephemeral_ns.clusters.embedded import assets
from tests.clusters.embedded_world import COMMAND, is_open, processes_of, wait_until_gone

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(sys.platform != "linux", reason="Linux namespaces"),
]
NOBODY = 65534
AS_NOBODY = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
WITHOUT_NAMESPACES = ["unshare", "--user", "--map-root-user", "sh", "-c"]
NO_MORE = 'echo 0 > /proc/sys/user/max_pid_namespaces && exec "$0" "$@"'


def readable_programs(folder: Path) -> Path:
    """Return a folder with the control plane's programs that everybody may read."""
    real = assets.ensure(["control-plane"])
    target = folder / "programs"
    target.mkdir(mode=0o755)
    for name in ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"):
        try:
            os.link((real / name).resolve(), target / name)
        except OSError:
            shutil.copy(real / name, target / name)
    return target


def within_reach(folder: Path) -> list[str]:
    """Return a prefix that lets others reach our Python and sources, in a mount namespace that nobody else sees.

    A folder of root's in the way is covered by an empty one with only what is needed inside.
    """
    needed = {Path(sys.base_prefix), Path(sys.prefix), Path(__file__).parents[2]}
    closed = {
        path: above[0]
        for path in needed
        if (above := [up for up in reversed(path.parents) if not up.stat().st_mode & stat.S_IXOTH])
    }
    aside = {path: folder / f"aside-{number}" for number, path in enumerate(closed)}
    steps = [
        "set -e",
        *(f"mkdir {aside[path]}; mount --bind {path} {aside[path]}" for path in closed),
        *(f"mount -t tmpfs -o mode=755 none {above}" for above in set(closed.values())),
        *(f"mkdir -p {path}; mount --bind {aside[path]} {path}" for path in closed),
        *(f"umount {aside[path]}; rmdir {aside[path]}" for path in closed),
        'exec "$0" "$@"',
    ]
    return ["unshare", "--mount", "sh", "-c", "; ".join(steps)]


class Machine:
    """Somebody who runs the package's module, in a state folder of their own."""

    def __init__(self, prefix: list[str], state: Path) -> None:
        self.prefix = prefix
        self.state = state
        self.environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(state),
            "EPHEMERAL_NS_STATE_DIR": str(state),
            "EPHEMERAL_NS_CACHE_DIR": str(state / "cache"),
            "EPHEMERAL_NS_ASSETS": str(readable_programs(state)),
            "PYTHONPATH": str(Path(__file__).parents[2]),
        }

    def run(self, *arguments: str, fails: bool = False) -> Any:
        command = [*self.prefix, *COMMAND, *arguments, "--name", "one"]
        done = subprocess.run(command, env=self.environ, cwd="/", capture_output=True, text=True, timeout=180)
        assert bool(done.returncode) == fails, done.stderr
        return done.stderr if fails else json.loads(done.stdout)


@pytest.fixture(params=["an ordinary user", "without PID namespaces"])
def machine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    folder = Path(f"/tmp/ephemeral-ns-test-{os.getpid()}")
    folder.mkdir(mode=0o700)
    if request.param == "an ordinary user":
        prefix: list[str] = []
        if os.geteuid() == 0:
            if not shutil.which("setpriv"):
                pytest.skip("setpriv is not installed")
            os.chown(folder, NOBODY, NOBODY)
            prefix = [*within_reach(folder), *AS_NOBODY]
    else:
        prefix = [*WITHOUT_NAMESPACES, NO_MORE]
        if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode:
            pytest.skip("no user namespaces here")
    yield Machine(prefix, folder)
    for pid in processes_of(folder):
        os.kill(pid, signal.SIGKILL)
    shutil.rmtree(folder)


def test_up_use_kill_up_again_down(machine: Machine) -> None:
    machine.run("up", "--nodes", "none")
    seen = machine.run("status")
    rootless = NO_MORE not in machine.prefix
    assert (seen["phase"], seen["nodes"]) == ("ready", "none")
    assert seen["containment"] == ("pid namespace" if rootless else "process list")
    running = processes_of(machine.state)
    assert any("kube-scheduler" in argv for argv in running.values())
    if rootless and os.geteuid() == 0:
        assert {Path(f"/proc/{pid}").stat().st_uid for pid in running} == {NOBODY}
        assert Path(seen["kubeconfig"]).stat().st_uid == NOBODY

    # The kernel ends the children with the supervisor, also where nothing but the parent's death tells it to.
    os.kill(seen["pid"], signal.SIGKILL)
    wait_until_gone(machine.state)

    machine.run("up", "--nodes", "none")
    port = machine.run("status")["port"]
    assert machine.run("down") is True
    assert processes_of(machine.state) == {}
    assert not is_open(port)


@pytest.mark.parametrize("machine", ["an ordinary user"], indirect=True)  # the other one is root, in its own namespace
def test_a_real_node_is_refused_with_every_reason(machine: Machine) -> None:
    said = machine.run("up", "--nodes", "real", fails=True)
    assert "a real node is not possible here" in said
    assert "a node needs root" in said
    assert processes_of(machine.state) == {}
