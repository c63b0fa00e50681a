from __future__ import annotations

import os

import pytest

from pytest_ephemeral_ns.deploy import Chart
from pytest_ephemeral_ns.deploy.fingerprint import fingerprint
from pytest_ephemeral_ns.lifecycle import filler


@pytest.fixture
def base(tmp_path):
    for name in ("a.yaml", "k8s/b.yaml", "chart/templates/c.yaml", "values.yaml", "other.yaml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("a: 1\n")
        os.utime(tmp_path / name, ns=(0, 0))
    return tmp_path


@pytest.mark.parametrize(
    ("source", "changed", "same"),
    [
        ("a.yaml", "a.yaml", False),
        ("a.yaml", "other.yaml", True),
        ("k8s", "k8s/b.yaml", False),
        ("k8s", "k8s/new.yaml", False),
        (Chart("chart", values=("values.yaml", {"a": 1})), "chart/templates/c.yaml", False),
        (Chart("chart", values=("values.yaml", {"a": 1})), "values.yaml", False),
        (Chart("oci://registry.example.com/chart"), "a.yaml", True),
        ({"kind": "Service"}, "a.yaml", True),
        ("nowhere.yaml", "a.yaml", True),
        ("nowhere.yaml", "nowhere.yaml", False),
    ],
)
def test_a_file_that_is_written_anew_is_another(base, source, changed, same):
    before = fingerprint([source], base)
    assert fingerprint([source], base) == before
    (base / changed).write_text("a: 2\n")
    assert (fingerprint([source], base) == before) is same


def test_the_sources_of_two_tests_are_the_same_while_they_say_the_same(base, monkeypatch):
    def default(namespace):
        raise NotImplementedError

    thing = {"kind": "Service", "metadata": {"name": "a"}}
    monkeypatch.chdir(base)
    first = filler(["a.yaml", thing], default)
    assert filler(["a.yaml", dict(thing)], default) == first
    assert filler(["a.yaml"], default) != first
    thing["metadata"]["name"] = "b"
    assert filler(["a.yaml", thing], default) != first
    monkeypatch.chdir(base / "k8s")
    assert filler(["a.yaml", {"kind": "Service", "metadata": {"name": "a"}}], default) != first
    assert filler(None, default) is default
