"""Excludes implausible service times, so that one absurd sample does not change an estimate."""

from msgspec.structs import replace

from autoscaler.core.policies import Situation
from autoscaler.core.slo.memory import SloEstimate, SloMemory
from autoscaler.core.slo.service_time import (
    ServiceTimeEstimate,
    confirms,
    contradicted,
    discounted,
    is_doubtful,
    updated_service_time,
)
from autoscaler.core.values import ROUNDING_LOSS_S, Value

QUEUED_PER_ALLOCATION = 2.0
"""In-flight requests per allocation from which on all allocations are busy, for any distribution
of the requests over the nodes."""


class BelievedTimes(Value, frozen=True):
    """The timed requests since the last recomputation, without implausible ones."""

    estimate: SloEstimate  # without a service time if that was dropped
    timed: int
    timed_s: float
    doubtful_s: float = 0.0


def believed_times(situation: Situation, memory: SloMemory) -> BelievedTimes:
    """The timed requests after another sample. A doubtful sample is left out until the next sample
    confirms it; then the estimate starts again."""
    sample, estimate = situation.sample, memory.estimate
    known, timed = estimate.service_time, sample.timed
    if situation.load.service_time_at_most_s is not None or sample.contradicts(
        known.mean_s if known.requests else None
    ):
        timed = 0  # `service_now` uses what an overload shows
    timed_s = sample.timed_busy_s + timed * ROUNDING_LOSS_S if timed else 0.0
    if not is_doubtful(estimate.service_time, timed, timed_s):
        doubtful_s = 0.0 if timed else memory.doubtful_s
        return BelievedTimes(estimate, memory.timed + timed, memory.timed_s + timed_s, doubtful_s)
    mean_s = timed_s / timed
    if not confirms(mean_s, memory.doubtful_s):
        return BelievedTimes(estimate, memory.timed, memory.timed_s, mean_s)
    unknown = ServiceTimeEstimate(scv=estimate.service_time.scv)
    return BelievedTimes(replace(estimate, service_time=unknown), timed, timed_s)


def _was_saturated(situation: Situation, seen: SloMemory) -> bool:
    """Whether all allocations were busy during the last interval, and requests failed."""
    least = QUEUED_PER_ALLOCATION * situation.running
    return (
        situation.sample.failed > 0
        and situation.running == seen.estimate.running > 0
        and min(situation.sample.in_flight, seen.in_flight_before) >= least
    )


def service_now(situation: Situation, seen: SloMemory) -> ServiceTimeEstimate:
    """The service-time estimate; with 0 requests if no request has been timed."""
    before, load = seen.estimate, situation.load
    service = (
        before.service_time
        if situation.running == before.running
        else discounted(before.service_time)
    )
    service = updated_service_time(service, seen.timed, seen.timed_s, seen.time_s)
    if _was_saturated(situation, seen):
        sample = situation.sample
        served = max(0, sample.completed - sample.cache_hits) + sample.timeouts
        service = contradicted(service, served, situation.running, sample.interval_s)
    known_s, only_least = load.service_time_s, load.service_time_at_most_s is not None
    if known_s is not None and (
        service.requests <= 0.0 or (only_least and service.mean_s < known_s)
    ):
        return ServiceTimeEstimate(1.0, known_s, service.scv)
    return service
