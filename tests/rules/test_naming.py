from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_ephemeral_ns.errors import UsageError
from pytest_ephemeral_ns.rules import naming
from pytest_ephemeral_ns.rules.identity import Identity
from pytest_ephemeral_ns.rules.naming import DEFAULT_TEMPLATE, namespace_name

RFC_1123 = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")
LONG = "dependabot/npm_and_yarn/some-very-long-package-name-1.2.3"

texts = st.text(max_size=90)
runs = st.text("bcdfghjkmnpqrstvwxz23456789", min_size=4, max_size=4)
workers = st.from_regex(r"gw[0-9]{1,3}", fullmatch=True)
identities = st.builds(
    Identity, project=texts, ref=texts, branch=texts, commit=st.text("0123456789abcdef", max_size=40), actor=texts
)
templates = st.lists(
    st.sampled_from([*(f"{{{name}}}" for name in naming.FIELDS), "-", "x", "kube-", "default", "a-b", "9"]),
    min_size=1,
    max_size=8,
).map("".join)


@pytest.mark.parametrize(
    ("identity", "expected"),
    [
        (Identity("shop", "pr42", commit="1a2b3c4d5e6f"), "shop-pr42-1a2b3c4-k3x9-gw0"),
        (Identity("shop", "feature/Login_Page", commit="1a2b3c4d5e"), "shop-feature-login-page-1a2b3c4-k3x9-gw0"),
        (Identity("shop", "ada"), "shop-ada-k3x9-gw0"),
        (Identity("Straße", "main"), "strasse-main-k3x9-gw0"),
        (Identity("9lives", "main"), "9lives-main-k3x9-gw0"),
        (Identity("kube-prometheus", "main"), "ns-kube-prometheus-main-k3x9-gw0"),
        (Identity("openshift-console", "main"), "ns-openshift-console-main-k3x9-gw0"),
    ],
)
def test_a_name_reads_as_its_template(identity: Identity, expected: str) -> None:
    assert namespace_name(DEFAULT_TEMPLATE, identity, run="k3x9", worker="gw0") == expected


def test_a_text_without_any_usable_letter_is_hashed_and_not_lost() -> None:
    one = namespace_name(DEFAULT_TEMPLATE, Identity("日本", "main"), run="k3x9", worker="gw0")
    other = namespace_name(DEFAULT_TEMPLATE, Identity("中国", "main"), run="k3x9", worker="gw0")
    assert one != other
    assert RFC_1123.fullmatch(one)


def test_a_shortened_name_keeps_commit_run_worker_and_extra_readable() -> None:
    name = namespace_name(
        DEFAULT_TEMPLATE, Identity("shop", LONG, commit="f" * 40), run="k3x9", worker="gw11", extra="2"
    )
    assert name.startswith("shop-dependabot-")
    assert "-fffffff-k3x9-gw11-2-" in name
    assert 60 <= len(name) <= 63


def test_an_extra_is_appended() -> None:
    assert namespace_name("{project}-{worker}", Identity("shop", "x"), run="r", worker="gw0", extra="2") == "shop-gw0-2"


def test_a_template_without_a_worker_gets_it() -> None:
    assert namespace_name("{project}", Identity("shop", "x"), run="r", worker="gw3") == "shop-gw3"
    assert namespace_name("{project}", Identity("shop", "x"), run="r", worker="") == "shop"


@pytest.mark.parametrize(
    ("template", "part"),
    [
        ("{project}-{colour}", "{colour}"),
        ("{project!r}", "{project!r}"),
        ("{project:>9}", "{project:>9}"),
        ("{project", "expected '}'"),
        ("project}", "Single '}'"),
        ("{}", "{}"),
        ("{project}_x", "'_'"),
        ("Shop-{run}", "'S'"),
        ("", "empty"),
    ],
)
def test_a_wrong_template_is_refused_and_the_fields_are_named(template: str, part: str) -> None:
    with pytest.raises(UsageError) as caught:
        naming.check_template(template)
    text = str(caught.value)
    assert part in text
    assert "{project}, {ref}" in text
    with pytest.raises(UsageError):
        namespace_name(template, Identity("shop", "x"), run="r", worker="gw0")


