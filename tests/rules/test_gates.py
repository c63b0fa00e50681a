"""Gates as text."""

from __future__ import annotations

import pytest

from pytest_ephemeral_ns.errors import UsageError
from pytest_ephemeral_ns.kube import target
from pytest_ephemeral_ns.rules.gates import POD_KINDS, Gate, parse_gate


@pytest.mark.parametrize(
    ("text", "gate"),
    [
        ("job/migrate", Gate("job", "migrate")),
        (" jobs/migrate ", Gate("job", "migrate")),
        ("job.batch/db-migrate.v2", Gate("job", "db-migrate.v2")),
        ("http://svc/api:8080", Gate("http", "api", "8080", "/")),
        ("http://svc/api:web/healthz?full=1", Gate("http", "api", "web", "/healthz?full=1")),
        ("https://svc/api:443/", Gate("https", "api", "443", "/")),
        ("tcp://svc/db:5432", Gate("tcp", "db", "5432")),
        ("https://service/api:https", Gate("https", "api", "https", "/")),
        ("log/deploy/api:Listening on .*:8080", Gate("log", "deploy/api", pattern="Listening on .*:8080")),
    ],
)
def test_understood(text: str, gate: Gate) -> None:
    assert parse_gate(text) == gate
    assert parse_gate(str(gate)) == gate


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is not understood"),
        ("job/", "is not understood"),
        ("job/Migrate", "is not understood"),
        ("migrate", "is not understood"),
        ("http://api:8080/", "is not understood"),
        ("http://svc/api/", "is not understood"),
        ("http://svc/api:8080/a b", "is not understood"),
        ("tcp://svc/db:1/x", "is not understood"),
        ("log/deploy/api", "is not understood"),
        ("log/deploy/api:", "is not understood"),
        ("http://svc/api:0/", "'0' is not a port"),
        ("tcp://svc/db:65536", "'65536' is not a port"),
        ("tcp://svc/db:a-name-that-is-too-long", "is not a port"),
        ("log/configmap/api:x", "'configmap' is not a kind that has pods"),
        ("log/deploy/b:(", "is not a regular expression"),
    ],
)
def test_not_understood(text: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        parse_gate(text)


def test_the_words_for_kinds_are_those_that_logs_are_found_by() -> None:
    assert set(target._KINDS) == POD_KINDS
