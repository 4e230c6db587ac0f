"""The policy `slo`: the allocations at which allocations and SLO violations together cost least.

For each allocation count, the fraction of late requests is predicted: for the load to expect
(`load_distribution`), with the allocations placed on the nodes (`placement`), by a queueing model
(`queueing`). The count with the lowest cost is recommended (`cost_model`). The error budget sets
the violation weight (`error_budget`).
"""

import math
from typing import ClassVar

from msgspec.structs import replace

from autoscaler.core.forecast.forecaster import Forecast, Forecaster, ForecastMemory
from autoscaler.core.policies import (
    MAX_ALLOCATIONS,
    CostCurve,
    MemoryFormat,
    Situation,
    at_least_for,
)
from autoscaler.core.slo import backlog, load_distribution
from autoscaler.core.slo.backlog import BacklogModel
from autoscaler.core.slo.believed_times import believed_times, service_now
from autoscaler.core.slo.callers import caller_timeout
from autoscaler.core.slo.choice import chosen_allocations
from autoscaler.core.slo.cost_model import CostModel, QueueParameters
from autoscaler.core.slo.error_budget import (
    WeightSettings,
    after_interval,
    violation_weight,
)
from autoscaler.core.slo.increase import PresentLoad
from autoscaler.core.slo.load_distribution import LoadDistribution
from autoscaler.core.slo.load_jump import is_unexpected, updated_mixture
from autoscaler.core.slo.memory import SloEstimate, SloMemory
from autoscaler.core.slo.objective import SloObjective
from autoscaler.core.slo.optional_inputs import optional_inputs, shown_counts
from autoscaler.core.slo.placement import NodeSlots, node_slots_of, placement_of
from autoscaler.core.slo.service_time import ServiceTimeEstimate, dispersion_after
from autoscaler.core.slo.violations import (
    expected_violations,
    inputs_now,
    violations_in_interval,
)
from autoscaler.core.values import Reason, Sample, Step, Value

NEW_NODE_S = 60.0
"""Seconds that a new node takes to load a model, until a lead time has been measured."""

HORIZON_POLLS = 3.0
"""Horizon of the queue model, in poll intervals. 3, because a queue outlasts the interval in which
it forms."""

UNMEASURED_IDLE_S = 300.0
"""Seconds without a request after which one allocation is recommended, although no service time has
been measured yet."""

MAX_RECOMPUTE_INTERVAL_S = 60.0
"""Maximum seconds between recomputations while arrivals match the prediction. 60 s: a recomputation
costs about 0.25 ms per deployment."""

RETURN_GAP_S = 60.0
"""Seconds without a sample after which more requests than predicted count only from the second
interval on."""

MAX_LOAD_RATIO = 10.0
"""Multiple of the most allocations up to which loads are distinguished, and used for forecasts."""

FORECAST_POINTS = ((0.0, 0.75), (0.5, 0.2), (1.0, 0.05))
"""The distribution of the load at the forecast horizon, as (point, probability). Point 0 is the
expected load, 1 the forecast; lower loads do not matter. 5%: the forecast is a quantile of
0.95."""


class RecordedLoads(Value, frozen=True, kw_only=True):
    """Loads recorded before the first poll."""

    loads: tuple[float, ...] = ()  # mean of each `SLOT_S` seconds in erlangs, oldest first
    ends_at: float = 0.0  # Unix seconds


