"""The table of rights, and what is made from it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pytest_ephemeral_ns.rules.permissions import (
    JANITOR_RIGHTS,
    OUTSIDE_RIGHTS,
    RUN_RIGHTS,
    Right,
    account,
    bound,
    rules_of,
)

ROOT = Path(__file__).parents[2]
EVERY = (*RUN_RIGHTS, *JANITOR_RIGHTS, *OUTSIDE_RIGHTS)


@pytest.mark.parametrize("right", EVERY, ids=lambda right: right.what)
def test_each_right_says_what_it_is_for_and_what_happens_without_it(right: Right) -> None:
    assert right.purpose
    assert right.without
    assert "*" not in (*right.verbs, *right.resources, right.group)


def test_rules_hold_every_right_once_and_no_other() -> None:
    wanted = {(r.group, f"{name}/{sub}" if sub else name, v) for r in RUN_RIGHTS for v, name, sub in r.single()}
    found = [
        (group, resource, verb)
        for rule in rules_of(RUN_RIGHTS)
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    ]
    assert sorted(found) == sorted(wanted)


def test_a_right_for_some_objects_only_never_becomes_one_for_all() -> None:
    some = Right(("delete",), ("leases",), "x", "y", "coordination.k8s.io", ("mine",))
    every = Right(("list",), ("leases",), "x", "y", "coordination.k8s.io")
    assert rules_of([some, every]) == [
        {
            "apiGroups": ["coordination.k8s.io"],
            "resources": ["leases"],
            "verbs": ["delete"],
            "resourceNames": ["mine"],
        },
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["list"]},
    ]


def test_a_role_counts_in_its_namespace_only() -> None:
    role, binding = bound("x", RUN_RIGHTS[:1], [("a", "b")], namespace="default")
    assert (role["kind"], binding["kind"], role["metadata"]["namespace"]) == ("Role", "RoleBinding", "default")
    assert [obj["kind"] for obj in account()] == ["ServiceAccount", "ClusterRole", "ClusterRoleBinding"]


def test_the_page_is_what_the_table_says() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "write-permissions"), "--check"]
    assert subprocess.run(command, timeout=60, check=False).returncode == 0
