"""The time from which load is imported."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

_NUMBER = re.compile(r"[0-9]{1,12}(\.[0-9]{1,9})?", re.ASCII)
_AGO = re.compile(r"([0-9]{1,6})([smhdw])", re.ASCII)
_UNITS = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0, "w": 604_800.0}


Progress = Callable[[int, int], None]
"""Called with the minutes that were imported, and with all of them."""


class Period(NamedTuple):
    """From `since` to `until`, in Unix seconds."""

    since: float
    until: float

    def report(self, progress: Progress, until: float) -> None:
        """The period was imported until then."""
        total = max(1, round((self.until - self.since) / 60.0))
        progress(max(1, min(total, round((until - self.since) / 60.0))), total)


def instant(text: str, now: float) -> float:
    """Unix seconds of an instant: `now`, a time ago such as 24h or 7d, a date with or without a
    time in ISO 8601, or Unix seconds. Without an offset, a time is in UTC.

    Raises:
        ValueError: the text is none of these.

    >>> instant("1d", 100_000.0), instant("2026-01-31T12:00:00Z", 0.0), instant("now", 5.0)
    (13600.0, 1769860800.0, 5.0)
    """
    if text == "now":
        return now
    if ago := _AGO.fullmatch(text):
        return now - float(ago[1]) * _UNITS[ago[2]]
    if _NUMBER.fullmatch(text) and len(text.split(".", maxsplit=1)[0]) >= 9:
        return float(text)
    try:
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise ValueError(
            "must be `now`, a time ago such as 24h or 7d, or a date such as 2026-01-31 or "
            f"2026-01-31T12:00:00Z, not {text[:60]!r}"
        ) from None
