"""What the policy knows of the SLO at a poll: from its last recommendation, and the queue now."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple, cast

from autoscaler.core.policies import Situation
from autoscaler.core.slo.memory import SloEstimate, SloMemory
from autoscaler.core.slo.violations import new_requests, new_violations, with_queue
from autoscaler.core.slo_status import (
    Expectation,
    ForecastStatus,
    RecurrenceStatus,
    SloStatus,
)
from autoscaler.core.values import Candidate, Step

Numbers = Mapping[str, float]
"""The inputs of a step. Those that are read here are numbers."""

_NOTHING: Numbers = MappingProxyType({})


class Learnt(NamedTuple):
    """The memory before and after a poll whose sample is reliable."""

    situation: Situation
    before: SloMemory
    after: SloMemory

    @property
    def counted(self) -> tuple[int, float]:
        """The requests since the poll before, and the late ones. None where the policy has not
        counted them, because it did not trust the interval."""
        before, after, sample = self.before, self.after, self.situation.sample
        if after.time_s == before.time_s and after.estimate.step is before.estimate.step:
            return 0, 0.0
        return new_requests(sample), new_violations(self.situation, before)


def slo_status(target: float, memory: SloMemory, learnt: Learnt | None) -> SloStatus:
    """The status, except for what is expected after loading.

    Args:
        learnt: None: this poll has shown nothing reliable, and what is known is older.
    """
    step = memory.estimate.step
    numbers = cast("Numbers", {} if step is None else step.inputs)
    unreachable = "slo_unreachable" in numbers
    requests, late = (0, 0.0) if learnt is None else learnt.counted
    if learnt is None or step is None:
        present, now, backlog = _NOTHING, None, None
    else:
        present, now = numbers, _now(step, learnt.situation, memory.estimate)
        backlog = _count(numbers, "backlog_requests") or 0
    return SloStatus(
        target=target,
        unreachable=unreachable,
        max_queue_wait_s=None if unreachable else numbers.get("max_queue_wait_s"),
        caller_timeout_s=numbers.get("caller_timeout_s"),
        requests=requests,
        late_requests=late,
        attainment=numbers.get("slo_attainment"),
        expected_attainment=numbers.get("expected_slo_attainment"),
        preventable_fraction=numbers.get("preventable_fraction"),
        violation_weight=numbers.get("violation_weight"),
        load=present.get("offered_load"),
        load_stddev=present.get("load_stddev"),
        load_at_most=present.get("load_at_most"),
        now=now,
        backlog_requests=backlog,
        backlog_allocations=_count(present, "backlog_allocations"),
        after_new_node=_count(present, "after_new_node"),
        forecast=_forecast(present),
        recurrence=_recurrence(present),
    )


def expectation_of(candidate: Candidate) -> Expectation:
    """What a candidate predicts, as an expectation."""
    return Expectation(
        allocations=candidate.allocations,
        late_fraction=candidate.violation_fraction,
        queue_wait_s=candidate.queue_wait_s,
    )


def _now(step: Step, situation: Situation, estimate: SloEstimate) -> Expectation | None:
    """What the requests meet now: with the present queue, and the allocations that run."""
    running = situation.running
    if running <= 0:
        return None
    for candidate in step.candidates:
        if candidate.allocations == running:
            late, wait_s = with_queue(
                situation, candidate, estimate.max_wait, estimate.service_time
            )
            return Expectation(allocations=running, late_fraction=late, queue_wait_s=wait_s)
    return None


def _forecast(numbers: Numbers) -> ForecastStatus | None:
    trusted = numbers.get("forecast_trusted")
    if trusted is None:
        return None
    return ForecastStatus(
        trusted=bool(trusted),
        load=numbers.get("forecast_load"),
        median_load=numbers.get("forecast_median"),
        error_ratio=numbers.get("forecast_accuracy"),
        coverage=numbers.get("forecast_coverage"),
        allocations=_count(numbers, "forecast_allocations"),
    )


def _recurrence(numbers: Numbers) -> RecurrenceStatus | None:
    every_s, load = numbers.get("recurs_every_s"), numbers.get("recurring_load")
    if every_s is None or load is None:
        return None
    return RecurrenceStatus(
        every_s=every_s,
        load=load,
        change_in_s=numbers.get("recurring_change_in_s"),
        allocations=_count(numbers, "recurring_allocations"),
    )


def _count(numbers: Numbers, name: str) -> int | None:
    value = numbers.get(name)
    return None if value is None else int(value)
