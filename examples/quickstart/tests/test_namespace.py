"""What needs the control plane only: the namespace is there, is this worker's, and says whose it is."""


def test_the_namespace_says_who_made_it(ephemeral_ns):
    labels = ephemeral_ns.get("namespace", ephemeral_ns.name)["metadata"]["labels"]

    assert labels["app.kubernetes.io/managed-by"] == "pytest-ephemeral-ns"
    assert labels["pytest-ephemeral-ns/worker"] == ephemeral_ns.worker_id


def test_what_one_worker_writes_no_other_worker_sees(ephemeral_ns, worker_id):
    ephemeral_ns.apply(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "mine"}, "data": {"by": worker_id}}
    )

    assert ephemeral_ns.get("configmap/mine")["data"] == {"by": worker_id}