@given(template=templates, identity=identities, run=runs, worker=workers, extra=texts)
@settings(max_examples=300, deadline=None)
def test_every_name_is_a_label_and_never_the_clusters_own(
    template: str, identity: Identity, run: str, worker: str, extra: str
) -> None:
    name = namespace_name(template, identity, run=run, worker=worker, extra=extra)
    assert RFC_1123.fullmatch(name)
    assert not naming.is_protected(name)
    assert name == namespace_name(template, identity, run=run, worker=worker, extra=extra)


@given(template=templates, identity=identities, run=runs, numbers=st.sets(st.integers(0, 2000), min_size=2, max_size=6))
@settings(max_examples=200, deadline=None)
def test_workers_of_a_run_never_meet(template: str, identity: Identity, run: str, numbers: set[int]) -> None:
    names = {namespace_name(template, identity, run=run, worker=f"gw{number}") for number in numbers}
    assert len(names) == len(numbers)


@given(identity=identities, run=runs, worker=workers, extras=st.sets(texts, min_size=2, max_size=6))
@settings(max_examples=200, deadline=None)
def test_namespaces_of_a_worker_never_meet(identity: Identity, run: str, worker: str, extras: set[str]) -> None:
    names = {namespace_name(DEFAULT_TEMPLATE, identity, run=run, worker=worker, extra=extra) for extra in extras}
    assert len(names) == len(extras)


@given(
    refs=st.sets(st.text(min_size=64, max_size=120), min_size=2, max_size=5),
    shared=st.text(min_size=0, max_size=80),
)
@settings(max_examples=200, deadline=None)
def test_what_is_shortened_stays_apart(refs: set[str], shared: str) -> None:
    given_refs = {f"a-long-common-beginning-{shared}-{'x' * 60}-{ref}" for ref in refs}
    names = {namespace_name(DEFAULT_TEMPLATE, Identity("shop", ref), run="k3x9", worker="gw0") for ref in given_refs}
    assert len(names) == len(given_refs)


@given(texts)
def test_a_label_value_is_one(text: str) -> None:
    assert LABEL_VALUE.fullmatch(naming.label_value(text))
    assert bool(naming.label_value(text)) == bool(text.strip())


@given(st.from_regex(LABEL_VALUE, fullmatch=True))
def test_what_is_a_label_value_stays_as_it_is(text: str) -> None:
    assert naming.label_value(text) == text


@given(identity=identities, owner=texts)
def test_labels_are_valid_and_say_ours(identity: Identity, owner: str) -> None:
    labels = naming.labels_of(identity, run_id="k3x9k3x9", worker_id="gw0", scope="worker", owner=owner)
    assert all(LABEL_VALUE.fullmatch(value) and value for value in labels.values())
    assert labels[naming.MANAGED_BY] == naming.MANAGER
    assert labels[naming.RUN] == "k3x9k3x9"


def test_annotations_say_the_expiry_in_the_words_of_janitors() -> None:
    moment = datetime(2026, 1, 1, 2, 0, 0, 999, tzinfo=timezone(timedelta(hours=2)))
    identity = Identity("shop", "main", branch="main", ci="github", ci_run="9", job_url="https://ci/9")
    assert naming.annotations_of(identity, expires=moment, created_by="host:1") == {
        "janitor/expires": "2026-01-01T00:00:00Z",
        "pytest-ephemeral-ns/created-by": "host:1",
        "pytest-ephemeral-ns/branch": "main",
        "pytest-ephemeral-ns/ci": "github",
        "pytest-ephemeral-ns/ci-run": "9",
        "pytest-ephemeral-ns/job-url": "https://ci/9",
    }


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("default", True),
        ("kube-system", True),
        ("kube-public", True),
        ("openshift", True),
        ("openshift-etcd", True),
        ("kubeflow", False),
        ("default-2", False),
        ("shop-kube-x", False),
    ],
)
def test_protected_names(name: str, verdict: bool) -> None:
    assert naming.is_protected(name) is verdict
