from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_ephemeral_ns.errors import UsageError
from pytest_ephemeral_ns.rules.handles import Handles

namespaces = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True)
texts = st.text(max_size=300)
LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


@given(namespaces, st.uuids().map(str), texts)
def test_every_handle_is_valid_for_its_kind(namespace: str, uid: str, name: str) -> None:
    handles = Handles(namespace, uid)
    assert LABEL.fullmatch(handles.tenant)
    assert re.fullmatch(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]", handles.bucket)
    assert not re.match(r"xn--|sthree-|amzn-s3-demo-|goog", handles.bucket)
    assert not handles.bucket.endswith(("-s3alias", "--ol-s3", "--x-s3", "--table-s3"))
    assert "google" not in handles.bucket
    assert re.fullmatch(r"[a-z][a-z0-9_]{0,62}", handles.database)
    assert re.fullmatch(r"[a-z][a-z0-9_]{0,62}", handles.schema)
    assert not handles.database.startswith("pg_")
    assert re.fullmatch(r"[a-z0-9-]+:", handles.key_prefix)
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,249}", handles.topic(name))
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,80}", handles.queue(name).removesuffix(".fifo"))
    assert len(handles.queue(name)) <= 80
    assert len(handles.queue(f"{name}.fifo")) <= 80
    assert handles.queue(f"{name}.fifo").endswith(".fifo")
    local, _, domain = handles.email(name).partition("@")
    assert domain == "example.test"
    assert re.fullmatch(r"[a-z0-9._+-]{1,64}", local)
    assert ".." not in local
    assert not local.startswith(".")


@given(namespaces, namespaces, st.uuids().map(str), st.uuids().map(str))
def test_handles_of_two_namespaces_never_meet(one: str, two: str, uid: str, other_uid: str) -> None:
    if (one, uid) == (two, other_uid):
        return
    a, b = Handles(one, uid), Handles(two, other_uid)
    for kind in ("tenant", "bucket", "database", "schema", "key_prefix"):
        assert getattr(a, kind) != getattr(b, kind)
    assert a.topic("x") != b.topic("x")
    assert a.queue("x") != b.queue("x")
    assert a.email("x") != b.email("x")
    assert a.hostname("example.com") != b.hostname("example.com")


@given(st.sets(st.text(max_size=100), min_size=2, max_size=5))
def test_names_of_one_namespace_stay_apart(names: set[str]) -> None:
    handles = Handles("shop-gw0", "5f0c")
    assert len({handles.topic(name) for name in names}) == len(names)
    assert len({handles.queue(name) for name in names}) == len(names)


def test_a_namespace_of_the_same_name_in_another_cluster_has_other_handles() -> None:
    assert Handles("shop-gw0", "1").bucket != Handles("shop-gw0", "2").bucket
    assert Handles("shop-gw0", "1").bucket == Handles("shop-gw0", "1").bucket


@pytest.mark.parametrize("namespace", ["google-maps-gw0", "goog-x", "sthree-x", "amzn-s3-demo-x"])
def test_words_that_bucket_stores_reserve_are_avoided(namespace: str) -> None:
    assert re.fullmatch(r"b-[a-z0-9]{8}", Handles(namespace, "5f0c").bucket)


@pytest.mark.parametrize(
    ("namespace", "beginning"),
    [("9lives-gw0", "ns_9lives_"), ("pg-dump-gw0", "ns_pg_dump_"), ("shop-gw0", "shop_gw0_")],
)
def test_an_identifier_needs_no_quotes(namespace: str, beginning: str) -> None:
    assert Handles(namespace, "5f0c").database.startswith(beginning)


def test_ordinary_names_are_kept_as_they_are() -> None:
    handles = Handles("shop-gw0", "5f0c")
    assert handles.topic("orders.created") == f"{handles.tenant}-orders.created"
    assert handles.queue("order_events") == f"{handles.tenant}-order_events"
    assert handles.topic() == handles.queue() == handles.tenant
    assert handles.hostname("Apps.Example.com.") == f"{handles.tenant}.apps.example.com"


@pytest.mark.parametrize("base", ["", "a..b", "-a.com", "a b", "a" * 64, "a." * 95 + "com"])
def test_a_base_that_is_no_domain_is_refused(base: str) -> None:
    with pytest.raises(UsageError):
        Handles("shop-gw0").hostname(base)


def test_the_longest_base_fits() -> None:
    base = ".".join(["a" * 61, "b" * 63, "c" * 63])
    assert len(base) == 189
    assert len(Handles("n" * 63, "1").hostname(base)) == 253
