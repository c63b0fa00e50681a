from __future__ import annotations

import pytest

from pytest_ephemeral_ns.errors import ManifestError
from pytest_ephemeral_ns.rules.helm_set import assign
from pytest_ephemeral_ns.rules.variables import bare_field, fill, fill_pair, substitute, substitute_in

KNOWN = {"TAG": "1.2", "NAMESPACE": "shop-gw0", "REPLICAS": "2"}


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("image: a:${TAG}", "image: a:1.2"),
        ("${NAMESPACE}-${TAG}", "shop-gw0-1.2"),
        ("namespace: {{NAMESPACE}}", "namespace: shop-gw0"),
        ("namespace: {{ NAMESPACE }}", "namespace: shop-gw0"),
        ("$${TAG} stays", "${TAG} stays"),
        ("$TAG stays, $(TAG) too", "$TAG stays, $(TAG) too"),
        ("{{ $labels.pod }} and {{ .Values.x }} stay", "{{ $labels.pod }} and {{ .Values.x }} stay"),
        ("# ${ANYTHING} in a comment", "# ${ANYTHING} in a comment"),
        ("${TAG:-default}", "${TAG:-default}"),
    ],
)
def test_substitute(text, result):
    assert substitute(text, KNOWN, "x.yaml") == result


@pytest.mark.parametrize("text", ["a\n${TAGG}", "a\nb: {{TAGG}}"])
def test_an_unknown_name_is_an_error_with_line_and_near_miss(text):
    with pytest.raises(ManifestError) as caught:
        substitute(text, KNOWN, "x.yaml")
    assert caught.value.summary.startswith("x.yaml:2: unknown variable ")
    assert "did you mean TAG?" in caught.value.evidence


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("image.tag={commit}", "image.tag=1a2b3c4"),
        ("hosts={a,b}", "hosts={a,b}"),
        ("hosts={one}", "hosts={one}"),
        ("{commit}-{branch}", "1a2b3c4-main"),
    ],
)
def test_fill(text, result):
    assert fill(text, {"commit": "1a2b3c4", "branch": "main"}) == result


@pytest.mark.parametrize(
    ("value", "result"),
    [
        ({"spec": {"replicas": "${REPLICAS}"}}, {"spec": {"replicas": 2}}),
        ({"env": [{"name": "A", "value": "${REPLICAS}"}]}, {"env": [{"name": "A", "value": "2"}]}),
        ({"data": {"a": "${REPLICAS}"}}, {"data": {"a": "2"}}),
        ({"name": "${REPLICAS}", "labels": {"a": "${TAG}"}}, {"name": "2", "labels": {"a": "1.2"}}),
        ({"args": ["${REPLICAS}", "--tag=${TAG}"]}, {"args": ["2", "--tag=1.2"]}),
        ({"${NAMESPACE}": "x"}, {"shop-gw0": "x"}),
        ({"a": ["$${TAG}", "{{NAMESPACE}}", 3, None, "1.2"]}, {"a": ["${TAG}", "shop-gw0", 3, None, "1.2"]}),
    ],
)  # fmt: skip
def test_substitute_in_what_was_built(value, result):
    assert substitute_in(value, KNOWN, "kustomization k") == result


def test_an_unknown_name_in_what_was_built_names_the_place():
    with pytest.raises(ManifestError, match=r"kustomization k: spec: replicas: unknown variable \$\{N\}"):
        substitute_in({"spec": {"replicas": "${N}"}}, KNOWN, "kustomization k")


@pytest.mark.parametrize(
    ("pair", "result"),
    [
        ("a={commit}", {"a": "1a,2b"}),
        ("a={commit},b=1", {"a": "1a,2b", "b": 1}),
        ("hosts={{commit},b}", {"hosts": ["1a,2b", "b"]}),
    ],
)
def test_fill_pair_gives_one_value(pair, result):
    values = {}
    assign(values, fill_pair(pair, {"commit": "1a,2b"}))
    assert values == result


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a:\n  tag: {commit}\n", (2, "commit")),
        ("tag: {commit} # the image", (1, "commit")),
        ("tag: '{commit}'", None),
        ('tag: "{commit}"', None),
        ("tag: {other}", None),
        ("tag: {commit: 1}", None),
    ],
)
def test_a_field_that_needs_quotes(text, found):
    assert bare_field(text, {"commit": "1a2b"}) == found