class SloPolicy(Value, frozen=True, kw_only=True):
    """Keeps the fraction `objective.target` of the requests within the SLO, at the lowest cost."""

    name: ClassVar[str] = "slo"
    memory_format: ClassVar[MemoryFormat] = MemoryFormat(SloMemory, 1)

    objective: SloObjective = SloObjective()
    drain_s: float = 30.0  # time in which a backlog is served
    caller_timeout_s: float | None = None  # callers give up after this queue wait; None: by use
    load_window_s: float = 60.0
    weight_settings: WeightSettings = WeightSettings()
    forecaster: Forecaster | None = Forecaster()
    history: RecordedLoads = RecordedLoads()

    def begin(self) -> SloMemory:
        """A memory that contains only the recorded loads."""
        if self.forecaster is None or not self.history.loads:
            return SloMemory()
        forecast = self.forecaster.from_history(self.history.loads, self.history.ends_at)
        return SloMemory(SloEstimate(forecast=forecast))

    def recommend(self, situation: Situation, memory: SloMemory) -> tuple[Step, SloMemory]:
        """The allocations at which allocations and SLO violations together cost least."""
        current, sample, estimate = situation.current, situation.sample, memory.estimate
        interval_s = sample.interval_s
        if interval_s <= 0.0:
            return Step(Reason.NOT_MEASURED, current, current), memory
        # Cache hits occupy no allocation.
        requests = max(0, sample.arrivals - sample.cache_hits)
        dispersion = memory.dispersion
        if memory.last_requests is not None and not _timing_hides_chance(sample, requests):
            longer = _ratio(interval_s, memory.last_interval_s)
            dispersion = dispersion_after(dispersion, memory.last_requests, requests, longer)
        believed = believed_times(situation, memory)
        seen = SloMemory(
            believed.estimate,
            memory.requests + requests,
            memory.violations + violations_in_interval(situation, memory, requests),
            believed.timed,
            believed.timed_s,
            memory.time_s + interval_s,
            dispersion,
            requests,
            sample.in_flight,
            interval_s,
            memory.in_flight,
            believed.doubtful_s,
            situation.at,
        )
        predicted = estimate.rate_per_s * interval_s
        if (
            situation.at - memory.at > interval_s + RETURN_GAP_S
            and estimate.step is not None
            and estimate.step.before == current
            and requests > predicted
            and is_unexpected(predicted, requests, dispersion)
        ):
            # Callers repeat their requests when the cluster returns. That passes, or the next
            # interval shows it as well.
            return estimate.step, replace(
                memory, at=situation.at, in_flight=sample.in_flight, last_requests=None
            )
        if (
            estimate.step is None
            or believed.estimate is not estimate
            or estimate.step.before != current
            or estimate.running != situation.running
            or seen.time_s >= MAX_RECOMPUTE_INTERVAL_S
            or sample.failed
            or is_unexpected(predicted, requests, dispersion)
            or backlog.is_due(situation, memory, self.drain_s)
        ):
            return self._recomputed(situation, seen)
        return estimate.step, seen

    def cost_curve(self, situation: Situation, memory: SloMemory) -> CostCurve | None:
        """The cost of each allocation count, with the estimates of the last recomputation; None if
        there was none."""
        estimate, service = memory.estimate, memory.estimate.service_time
        if estimate.step is None or service.requests <= 0.0:
            return None
        burstiness = max(1.0, memory.dispersion)
        loads = load_distribution.predicted(estimate.mixture, service.mean_s, burstiness)
        return CostModel(
            tuple(loads.items()),
            _node_slots(situation, estimate),
            violation_weight(estimate.budget, 1.0 - self.objective.target, self.weight_settings),
            self._queue_parameters(
                situation, service, burstiness, estimate.max_wait * service.mean_s
            ),
        ).cost

    def _recomputed(self, situation: Situation, seen: SloMemory) -> tuple[Step, SloMemory]:
        """A new recommendation, from all samples since the last recomputation."""
        current = situation.current
        service = service_now(situation, seen)
        if service.requests <= 0.0:
            if seen.requests == 0 and seen.time_s >= UNMEASURED_IDLE_S:
                return Step(Reason.SLO, current, 1, {"offered_load": 0.0}), seen
            return Step(Reason.NOT_MEASURED, current, current), seen
        return self._recommended(situation, seen, service)

    def _recommended(
        self, situation: Situation, seen: SloMemory, service: ServiceTimeEstimate
    ) -> tuple[Step, SloMemory]:
        """The recommendation for these service times."""
        current, before = situation.current, seen.estimate
        mean_s, burstiness = service.mean_s, max(1.0, seen.dispersion)
        max_wait_s = self.objective.max_queue_wait_s(mean_s, math.sqrt(service.scv))
        mixture = updated_mixture(seen, situation, mean_s, burstiness)
        loads = load_distribution.limited(
            load_distribution.predicted(mixture, mean_s, burstiness),
            MAX_LOAD_RATIO * situation.max_allocations,
        )
        load, stddev = load_distribution.mean_and_spread(loads)
        node_slots = _node_slots(situation, before)
        parameters = self._queue_parameters(situation, service, burstiness, max_wait_s or 0.0)
        expected_until = self._expected_until(situation, before)
        violations = seen.violations
        if situation.at <= expected_until:
            violations = expected_violations(situation, seen, node_slots, parameters, mean_s)
        budget = after_interval(
            before.budget,
            seen.requests,
            violations,
            seen.time_s,
            1.0 - self.objective.target,
            self.weight_settings,
        )
        attainment = before.attainment.after(seen.requests, seen.violations, seen.time_s)
        weight = violation_weight(budget, 1.0 - self.objective.target, self.weight_settings)
        cost_model = CostModel(tuple(loads.items()), node_slots, weight, parameters)
        too_few = load >= situation.max_allocations  # whatever is requested
        kept = chosen_allocations(
            cost_model,
            situation,
            before,
            load,
            PresentLoad(
                at=situation.at,
                rate_per_s=mixture.rate_per_s,
                service_time_s=mean_s,
                dispersion=burstiness,
                expected_duration_s=mixture.expected_duration_s,
            ),
        )
        allocations = kept.allocations
        timeout = caller_timeout(self.caller_timeout_s, situation.callers)
        to_drain = BacklogModel(
            load=load,
            rate_per_s=mixture.rate_per_s,
            service_time_s=mean_s,
            max_queue_wait_s=max_wait_s or 0.0,
            allocations=allocations,
            violation_weight=weight,
            drain_s=self.drain_s,
            caller_timeout_s=timeout.seconds,
        ).backlog(situation, seen)
        if to_drain is not None and situation.carried_out:
            allocations = max(allocations, to_drain.allocations)
        least, uncertain = at_least_for(situation)
        allocations = min(max(allocations, least), MAX_ALLOCATIONS)
        forecast_memory, forecast = self._forecast(situation, seen, mean_s, node_slots)
        forecast_allocations = None
        if forecast is not None and forecast.trusted and not too_few:
            needed = cost_model.with_loads(_forecast_distribution(forecast)).cheapest(allocations)
            if needed > placement_of(node_slots, allocations).max_on_these_nodes:
                allocations = forecast_allocations = needed
        inputs: dict[str, float | str] = {
            "offered_load": load,
            **(uncertain or {"load_stddev": stddev}),
            "violation_weight": weight,
            "slo_target": self.objective.target,
            "max_queue_wait_s": max_wait_s or 0.0,
            "caller_timeout_s": timeout.seconds,
            "caller_timeout_because": timeout.because,
            **optional_inputs(
                attainment,
                None if situation.carried_out else budget,
                to_drain,
                forecast,
                forecast_allocations,
                situation.max_allocations if too_few else None,
            ),
        }
        if kept.raised_s is not None and allocations == kept.allocations:
            inputs["raised_s"] = kept.raised_s
        if max_wait_s is None:
            inputs["slo_unreachable"] = "unreachable: the service time alone exceeds the latency"
        if situation.running >= current and current < node_slots.max_without_new_node < allocations:
            # A new node loads the model first, and Elasticsearch sends the other nodes their new
            # allocations only afterwards. So the nodes in use are filled first, which is immediate.
            inputs["after_new_node"] = float(allocations)
            allocations = node_slots.max_without_new_node
        shown = shown_counts(situation, allocations, too_few=too_few)
        candidates = cost_model.candidates(shown, self.objective.target, mean_s)
        if situation.missing:
            inputs |= inputs_now(situation, candidates, (max_wait_s or 0.0) / mean_s, service)
        # Nothing can be expected of a load that is not measured.
        step = Step(Reason.SLO, current, allocations, inputs, () if uncertain else candidates)
        placements = before.placements
        if not situation.missing:
            placements = placements.after(node_slots)
        estimate = SloEstimate(
            service_time=service,
            max_wait=(max_wait_s or 0.0) / mean_s,
            mixture=mixture,
            rate_per_s=mixture.rate_per_s,
            budget=budget,
            attainment=attainment,
            expected_until=expected_until,
            forecast=forecast_memory,
            backlog=to_drain,
            increase=kept.increase,
            running=situation.running,
            placements=placements,
            step=step,
        )
        return step, SloMemory(
            estimate,
            dispersion=seen.dispersion,
            last_requests=seen.last_requests,
            in_flight=seen.in_flight,
            last_interval_s=seen.last_interval_s,
            doubtful_s=seen.doubtful_s,
            at=seen.at,
        )

    def _queue_parameters(
        self,
        situation: Situation,
        service: ServiceTimeEstimate,
        burstiness: float,
        max_wait_s: float,
    ) -> QueueParameters:
        interval_s = situation.sample.interval_s
        return QueueParameters.of(
            max_wait=max_wait_s / service.mean_s,
            variability=(burstiness + service.scv) / 2.0,
            horizon=HORIZON_POLLS * interval_s / service.mean_s,
            drain=self.drain_s / interval_s,
            new_node=(situation.new_node_s or NEW_NODE_S) / interval_s,
        )

    def _expected_until(self, situation: Situation, before: SloEstimate) -> float:
        """Until when the violations of the budget are expected, and not measured.

        After a dry run, this includes the time to add the first allocations and to serve the queue
        that the dry run has left.
        """
        if situation.carried_out:
            return before.expected_until
        return situation.at + (situation.new_node_s or NEW_NODE_S) + self.drain_s

    def _forecast(
        self, situation: Situation, seen: SloMemory, service_time_s: float, node_slots: NodeSlots
    ) -> tuple[ForecastMemory | None, Forecast | None]:
        """The load that may come before a node that is requested now is ready. With a single node
        there is no forecast, because no allocation has to be requested that early."""
        memory, sample = seen.estimate.forecast, situation.sample
        if self.forecaster is None or not (node_slots.free or len(node_slots.used) > 1):
            return memory, None
        memory = memory or self.forecaster.begin()
        load = seen.requests * service_time_s / seen.time_s
        if load <= MAX_LOAD_RATIO * situation.max_allocations:
            memory = self.forecaster.updated(memory, situation.at, load, seen.time_s)
        horizon_s = (situation.new_node_s or NEW_NODE_S) + sample.interval_s
        return memory, self.forecaster.predict(memory, situation.at, horizon_s)


def _node_slots(situation: Situation, estimate: SloEstimate) -> NodeSlots:
    return node_slots_of(
        situation.nodes, situation.threads, situation.free_threads, estimate.placements
    )


def _timing_hides_chance(sample: Sample, requests: int) -> bool:
    """Whether the uncertainty of the interval changes the rate by more than chance does."""
    uncertainty = sample.uncertainty_s / sample.interval_s
    return uncertainty * uncertainty * requests > 1.0


def _ratio(interval_s: float, before_s: float) -> float:
    """The ratio of two intervals; 1 for the rounding errors of equal ones, or without the other."""
    if before_s <= 0.0 or math.isclose(interval_s, before_s, rel_tol=1e-6):
        return 1.0
    return interval_s / before_s


def _forecast_distribution(forecast: Forecast) -> LoadDistribution:
    loads: dict[int, float] = {}
    for fraction, probability in FORECAST_POINTS:
        load = forecast.expected + fraction * (forecast.load - forecast.expected)
        index = load_distribution.index_of_load(load)
        loads[index] = loads.get(index, 0.0) + probability
    return loads
