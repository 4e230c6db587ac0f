"""Unexpected arrival counts, and how the load is learned from them."""

from autoscaler.core.policies import Situation
from autoscaler.core.slo import load_distribution
from autoscaler.core.slo.load_distribution import LoadMixture
from autoscaler.core.slo.memory import SloMemory
from autoscaler.core.values import Sample

JUMP_RATIO, MIN_JUMP_FRACTION = 2.0, 0.1
"""An unexpected arrival count above this multiple of the predicted one is a load jump, not noise.
The jump began at least `MIN_JUMP_FRACTION` of a poll interval ago, because a few simultaneous
requests look like a jump too."""

RECOMPUTE_SIGMA = 2.5
"""Standard deviations between an arrival count and the prediction from which the policy recomputes
at once. 2.5: about one poll in eighty by chance."""


def is_unexpected(predicted: float, arrivals: int, dispersion: float) -> bool:
    """Whether an arrival count is more than `RECOMPUTE_SIGMA` standard deviations off."""
    difference = arrivals - predicted
    return difference * difference > RECOMPUTE_SIGMA * RECOMPUTE_SIGMA * max(1.0, predicted) * max(
        1.0, dispersion
    )


def updated_mixture(
    seen: SloMemory, situation: Situation, service_time_s: float, burstiness: float
) -> LoadMixture:
    """The load mixture after the last samples. An unexpected last count is learned apart from the
    samples before it, which would hide it."""
    known, rate_per_s = seen.estimate.mixture, seen.estimate.rate_per_s
    last, time_s = seen.last_requests or 0, situation.sample.interval_s
    if not is_unexpected(rate_per_s * time_s, last, burstiness):
        return load_distribution.updated(
            known, seen.requests, seen.time_s, service_time_s, burstiness
        )
    quiet, quiet_s = seen.requests - last, seen.time_s - time_s
    if quiet_s > 0.0:
        known = load_distribution.updated(known, quiet, quiet_s, service_time_s, burstiness)
    if seen.estimate.step is not None and last > JUMP_RATIO * rate_per_s * time_s:
        running = situation.running
        if running > seen.estimate.step.after:
            # They were not added for the last recommendation, but at some time since then.
            running = min(running, seen.estimate.running)
        since_s = _seconds_since_jump(
            situation.sample, running, rate_per_s * service_time_s, service_time_s
        )
        last -= round(rate_per_s * (time_s - since_s))
        time_s = since_s
    return load_distribution.updated(known, last, time_s, service_time_s, burstiness)


def _seconds_since_jump(
    sample: Sample, running: int, predicted: float, service_time_s: float
) -> float:
    """The most seconds that can have passed between a load jump and the poll, if the load was
    `predicted` erlangs before it.

    With a queue, all allocations have been busy since the jump, and served the predicted load
    before it. So the work done in the interval determines the time of the jump.
    """
    if sample.in_flight <= running or predicted >= running:
        return sample.interval_s
    done_s = sample.busy_s + running * service_time_s / 2.0  # half of each request in service
    since_s = (done_s - predicted * sample.interval_s) / (running - predicted)
    return min(
        sample.interval_s, max(since_s, service_time_s, MIN_JUMP_FRACTION * sample.interval_s)
    )
