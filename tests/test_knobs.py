"""The one table of options is a text: every line of it must be what its columns say."""

from __future__ import annotations

from typing import get_args

import pytest

from pytest_ephemeral_ns.knobs import BY_NAME, KNOBS, Kind

ids = [knob.name for knob in KNOBS]


def test_no_name_is_there_twice():
    assert len(BY_NAME) == len(KNOBS)


@pytest.mark.parametrize("knob", KNOBS, ids=ids)
def test_every_option_has_a_kind_that_is_known_and_a_meaning(knob):
    assert knob.kind in get_args(Kind)
    assert knob.meaning.split() == knob.meaning.split(" ")


@pytest.mark.parametrize("knob", KNOBS, ids=ids)
def test_a_choice_has_words_and_anything_else_a_metavar(knob):
    if knob.kind == "choice":
        assert knob.default in knob.choices
    else:
        assert not knob.choices
        assert bool(knob.metavar) == (knob.kind != "switch")


def test_an_option_reads_as_it_is_written():
    knob = BY_NAME["cluster"]
    assert (knob.flag, knob.ini, knob.env) == (
        "--ephemeral-ns-cluster", "ephemeral_ns_cluster", "EPHEMERAL_NS_CLUSTER",
    )  # fmt: skip
    assert knob.choices == ("auto", "current", "kind", "embedded")
