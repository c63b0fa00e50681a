from pathlib import Path

import pytest

K8S = Path(__file__).parents[1] / "k8s"


@pytest.fixture(scope="session")
def ephemeral_ns_deploy():
    """The seam: what fills a namespace. First the application, then its migration, which is broken."""

    def deploy(ns):
        ns.apply(K8S / "orders.yaml")
        ns.wait_ready()
        ns.apply(K8S / "migrate.yaml")
        ns.wait_for_job("migrate")

    return deploy
