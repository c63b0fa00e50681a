"""What importing our HTTP client brings along: a count of modules, not a time."""

from __future__ import annotations

import subprocess
import sys


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
