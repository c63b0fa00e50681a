"""What users rely on by name: imports, README, --help, version."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import pytest_ephemeral_ns
from pytest_ephemeral_ns.knobs import KNOBS

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("name", pytest_ephemeral_ns.__all__)
def test_every_public_name_can_be_imported(name):
    assert getattr(pytest_ephemeral_ns, name).__module__.startswith("pytest_ephemeral_ns.")


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        pytest_ephemeral_ns.nothing  # noqa: B018


def test_the_readme_has_the_table_of_options():
    done = subprocess.run([sys.executable, "scripts/write-option-table", "--check"], cwd=ROOT, timeout=60)
    assert done.returncode == 0, "run scripts/write-option-table"


def test_the_pictures_are_drawn_from_the_recorded_run():
    done = subprocess.run([sys.executable, "scripts/draw-pictures", "--check"], cwd=ROOT, timeout=60)
    assert done.returncode == 0, "run scripts/draw-pictures"
    assert str(Path.home()) not in (ROOT / "docs" / "quickstart-run.json").read_text("utf-8")


def test_help_shows_every_option_and_touches_no_cluster(pytester):
    result = pytester.runpytest_subprocess("--help")
    text = result.stdout.str()
    assert all(knob.flag in text and knob.ini in text for knob in KNOBS)
    assert not list(pytester.path.glob("**/ephemeral-ns-*"))


def test_importing_the_package_imports_no_third_party_module():
    code = """
import sys
before = set(sys.modules)
import pytest
with_pytest = set(sys.modules)
import pytest_ephemeral_ns.plugin, pytest_ephemeral_ns.settings
new = {name.partition(".")[0] for name in set(sys.modules) - with_pytest}
print(sorted(new - sys.stdlib_module_names - {"pytest_ephemeral_ns"}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
