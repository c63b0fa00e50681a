"""Lives beside other plugins: each is loaded, and each gets what it needs."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.plugin.conftest import NEIGHBOURS_PYTHON

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(not NEIGHBOURS_PYTHON.exists(), reason="make neighbours installs them"),
]
EVERYBODY = {"allure_pytest", "asyncio", "base_url", "html", "html_fixtures", "metadata", "playwright"}
EVERYBODY |= {"randomly", "rerunfailures", "run-parallel", "timeout"}


@pytest.fixture
def run_beside(run_pytest):
    """Run pytest in the neighbours' environment with those named, and no other, loaded."""

    def run(*args: str, neighbours: Sequence[str] = ()) -> pytest.RunResult:
        off = [f"-pno:{name}" for name in sorted(EVERYBODY - set(neighbours))]
        return run_pytest(*off, *args, python=NEIGHBOURS_PYTHON)

    return run


def test_asyncio(pytester, run_beside, witness):
    pytester.makeini("[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n")
    pytester.makepyfile(
        """
        import asyncio
        async def test_it(ephemeral_ns):
            found = await asyncio.to_thread(ephemeral_ns.get, "ns", ephemeral_ns.name)
            assert found["metadata"]["uid"] == ephemeral_ns.uid
            both = await asyncio.gather(*(asyncio.to_thread(ephemeral_ns.list, "cm") for _ in range(8)))
            assert all(both)
        """
    )
    run_beside(neighbours=["asyncio"]).assert_outcomes(passed=1)
    assert witness.namespaces() == {}


def test_anyio(pytester, run_beside, witness):
    pytester.makepyfile(
        """
        import anyio, pytest
        @pytest.fixture(params=["asyncio", "trio"])
        def anyio_backend(request): return request.param

        @pytest.mark.anyio
        async def test_it(ephemeral_ns):
            found = await anyio.to_thread.run_sync(ephemeral_ns.get, "ns", ephemeral_ns.name)
            assert found["metadata"]["uid"] == ephemeral_ns.uid
        """
    )
    run_beside().assert_outcomes(passed=2)
    assert witness.namespaces() == {}


@pytest.mark.parametrize("neighbours", [["base_url"], ["base_url", "playwright"]], ids=["base-url", "playwright"])
def test_base_url_is_a_three_line_override(pytester, run_beside, neighbours):
    pytester.makeconftest(
        """
        import pytest
        @pytest.fixture(scope="session")
        def base_url(ephemeral_ns):
            return f"http://{ephemeral_ns.name}.test.internal"
        """
    )
    pytester.makepyfile(
        """
        def test_it(base_url, ephemeral_ns):
            assert base_url == f"http://{ephemeral_ns.name}.test.internal"
        """
    )
    run_beside(neighbours=neighbours).assert_outcomes(passed=1)


def test_rerunfailures_sets_up_again_and_deploys_again(pytester, run_beside, witness):
    pytester.makepyfile(
        """
        import pathlib
        def test_it(ephemeral_ns):
            first = not pathlib.Path("seen").exists()
            pathlib.Path("seen").touch()
            assert not first
        """
    )
    result = run_beside("--reruns", "2", neighbours=["rerunfailures"])
    result.assert_outcomes(passed=1)
    assert witness.namespaces() == {}


def test_rerunfailures_does_not_repeat_a_deploy_that_failed_for_good(pytester, run_beside, witness):
    pytester.makeconftest(
        """
        import pytest, pathlib
        from pytest_ephemeral_ns import DeployError
        @pytest.fixture(scope="session")
        def ephemeral_ns_deploy():
            def deploy(ns):
                with open("attempts", "a") as file:
                    file.write("x")
                raise DeployError("it can never work")
            return deploy
        """
    )
    pytester.makepyfile("def test_a(ephemeral_ns): pass\ndef test_b(ephemeral_ns): pass")
    result = run_beside("--reruns", "2", neighbours=["rerunfailures"])
    assert result.parseoutcomes()["errors"] == 2
    result.stdout.fnmatch_lines(["*it can never work*"])
    assert (pytester.path / "attempts").read_text() == "x"
    assert witness.namespaces() == {}


@pytest.mark.parametrize("method", ["signal", "thread"])
def test_timeout(pytester, run_beside, witness, method):
    pytester.makepyfile(
        """
        import time
        def test_it(ephemeral_ns):
            time.sleep(30)
        """
    )
    result = run_beside("--timeout=3", f"--timeout-method={method}", "-n", "1", neighbours=["timeout"])
    assert result.parseoutcomes()["failed"] == 1
    assert witness.namespaces() == {}


def test_run_parallel(pytester, run_beside, witness):
    pytester.makepyfile(
        """
        def test_it(ephemeral_ns):
            assert ephemeral_ns.get("ns", ephemeral_ns.name)["metadata"]["uid"] == ephemeral_ns.uid
            assert ephemeral_ns.list("configmaps")
        """
    )
    run_beside("--parallel-threads=8", "-p", "no:xdist", neighbours=["run-parallel"]).assert_outcomes(passed=1)
    assert witness.namespaces() == {}


def test_randomly(pytester, run_beside, witness):
    pytester.makepyfile(
        """
        import pytest
        @pytest.mark.parametrize("n", range(4))
        def test_it(ephemeral_ns, n): assert ephemeral_ns.name
        """
    )
    run_beside("-n", "2", "-p", "randomly", neighbours=["randomly"]).assert_outcomes(passed=4)
    assert witness.namespaces() == {}
