"""Instants as an operator writes them."""

import pytest

from autoscaler.importing.period import instant

NOW = 1_769_860_800.0  # 2026-01-31T12:00:00Z


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("now", NOW),
        ("90m", NOW - 5_400.0),
        ("2w", NOW - 1_209_600.0),
        ("2026-01-31", NOW - 43_200.0),
        ("2026-01-31T12:00", NOW),
        ("2026-01-31T13:00:00+01:00", NOW),
        ("1769860800", NOW),
        ("1769860800.5", NOW + 0.5),
    ],
)
def test_an_instant_is_a_time_ago_or_a_date_or_unix_seconds(text, at):
    assert instant(text, NOW) == at


@pytest.mark.parametrize("text", ["", "1", "yesterday", "1y", "-1d", "2026-13-01", "9" * 40])
def test_anything_else_is_refused_with_what_is_meant(text):
    with pytest.raises(ValueError, match="must be `now`, a time ago such as 24h or 7d, or a date"):
        instant(text, NOW)
