"""What a node is made from, as far as it can be seen without making one."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from pytest_ephemeral_ns.clusters.embedded import (
    network,
    network_egress,
    node,
    node_cgroups,
    node_config,
    node_process,
    node_programs,
)
from pytest_ephemeral_ns.clusters.embedded.addons import addons
from pytest_ephemeral_ns.clusters.embedded.node_spec import NodeSpec
from pytest_ephemeral_ns.errors import ClusterError, UsageError
from tests.clusters.node_specs import node_spec


@pytest.fixture
def spec(tmp_path: Path) -> NodeSpec:
    images = (tmp_path / "pause.tar", tmp_path / "coredns.tar")
    return node_spec(tmp_path, "n1", 63, "10.244.252.0/22", images=images)


def with_egress(spec: NodeSpec) -> NodeSpec:
    return NodeSpec(**{**spec.__dict__, "egress": True})


def test_a_spec_survives_the_trip_through_its_file(spec: NodeSpec) -> None:
    spec.write()
    assert NodeSpec.read(spec.file) == spec
    assert node.recorded(spec.directory) == spec


@pytest.mark.parametrize("content", ["", "{", "{}", '{"name": 3}'])
def test_a_spec_that_was_not_written_to_its_end_counts_as_none(spec: NodeSpec, content: str) -> None:
    spec.directory.mkdir()
    spec.file.write_text(content)
    assert node.recorded(spec.directory) is None


def test_link_names_fit_into_the_kernel(spec: NodeSpec) -> None:
    assert len(spec.host_link) <= 15
    assert len(spec.node_link) <= 15
    assert len(f"lo:{spec.host_link}") <= 15


def routes(monkeypatch: pytest.MonkeyPatch, *found: dict[str, Any]) -> None:
    monkeypatch.setattr(network, "run", lambda *command, **_: json.dumps(found))


@pytest.mark.parametrize(
    ("route", "taken"),
    [
        ({"dst": "default", "dev": "eth0"}, False),
        ({"dst": "10.0.0.0/8", "dev": "tun0"}, True),
        ({"dst": "10.244.253.0/24", "dev": "docker0"}, True),
        ({"dst": "10.244.252.7", "dev": "wg0"}, True),
        ({"dst": "10.245.0.0/16", "dev": "eth0"}, False),
        ({"dst": "10.244.252.0/22", "metric": network.LAST_RESORT}, False),  # left by a node that was killed
        ({"dst": "192.168.1.0/24", "dev": "eth0"}, False),
    ],
)
def test_a_range_that_a_route_has_already_is_in_use(
    monkeypatch: pytest.MonkeyPatch, route: dict[str, Any], taken: bool
) -> None:
    routes(monkeypatch, route)
    assert bool(network.in_use(["10.244.252.0/22"])) is taken


def test_a_hierarchy_for_each_controller_is_found_once(tmp_path: Path) -> None:
    for name in ("cpu,cpuacct", "memory"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "cgroup.procs").touch()
    (tmp_path / "cpu").symlink_to("cpu,cpuacct")
    (tmp_path / "not-a-hierarchy").mkdir()
    assert node_cgroups.hierarchies(tmp_path) == [tmp_path / "cpu,cpuacct", tmp_path / "memory"]
    node_cgroups.create("ours", tmp_path)
    node_cgroups.create("ours", tmp_path)
    (tmp_path / "memory" / "ours" / "kubepods" / "pod1").mkdir(parents=True)
    node_cgroups.remove("ours", tmp_path)
    node_cgroups.remove("ours", tmp_path)
    assert not list(tmp_path.glob("*/ours"))


def test_one_hierarchy_hands_its_controllers_down(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids\n")
    control = tmp_path / "cgroup.subtree_control"
    control.write_text("cpu memory\n")
    node_cgroups.create("ours", tmp_path)
    assert node_cgroups.hierarchies(tmp_path) == [tmp_path]
    assert control.read_text() == "+pids"
    assert (tmp_path / "ours").is_dir()


def test_what_still_runs_in_a_cgroup_is_ended_before_it_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[int] = []
    busy = tmp_path / "memory" / "ours"
    busy.mkdir(parents=True)
    (tmp_path / "memory" / "cgroup.procs").touch()
    (busy / "cgroup.procs").write_text("4000001\n")  # a file in it makes rmdir fail, as a process does

    def kill(pid: int, _: int) -> None:
        ended.append(pid)
        (busy / "cgroup.procs").unlink()

    monkeypatch.setattr(node_cgroups.os, "kill", kill)
    node_cgroups.remove("ours", tmp_path)
    assert ended == [4000001]
    assert not busy.exists()


def test_a_cgroup_that_stays_busy_is_named(tmp_path: Path) -> None:
    busy = tmp_path / "memory" / "ours" / "pod1"
    busy.mkdir(parents=True)
    (tmp_path / "memory" / "cgroup.procs").touch()
    (busy / "something").touch()
    with pytest.raises(ClusterError, match=r"ours/pod1 cannot be removed: it is still busy") as caught:
        node_cgroups.remove("ours", tmp_path, timeout=0.05)
    assert caught.value.command == f"rmdir {busy}"


def test_a_node_has_no_name_servers_unless_it_may_get_out(
    spec: NodeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub, real = tmp_path / "stub", tmp_path / "real"
    stub.write_text("nameserver 127.0.0.53\noptions edns0\n")
    real.write_text("# comment\nnameserver\nnameserver 192.0.2.53\nnameserver ::1\n")
    monkeypatch.setattr(node_config, "RESOLVERS", (tmp_path / "absent", stub, real))
    assert node_config.name_servers(spec) == []
    assert node_config.name_servers(with_egress(spec)) == ["192.0.2.53"]


def corefile(spec: NodeSpec) -> str:
    (found,) = [item["data"]["Corefile"] for item in addons(spec) if item["kind"] == "ConfigMap"]
    return str(found)


def test_names_outside_do_not_exist_without_a_way_out(spec: NodeSpec) -> None:
    assert "forward" not in corefile(spec)
    assert "template ANY ANY" in corefile(spec)


def test_names_outside_are_asked_for_with_a_way_out(spec: NodeSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_ephemeral_ns.clusters.embedded.addons.name_servers", lambda _: ["192.0.2.53"])
    assert "forward . 192.0.2.53" in corefile(spec)
    assert "template" not in corefile(spec)


def test_addons_use_only_images_of_ours_and_the_address_that_pods_are_told(spec: NodeSpec) -> None:
    found = {f"{item['kind']}/{item['metadata']['name']}": item for item in addons(spec)}
    assert found["Service/kube-dns"]["spec"]["clusterIP"] == "10.96.0.10"
    (container,) = found["Deployment/coredns"]["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "registry.k8s.io/coredns/coredns:v1.13.1"
    assert container["imagePullPolicy"] == "IfNotPresent"
    assert found["StorageClass/standard"]["metadata"]["annotations"] == {
        "storageclass.kubernetes.io/is-default-class": "true"
    }


def test_the_kubelet_stays_below_a_cgroup_of_ours(spec: NodeSpec) -> None:
    spec.write()
    node_config.write_config(spec)
    kubelet = json.loads((spec.config / "kubelet.json").read_text())
    assert kubelet["cgroupRoot"] == f"/{spec.identity}"
    assert spec.identity.startswith("pytest-ephemeral-ns-")
    assert "tlsCertFile" not in kubelet


def test_a_dead_process_is_not_taken_for_a_node(spec: NodeSpec) -> None:
    spec.write()
    assert node_process.running_pid(spec) is None
    for identity in ({"pid": 1, "started": -1}, {"pid": 4_000_001, "started": None}):
        (spec.directory / "process.json").write_text(json.dumps(identity))
        assert node_process.running_pid(spec) is None


def test_every_reason_against_a_node_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert node.missing() == ["a node needs Linux, this is darwin"]
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(node.os, "geteuid", lambda: 1000)
    assert node.missing() == ["a node needs root"]


def test_missing_programs_come_with_their_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(node_programs, "SYSTEM_PATH", ())
    monkeypatch.setattr(node_programs, "PLUGIN_FOLDERS", (tmp_path,))
    monkeypatch.setattr(node.os, "geteuid", lambda: 0)
    reasons = node.missing()
    assert "not installed: containerd (apt-get install containerd)" in reasons
    assert any("containernetworking-plugins" in reason for reason in reasons)


def test_a_link_that_is_not_ours_is_refused_and_stays(spec: NodeSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[tuple[str, ...]] = []
    monkeypatch.setattr(network, "run", lambda *command, **_: commands.append(command) or "")
    monkeypatch.setattr(network, "_exists", lambda link: True)
    monkeypatch.setattr(network, "is_ours", lambda spec: False)
    with pytest.raises(ClusterError, match="epns63h exists and is not this cluster's"):
        network.prepare(spec)
    network.remove(spec)
    assert not [command for command in commands if "delete" in command]


@pytest.mark.parametrize(("said", "meant"), [("", False), ("0", False), ("no", False), ("1", True), ("True", True)])
def test_the_way_out_is_opened_by_the_user_alone(monkeypatch: pytest.MonkeyPatch, said: str, meant: bool) -> None:
    monkeypatch.setenv("EPHEMERAL_NS_EMBEDDED_EGRESS", said)
    assert network_egress.wanted() is meant


def test_an_answer_that_is_neither_yes_nor_no_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EPHEMERAL_NS_EMBEDDED_EGRESS", "perhaps")
    with pytest.raises(UsageError, match="EPHEMERAL_NS_EMBEDDED_EGRESS='perhaps'"):
        network_egress.wanted()
