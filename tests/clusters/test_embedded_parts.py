"""The embedded cluster's small parts, without a cluster."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pytest_ephemeral_ns.clusters.embedded import certificates, control_plane, ranges, simulated
from pytest_ephemeral_ns.clusters.embedded.control_plane import Plan
from pytest_ephemeral_ns.clusters.embedded.probe import Probe
from pytest_ephemeral_ns.clusters.embedded.processes import (
    ProcessId,
    Watch,
    describe_exit,
    environment,
    last_lines,
)
from pytest_ephemeral_ns.clusters.embedded.ranges import Ranges
from pytest_ephemeral_ns.clusters.embedded.running import PortTaken, Running
from pytest_ephemeral_ns.clusters.embedded.state import FAILED, READY, Home, Spec, Status
from pytest_ephemeral_ns.errors import ClusterError
from tests.clusters.embedded_world import eventually, sleeper


class TestProcesses:
    def test_a_number_that_was_given_again_is_another_process(self) -> None:
        with sleeper() as process:
            known = ProcessId.of(process.pid)
            assert known.alive()
            assert ProcessId.from_dict(known.to_dict()) == known
            older = dataclasses.replace(known, start="another time")
            assert not older.alive()
            older.signal(signal.SIGKILL)
            older.end(1)
            assert process.poll() is None

            watch = Watch(known)
            assert not watch.gone()
            known.signal(signal.SIGKILL)
            eventually(watch.gone)  # a zombie is gone: nobody has waited for it yet
            assert not known.alive()
            assert known.wait(1)
            watch.close()

    def test_one_that_never_was(self) -> None:
        nobody = ProcessId.of(2**22 + 1)
        assert not nobody.alive()
        assert Watch(nobody).gone()

    def test_one_that_does_not_listen_is_killed(self) -> None:
        deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(600)"
        with subprocess.Popen([sys.executable, "-c", deaf], stdout=subprocess.PIPE) as process:
            assert process.stdout
            process.stdout.readline()
            ProcessId.of(process.pid).end(0.2)
            assert process.wait(10) == -signal.SIGKILL

    def test_components_get_nothing_secret(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
        monkeypatch.setenv("HTTPS_PROXY", "http://user:pw@proxy")
        given = environment(tmp_path)
        assert given["HOME"] == str(tmp_path)
        assert "PATH" in given
        assert "s3cret" not in str(given)
        assert "proxy" not in str(given)

    @pytest.mark.parametrize(
        ("code", "words"),
        [(0, "exit code 0"), (7, "exit code 7"), (-9, "killed by SIGKILL"), (-63, "killed by signal 63")],
    )
    def test_how_it_ended(self, code: int, words: str) -> None:
        assert describe_exit(code) == words

    def test_last_lines(self, tmp_path: Path) -> None:
        assert last_lines(tmp_path / "none") == []
        log = tmp_path / "log"
        log.write_bytes(b"first\n" + b"x" * 40000 + b"\n\nnot \xff text\nlast\n")
        assert last_lines(log, 2) == ["not � text", "last"]
        assert max(map(len, last_lines(log))) <= 300


class TestState:
    def test_status_and_spec_survive_the_disk(self, tmp_path: Path) -> None:
        home = Home(tmp_path / "one")
        assert Status.read(home) is None
        home.prepare()
        me = ProcessId.of(os.getpid())
        status = Status(READY, "ready", me, {"etcd": me}, 6443, "https://127.0.0.1:6443", version="v1")
        status.write(home)
        assert Status.read(home) == status
        assert status.alive
        assert not status.with_(supervisor=None).alive
        spec = Spec("real", "/bin", me, 60.0, ("/a.tar",), egress=True)
        spec.write(home)
        assert Spec.read(home) == spec

    def test_files_of_other_versions_are_read_as_far_as_they_go(self, tmp_path: Path) -> None:
        home = Home(tmp_path / "one")
        home.prepare()
        me = ProcessId.of(os.getpid())
        told = {"phase": "ready", "supervisor": me.to_dict(), "processes": {"etcd": me.to_dict(), "x": 7}, "new": 1}
        (home.path / "status.json").write_text(json.dumps(told))
        assert Status.read(home) == Status("ready", supervisor=me, processes={"etcd": me})
        (home.path / "spec.json").write_text(json.dumps({"nodes": "real", "bin_dir": "/bin", "gone": 1}))
        assert Spec.read(home) == Spec("real", "/bin")
        for text in ("", "[]", "{", '{"pid": 4711}', '{"phase": "ready"}'):
            (home.path / "status.json").write_text(text)
            assert Status.read(home) == Status("unreadable")

    def test_what_stays_of_one_that_failed(self, tmp_path: Path) -> None:
        home = Home(tmp_path / "one")
        home.prepare()
        for folder in ("pki", "etcd/member", "node/logs"):
            (home.path / folder).mkdir(parents=True)
        (home.path / "pki" / "ca.key").write_text("secret")
        (home.path / "link").symlink_to(tmp_path)
        (home.path / "node" / "logs" / "kubelet.log").write_text("why")
        home.log("etcd").write_text("why")
        Status(FAILED).write(home)
        home.keep_node_logs()
        home.remove(keep_logs=True)
        left = sorted(str(path.relative_to(home.path)) for path in home.path.rglob("*") if path.is_file())
        assert left == ["logs/etcd.log", "logs/node/kubelet.log", "status.json"]
        assert tmp_path.exists()


class TestRanges:
    def test_no_two_overlap_and_all_fit_their_nets(self) -> None:
        import ipaddress

        every = [Ranges(index) for index in range(64)]
        pods = [ipaddress.ip_network(one.pods) for one in every]
        assert not any(a.overlaps(b) for i, a in enumerate(pods) for b in pods[:i])
        assert all(net.num_addresses == 1024 for net in pods)
        services = ipaddress.ip_network(control_plane.SERVICE_RANGE)
        assert not any(net.overlaps(services) for net in pods)
        for one in every:
            link = ipaddress.ip_network(f"{one.host_ip}/30", strict=False)
            assert ipaddress.ip_address(one.node_ip) in link.hosts()

    def test_what_is_in_use_is_passed_over(self) -> None:
        tried: list[int] = []

        def take(found: Ranges) -> None:
            tried.append(found.index)
            if len(tried) < 3:
                raise ClusterError("in use")

        assert ranges.claim(take).index == tried[-1]
        assert len(tried) == 3

    def test_when_all_are_in_use_the_error_says_by_what(self) -> None:
        def take(found: Ranges) -> None:
            raise ClusterError("address range 10.96.0.0/16 is in use", command="ip route")

        with pytest.raises(ClusterError, match="no address range is left") as caught:
            ranges.claim(take)
        assert "10.96.0.0/16 is in use" in str(caught.value)

    def test_one_at_a_time(self) -> None:
        inside, most = 0, 0
        guard = threading.Lock()

        def take(found: Ranges) -> None:
            nonlocal inside, most
            with guard:
                inside += 1
                most = max(most, inside)
            threading.Event().wait(0.05)
            inside -= 1

        threads = [threading.Thread(target=ranges.claim, args=(take,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert most == 1


class TestCertificates:
    def test_they_are_private_and_fit_together(self, tmp_path: Path) -> None:
        pki = tmp_path / "pki"
        certificates.write_all(pki, server_names=["127.0.0.1", "kubernetes"], node=("one-node", "10.97.0.2"))
        assert pki.stat().st_mode & 0o777 == 0o700
        assert {path.stat().st_mode & 0o777 for path in pki.iterdir()} == {0o600}
        config = tmp_path / "kubeconfig"
        certificates.write_kubeconfig(config, pki=pki, client="admin", server="https://127.0.0.1:1", context="x")
        assert config.stat().st_mode & 0o777 == 0o600

        server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(pki / "ca.crt"))
        server.verify_mode = ssl.CERT_REQUIRED
        server.load_cert_chain(pki / "apiserver.crt", pki / "apiserver.key")
        seen: list[object] = []
        with socket.create_server(("127.0.0.1", 0)) as listener:

            def serve() -> None:
                with listener.accept()[0] as raw, server.wrap_socket(raw, server_side=True) as secured:
                    seen.append(secured.getpeercert())
                    secured.recv(4096)
                    answer = b'{"gitVersion": "v1"}'
                    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(answer)}\r\n\r\n"
                    secured.sendall(head.encode() + answer)

            thread = threading.Thread(target=serve)
            thread.start()
            probe = Probe(f"https://127.0.0.1:{listener.getsockname()[1]}", pki)
            assert probe.request("GET", "/version") == (200, {"gitVersion": "v1"})
            thread.join()
            probe.close()
        subject = {key: value for ((key, value),) in seen[0]["subject"]}  # type: ignore[index]
        assert subject["organizationName"] == "system:masters"

    def test_no_answer_is_an_answer(self, tmp_path: Path) -> None:
        certificates.write_all(tmp_path, server_names=["127.0.0.1"])
        probe = Probe("https://127.0.0.1:9", tmp_path)
        assert probe.request("GET", "/version") == (0, "")
        assert not probe.ready()
        assert not probe.has_condition("/x", "Ready")
        manifest = {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "standard"}}
        with pytest.raises(ClusterError, match="StorageClass/standard was refused by the new cluster: no answer"):
            probe.apply(manifest)

    def test_a_file_is_whole_or_not_there(self, tmp_path: Path) -> None:
        (tmp_path / "x").mkdir()
        with pytest.raises(IsADirectoryError):
            certificates.write_private(tmp_path / "x", b"content")
        assert [path.name for path in tmp_path.iterdir()] == ["x"]


class TestCommands:
    @pytest.fixture
    def plan(self, tmp_path: Path) -> Plan:
        return Plan(Home(tmp_path / "one"), Path("/bin"), "none", "127.0.0.1", 6443)

    @pytest.mark.parametrize("nodes", ["none", "real", "simulated"])
    def test_nothing_secret_is_in_a_command_and_nothing_listens_for_all(self, plan: Plan, nodes: str) -> None:
        plan = dataclasses.replace(plan, nodes=nodes, pod_range="10.244.0.0/22", address="10.97.0.1")
        parts = (
            control_plane.etcd,
            control_plane.api_server,
            control_plane.controller_manager,
            control_plane.scheduler,
            simulated.kwok,
        )
        for part in parts:
            argv = " ".join(part(plan).argv)
            assert "0.0.0.0" not in argv.replace("10.244.0.0", "").replace("10.96.0.0", "").replace("10.64.0.0", "")
            assert "PRIVATE" not in argv
            assert "://127" not in argv.replace(plan.server, "") or part is not control_plane.etcd

    def test_endpoints_are_for_pods(self, plan: Plan) -> None:
        assert "--endpoint-reconciler-type=none" in control_plane.api_server(plan).argv
        real = dataclasses.replace(plan, nodes="real", address="10.97.0.1", pod_range="10.244.0.0/22")
        assert "--endpoint-reconciler-type=lease" in control_plane.api_server(real).argv
        assert "--advertise-address=10.97.0.1" in control_plane.api_server(real).argv
        assert control_plane.FIRST_SERVICE in real.server_names

    def test_every_simulated_object_has_a_name_of_its_own(self) -> None:
        objects = [(one["kind"], one["metadata"]["name"]) for one in simulated.objects()]
        assert len(set(objects)) == len(objects)


class TestRunning:
    def test_a_taken_port_is_told_apart(self, tmp_path: Path) -> None:
        home = Home(tmp_path / "one")
        home.prepare()
        for words, kind in (("listen: bind: address already in use", PortTaken), ("no idea", ClusterError)):
            running = Running(home)
            script = f"echo '{words}'; exit 1"
            running.start(control_plane.Component("etcd", ("/bin/sh", "-c", script)))
            eventually(lambda running=running: not any(one.alive() for one in running.identities().values()))
            with pytest.raises(ClusterError) as caught:
                running.refuse_dead()
            assert type(caught.value) is kind
            running.stop()

    def test_one_that_ends_all_the_time_is_given_up(self, tmp_path: Path) -> None:
        home = Home(tmp_path / "one")
        home.prepare()
        running = Running(home)
        running.start(control_plane.Component("kube-scheduler", ("/bin/sh", "-c", "echo no luck; exit 3")))
        with pytest.raises(
            ClusterError, match="kube-scheduler keeps ending within 60 s of its start: exit code 3"
        ) as caught:
            eventually(lambda: running.restart_dead() and False)
        assert "no luck" in str(caught.value)
        assert running.restarts["kube-scheduler"] == 5
        running.stop()
