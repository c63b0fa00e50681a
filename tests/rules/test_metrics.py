from __future__ import annotations

import re

from pytest_ephemeral_ns.rules.metrics import Counted, prometheus

FOUND = [
    Counted("active", "ada", 60.0, False),
    Counted("expired", "ada", 7200.4, True),
    Counted("orphaned", 'o"\\\n', 10.0, True),
    Counted("stuck", "ada", 100.0, False),
]


def test_everything_is_counted() -> None:
    lines = prometheus(FOUND, reaped=1, failed=1, now=1767268800.6).splitlines()
    assert 'ephemeral_ns_namespaces{state="expired",owner="ada"} 1' in lines
    assert 'ephemeral_ns_namespaces{state="orphaned",owner="o\\"\\\\\\n"} 1' in lines
    for line in ("leaked 2", "stuck 1", "reaped 1", "failures 1", "oldest_age_seconds 7200"):
        assert f"ephemeral_ns_{line}" in lines
    assert "ephemeral_ns_last_pass_timestamp_seconds 1767268801" in lines


def test_it_is_the_text_format() -> None:
    text = prometheus(FOUND, reaped=0, failed=0, now=0)
    assert text.endswith("\n")
    sample = r'[a-z_]+(\{([a-z]+="(\\.|[^"\\\n])*",?)*\})? \d+'
    assert all(re.fullmatch(rf"# (HELP|TYPE) .*|{sample}", line) for line in text.splitlines())


def test_nothing_found_is_zero_and_not_nothing() -> None:
    assert "ephemeral_ns_leaked 0\n" in prometheus([], reaped=0, failed=0, now=0)
