"""Quantities as text."""

import math

import pytest

from autoscaler.core.units import duration_text, percent_text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 s"),
        (-1.0, "0 s"),
        (0.00012, "0.12 ms"),
        (0.2, "200 ms"),
        (0.9994, "999 ms"),
        (1.0, "1 s"),
        (9.92, "9.9 s"),
        (9.99, "10 s"),
        (119.0, "119 s"),
        (120.0, "2 min"),
        (316.0, "5.3 min"),
        (541.0, "9 min"),
        (600.0, "10 min"),
        (7199.0, "120 min"),
        (7200.0, "2 h"),
        (172_800.0, "2 d"),
        (math.inf, "∞"),
    ],
)
def test_a_duration_is_in_the_largest_unit_that_suits_it(seconds, text):
    assert duration_text(seconds) == text


def test_a_fraction_between_0_and_1_is_never_shown_as_0_or_100_percent():
    assert [percent_text(each) for each in (0.0, 1e-9, 0.9999999, 1.0)] == [
        "0%", "<0.1%", ">99.9%", "100%"
    ]  # fmt: skip
