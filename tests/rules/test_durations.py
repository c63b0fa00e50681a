from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_ephemeral_ns.errors import UsageError
from pytest_ephemeral_ns.rules.durations import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("5m", 300),
        ("2h", 7200),
        ("1d", 86400),
        ("1w", 604800),
        ("1h30m", 5400),
        ("90", 90),
        ("0.5", 0.5),
        ("0.5h", 1800),
        (" 5M ", 300),
    ],
)
def test_a_duration_is_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5 m", "m", "5x", "-5m", "1h-30m", "five", "1e3", "nan", "inf", "٣m"])
def test_everything_else_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.04, "0s"),
        (3.25, "3.2s"),
        (9.97, "10s"),
        (59.6, "1m"),
        (60, "1m"),
        (3600, "1h"),
        (3601, "1h"),
        (5400, "1h30m"),
        (90061, "1d1h"),
        (-90, "-1m30s"),
    ],
)
def test_a_duration_is_written(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.integers(0, 10**7))
def test_what_is_written_can_be_read(seconds: int) -> None:
    assert abs(parse_duration(format_duration(seconds)) - seconds) <= max(1, seconds / 24)
