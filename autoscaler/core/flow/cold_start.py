"""What a daemon that begins without a saved state has to know before it changes allocations."""

from autoscaler.core.values import Sample

COLD_START_HOLD_S = 300.0
"""Seconds for which it measures first. 5 min: the load of ten seconds is known to 10% at ten
requests per second, that of five minutes to 2%."""

QUEUE_RATIO = 2
"""Multiple of the running allocations above which requests in flight are evidence of an overload.
2: sufficient allocations reach it by chance in few polls, and an overload within one or two."""


def is_overloaded(sample: Sample, running: int | None) -> bool:
    """Whether the allocations are certainly too few, without any estimate."""
    return (
        running is None
        or sample.in_flight > QUEUE_RATIO * running
        or sample.failed > 0
        or sample.timeouts > 0
    )
