"""The output in the README of examples/diagnostics is what the example prints."""

from __future__ import annotations

import pytest

from tests.e2e import example_output


@pytest.mark.node
@pytest.mark.cluster
def test_the_readme_shows_true_output(node_cluster, tmp_path):
    where = ["--ephemeral-ns-cluster=current", f"--ephemeral-ns-kubeconfig={node_cluster.kubeconfig}"]
    # Its image is in the node already, and images are loaded into clusters of ours only.
    found = example_output.run(tmp_path, *where, "-o", "ephemeral_ns_image=")
    assert found == example_output.shown()
