"""--ephemeral-ns-scope: what shares one namespace, in every mode."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.cluster

SUITE = """
import pytest

class TestOne:
    def test_a(self, ephemeral_ns, seen): seen(ephemeral_ns)
    def test_b(self, ephemeral_ns, seen): seen(ephemeral_ns)

class TestTwo:
    def test_c(self, ephemeral_ns, seen): seen(ephemeral_ns)
"""
CONFTEST = """
import os, pathlib, pytest

@pytest.fixture
def seen(request):
    def write(namespace):
        worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
        line = f"{worker} {request.node.nodeid} {namespace.name} {namespace.uid}"
        folder = pathlib.Path(os.environ["SEEN"])
        (folder / f"{worker}-{request.node.name}-{request.module.__name__}").write_text(line)
    return write
"""


@pytest.fixture
def seen(pytester, run_pytest, monkeypatch):
    """Run the suite and return (worker, node id, namespace) for every test."""
    monkeypatch.setenv("SEEN", str(pytester.mkdir("seen")))
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(test_first=SUITE, test_second=SUITE)

    def run(*args: str) -> list[tuple[str, str, str]]:
        run_pytest(*args).assert_outcomes(passed=6)
        lines = [file.read_text().split() for file in (pytester.path / "seen").iterdir()]
        return [(worker, node, name) for worker, node, name, _ in lines]

    return run


def test_worker(seen, mode, witness):
    found = seen(*mode)
    workers = {worker for worker, _, _ in found}
    assert len({name for _, _, name in found}) == len(workers)
    assert all(len({name for w, _, name in found if w == worker}) == 1 for worker in workers)
    assert witness.namespaces() == {}


def test_run(seen, mode, witness):
    found = seen("--ephemeral-ns-scope=run", *mode)
    assert len({name for _, _, name in found}) == 1
    assert witness.namespaces() == {}


@pytest.mark.parametrize(("scope", "count"), [("module", 2), ("class", 4), ("function", 6)])
def test_narrower(seen, witness, scope, count):
    found = seen(f"--ephemeral-ns-scope={scope}", "-p", "no:xdist")
    assert len({name for _, _, name in found}) == count
    assert witness.namespaces() == {}


def test_function_with_workers(seen, witness):
    found = seen("--ephemeral-ns-scope=function", "-n", "2")
    assert len({name for _, _, name in found}) == 6
    assert witness.namespaces() == {}


def test_module_with_workers_by_file(seen, witness):
    found = seen("--ephemeral-ns-scope=module", "-n", "2", "--dist=loadfile")
    assert len({name for _, _, name in found}) == 2
    assert witness.namespaces() == {}
