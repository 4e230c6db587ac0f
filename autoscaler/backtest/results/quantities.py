"""Figures of results as text."""

import math

from autoscaler.core.units import duration_text


def seconds(wait_s: float | None) -> str:
    """
    >>> seconds(0.0771), seconds(12.34), seconds(754.0), seconds(None)
    ('77 ms', '12 s', '13 min', '-')
    """
    return "-" if wait_s is None else duration_text(wait_s)


def attainment(violation_fraction: float) -> str:
    """The percentage of requests that met the SLO, rounded down: 100 means all of them.

    >>> attainment(0.000_01), attainment(0.0)
    ('99.99', '100')
    """
    if violation_fraction == 0.0:
        return "100"
    return f"{math.floor(1e4 * (1.0 - violation_fraction) + 1e-6) / 100.0:.2f}"
