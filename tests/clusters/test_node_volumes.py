from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_ephemeral_ns.clusters.embedded import sandbox_volumes
from pytest_ephemeral_ns.clusters.embedded.node_spec import PROVISIONER

CLASS = {"reclaimPolicy": "Delete"}


class FakeServer:
    """Notes what it is asked."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, Any]] = []

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        self.calls.append((method, path, body))
        return (200, CLASS) if method != "POST" else (201, body)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeServer:
    monkeypatch.setattr(sandbox_volumes, "VOLUMES", tmp_path)
    return FakeServer()


def claim(**spec: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "name": "data-db-0",
            "namespace": "shop",
            "uid": "u1",
            "resourceVersion": "7",
            "annotations": {sandbox_volumes.ASKED_FOR: PROVISIONER},
        },
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
            "storageClassName": "standard",
            **spec,
        },
    }


def test_a_claim_gets_a_folder_that_every_user_may_write_to(server: FakeServer, tmp_path: Path) -> None:
    sandbox_volumes.provide(server, claim())  # type: ignore[arg-type]
    method, path, volume = server.calls[-1]
    folder = tmp_path / "shop_data-db-0_u1"
    assert (method, path) == ("POST", "/api/v1/persistentvolumes")
    assert volume["spec"]["hostPath"]["path"] == str(folder)
    assert volume["spec"]["claimRef"]["uid"] == "u1"
    assert volume["spec"]["capacity"] == {"storage": "1Gi"}
    assert folder.stat().st_mode & 0o777 == 0o777


@pytest.mark.parametrize(
    "other",
    [
        claim(volumeName="pvc-u1"),
        claim(volumeMode="Block"),
        {**claim(), "metadata": {**claim()["metadata"], "annotations": {sandbox_volumes.ASKED_FOR: "csi.example"}}},
        {**claim(), "metadata": {**claim()["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}},
        {"metadata": {"name": "x"}, "spec": {}},
    ],
)
def test_claims_that_are_bound_or_another_provisioners_are_left_alone(
    server: FakeServer, tmp_path: Path, other: dict[str, Any]
) -> None:
    sandbox_volumes.provide(server, other)  # type: ignore[arg-type]
    assert (server.calls, list(tmp_path.iterdir())) == ([], [])


def volume(folder: Path, *, phase: str = "Released", by: str = PROVISIONER, policy: str = "Delete") -> dict[str, Any]:
    return {
        "metadata": {"name": "pvc-u1", "uid": "v1", "annotations": {sandbox_volumes.MADE_BY: by}},
        "spec": {"hostPath": {"path": str(folder)}, "persistentVolumeReclaimPolicy": policy},
        "status": {"phase": phase},
    }


def test_a_released_volume_is_deleted_with_its_folder(server: FakeServer, tmp_path: Path) -> None:
    folder = tmp_path / "shop_data-db-0_u1"
    folder.mkdir()
    sandbox_volumes.take_away(server, volume(folder))  # type: ignore[arg-type]
    assert not folder.exists()
    assert server.calls == [("DELETE", "/api/v1/persistentvolumes/pvc-u1", {"preconditions": {"uid": "v1"}})]


@pytest.mark.parametrize("change", [{"phase": "Bound"}, {"by": "csi.example"}, {"policy": "Retain"}])
def test_volumes_in_use_or_not_ours_or_to_be_kept_stay(
    server: FakeServer, tmp_path: Path, change: dict[str, str]
) -> None:
    folder = tmp_path / "shop_data-db-0_u1"
    folder.mkdir()
    sandbox_volumes.take_away(server, volume(folder, **change))  # type: ignore[arg-type]
    assert folder.exists()
    assert server.calls == []


def test_a_folder_elsewhere_is_never_removed(server: FakeServer, tmp_path: Path) -> None:
    elsewhere = tmp_path / "deeper" / "precious"
    elsewhere.mkdir(parents=True)
    sandbox_volumes.take_away(server, volume(elsewhere))  # type: ignore[arg-type]
    assert elsewhere.exists()
