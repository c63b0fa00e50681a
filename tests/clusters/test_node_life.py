"""A real node: what pods find in it, and what is left on the machine when it ends in whatever way."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_ephemeral_ns import paths
from pytest_ephemeral_ns.clusters.cluster import Cluster
from pytest_ephemeral_ns.clusters.embedded import down, load, node, node_process, real_node, up
from pytest_ephemeral_ns.clusters.embedded.images import BUSYBOX, ensure_images
from pytest_ephemeral_ns.clusters.embedded.node_spec import NodeSpec
from pytest_ephemeral_ns.clusters.embedded.state import Home
from pytest_ephemeral_ns.errors import ClusterError, UsageError
from tests.clusters.node_specs import node_spec
from tests.clusters.oci_layouts import SHORT, as_directory, as_tar, docker, layout

pytestmark = [pytest.mark.node]

SETTINGS = ("vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops", "net/ipv4/ip_forward")

Kubectl = Callable[..., str]


def run(kubeconfig: Path, *arguments: str, stdin: str = "") -> str:
    command = [str(paths.bin_dir() / "kubectl"), "--kubeconfig", str(kubeconfig), *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture
def kubectl(node_cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[Kubectl]:
    """Kubectl in a namespace of the test's own."""
    name = f"node-life-{os.getpid()}-{abs(hash(request.node.nodeid)) % 10**8}"
    run(node_cluster.kubeconfig, "create", "namespace", name)
    yield lambda *arguments, stdin="": run(node_cluster.kubeconfig, "--namespace", name, *arguments, stdin=stdin)
    run(node_cluster.kubeconfig, "delete", "namespace", name, "--wait=false")


def pod(name: str, script: str, **spec: object) -> str:
    container = {"name": "main", "image": "busybox:1.36", "command": ["sh", "-c", script], **spec}
    body = {"containers": [container], "terminationGracePeriodSeconds": 0, "restartPolicy": "Never"}
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": body})


def web(name: str) -> str:
    """Return a web server of two pods behind a Service, as real manifests have it."""
    labels = {"app": name}
    container = {
        "name": "main",
        "image": "ghcr.io/stefanprodan/podinfo:6.9.2",
        "command": ["./podinfo", "--port=9898"],
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": 9898}, "periodSeconds": 1},
        "securityContext": {"runAsNonRoot": True, "readOnlyRootFilesystem": True},
    }
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": 9898}]},
    }
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": [deployment, service]})


def test_pods_find_each_other_by_name(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=web("web"))
    kubectl("apply", "-f", "-", stdin=pod("shell", "sleep 3600"))
    kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    kubectl("wait", "pod/shell", "--for=condition=Ready", "--timeout=60s")
    assert '"version": "6.9.2"' in kubectl("exec", "shell", "--", "wget", "-qO-", "http://web/version")
    # A pod that asks for its own Service may be answered by itself.
    for _ in range(6):
        kubectl("exec", "deployment/web", "--", "wget", "-qO-", "http://web/version")
    assert "Starting HTTP Server" in kubectl("logs", "deployment/web")
    assert "uid=100" in kubectl("exec", "deployment/web", "--", "id")


