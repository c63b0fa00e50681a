"""--keep-on-failure: which namespaces stay after which ending, why and until when; kubectl says so."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

import pytest

from tests.endings.cases import DEAF, INT, KILL, ONCE, TERM, WAITS, Ending, signals
from tests.endings.lab import MODES, Aftermath, Blow, Lab

pytestmark = pytest.mark.cluster
FAILS_IN_SETUP = """
@pytest.fixture(scope="session")
def ephemeral_ns_deploy():
    def deploy(ns): raise RuntimeError("no")
    return deploy
"""
SKIPS_IN_SETUP = FAILS_IN_SETUP.replace('raise RuntimeError("no")', 'pytest.skip("not here")')
FAILS_IN_TEARDOWN = """
@pytest.fixture(autouse=True)
def bad_end(ephemeral_ns, request):
    yield
    assert "test_b" not in request.node.nodeid
"""
IN_B = "import inspect\nassert not any('test_b' in frame.filename for frame in inspect.stack())"
FINISHED = """
def pytest_runtest_logfinish(nodeid):
    open(f"{os.environ['ENDING']}/started-finished-{WORKER}", "w").close()
"""
FAILS_THEN_WAITS = f"assert n\n{WAITS}"


@dataclass(frozen=True)
class Keeping:
    """A run with ``--keep-on-failure``.

    Args:
        ending: what happens in it.
        mode: plain or with workers.
        scope: what shares a namespace.
        reasons: a pattern for the reason of each namespace that stays, in the order of the reasons.
        code: its exit code.
        running: how many tests must have begun, or ended where the suite says so, before the first blow.
    """

    ending: Ending
    mode: str
    scope: str
    reasons: tuple[str, ...] = ()
    code: int = 1
    running: int = 1

    @property
    def id(self) -> str:
        return f"{self.ending.name}-{self.mode}-{self.scope}".replace(" ", "_")


def fails(name: str, body: str = "pass", **how: object) -> Ending:
    return Ending(name, body, **how)  # type: ignore[arg-type]


TABLE = (
    Keeping(fails("nothing failed"), "plain", "function", code=0),
    Keeping(fails("one of two", "assert n"), "plain", "class", (r"test_a.py::TestOne", r"test_b.py::TestOne")),
    Keeping(fails("one module", IN_B), "plain", "module", (r"test_b.py::TestOne::test_it",)),
    Keeping(fails("the first failure", "assert False"), "plain", "worker", (r"failed: test_a.py::TestOne::test_it$",)),
    Keeping(
        fails("too many", "assert False", args=("--ephemeral-ns-keep-max=2",)),
        "plain",
        "function",
        (r"test_a.py::TestOne", r"test_a.py::TestTwo"),
    ),
    Keeping(
        fails("too many of all workers", "assert False", args=("--ephemeral-ns-keep-max=2",)),
        "n4",
        "function",
        (r"failed: test_", r"failed: test_"),
    ),
    Keeping(fails("the whole run", "assert n"), "n4", "run", (r"failed: test_.*TestOne",)),
    Keeping(
        fails("set-up", conftest=FAILS_IN_SETUP), "plain", "worker", (r"test_a.py::TestOne::test_it: RuntimeError",)
    ),
    Keeping(fails("set-up skips", conftest=SKIPS_IN_SETUP), "plain", "worker", code=0),
    Keeping(fails("tear-down", conftest=FAILS_IN_TEARDOWN), "plain", "module", (r"test_b.py",)),
    Keeping(fails("crash", f"{ONCE}\nos._exit(3)"), "n4", "worker", (r"test_.*: its worker crashed",)),
    Keeping(signals("interrupted", Blow("group", INT), body=WAITS), "plain", "worker", code=2),
    Keeping(signals("interrupted workers", Blow("group", INT), body=WAITS), "n4", "worker", code=2),
    Keeping(
        signals("failed, then interrupted", Blow("group", TERM), body=FAILS_THEN_WAITS, conftest=FINISHED),
        "plain",
        "worker",
        (r"failed: test_a.py::TestOne",),
        code=2,
        running=2,
    ),
    Keeping(
        fails("timeout of a thread", DEAF, args=("-ptimeout", "--timeout=60", "--timeout-method=thread")),
        "plain",
        "worker",
        (r"test_a.py::TestOne::test_it: timeout of 60",),
    ),
    Keeping(
        signals("failed, then orphaned", Blow("controller", KILL), body=FAILS_THEN_WAITS, conftest=FINISHED),
        "n4",
        "function",
        (r"failed: test_.*TestOne", r"failed: test_.*TestOne"),
        code=-9,
        running=7,  # four began, two of them ended, and the controller heard of one
    ),
)


@pytest.fixture(scope="module")
def lab(control_plane, tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return Lab(control_plane, tmp_path_factory.mktemp("keep"))


@pytest.fixture(scope="module")
def results(request: pytest.FixtureRequest, lab: Lab) -> Iterator[dict[str, Future[Aftermath]]]:
    wanted = [item.callspec.params["case"] for item in request.session.items if "results" in item.fixturenames]
    with ThreadPoolExecutor(2) as pool:
        yield {case.id: pool.submit(run, lab, case) for case in wanted if isinstance(case, Keeping)}
        pool.shutdown(cancel_futures=True)
    lab.forget()


def run(lab: Lab, case: Keeping) -> Aftermath:
    ending = case.ending
    args = [*MODES[case.mode], f"--ephemeral-ns-scope={case.scope}", "--keep-on-failure", "--ephemeral-ns-keep-ttl=3h"]
    return lab.run(
        f"k{TABLE.index(case)}", ending.files(), [*args, *ending.args], blows=ending.blows, running=case.running
    )


@pytest.mark.parametrize("case", TABLE, ids=[case.id for case in TABLE])
def test_what_stays(case: Keeping, results: dict[str, Future[Aftermath]]) -> None:
    found = results[case.id].result()
    assert found.code == case.code, found.output
    assert not found.processes
    assert not found.folders or case.code == -9
    told = sorted(
        item["metadata"]["annotations"].get("pytest-ephemeral-ns/reason", "") for item in found.namespaces.values()
    )
    assert len(told) == len(case.reasons), (told, found.output)
    for reason, pattern in zip(told, case.reasons, strict=True):
        assert re.search(pattern, reason), (told, found.output)
    soonest = datetime.now(timezone.utc) + timedelta(hours=2)
    for name, item in found.namespaces.items():
        assert item["metadata"]["labels"]["pytest-ephemeral-ns/keep"] == "true"
        expires = datetime.fromisoformat(item["metadata"]["annotations"]["janitor/expires"].replace("Z", "+00:00"))
        assert soonest < expires <= soonest + timedelta(hours=1)
        if case.code != -9:  # nobody is left to say so
            assert f"kept: {name} until" in found.output
            assert f"--ephemeral-ns-reuse={name}" in found.output
