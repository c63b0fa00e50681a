from __future__ import annotations

import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pytest_ephemeral_ns.errors import ManifestError
from pytest_ephemeral_ns.rules.yaml_dialect import read_documents, resolve_plain

# Each of these was given to kubectl 1.35 (`kubectl create --dry-run=client -o json`); the right side is its answer.
SCALARS = {
    "1e3": 1000,
    "1E5": 100000,
    "1e+5": 100000,
    "12:30": "12:30",
    "1:2": "1:2",
    "2026-01-01": "2026-01-01",
    "2001-12-14t21:59:43.10-05:00": "2001-12-14t21:59:43.10-05:00",
    "=": "=",
    "yes": True,
    "Y": True,
    "on": True,
    "n": False,
    "off": False,
    "tRUE": "tRUE",
    '"yes"': "yes",
    "'on'": "on",
    "~": None,
    "": None,
    "NULL": None,
    "0x1F": 31,
    "+0x10": 16,
    "017": 15,
    "0o17": 15,
    "0o8": "0o8",
    "08": 8,
    "0b11": 3,
    "-0b11": -3,
    "0b2": "0b2",
    "0x": "0x",
    "1_000": 1000,
    "-1_0": -10,
    "0_7": 7,
    "-0": 0,
    "-0.0": 0,
    "1.0": 1,
    "1.5": 1.5,
    "5.": 5,
    ".5": 0.5,
    "+.5": 0.5,
    "._5": "._5",
    ".5_0": 0.5,
    "1_0.5_0": 10.5,
    "1e400": "1e400",
    "1e-7": 1e-07,
    "0.000001": 1e-06,
    "9223372036854775807": 9223372036854775807,
    "18446744073709551615": 1.8446744073709552e19,
    "123456789012345678901234567890": 1.2345678901234568e29,
    "0777777777777777777777777": 7.777777777777777e23,
    "1,000": "1,000",
    "+": "+",
    "-x": "-x",
    "<<": "<<",
    "!!str 5": "5",
    '!!int "5"': 5,
    "!!float 1": 1,
    '!!bool "yes"': True,
    '!!null ""': None,
    "!!timestamp 2001-01-01": "2001-01-01",
    "!!binary aGVsbG8=": "hello",
    "!custom bar": "bar",
    "[1, yes, 1e2]": [1, True, 100],
    "{a: b, c: }": {"a": "b", "c": None},
    "{1: a, yes: b, 1.5: c, 1e3: d, 1e7: e, 0x10: f, 1234567.5: g, 0.00001: h}": {
        "1": "a",
        "true": "b",
        "1.5": "c",
        "1000": "d",
        "1e+07": "e",
        "16": "f",
        "1.2345675e+06": "g",
        "1e-05": "h",
    },
}


