from __future__ import annotations

import pytest

from pytest_ephemeral_ns.errors import ManifestError
from pytest_ephemeral_ns.rules.variables import fill, substitute

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
