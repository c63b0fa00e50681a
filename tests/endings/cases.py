"""The table of endings: what ends a run, how, and what is allowed to exist afterwards."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.endings.lab import MODES, SCOPES, Blow

# A second interrupt may hit pytest while it reports, a SIGTERM Python itself after everything was given back.
CUT: dict[str, Any] = {"codes": (2, 130, -2, -15), "silent": ()}
INT, TERM, HUP, KILL = signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL
USES = """
import ctypes, os, pathlib, resource, sys, threading, time
import pytest
HERE = pathlib.Path(os.environ["ENDING"])

def socket_of(port):
    listens = f" 0100007F:{port:04X} 00000000:0000 0A "  # on 127.0.0.1
    [line] = [line for line in pathlib.Path("/proc/net/tcp").read_text().splitlines() if listens in line]
    return line.split()[9]  # its inode: another program may have the port a moment later

def use(ns, wait=0.0):
    forward = ns.port_forward("pod/it", 80)
    (HERE / f"port-{forward.port}").write_text(socket_of(forward.port))
    mark = HERE / f"new-{os.getpid()}"
    mark.write_text(str(os.getpid()))
    mark.rename(HERE / f"started-{os.getpid()}")
    time.sleep(wait)
"""
# Two modules of two classes: every scope makes other namespaces. Four tests: four workers have one each.
MODULE = """
from helpers import *

class TestOne:
    def test_it(self, ephemeral_ns):
        use(ephemeral_ns)
        body(0)

class TestTwo:
    def test_it(self, ephemeral_ns):
        use(ephemeral_ns)
        body(1)
"""
POD = "{apiVersion: v1, kind: Pod, metadata: {name: it}, spec: {containers: [{name: it, image: none}]}}"
CONFTEST = """
import os, sys
import pytest
sys.path.insert(0, os.environ["ENDING"])
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")

@pytest.fixture(scope="session")
def ephemeral_ns_deploy():
    return lambda ns: ns.apply("pod.yaml")  # it never runs here, so it is not waited for
"""


@dataclass(frozen=True)
class Ending:
    """One way to end.

    Args:
        name: of the row.
        body: what every test does, with ``n`` 0 or 1.
        args: more of pytest's arguments.
        codes: exit codes that are right.
        blows: what is done to it while its tests are running.
        modes: in which it makes sense.
        conftest: more of ``conftest.py``.
        more: more files.
        faults: rules of a proxy before the API server.
        left: whether namespaces may be left, because nothing of the run lived to delete them: they must carry their
            expiry. Their number is not fixed.
        folder: whether the run's folder may be left, for the same reason.
        gone: whether its namespaces must be gone for good, not only on their way out.
        says: what the output must hold.
        silent: what it must not hold.
        needs: a reason to skip, or nothing.
        neighbours: whether it needs the neighbours' environment.
    """

    name: str
    body: str = "pass"
    args: tuple[str, ...] = ()
    codes: tuple[int, ...] = (0,)
    blows: tuple[Blow, ...] = ()
    modes: tuple[str, ...] = tuple(MODES)
    conftest: str = ""
    more: Mapping[str, str] = field(default_factory=dict)
    faults: Callable[[Any], object] | None = None
    left: bool = False
    folder: bool = False
    gone: bool = False
    says: tuple[str, ...] = ()
    silent: tuple[str, ...] = ("Traceback (most recent call last)", "INTERNALERROR")
    needs: str = ""
    neighbours: bool = False

    def files(self) -> dict[str, str]:
        """Return the suite."""
        body = "\n".join(f"    {line}" for line in self.body.splitlines())
        helpers = f"{USES}\ndef body(n):\n{body}\n"
        conftest = f"{CONFTEST}{self.conftest}"
        tests = {"test_a.py": MODULE, "test_b.py": MODULE, **self.more}
        return {"helpers.py": helpers, "conftest.py": conftest, "pod.yaml": POD, **tests}


WAITS = "time.sleep(60)"
# As long as it takes: on a busy machine a blow may come seconds after the test that it is meant for began.
UNTIL_STRUCK = """
ends = time.time() + 300
while not (HERE / "struck").exists() and time.time() < ends:
    time.sleep(0.05)
"""
# Deaf to every interrupt that Python can raise, like a call into a library that does not come back.
DEAF = """
ends = time.time() + 120
while time.time() < ends:
    try:
        time.sleep(1)
    except KeyboardInterrupt:
        continue
"""
ONCE = """
first = HERE / "first"
try:
    os.close(os.open(first, os.O_CREAT | os.O_EXCL))