@pytest.mark.parametrize(("text", "value"), SCALARS.items(), ids=[key or "empty" for key in SCALARS])
def test_values_are_those_of_kubectl(text, value):
    found = read_documents(f"a: {text}\n", "x.yaml")[0].value["a"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "numbers", "lines"),
    [
        ("", [], []),
        ("# nothing but a comment\n", [], []),
        ("a: 1\n", [1], [1]),
        ("\ufeffa: 1\n", [1], [1]),
        ("---\na: 1\n---\n---\nb: 2\n", [1, 2, 3], [2, 4, 5]),
        ("# licence\n---\na: 1\n...\n---\nb: 1\n", [1, 2], [3, 6]),
        ('{"a": 1}\n{"b": 2}', [1, 2], [1, 2]),
        ('{\n\t"a": 1\n}\n', [1], [1]),
        ("{a: 1, b: [yes]}\n---\nc: 1\n", [1, 2], [1, 3]),
    ],
)
def test_documents_know_their_place(text, numbers, lines):
    documents = read_documents(text, "x.yaml")
    assert [d.number for d in documents] == numbers
    assert [d.line for d in documents] == lines


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2\n", 'x.yaml:2: document 1: duplicate key "a"'),
        ("a: 1\n---\nb:\n  c: 1\n  d: 1\n  c: 2\n", 'x.yaml:6: document 2: duplicate key "c"'),
        ("1: a\n'1': b\n", 'x.yaml:2: document 1: duplicate key "1"'),
        ('{"a": 1,\n "a": 2}', 'x.yaml:2: document 1: duplicate key "a"'),
        ("a: 1\n b: 2\n", "x.yaml:2: document 1: mapping values are not allowed in this context"),
        ("ok: 1\n---\na:\n\tb: 1\n", "x.yaml:4: document 2: "),
        ("a: [1, 2\n", "x.yaml:2: document 1: "),
        ("a: *b\n", "x.yaml:1: document 1: undefined alias *b"),
        ("a: &b 1\n---\na: *b\n", "x.yaml:3: document 2: undefined alias *b"),
        ("a: &a [*a]\n", "x.yaml:1: document 1: anchor &a contains itself"),
        ("? {a: 1}\n: b\n", "x.yaml:1: document 1: a mapping or list cannot be a key"),
        ("a: .inf\n", "x.yaml:1: document 1: .inf is not a number that JSON has"),
        ("~: a\n", "x.yaml:1: document 1: null cannot be a key"),
        ("a: !!int b\n", "x.yaml:1: document 1: not a value of type !!int"),
        ("<<: 5\n", "x.yaml:1: document 1: << needs a mapping or a list of mappings"),
        ("a: \x00\n", "x.yaml: document 1: "),
        ("[" * 5000, "x.yaml"),
    ],
)
def test_errors_name_file_line_and_document(text, message):
    with pytest.raises(ManifestError) as caught:
        read_documents(text, "x.yaml")
    assert caught.value.summary.startswith(message)


@pytest.mark.parametrize("text", ["password: hunter2: x\n", "a: !!int hunter2\n", "password: hunter2\n\tb: c\n"])
def test_errors_show_no_values(text):
    with pytest.raises(ManifestError) as caught:
        read_documents(text, "x.yaml")
    assert "hunter2" not in str(caught.value)


def test_a_tab_is_explained():
    with pytest.raises(ManifestError, match="tabs"):
        read_documents("a:\n\tb: 1\n", "x.yaml")


def test_merge_keys_and_aliases_are_copies():
    text = "base: &b {x: 1, z: 2}\none:\n  <<: *b\n  z: 3\ntwo: *b\nboth:\n  <<: [{x: 7}, *b]\n"
    value = read_documents(text, "x.yaml")[0].value
    assert value["one"] == {"x": 1, "z": 3}
    assert read_documents("{&k a: 1, b: *k, &k c: *k}", "x.yaml")[0].value == {"a": 1, "b": "a", "c": "c"}
    assert value["both"] == {"x": 7, "z": 2}
    value["two"]["x"] = 9
    assert value["base"]["x"] == 1


def test_an_alias_bomb_is_refused():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    with pytest.raises(ManifestError, match="excessive aliasing"):
        read_documents("\n".join(lines), "bomb.yaml")


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), JSON_VALUES, min_size=1))
def test_json_says_what_it_says(value):
    assert read_documents(json.dumps(value), "x.json")[0].value == value


@given(st.text(alphabet="0123456789+-._xXoObBeEfF:T", max_size=12))
def test_no_scalar_is_too_strange(text):
    json.dumps(resolve_plain(text), allow_nan=True)


@pytest.mark.parametrize(
    "text", ["1e3", "12:30", "yes", '"yes"', "[1, {a: on}]", "{a: &b [1], c: *b}", "*b", "{a: 1, a: 2}"]
)
def test_without_libyaml_it_is_the_same(text, monkeypatch):
    def outcome():
        try:
            return read_documents(f"a: {text}\n", "x.yaml")
        except ManifestError as error:
            return error.summary

    with_libyaml = outcome()
    monkeypatch.setattr("pytest_ephemeral_ns.rules.yaml_dialect._Parser", yaml.SafeLoader)
    assert outcome() == with_libyaml
