"""The way out of a node, tried in network namespaces of the test's own: a machine, a node and a world."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pytest_ephemeral_ns.clusters.embedded import node
from tests.clusters.node_specs import node_spec

pytestmark = pytest.mark.node

MACHINE = Path(__file__).with_name("egress_world.py")


@pytest.mark.parametrize("egress", [True, False])
def test_only_a_node_that_may_get_out_does_and_nothing_of_it_stays(tmp_path: Path, egress: bool) -> None:
    if reasons := node.missing():
        pytest.skip("; ".join(reasons))
    spec = node_spec(tmp_path, "egress", 62, "10.244.248.0/22", egress=egress)
    spec.write()
    command = ["unshare", "--net", sys.executable, str(MACHINE), str(spec.file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if egress:
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines() == ["table True forward 1", "seen as 198.51.100.1", "table False forward 0"]
    else:
        assert "Network is unreachable" in done.stderr
        assert done.stdout.splitlines() == ["table False forward 0"]