def test_a_component_that_ended_is_started_again(node_cluster: Cluster, kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=web("web"))
    kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    for program in ("kube-proxy", "kubelet"):
        (before,) = component(node_cluster, program)
        os.kill(before, signal.SIGKILL)
        eventually(lambda program=program, before=before: component(node_cluster, program) not in ([], [before]))
    # Its rules were there already; a Service that is new needs rules from the new one.
    kubectl("expose", "deployment/web", "--name=later", "--port=80", "--target-port=9898")
    script = "until wget -qO- http://later/version && wget -qO- http://web/version; do sleep 0.3; done"
    kubectl("apply", "-f", "-", stdin=pod("shell", script))
    kubectl("wait", "pod/shell", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s")
    assert kubectl("logs", "shell").count('"version": "6.9.2"') >= 2


def test_no_packet_leaves_the_machine(kubectl: Kubectl) -> None:
    script = "nslookup example.com; ip route; ping -c 1 -W 1 192.0.2.77; ping -c 1 -W 1 10.96.255.254; true"
    kubectl("apply", "-f", "-", stdin=pod("shell", script))
    kubectl("wait", "pod/shell", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s")
    said = kubectl("logs", "shell")
    assert "can't find example.com: NXDOMAIN" in said
    assert "1 packets received" not in said


def test_volumes_belong_to_whoever_mounts_them_and_outlive_a_pod(kubectl: Kubectl) -> None:
    stateful = {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "db"},
        "spec": {
            "serviceName": "db",
            "replicas": 1,
            "selector": {"matchLabels": {"app": "db"}},
            "template": {
                "metadata": {"labels": {"app": "db"}},
                "spec": {
                    "securityContext": {"runAsUser": 1001, "runAsNonRoot": True},
                    "terminationGracePeriodSeconds": 0,
                    "containers": [
                        {
                            "name": "main",
                            "image": "busybox:1.36",
                            "command": ["sh", "-c", "echo started >> /data/log; sleep 3600"],
                            "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                        }
                    ],
                },
            },
            "volumeClaimTemplates": [
                {
                    "metadata": {"name": "data"},
                    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Mi"}}},
                }
            ],
        },
    }
    kubectl("apply", "-f", "-", stdin=json.dumps(stateful))
    kubectl("rollout", "status", "statefulset/db", "--timeout=60s")
    kubectl("delete", "pod", "db-0", "--wait")
    kubectl("rollout", "status", "statefulset/db", "--timeout=60s")
    kubectl("wait", "pod/db-0", "--for=condition=Ready", "--timeout=60s")
    assert kubectl("exec", "db-0", "--", "cat", "/data/log") == "started\nstarted\n"


def test_a_pod_sees_nothing_of_the_users_files(kubectl: Kubectl, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("of the user")
    body = json.loads(pod("peek", f"ls -A /host{tmp_path}; touch /host/tmp/from-the-pod; ls -A /host/home; echo end"))
    body["spec"]["volumes"] = [{"name": "root", "hostPath": {"path": "/"}}]
    body["spec"]["containers"][0]["volumeMounts"] = [{"name": "root", "mountPath": "/host"}]
    kubectl("apply", "-f", "-", stdin=json.dumps(body))
    kubectl("wait", "pod/peek", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s")
    assert "secret" not in kubectl("logs", "peek")
    assert not Path("/tmp/from-the-pod").exists()


def test_an_image_that_is_not_there_gives_a_true_error(kubectl: Kubectl) -> None:
    body = json.loads(pod("absent", "true", image="registry.invalid/absent:1"))
    kubectl("apply", "-f", "-", stdin=json.dumps(body))
    reason = "{.status.containerStatuses[0].state.waiting.reason}"
    kubectl("wait", "pod/absent", f"--for=jsonpath={reason}", "--timeout=60s")
    until = time.monotonic() + 30
    while kubectl("get", "pod/absent", "-o", f"jsonpath={reason}") == "ContainerCreating":
        assert time.monotonic() < until
        time.sleep(0.2)
    assert kubectl("get", "pod/absent", "-o", f"jsonpath={reason}") in ("ErrImagePull", "ImagePullBackOff")


def test_archives_of_every_kind_are_loaded_under_full_names(node_cluster: Cluster, tmp_path: Path) -> None:
    archives = [
        as_tar(tmp_path / "docker.tar", docker(["me/docker:1"])),
        as_tar(tmp_path / "docker.tar.gz", docker(["me/packed:1"]), "w:gz"),
        as_tar(tmp_path / "oci.tar", layout({SHORT: "oci:1"}), prefix="./"),
        as_directory(tmp_path / "oci", layout({SHORT: "me/folder:1"})),
    ]
    arrived = load(node_cluster.name, archives)
    assert arrived == [f"docker.io/{name}:1" for name in ("me/docker", "me/packed", "library/oci", "me/folder")]
    spec = real_node.recorded(Home.of(node_cluster.name))
    assert spec is not None
    pid = node_process.running_pid(spec)
    inside = ["nsenter", "--target", str(pid), "--mount", "--", "ctr", "-a", "/run/containerd/containerd.sock"]
    listed = subprocess.run(
        [*inside, "-n", "k8s.io", "images", "ls", "-q"], capture_output=True, text=True, timeout=30, check=True
    )
    assert set(arrived) <= set(listed.stdout.split())


def test_nothing_is_loaded_when_one_archive_is_none(node_cluster: Cluster, tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("not an image")
    with pytest.raises(UsageError, match="is not an image archive"):
        load(node_cluster.name, [as_tar(tmp_path / "good.tar", docker(["me/good:1"])), notes])


def test_an_archive_with_a_broken_layer_is_refused_by_name(node_cluster: Cluster, tmp_path: Path) -> None:
    broken = as_tar(tmp_path / "broken.tar", layout({SHORT: "me/broken:1"}, content=b"no tar file"))
    with pytest.raises(ClusterError, match=r"containerd cannot import .*broken\.tar"):
        load(node_cluster.name, [broken])


# -- its end -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EPHEMERAL_NS_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "state"


def left_of(spec: NodeSpec, before: dict[str, str]) -> list[str]:
    """Return what a node left on the machine."""
    left = [f"cgroup {path}" for path in Path("/sys/fs/cgroup").glob(f"*/{spec.identity}")]
    left += [f"mount {line}" for line in Path("/proc/self/mountinfo").read_text().splitlines() if spec.name in line]
    left += [f"setting {name}" for name, value in settings().items() if before[name] != value]
    for command in (["ip", "route"], ["ip", "address"], ["nft", "list", "tables"]):
        said = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
        marks = (spec.host_link, spec.identity, spec.pod_range, f"{spec.host_ip}/")
        left += [f"{command[0]}: {line}" for line in said.splitlines() if any(mark in line for mark in marks)]
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command_line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(spec.directory) in command_line:
            left.append(f"process {path.parent.name}: {command_line}")
    return left + ([f"directory {spec.directory}"] if spec.directory.exists() else [])


def settings() -> dict[str, str]:
    return {name: Path("/proc/sys", name).read_text().strip() for name in SETTINGS}


def recorded(name: str) -> NodeSpec:
    spec = real_node.recorded(Home.of(name))
    assert spec is not None
    return spec


def everything_in(spec: NodeSpec) -> list[int]:
    """Return the node's process 1 and all that descend from it, those of containers too, as the machine counts."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
    found = {node_process.running_pid(spec)}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return [pid for pid in found if pid]


def component(cluster: Cluster, program: str) -> list[int]:
    """Return the processes of a program in a cluster's node."""
    found = []
    for pid in everything_in(recorded(cluster.name)):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/comm").read_text().strip() == program:
                found.append(pid)
    return found


def gone(pids: list[int]) -> bool:
    return not [pid for pid in pids if node_process.start_time(pid) is not None]


def eventually(check: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not check():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_two_nodes_live_side_by_side_and_leave_nothing(state: Path) -> None:
    if reasons := node.missing():
        pytest.skip("; ".join(reasons))
    before = settings()
    clusters = {name: up(name, nodes="real", owner_pid=os.getpid()) for name in ("side-a", "side-b")}
    specs = {name: recorded(name) for name in clusters}
    try:
        assert specs["side-a"].pod_range != specs["side-b"].pod_range
        for name, cluster in clusters.items():
            load(name, ensure_images([BUSYBOX]))
            run(
                cluster.kubeconfig,
                "apply",
                "-f",
                "-",
                stdin=pod("shell", "nslookup kubernetes.default.svc.cluster.local"),
            )
            done = "--for=jsonpath={.status.phase}=Succeeded"
            run(cluster.kubeconfig, "wait", "pod/shell", done, "--timeout=60s")
        assert down("side-a")
        assert left_of(specs["side-a"], before) == []
        # The other one does not notice.
        run(clusters["side-b"].kubeconfig, "apply", "-f", "-", stdin=pod("again", "wget -qO- http://nowhere || true"))
        run(clusters["side-b"].kubeconfig, "wait", "pod/again", done, "--timeout=60s")
    finally:
        down("side-a")
        down("side-b")
    assert left_of(specs["side-b"], before) == []


def test_sigkill_ends_all_and_the_next_start_finds_nothing_in_its_way(state: Path) -> None:
    if reasons := node.missing():
        pytest.skip("; ".join(reasons))
    before = settings()
    cluster = up("killed", nodes="real", owner_pid=os.getpid())
    spec = recorded("killed")
    load("killed", ensure_images([BUSYBOX]))
    run(cluster.kubeconfig, "apply", "-f", "-", stdin=pod("shell", "sleep 3600"))
    run(cluster.kubeconfig, "wait", "pod/shell", "--for=condition=Ready", "--timeout=60s")

    inside = everything_in(spec)
    assert len(inside) > 8  # process 1, containerd, kubelet, kube-proxy, volumes, two shims, pauses, CoreDNS, sleep
    os.kill(node_process.running_pid(spec) or 0, signal.SIGKILL)
    eventually(lambda: gone(inside))

    # The cluster's supervisor starts the node again, and pods run as before.
    eventually(lambda: node_process.running_pid(spec) is not None)
    run(cluster.kubeconfig, "delete", "pod", "shell", "--wait")
    script = "until nslookup kubernetes.default.svc.cluster.local; do sleep 0.2; done"
    run(cluster.kubeconfig, "apply", "-f", "-", stdin=pod("shell", script))
    run(cluster.kubeconfig, "wait", "pod/shell", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s")

    inside = everything_in(spec)
    supervisor = json.loads((Home.of("killed").path / "status.json").read_text())["supervisor"]["pid"]
    os.kill(supervisor, signal.SIGKILL)
    eventually(lambda: gone(inside))
    assert down("killed")
    assert left_of(spec, before) == []
    try:
        assert up("killed", nodes="real", owner_pid=os.getpid()).started
    finally:
        down("killed")
    assert left_of(spec, before) == []


def test_clean_up_can_be_called_at_any_time(tmp_path: Path) -> None:
    if reasons := node.missing():
        pytest.skip("; ".join(reasons))
    name = f"never-started-{os.getpid()}"
    spec = node_spec(tmp_path, name, 255, "10.243.252.0/22", bin_dir=paths.bin_dir())
    before = settings()
    node.clean_up(spec)
    node.prepare_network(spec)
    node.prepare_network(spec)
    assert left_of(spec, before)
    node.clean_up(spec)
    node.clean_up(spec)
    assert left_of(spec, before) == []


def test_a_sandbox_that_cannot_be_made_says_why(tmp_path: Path) -> None:
    if reasons := node.missing():
        pytest.skip("; ".join(reasons))
    lost = tmp_path / "no-such-kubeconfig"
    spec = node_spec(tmp_path, "broken", 254, "10.243.248.0/22", bin_dir=paths.bin_dir(), kubelet_kubeconfig=lost)
    before = settings()
    try:
        with pytest.raises(ClusterError, match="the sandbox of node broken cannot be made") as caught:
            node.start_node(spec)
        assert "no-such-kubeconfig" in str(caught.value)
        assert f"logs: {spec.logs}" in str(caught.value)
    finally:
        node.clean_up(spec)
    assert left_of(spec, before) == []


def test_the_sandbox_refuses_to_be_started_by_hand() -> None:
    module = "pytest_ephemeral_ns.clusters.embedded.sandbox"
    done = subprocess.run([sys.executable, "-m", module], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode != 0