except FileExistsError:
    return
"""
MEMORY = """
mine = pathlib.Path("/sys/fs/cgroup/memory") / f"ending-{os.getpid()}"
mine.mkdir()
(mine / "memory.limit_in_bytes").write_text("150M")
(mine / "cgroup.procs").write_text(str(os.getpid()))
hoard = [bytearray(10_000_000) for _ in range(100)]
"""
LIMIT = """
size = int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + 100_000_000, -1))
try:
    bytearray(1 << 30)
finally:
    resource.setrlimit(resource.RLIMIT_AS, (-1, -1))  # CPython itself hangs where a thread has no memory to start
"""
RAISES = """
def pytest_runtest_logfinish(nodeid, location):
    if {where}:
        raise RuntimeError("broken plugin")
"""
SLOW_FIXTURE = """
import time
@pytest.fixture(autouse=True)
def slow_to_end(ephemeral_ns):
    yield
    time.sleep(60)
"""
WITH_XDIST, WITHOUT = ("n4",), ("plain", "n0")


def failing(status: int, reason: str, **how: Any) -> Callable[[Any], object]:
    """Let the server refuse deletions of namespaces."""
    return lambda proxy: proxy.fail(status, reason=reason, method="DELETE", path=r"/namespaces/[^/]+$", **how)


def cut(moment: str) -> Callable[[Any], object]:
    """Let connections break while a namespace is deleted."""
    return lambda proxy: proxy.cut(moment, method="DELETE", path=r"/namespaces/[^/]+$", times=3)


def signals(name: str, *blows: Blow, **how: Any) -> Ending:
    """Return an ending by signals: nothing is left, and the code says interrupted."""
    return Ending(name, **{"body": WAITS, "blows": blows, "codes": (2,), **how})


CRASHED: dict[str, Any] = {"silent": ("INTERNALERROR",), "modes": WITH_XDIST, "codes": (1,), "says": ("swept: ",)}
ENDINGS = (
    Ending("pass"),
    Ending("fail", "assert n == 0", codes=(1,)),
    Ending("wait until deleted", args=("--ephemeral-ns-wait-deleted",), gone=True),
    Ending("x", "assert False", args=("-x",), codes=(1, 2)),
    Ending("maxfail", "assert False", args=("--maxfail=2",), codes=(1, 2)),
    signals("ctrl-c", Blow("group", INT)),
    signals("ctrl-c twice", Blow("group", INT), Blow("group", INT, 0.3), **CUT),
    signals(
        "ctrl-c twice, slow fixtures",
        Blow("group", INT),
        Blow("group", INT, 1.0),
        conftest=SLOW_FIXTURE,
        **CUT,
    ),
    signals(
        "ctrl-c thrice at once",
        Blow("group", INT),
        Blow("group", INT),
        Blow("group", INT),
        **CUT,
    ),
    signals("controller SIGINT", Blow("controller", INT)),
    signals("controller SIGTERM", Blow("controller", TERM)),
    signals("controller SIGHUP", Blow("controller", HUP)),
    signals("group SIGTERM", Blow("group", TERM)),
    signals("group SIGTERM twice", Blow("group", TERM), Blow("group", TERM, 0.2), **CUT),
    signals("group SIGHUP", Blow("group", HUP)),
    # A CI system kills 2.5 s later; a machine that does much else is not that fast.
    signals("CI cancels", Blow("controller", INT), Blow("controller", TERM, 7.5), **CUT),
    signals(
        "CI cancels a deaf test",
        Blow("controller", INT),
        Blow("controller", TERM, 7.5),
        Blow("group", KILL, 2.5),
        body=DEAF,
        codes=(2, 130, -2, -9),
        left=True,
        folder=True,
        silent=(),
    ),
    signals(
        "CI cancels, slow fixtures",
        Blow("controller", INT),
        Blow("controller", TERM, 7.5),
        conftest=SLOW_FIXTURE,
        **CUT,
    ),
    # xdist ends orphans hard after 15 seconds: on a busy machine before the last one has removed the folder. The next
    # run removes it then.
    signals("controller SIGKILL", Blow("controller", KILL), modes=WITH_XDIST, codes=(-9,), silent=(), folder=True),
    signals(
        "controller SIGKILL, deaf tests",
        Blow("controller", KILL),
        body=DEAF,
        modes=WITH_XDIST,
        codes=(-9,),
        silent=(),
        folder=True,
    ),
    signals("group SIGKILL", Blow("group", KILL), left=True, folder=True, codes=(-9,)),
    Ending("timeout by signal", WAITS, args=("-ptimeout", "--timeout=15", "--timeout-method=signal"), codes=(1,)),
    Ending("timeout by thread", WAITS, args=("-ptimeout", "--timeout=15", "--timeout-method=thread"), codes=(1,)),
    Ending("worker SIGKILL", UNTIL_STRUCK, blows=(Blow("worker", KILL),), **CRASHED),
    Ending("worker os._exit", f"{ONCE}\nos._exit(3)", **CRASHED),
    Ending("worker out of memory", f"{ONCE}{MEMORY}", needs="cgroup", **CRASHED),
    Ending(
        "MemoryError",
        LIMIT,
        codes=(1, 3),
        silent=(),
    ),
    Ending("reruns", "assert False", args=("-prerunfailures", "--reruns=2"), codes=(1,), neighbours=True),
    Ending("pytest.exit", "pytest.exit('enough')", codes=(2, 3), silent=()),
    Ending("sys.exit", "sys.exit(7)", codes=(1,), silent=()),
    Ending("INTERNALERROR in the controller", conftest=RAISES.format(where="not WORKER"), codes=(1, 3), silent=()),
    Ending(
        "INTERNALERROR in a worker", conftest=RAISES.format(where="WORKER"), codes=(1, 3), silent=(), modes=WITH_XDIST
    ),
    Ending(
        "error in another sessionfinish",
        conftest="def pytest_sessionfinish(): raise RuntimeError('broken')",
        codes=(0, 1, 3),
        silent=(),
    ),
    Ending("API server away while tests run", UNTIL_STRUCK, blows=(Blow("server"),)),
    Ending("API server restarts while tests run", UNTIL_STRUCK, blows=(Blow("kube-apiserver", KILL),)),
    Ending(
        "API server away from now on",
        "pass",
        faults=lambda proxy: proxy.cut("before", times=None, when=_later(proxy)),
        left=True,
        codes=(0, 1),
        says=("could not confirm",),
    ),
    Ending("delete 409", faults=failing(409, "Conflict", times=1)),
    Ending("delete 429", faults=failing(429, "TooManyRequests", headers={"Retry-After": "1"}, times=2)),
    Ending("delete 500", faults=failing(500, "InternalError", times=2)),
    Ending(
        "delete 500 for long",
        faults=failing(500, "InternalError", times=None),
        left=True,
        says=("kubectl delete namespace",),
    ),
    Ending("delete cut before", faults=cut("before")),
    Ending("delete cut after", faults=cut("after")),
)


def _later(proxy: Any) -> Callable[[Any], bool]:
    """From the moment when the first namespace's Lease was renewed: when its tests are about to run."""
    return lambda request: request.method == "DELETE" or bool(proxy.seen(method="DELETE"))


