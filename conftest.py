"""What every test may use: pytester, and one real cluster of each kind for the whole run, shared by its workers."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from pytest_ephemeral_ns.clusters.cluster import Cluster
from pytest_ephemeral_ns.paths import cache_dir
from pytest_ephemeral_ns.rules.ci import SYSTEMS

pytest_plugins = ["pytester"]
# How long the machine takes says nothing about a property.
hypothesis.settings.register_profile("no-deadline", deadline=None)
hypothesis.settings.load_profile("no-deadline")
# A shell that starts us in the background has these ignored, and every process that a test starts and interrupts would
# inherit that.
for _number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL)
# Which CI system runs the tests must not change what they see: pytest and we print other things in one. Tests that are
# about a CI system set its variables themselves.
for _variable in {"CI", "BUILD_NUMBER", *(word.partition("=")[0] for system in SYSTEMS for word in system.detect)}:
    os.environ.pop(_variable, None)
ROOT = Path(__file__).parent
# pytester gives every test a home of its own; the binaries stay in the real one's cache.
os.environ.setdefault("EPHEMERAL_NS_CACHE_DIR", str(cache_dir()))
IMAGES = ("busybox:1.36", "ghcr.io/stefanprodan/podinfo:6.9.2")


@pytest.fixture(scope="session")
def own_state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder of this run's own: its clusters are nobody else's."""
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="session")
def control_plane(own_state: Path) -> Iterator[Cluster]:
    """The real control plane, without nodes."""
    yield from _embedded("tests-plane", "none", own_state)


@pytest.fixture(scope="session")
def node_cluster(own_state: Path) -> Iterator[Cluster]:
    """A real cluster with a real node that has busybox and podinfo."""
    from pytest_ephemeral_ns.clusters.embedded.node import missing

    if reasons := missing():
        pytest.skip(f"no real node here: {'; '.join(reasons)}")
    for cluster in _embedded("tests-node", "real", own_state):
        from pytest_ephemeral_ns.clusters.embedded import load
        from pytest_ephemeral_ns.clusters.embedded.images import ensure_images

        load(cluster.name, ensure_images(IMAGES, _say))
        yield cluster


def _embedded(name: str, nodes: str, state: Path) -> Iterator[Cluster]:
    from pytest_ephemeral_ns.clusters.embedded import down, up

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EPHEMERAL_NS_STATE_DIR", str(state))
        yield up(name, nodes=nodes, owner_pid=os.getpid(), progress=_say)
        patch.setenv("EPHEMERAL_NS_STATE_DIR", str(state))
        down(name)


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
