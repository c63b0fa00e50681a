"""Claim: nothing running → usable namespace in at most 4 s, binaries cached; node Ready at most 3 s later."""

from __future__ import annotations

import os
import tempfile
import time
from unittest.mock import patch

from benchmarks.measure import Sample, installed
from pytest_ephemeral_ns.clusters import embedded
from pytest_ephemeral_ns.clusters.embedded.node import missing
from pytest_ephemeral_ns.deadline import Deadline
from pytest_ephemeral_ns.kube.api import Api
from pytest_ephemeral_ns.provision import create_namespace, wait_usable

ROUNDS = 5


def run() -> list[Sample]:
    """Start and stop a cluster several times, without and, where it is possible, with a node."""
    with (
        tempfile.TemporaryDirectory() as folder,
        patch.dict(os.environ, {**installed(os.environ), "EPHEMERAL_NS_STATE_DIR": folder}, clear=True),
    ):
        _once("none")  # the first finds nothing in the machine's memory
        found = [_sample("nothing running → usable namespace, control plane only", "none")]
        if not missing():
            found.append(_sample("nothing running → usable namespace, with a real node and DNS", "real"))
        return found


def _sample(name: str, nodes: str) -> Sample:
    return Sample(name, tuple(_once(nodes) for _ in range(ROUNDS)))


def _once(nodes: str) -> float:
    start = time.perf_counter()
    cluster = embedded.up("bench", nodes=nodes, owner_pid=os.getpid(), progress=lambda line: None)
    try:
        with Api(cluster.connection) as api:
            record = create_namespace(api, lambda more: f"bench{more}", {}, {})
            wait_usable(api, record.name, Deadline.after(60))
        return time.perf_counter() - start
    finally:
        embedded.down("bench")
