from __future__ import annotations

from pytest_ephemeral_ns.rules.objects import Ref


def test_a_reference_says_which_object() -> None:
    obj = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "api", "namespace": "shop", "uid": "1"}}
    assert Ref.of(obj) == Ref("apps/v1", "Deployment", "api", "shop", "1")
    assert str(Ref.of(obj)) == "Deployment/api"


def test_what_is_missing_is_empty() -> None:
    assert Ref.of({"metadata": None}) == Ref("", "", "")
    assert sorted([Ref("v1", "Pod", "b"), Ref("v1", "Pod", "a")])[0].name == "a"
