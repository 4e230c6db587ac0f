"""Quantities as text: one style for messages, `explain`, `check` and the demo."""

import math
from collections.abc import Mapping

_UNITS = (
    (86_400.0, 2.0, "d"),
    (3_600.0, 2.0, "h"),
    (60.0, 2.0, "min"),
    (1.0, 1.0, "s"),
)
"""Seconds of each unit, and the smallest count that is written in it. 2 from minutes on, because
"90 s" is easier to compare with a timeout than "1.5 min"."""


def duration_text(seconds: float) -> str:
    """A duration in the largest unit that suits it.

    Below 10 of a unit it has two significant digits, otherwise none after the point. A duration to
    be copied into a configuration is formatted by `config.durations`, without loss.

    >>> [duration_text(seconds) for seconds in (0.2, 0.0125, 1.5, 12.3, 90.0)]
    ['200 ms', '12 ms', '1.5 s', '12 s', '90 s']
    >>> [duration_text(seconds) for seconds in (150.0, 600.0, 5400.0, 90_000.0, 604_800.0)]
    ['2.5 min', '10 min', '90 min', '25 h', '7 d']
    >>> duration_text(0.0), duration_text(float("inf"))
    ('0 s', '∞')
    """
    if seconds == float("inf"):
        return "∞"
    if seconds <= 0.0:
        return "0 s"
    for size_s, smallest, unit in _UNITS:
        if seconds >= smallest * size_s:
            return f"{_short(seconds / size_s)} {unit}"
    return f"{_short(1000.0 * seconds)} ms"


def _short(count: float) -> str:
    return f"{count:.2g}" if count < 10.0 else f"{count:.0f}"


def percent_text(fraction: float) -> str:
    """A fraction as a percentage. A fraction between 0 and 1 is never shown as 0% or 100%.

    >>> percent_text(0.029), percent_text(1e-5), percent_text(0.99999), percent_text(1.0)
    ('2.9%', '<0.1%', '>99.9%', '100%')
    """
    percent = 100.0 * fraction
    if 0.0 < percent < 0.05:
        return "<0.1%"
    if 99.95 <= percent < 100.0:
        return ">99.9%"
    return f"{percent:.1f}".removesuffix(".0") + "%"


def bytes_text(size_bytes: float) -> str:
    """A size in GiB with one decimal, or below 1 GiB in MiB.

    >>> bytes_text(6_657_199_308), bytes_text(500 * 2**20)
    ('6.2 GiB', '500 MiB')
    """
    gib = size_bytes / 2**30
    return f"{gib:.1f} GiB" if gib >= 0.95 else f"{size_bytes / 2**20:.0f} MiB"


def quantile_text(fraction: float) -> str:
    """The usual name of a quantile.

    >>> quantile_text(0.99), quantile_text(0.999), quantile_text(0.5)
    ('p99', 'p99.9', 'p50')
    """
    return f"p{100.0 * fraction:.6g}"


def load_text(inputs: Mapping[str, float | str | None]) -> str:
    """The load in erlangs, and how uncertain it is.

    >>> load_text({"offered_load": 4.0, "load_stddev": 0.25})
    '4.00 ± 0.25'
    >>> load_text({"offered_load": 3.0, "load_at_most": 19.4})
    'at least 3.00, at most 19.40 (callers time out)'
    >>> load_text({"offered_load": 1.0, "load_at_most": math.inf})
    'at least 1.00 (callers time out)'
    >>> load_text({"offered_load": 3.0, "load_at_most": 19.4, "load_of_totals": 1.0})
    'about 3.00, at most 19.40 (callers time out)'
    """
    load = f"{inputs['offered_load']:.2f}"
    if "load_at_most" in inputs:
        most = inputs["load_at_most"]  # None or infinite: unknown
        known = most is not None and math.isfinite(float(most))
        least = "about" if "load_of_totals" in inputs else "at least"
        return f"{least} {load}{f', at most {most:.2f}' if known else ''} (callers time out)"
    return f"{load} ± {inputs['load_stddev']:.2f}" if "load_stddev" in inputs else load
