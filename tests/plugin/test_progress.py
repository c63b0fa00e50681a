"""How far a wait is, as the user of a terminal sees it, with and without workers."""

from __future__ import annotations

import re

import pytest

from tests.test_progress import on_a_terminal, shown

pytestmark = pytest.mark.cluster

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: api}
spec:
  selector: {matchLabels: {app: api}}
  template:
    metadata: {labels: {app: api}}
    spec: {containers: [{name: app, image: "busybox:1.36"}]}
"""


@pytest.mark.parametrize(("workers", "who"), [("0", "main"), ("1", "gw0")])
def test_a_wait_is_one_line_that_is_rewritten(pytester, control_plane, monkeypatch, workers, who):
    monkeypatch.setenv("KUBECONFIG", str(control_plane.kubeconfig))
    pytester.makefile(".yaml", api=DEPLOYMENT)
    pytester.makepyfile("def test_it(ephemeral_ns): pass")
    options = ["--ephemeral-ns", "--ephemeral-ns-cluster=current", "--ephemeral-ns-deploy=api.yaml", "-n", workers]
    # A cluster without a node: what the line shows lasts for its grace, however late the first list arrives.
    raw = on_a_terminal(
        pytester.path, *options, "--ephemeral-ns-grace=no_nodes=15s", "--ephemeral-ns-timeout=5m", "--show-capture=no"
    )
    assert re.search(rf"\r{who} \S+: 0/1 ready · api: unschedulable \(\d+ s\)", raw), raw
    left = "\n".join(shown(raw))
    assert "no nodes available to schedule pods" in left
    assert "0/1 ready · api" not in left
