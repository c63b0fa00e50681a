"""Every ending of a run leaves nothing behind: an independent kubectl, /proc, sockets and the folders say so."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.endings.cases import UNTOUCHED, Case, Ending, cases
from tests.endings.lab import MODES, NEIGHBOURS, Aftermath, Lab

pytestmark = pytest.mark.cluster
AT_ONCE = int(os.environ.get("ENDINGS_AT_ONCE", "3"))
PARAMS = [pytest.param(case, id=case.id, marks=() if case.everyday else pytest.mark.soak) for case in cases()]


@pytest.fixture(scope="module")
def lab(control_plane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Lab(control_plane, tmp_path_factory.mktemp("end"))
    yield lab
    lab.forget()


@pytest.fixture(scope="module")
def results(request: pytest.FixtureRequest, lab: Lab) -> Iterator[dict[str, Future[Aftermath]]]:
    """Begin every case that was selected, a few at once: most of their time is waiting."""
    wanted = [item.callspec.params["case"] for item in request.session.items if "results" in item.fixturenames]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {case.id: pool.submit(run, lab, case) for case in wanted if not why_not(case.ending)}
        pool.shutdown(cancel_futures=True)


def run(lab: Lab, case: Case) -> Aftermath:
    ending = case.ending
    mode = MODES[case.mode]
    python = str(NEIGHBOURS) if ending.neighbours else ""
    args = [*mode, f"--ephemeral-ns-scope={case.scope}", *ending.args]
    many = 2 if case.mode == "n4" else 1
    return lab.run(
        f"e{case.number}", ending.files(), args, blows=ending.blows, faults=ending.faults, running=many, python=python
    )


def why_not(ending: Ending) -> str:
    if ending.neighbours and not NEIGHBOURS.exists():
        return "make neighbours"
    if ending.needs == "cgroup" and not os.access("/sys/fs/cgroup/memory/cgroup.procs", os.W_OK):
        return "no cgroup of the first version to write to"
    return ""


@pytest.mark.parametrize("case", PARAMS)
def test_nothing_is_left(case: Case, results: dict[str, Future[Aftermath]]) -> None:
    if reason := why_not(case.ending):
        pytest.skip(reason)
    found, ending = results[case.id].result(), case.ending
    assert found.code in ending.codes, found.output
    assert not found.processes, found.output
    assert not found.listeners, found.output
    assert not found.folders or ending.folder, found.output
    for text in ending.says:
        if text == "swept: " and case.scope == "run":
            continue  # the namespace of the whole run is always swept: that is nothing to tell
        assert any(text in line for line in found.output.splitlines()), found.output
    for text in ending.silent:
        assert text not in found.output, found.output
    if not ending.left:
        assert not found.namespaces, found.output
    if ending.gone:
        assert not found.going, found.output
    for item in found.namespaces.values():
        assert item["metadata"]["annotations"]["janitor/expires"]
        assert item["metadata"]["labels"]["pytest-ephemeral-ns/run"]


@pytest.mark.parametrize(
    ("ending", "mode"),
    [
        pytest.param(ending, mode, id=f"{ending.name}-{mode}".replace(" ", "_"))
        for ending in UNTOUCHED
        for mode in ("plain", "n4")
        if mode in ending.modes
    ],
)
def test_no_cluster_is_touched(lab: Lab, ending: Ending, mode: str) -> None:
    name = f"u{UNTOUCHED.index(ending)}{mode}"
    found = lab.run(name, ending.files(), [*MODES[mode], *ending.args], faults=lambda proxy: None)
    assert found.code in ending.codes, found.output
    assert found.requests == 0
    assert not found.namespaces
    assert not found.processes
    assert not found.folders
