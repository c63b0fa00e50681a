"""Secrets leave by value in every form, then by their look; what is left is the rest of the text."""

from __future__ import annotations

import base64
import html
import json
import string
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_ephemeral_ns.rules.redaction import MASK, Redactor, defused, printable, says_secret

WRITERS = [
    lambda v: v,
    lambda v: json.dumps({"password": v}),
    lambda v: json.dumps({"password": v}, ensure_ascii=False),
    lambda v: repr(v),
    lambda v: f"https://x.test/?q={quote(v, safe='')}",
    lambda v: f"https://x.test/?q={quote_plus(v)}",
    lambda v: html.escape(v),
    lambda v: v.encode().hex(),
    lambda v: base64.b64encode(v.encode()).decode(),
    lambda v: base64.urlsafe_b64encode(v.encode()).decode().rstrip("="),
]
LETTERS = st.characters(min_codepoint=33, max_codepoint=0x2FF, exclude_characters="*")
# What everybody has in their files ("127.0.0.1") is no secret, and left out.
SECRETS = st.text(LETTERS, min_size=8, max_size=60).filter(lambda value: not Redactor({value: "it"}).left_out)


@pytest.mark.parametrize("write", WRITERS)
@settings(deadline=None, max_examples=60)
@given(value=SECRETS, before=st.text(string.ascii_letters + " ", max_size=9))
def test_no_form_of_a_value_stays(write, value, before):
    redactor = Redactor({value: "Secret/db password"})
    text = redactor.clean(f"{before} {write(value)}")
    assert value not in text
    assert write(value) not in text
    assert MASK in text
    assert redactor.counts


@settings(deadline=None, max_examples=100)
@given(value=st.text(string.ascii_letters + string.digits, min_size=12, max_size=40), user=st.text("abc", max_size=6))
def test_base64_of_a_text_around_the_value(value, user):
    """Basic authentication, a dockerconfigjson: the value is somewhere in the middle of what is encoded."""
    packed = base64.b64encode(f"{user}:{value}@".encode()).decode()
    text = Redactor({value: "it"}).clean_values(packed)
    assert MASK in text
    assert base64.b64encode(value.encode()).decode()[4:12] not in text


@settings(deadline=None, max_examples=100)
@given(values=st.lists(SECRETS, min_size=1, max_size=5), text=st.text(max_size=200))
def test_what_is_clean_stays_as_it_is(values, text):
    redactor = Redactor(dict.fromkeys(values, "it"))
    once = redactor.clean(text)
    assert redactor.clean(once) == once
    assert not any(value in once for value in values)


def test_lines_of_a_value_of_several_lines():
    key = "first-line-of-it-0001\nsecond-line-of-it-002\n"
    text = Redactor({key: "Secret/tls key"}).clean("12:00 | first-line-of-it-0001\n12:01 | second-line-of-it-002")
    assert text == "12:00 | ***\n12:01 | ***"


PATTERNS = [
    ("Authorization: Bearer abcdef0123456789", "Authorization: Bearer ***"),
    ("token eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0xx.abc-def done", "token *** done"),
    ("postgres://me:hunter2@db/shop", "postgres://me:***@db/shop"),
    ("postgres://me:$PASSWORD@db/shop", "postgres://me:$PASSWORD@db/shop"),
    ("redis://:hunter2@cache:6379", "redis://:***@cache:6379"),
    ("key AKIAIOSFODNN7EXAMPLE", "key ***"),
    ("ghp_0123456789012345678901234567890123456789", "***"),
    ("host=db password=hunter22 dbname=shop", "host=db password=*** dbname=shop"),
    ('{"db_password": "hunter22", "port": 1}', '{"db_password": "***", "port": 1}'),
    ("-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----\nrest", "***\nrest"),
    ("-----BEGIN PRIVATE KEY-----\nabc cut off", "***"),
    ("see https://shop.test/orders?id=7", "see https://shop.test/orders?id=7"),
    ("image registry.test:5000/shop/api:1.2.3@sha256:abc", "image registry.test:5000/shop/api:1.2.3@sha256:abc"),
    ('secret "db" not found', 'secret "db" not found'),
    ("couldn't find key password in Secret shop/db", "couldn't find key password in Secret shop/db"),
]


@pytest.mark.parametrize(("text", "expected"), PATTERNS)
def test_what_looks_like_a_secret(text, expected):
    assert Redactor({}).clean(text) == expected


def test_short_and_harmless_values_do_not_blank_the_report():
    redactor = Redactor({"true": "a", "1": "b", "db": "c", "admin": "d", "postgres": "e"}, public=["postgres"])
    assert redactor.clean("true 1 db admins admin postgres") == "true 1 db admins *** postgres"
    assert redactor.left_out == ["a", "e"]