UNTOUCHED = (
    # xdist runs what its workers have collected, as pytest does with --continue-on-collection-errors.
    Ending(
        "collection error", codes=(2,), more={"test_c.py": "import nothing_of_that_name"}, silent=(), modes=("plain",)
    ),
    Ending("collect-only", args=("--collect-only",)),
    Ending("help", args=("--help",)),
    Ending("fixtures", args=("--fixtures",)),
    Ending("version", args=("--version",)),
    Ending("markers", args=("--markers",)),
    Ending("nothing selected", args=("-k", "nothing_of_that_name"), codes=(5,)),
)


@dataclass(frozen=True)
class Case:
    """A row of the table in one mode and scope."""

    number: int
    ending: Ending
    mode: str
    scope: str
    everyday: bool = field(default=True)

    @property
    def id(self) -> str:
        return f"{self.ending.name}-{self.mode}-{self.scope}".replace(" ", "_")


EVERYDAY = {"plain": 1, "n4": 2, "n0": 4}  # every how many endings; -n 0 is the code of plain with xdist looking on


def cases() -> list[Case]:
    """Return the full product; a covering part of it is everyday, each ending with one scope in turn; the rest is soak.

    Every ending is shown in one mode at least: plain where it can be, with four workers where it is about workers.
    """
    found: list[Case] = []
    for row, ending in enumerate(ENDINGS):
        for column, mode in enumerate(ending.modes):
            shown = row % EVERYDAY[mode] == 0 or len(ending.modes) == 1
            today = SCOPES[(row + 2 * column) % len(SCOPES)] if shown else ""
            found += [Case(len(found) + i, ending, mode, scope, scope == today) for i, scope in enumerate(SCOPES)]
    return found
