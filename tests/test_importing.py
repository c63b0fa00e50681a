"""What importing brings along: counts of modules, not times."""

from __future__ import annotations

import subprocess
import sys

import pytest_ephemeral_ns
from pytest_ephemeral_ns.importing import as_installed


def modules_after(code: str) -> set[str]:
    command = [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return set(done.stdout.split())


def test_our_client_does_not_load_the_command_line_of_httpx():
    loaded = modules_after("import pytest_ephemeral_ns.kube.http")
    assert "httpx" in loaded
    assert not loaded & {"httpx._main", "click", "rich", "pygments"}


def test_the_command_line_can_still_be_imported_by_somebody_else():
    assert "httpx._main" in modules_after("import click, rich, pygments, pytest_ephemeral_ns.kube.http, httpx._main")


def test_what_somebody_has_imported_already_stays_as_it_is():
    code = "import httpx; main = httpx.main\nimport pytest_ephemeral_ns.kube.http\nassert httpx.main is main"
    assert "httpx._main" in modules_after(code)


MODULES = """
import sys
def test_it(ephemeral_ns_settings):
    import pytest_ephemeral_ns.namespace, pytest_ephemeral_ns.run
    ours = {name: module for name, module in sys.modules.items() if name.startswith("pytest_ephemeral_ns.")}
    rewritten = [name for name, module in ours.items() if "rewrite" in type(module.__loader__).__module__]
    assert len(ours) > 20
    assert not {"pytest_ephemeral_ns.hooks", "pytest_ephemeral_ns.namespace", "pytest_ephemeral_ns.run"} & {*rewritten}
"""


def test_a_run_reads_our_modules_as_they_were_installed(pytester):
    pytester.makepyfile(MODULES)
    pytester.runpytest_subprocess("--ephemeral-ns", "-pno:cacheprovider").assert_outcomes(passed=1)


def test_a_run_leaves_the_import_system_as_it_was(pytester):
    before = [*sys.meta_path]
    pytester.makepyfile("def test_it(ephemeral_ns_settings): pass")
    pytester.runpytest_inprocess("--ephemeral-ns").assert_outcomes(passed=1)
    assert sys.meta_path == before


def test_other_modules_are_none_of_its_business():
    with as_installed():
        assert sys.meta_path[0].find_spec("json", None) is None
        assert sys.meta_path[0].find_spec("pytest_ephemeral_nsx.run", None) is None
        assert sys.meta_path[0].find_spec("pytest_ephemeral_ns.there_is_none", pytest_ephemeral_ns.__path__) is None
