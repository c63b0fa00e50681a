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

from pytest_ephemeral_ns.rules.redaction import MASK, Redactor, defused, env_values, printable, secret_values

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
SECRETS = st.text(st.characters(min_codepoint=33, max_codepoint=0x2FF, exclude_characters="*"), min_size=8, max_size=60)


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


def test_values_of_secrets():
    def encoded(text):
        return base64.b64encode(text.encode()).decode()

    docker = json.dumps({"auths": {"registry.test": {"password": "pull-secret-1", "auth": "bWU6cHVsbC1zZWNyZXQtMQ=="}}})
    found = secret_values(
        [
            {"metadata": {"name": "db"}, "data": {"password": encoded("hunter22"), "blob": "/+8="}},
            {"metadata": {"name": "pull"}, "data": {".dockerconfigjson": encoded(docker)}},
            {"metadata": {"name": "h"}, "type": "helm.sh/release.v1", "data": {"release": encoded("packed-release")}},
            {
                "metadata": {"name": "sa"},
                "type": "kubernetes.io/service-account-token",
                "data": {"namespace": encoded("shop"), "token": encoded("a-token-of-it")},
            },
        ]
    )
    assert {"hunter22", "/+8=", docker, "pull-secret-1", "a-token-of-it"} <= set(found)
    assert not {"shop", "packed-release"} & set(found)


def test_variables_whose_names_say_it():
    pod = {"spec": {"containers": [{"env": [{"name": n, "value": f"value-{n}"} for n in ("API_KEY", "TOKEN_URL")]}]}}
    assert env_values([pod]) == {"value-API_KEY": "variable API_KEY"}


def test_trees_keep_their_shape():
    redactor = Redactor({"hunter22": "it"})
    tree = {"a": ["x hunter22", 1, None, {"hunter22-key": True}], "b": "hunter22"}
    assert redactor.clean_tree(tree) == {"a": ["x ***", 1, None, {"***-key": True}], "b": "***"}
    assert redactor.counts == {"it": 3}


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