def test_trees_keep_their_shape():
    redactor = Redactor({"hunter22": "it"})
    tree = {"a": ["x hunter22", 1, None, {"hunter22-key": True}], "b": "hunter22"}
    assert redactor.clean_tree(tree) == {"a": ["x ***", 1, None, {"***-key": True}], "b": "***"}
    assert redactor.counts == {"it": 3}


def test_trees_say_by_name_what_is_secret():
    redactor = Redactor({})
    tree = {
        "password": "abc",
        "apiKey": 1234,
        "tokens": ["abc"],
        "existingSecret": "db",
        "secretName": "db",
        "auth": {"enabled": True, "token": ""},
        "env": [{"name": "DB_PASSWORD", "value": "abc"}, {"name": "PORT", "value": "80"}],
    }
    told = redactor.clean_tree(tree)
    assert told == {
        **tree,
        "password": "***",
        "apiKey": "***",
        "env": [{"name": "DB_PASSWORD", "value": "***"}, {"name": "PORT", "value": "80"}],
    }
    assert sum(redactor.counts.values()) == 3
    assert redactor.clean_tree(told) == told
    assert sum(redactor.counts.values()) == 3


NAMES = [
    ("password", True),
    ("DB_PASSWORD", True),
    ("adminPassword", True),
    ("--api-key", True),
    ("clientSecret", True),
    ("app.jwt-secret", True),
    ("AWS_SECRET_ACCESS_KEY", True),
    ("existingSecret", False),
    ("secretName", False),
    ("imagePullSecrets", False),
    ("automountServiceAccountToken", True),  # a boolean, and those stay
    ("bypass", False),
    ("monkey", False),
    ("key", False),
    ("tokenExpirationSeconds", False),
]


@pytest.mark.parametrize(("name", "expected"), NAMES)
def test_names_that_say_it(name, expected):
    assert says_secret(name) is expected


@settings(max_examples=60)
@given(
    values=st.lists(SECRETS, min_size=1, max_size=30, unique=True),
    where=st.integers(0, 29),
    around=st.text(max_size=40),
)
def test_many_values_at_once(values, where, around):
    """One pattern for all of them removes the same as one for each."""
    value = values[where % len(values)]
    text = Redactor(dict.fromkeys(values, "it")).clean_values(f"{around}{value}{around}")
    assert not any(one in text for one in values)


@given(first=SECRETS, second=SECRETS)
def test_what_is_learned_later(first, second):
    redactor = Redactor({first: "a"})
    redactor.learn({second: "b"})
    text = redactor.clean_values(f"{first} {second}")
    assert first not in text
    assert second not in text


@given(
    value=SECRETS,
    tree=st.recursive(st.text(max_size=5), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)),
)
def test_no_tree_keeps_a_value(value, tree):
    redactor = Redactor({value: "it"})
    told = redactor.clean_tree(
        {"a": [tree, {value: f"<{value}>"}], f"key-{value}": tree, "text": json.dumps({"b": value})}
    )
    assert value not in json.dumps(told, ensure_ascii=False)
    assert redactor.counts["it"] >= 3


@given(value=st.text(string.ascii_letters + string.digits, min_size=20, max_size=80), left=st.integers(0, 40))
def test_what_is_left_of_a_value_whose_middle_is_left_out(value, left):
    """As pytest's own repr does it."""
    right = max(4, min(len(value) - left - 1, 40))
    text = Redactor({value: "it"}).clean_sure(f"assert {{'a': '{value[:left]}...{value[-right:]}'}} == {{}}")
    assert value[-right:] not in text
    assert left < 4 or value[:left] not in text
    assert text.startswith("assert {'a': '")
    assert text.endswith("'} == {}")


def test_a_pem_key_over_several_lines():
    key = "-----BEGIN RSA PRIVATE KEY-----\n" + "\n".join(f"line{n}ABCDEFGHIJKLMNOP" for n in range(4))
    key += "\n-----END RSA PRIVATE KEY-----\n"
    redactor = Redactor({key: "Secret/tls key"})
    texts = [key, json.dumps(key), repr(key), quote(key), base64.b64encode(key.encode()).decode()]
    texts.append("\n".join(f"2026-01-01T00:00:00Z {line}" for line in key.splitlines()))
    for text in texts:
        told = redactor.clean(text)
        assert "ABCDEFGHIJKLMNOP" not in told
        assert base64.b64encode(key.encode()).decode() not in told


@settings(deadline=None)
@given(st.text())
def test_printable_text_can_be_written_as_xml_and_utf8(text):
    shown = printable(text)
    shown.encode()
    assert not any(ord(char) < 32 and char not in "\n\t" for char in shown)


@given(st.text("#:[]abvso \n", max_size=40))
def test_nothing_is_left_that_a_ci_system_obeys(text):
    shown = defused(text)
    assert "##[" not in shown
    assert "##vso[" not in shown
    assert not any(line.lstrip().startswith("::") for line in shown.split("\n"))
