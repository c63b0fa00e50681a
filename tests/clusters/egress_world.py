"""Plays the machine that a node lives on, in a network namespace of its own: ``unshare --net python … SPEC.json``.

Beside it are two more namespaces: the node's sandbox, and a world that only the machine has a route to.
"""

# ruff: noqa: T201
from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

from pytest_ephemeral_ns.clusters.embedded import network
from pytest_ephemeral_ns.clusters.embedded.node_programs import run
from pytest_ephemeral_ns.clusters.embedded.node_spec import NodeSpec

FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
MACHINE, WORLD, PORT = "198.51.100.1", "198.51.100.2", 8000


def place(stack: contextlib.ExitStack) -> int:
    """Return a process that waits in a network namespace of its own."""
    process = stack.enter_context(subprocess.Popen(["unshare", "--net", "sleep", "60"]))
    stack.callback(process.kill)
    while Path(f"/proc/{process.pid}/comm").read_text().strip() != "sleep":
        time.sleep(0.01)
    return process.pid


def inside(pid: int, part: str) -> subprocess.Popen[str]:
    """Start one of the parts below in the namespace of a process."""
    command = ["nsenter", "--target", str(pid), "--net", "--", sys.executable, __file__, sys.argv[1], part]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> str:
    said = process.communicate(timeout=30)[0].strip()
    if process.returncode:
        sys.exit(process.returncode)
    return said


def state(spec: NodeSpec) -> str:
    return f"table {spec.identity in run('nft', 'list', 'tables')} forward {FORWARD.read_text().strip()}"


def be_the_machine(spec: NodeSpec, stack: contextlib.ExitStack) -> None:
    # The setting belongs to a network namespace; it must not be the one of whoever started this.
    assert os.readlink("/proc/self/ns/net") != os.readlink(f"/proc/{os.getppid()}/ns/net")
    FORWARD.write_text("0")
    world, sandbox = place(stack), place(stack)
    commands = ["link set lo up", "link add w0 type veth peer name w1", f"link set w1 netns {world}"]
    commands += [f"addr add {MACHINE}/24 dev w0", "link set w0 up", f"route add default via {WORLD}"]
    network.batch(commands)
    finish(inside(world, "be_the_world"))
    network.prepare(spec)
    print(state(spec))
    network.hand_over(spec, sandbox)
    finish(inside(sandbox, "be_the_node"))
    server = stack.enter_context(inside(world, "listen"))
    stack.callback(server.kill)
    assert server.stdout
    server.stdout.readline()
    finish(inside(sandbox, "call"))
    print("seen as", finish(server))
    network.remove(spec)
    network.remove(spec)
    print(state(spec))


def main(spec: NodeSpec, part: str) -> None:
    if part == "be_the_world":
        network.batch(["link set lo up", f"addr add {WORLD}/24 dev w1", "link set w1 up"])
    elif part == "be_the_node":
        network.set_up_inside(spec)
    elif part == "listen":
        with socket.create_server((WORLD, PORT)) as server:
            print("ready", flush=True)
            connection, peer = server.accept()
            connection.close()
            print(peer[0])
    elif part == "call":
        socket.create_connection((WORLD, PORT), timeout=20).close()
    else:
        with contextlib.ExitStack() as stack:
            be_the_machine(spec, stack)


if __name__ == "__main__":
    main(NodeSpec.read(Path(sys.argv[1])), sys.argv[2] if len(sys.argv) > 2 else "be_the_machine")
