"""Unexpected arrival counts, and how the load is learned from them."""

import math

from autoscaler.core.policies import Situation
from autoscaler.core.slo import load_distribution
from autoscaler.core.slo.count_window import WINDOW_S, CountWindow
from autoscaler.core.slo.load_distribution import LoadMixture
from autoscaler.core.slo.memory import SloMemory
from autoscaler.core.slo.recurrence import expected_rates
from autoscaler.core.values import Sample, Value

JUMP_RATIO, MIN_JUMP_FRACTION = 2.0, 0.1
"""An unexpected arrival count above this multiple of the predicted one is a load jump, not noise.
The jump began at least `MIN_JUMP_FRACTION` of a poll interval ago, because a few simultaneous
requests look like a jump too."""

RECOMPUTE_SIGMA = 2.5
"""Standard deviations between an arrival count and the prediction from which the policy recomputes
at once. 2.5: about one poll in eighty by chance."""


def is_unexpected(
    predicted: float, arrivals: float, dispersion: float, sigma: float = RECOMPUTE_SIGMA
) -> bool:
    """Whether an arrival count is more than `sigma` standard deviations off."""
    difference = arrivals - predicted
    return difference * difference > sigma * sigma * max(1.0, predicted) * max(1.0, dispersion)


class Surprise(Value, frozen=True):
    """The last requests before a poll, if they are more or fewer than predicted."""

    requests: int
    time_s: float  # in which they arrived
    sudden: bool  # whether these are the requests since the last poll


def surprise_of(
    predicted_per_s: float, requests: int, interval_s: float, window: CountWindow
) -> Surprise | None:
    """Whether there are more requests than predicted since the last poll, or more or fewer in the
    last complete window. Fewer within a short interval are no evidence for a decrease."""
    predicted = predicted_per_s * interval_s
    if requests > predicted and is_unexpected(
        predicted, requests, window.dispersion, _sigma(interval_s)
    ):
        return Surprise(requests, interval_s, True)
    if (
        window.is_complete
        and not window.jumped
        and is_unexpected(predicted_per_s * window.time_s, window.requests, window.dispersion)
    ):
        return Surprise(window.requests, window.time_s, window.time_s <= interval_s)
    return None


def _sigma(interval_s: float) -> float:
    """The standard deviations of an unexpected count. More for short intervals, so that as many
    exceed them by chance in a window of any length."""
    more = 2.0 * math.log(max(1.0, WINDOW_S / interval_s))
    return math.sqrt(RECOMPUTE_SIGMA * RECOMPUTE_SIGMA + more)


def updated_mixture(
    seen: SloMemory,
    situation: Situation,
    service_time_s: float,
    burstiness: float,
    surprise: Surprise | None,
) -> LoadMixture:
    """The load mixture after the last samples. An unexpected last count is learned apart from the
    samples before it, which would hide it."""
    known, rate_per_s, at = seen.estimate.mixture, seen.estimate.rate_per_s, situation.at
    if surprise is None:
        recurring = expected_rates(seen.recurrence, at - seen.time_s, at)
        return load_distribution.updated(
            known, seen.requests, seen.time_s, service_time_s, burstiness, recurring
        )
    last, time_s = surprise.requests, surprise.time_s
    if time_s > seen.time_s:
        # The beginning of the window was learned with the last recomputation.
        last, time_s = seen.requests, seen.time_s
    quiet, quiet_s = seen.requests - last, seen.time_s - time_s
    if quiet_s > 1e-6:
        recurring = expected_rates(seen.recurrence, at - seen.time_s, at - time_s)
        known = load_distribution.updated(
            known, max(0, quiet), quiet_s, service_time_s, burstiness, recurring
        )
    recurring = expected_rates(seen.recurrence, at - time_s, at)
    if (
        surprise.sudden
        and seen.estimate.step is not None
        and last > JUMP_RATIO * rate_per_s * time_s
    ):
        running = situation.running
        if running > seen.estimate.step.after:
            # They were not added for the last recommendation, but at some time since then.
            running = min(running, seen.estimate.running)
        since_s = _seconds_since_jump(
            situation.sample, running, rate_per_s * service_time_s, service_time_s
        )
        last -= round(rate_per_s * (time_s - since_s))
        time_s = since_s
    return load_distribution.updated(known, last, time_s, service_time_s, burstiness, recurring)


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
