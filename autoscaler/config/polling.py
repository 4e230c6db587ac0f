"""How often the cluster is polled: the keys poll_interval and min_poll_interval."""

from collections.abc import Iterator

from autoscaler.config.document import ConfigDocument
from autoscaler.config.durations import format_duration
from autoscaler.core.next_poll import Polling

DEFAULT_MIN_POLL_INTERVAL_S = 2.0
"""The default of min_poll_interval in seconds, unless poll_interval is shorter. 2 s, because an
update has an effect about 4 s after its poll, so that more frequent polls change little."""


def polling_of(interval_s: float, min_interval_s: float | None = None) -> Polling:
    """
    Args:
        min_interval_s: None: the default.
    """
    if min_interval_s is None:
        min_interval_s = min(DEFAULT_MIN_POLL_INTERVAL_S, interval_s)
    return Polling(interval_s=interval_s, min_interval_s=min_interval_s)


def polling_problems(document: ConfigDocument) -> Iterator[tuple[str, str]]:
    """Keys that conflict with others, each with a sentence about the problem."""
    interval_s, min_interval_s = document.poll_interval, document.min_poll_interval
    if min_interval_s is not None and min_interval_s > interval_s:
        least, most = format_duration(min_interval_s), format_duration(interval_s)
        yield "min_poll_interval", f"must be at most poll_interval, which is {most}, not {least}"
