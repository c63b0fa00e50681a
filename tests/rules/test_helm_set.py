"""The table that matters is in tests/kube/test_helm_values.py, where the real Helm gives the verdicts."""

from __future__ import annotations

import pytest

from pytest_ephemeral_ns.errors import UsageError
from pytest_ephemeral_ns.rules.helm_set import Whole, arguments_for, assign, merged, secret_leaves


def test_a_pair_with_a_value_of_its_own():
    values = {"ports": [{"port": 80}]}
    given = {"a": [1]}
    assign(values, ("ports[0].more", given))
    values["ports"][0]["more"]["a"].append(2)
    assert values == {"ports": [{"port": 80, "more": {"a": [1, 2]}}]}
    assert given == {"a": [1]}


def test_only_whole_numbers_of_set_are_arguments():
    values = {"a.b": {"n": Whole(3)}, "list": [Whole(1), "x", [Whole(2)]], "file": 7, "apiKey": Whole(12), "on": True}
    assert arguments_for(values) == ["a\\.b.n=3", "list[0]=1", "list[2][0]=2"]
    assert values["apiKey"] == 12


@pytest.mark.parametrize("number", [1_234_567, -1_234_567])
def test_a_large_number_with_a_secrets_name_is_text(number):
    values = {"db": {"password": Whole(number)}}
    assert arguments_for(values) == []
    assert values == {"db": {"password": str(number)}}


def test_values_are_merged_as_helm_does():
    below = {"a": {"x": 1, "y": {"z": 1}}, "b": [1], "c": {"d": 1}, "e": 1}
    above = {"a": {"y": {"w": 2}}, "b": [2, 3], "c": None, "e": {"f": 1}}
    assert merged(below, above) == {"a": {"x": 1, "y": {"z": 1, "w": 2}}, "b": [2, 3], "c": None, "e": {"f": 1}}
    assert below["a"] == {"x": 1, "y": {"z": 1}}


def test_secret_leaves():
    values = {"db": {"password": "p", "port": 1}, "token": ["a", {"b": 7}], "secretsOn": True, "x": None}
    assert [*secret_leaves(values)] == ["p", "a", "7"]


def test_errors_name_the_key_and_never_the_value():
    with pytest.raises(UsageError) as caught:
        assign({"a": [1]}, "a.password=hunter2")
    assert str(caught.value) == "--set: key 'a' is not a map"
