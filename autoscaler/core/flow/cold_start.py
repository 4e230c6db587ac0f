"""What a daemon that begins without a saved state has to know before it changes allocations."""

from autoscaler.core.state import State
from autoscaler.core.values import Sample

COLD_START_HOLD_S = 600.0
"""Seconds for which it observes first. 10 min: with service times of 0.7 s, ten steady loads led to
16 updates in the half hour after such a start, to 31 with 5 min, and to 10 without a restart."""

QUEUE_RATIO = 2
"""Multiple of the running allocations above which requests in flight are evidence of an overload.
2: sufficient allocations reach it by chance in few polls, and an overload within one or two."""


def observed_s(state: State, at: float, max_interval_s: float) -> float | None:
    """Seconds for which a daemon that began without a saved state has observed, at a further
    observation; None: it has done so for long enough, or there was a state.

    Time without observations does not count, whether the cluster did not respond or no daemon ran.
    """
    if state.cold_start_s is None:
        return None
    gap_s = 0.0 if state.seen_at is None else max(0.0, at - state.seen_at)
    observed = state.cold_start_s + (gap_s if gap_s <= max_interval_s else 0.0)
    return observed if observed < COLD_START_HOLD_S else None


def is_overloaded(sample: Sample, running: int | None) -> bool:
    """Whether the allocations are certainly too few, without any estimate."""
    return (
        running is None
        or sample.in_flight > QUEUE_RATIO * running
        or sample.failed > 0
        or sample.timeouts > 0
    )
