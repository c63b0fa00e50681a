"""Gates as text."""

from __future__ import annotations

import pytest

from pytest_ephemeral_ns.errors import UsageError
from pytest_ephemeral_ns.rules.gates import Gate, parse_gate


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
        ("log:deploy/api:Listening on .*:8080", Gate("log", "deploy/api", pattern="Listening on .*:8080")),
    ],
)
def test_understood(text: str, gate: Gate) -> None:
    assert parse_gate(text) == gate


@pytest.mark.parametrize(
    "text",
    ["", "job/", "migrate", "http://api:8080/", "http://svc/api/", "tcp://svc/db:1/x", "log:deploy/api", "log:a/b:("],
)
def test_not_understood(text: str) -> None:
    with pytest.raises(UsageError, match="gate"):
        parse_gate(text)
