"""The policy `slo`: the fewest allocations that keep a promise on waiting, and what a late request
is worth decides which those are.

For each number of allocations it is reckoned how many requests would be late: with the load that
is to be expected (`expectation`), on the nodes as they would be split (`splitting`), by queueing
theory (`queueing`). The number is chosen at which allocations and late requests together cost least
(`weighing`), at the price that the error budget sets (`error_budget`).
"""

import math
from typing import ClassVar

from autoscaler.core.forecast.forecaster import Forecast, Forecaster, ForecastMemory
from autoscaler.core.policies import Situation
from autoscaler.core.slo import load_distribution as expectation
from autoscaler.core.slo import queueing
from autoscaler.core.slo.cost_model import CostModel, QueueParameters
from autoscaler.core.slo.error_budget import (
    ErrorBudget,
    WeightSettings,
    after_interval,
    violation_weight,
)
from autoscaler.core.slo.load_distribution import LoadDistribution, LoadMixture
from autoscaler.core.slo.objective import SloObjective
from autoscaler.core.slo.placement import NodeSlots, node_slots_of, placement_of
from autoscaler.core.slo.service_time import (
    ServiceTimeEstimate,
    discounted,
    dispersion_after,
    updated_service_time,
)
from autoscaler.core.values import ROUNDING_LOSS_S, Reason, Step, Value

NEW_NODE_S = 60.0
"""How long a node takes to load a model, until it is known better."""

BACKLOG_WAITS = 1.0
"""A queue is a backlog if it takes longer to serve than this many of the waits that are allowed."""

HORIZON_POLLS = 3.0
"""Looks that a number is meant to be right for: a queue outlives the look that finds it."""

UNMEASURED_IDLE_S = 300.0
"""A deployment that nobody has asked for so long needs no more than one allocation, even though
nobody knows how long a request would take."""

MAX_RECOMPUTE_INTERVAL_S = 60.0
"""While counts are as expected, it thinks anew only so often."""

FORECAST_POINTS = ((0.0, 0.75), (0.5, 0.2), (1.0, 0.05))
"""The load at the end of a forecast: how far from what is expected to the quantile, and how likely.
Below what is expected it does not matter."""

BURST_CORRECTION, MAX_BURST_CORRECTION = 0.25, 1.5
"""Where requests come in bursts, more of them meet a queue than looks do: so much more for each
unit of dispersion above 1, and so many times as many at most."""

JUMP_RATIO, MIN_JUMP_FRACTION = 2.0, 0.1
"""Times the count that was expected, from which a surprising one is a leap and not noise, and the
share of an interval that a leap has lasted at least: a few requests at once look like one."""

RECOMPUTE_SIGMA = 2.5
"""Standard deviations of a count from what was expected, at which it thinks at once."""


class Backlog(Value, frozen=True):
    """Requests that wait and will be late, if they are not yet."""

    since: float  # when it was first seen
    queued: int
    allocations: int  # allocations that clear it in time


class SloEstimate(Value, frozen=True, kw_only=True):
    """What it knows since it last thought, and what it concluded."""

    service: ServiceTimeEstimate = ServiceTimeEstimate()
    limit: float = 0.0  # of the wait, in service times
    expectation: LoadMixture = LoadMixture()
    rate_per_s: float = 0.0  # that is expected, kept since every look compares with it
    budget: ErrorBudget = ErrorBudget()
    forecast: ForecastMemory | None = None
    backlog: Backlog | None = None
    running: int = 0  # allocations then
    step: Step | None = None  # the conclusion


class SloMemory(Value, frozen=True):
    """What it remembers of a deployment."""

    learnt: SloEstimate = SloEstimate()
    # Seen since it last thought; requests are those that take an allocation.
    requests: int = 0
    late: float = 0.0
    timed: int = 0
    timed_s: float = 0.0
    time_s: float = 0.0
    # Of the last look.
    dispersion: float = 1.0  # variance of counts over their mean
    last: int | None = None  # requests
    in_flight: int = 0


class RecordedLoads(Value, frozen=True, kw_only=True):
    """Loads that were recorded before the first look."""

    loads: tuple[float, ...] = ()  # mean of each `SLOT_S` seconds in erlangs, oldest first
    ends_at: float = 0.0  # Unix seconds


class SloPolicy(Value, frozen=True, kw_only=True):
    """At least `objective.percentile` of the requests are in time, at the least cost."""

    name: ClassVar[str] = "slo"

    objective: SloObjective = SloObjective()
    drain_s: float = 30.0  # within which a backlog is to be cleared
    caller_timeout_s: float = 10.0  # what has waited so long is not worth serving
    load_window_s: float = 60.0
    pricing: WeightSettings = WeightSettings()
    forecaster: Forecaster | None = Forecaster()
    history: RecordedLoads = RecordedLoads()

    def begin(self) -> SloMemory:
        """Nothing has been seen yet but what was recorded."""
        if self.forecaster is None or not self.history.loads:
            return SloMemory()
        forecast = self.forecaster.from_history(self.history.loads, self.history.ends_at)
        return SloMemory(SloEstimate(forecast=forecast))

    def recommend(self, situation: Situation, memory: SloMemory) -> tuple[Step, SloMemory]:
        """The number at which allocations and late requests together cost least."""
        current, sample, learnt = situation.current, situation.sample, memory.learnt
        interval_s = sample.interval_s
        if interval_s <= 0.0:
            return Step(Reason.NOT_MEASURED, current, current), memory
        # The cache answers its hits without an allocation.
        requests = max(0, sample.arrivals - sample.cache_hits)
        dispersion = memory.dispersion
        if memory.last is not None:
            dispersion = dispersion_after(dispersion, memory.last, requests)
        seen = SloMemory(
            learnt,
            memory.requests + requests,
            memory.late + self._violations(situation, memory, requests),
            memory.timed + sample.timed,
            memory.timed_s + sample.timed_busy_s + sample.timed * ROUNDING_LOSS_S,
            memory.time_s + interval_s,
            dispersion,
            requests,
            sample.in_flight,
        )
        predicted = learnt.rate_per_s * interval_s
        if (
            learnt.step is None
            or learnt.step.before != current
            or learnt.running != situation.running
            or seen.time_s >= MAX_RECOMPUTE_INTERVAL_S
            or sample.failed
            or _is_unexpected(predicted, requests, dispersion)
            or self._new_backlog(situation, memory)
        ):
            return self._recomputed(situation, seen)
        return learnt.step, seen

    def _recomputed(self, situation: Situation, seen: SloMemory) -> tuple[Step, SloMemory]:
        """The conclusion from all that was seen."""
        current, before = situation.current, seen.learnt
        service = _service_now(situation, seen)
        if service.requests <= 0.0:
            if seen.requests == 0 and seen.time_s >= UNMEASURED_IDLE_S:
                return Step(Reason.SLO, current, 1, {"offered_load": 0.0}), seen
            return Step(Reason.NOT_MEASURED, current, current), seen
        mean_s, burstiness = service.mean_s, max(1.0, seen.dispersion)
        limit_s = self.objective.max_queue_wait_s(mean_s, math.sqrt(service.scv))
        allowed = 1.0 - self.objective.target
        budget = after_interval(
            before.budget, seen.requests, seen.late, seen.time_s, allowed, self.pricing
        )
        known = _learnt(seen, situation, mean_s, burstiness)
        loads = expectation.predicted(known, mean_s, burstiness)
        load, spread = expectation.mean_and_spread(loads)
        node_slots = node_slots_of(situation.nodes, situation.threads, situation.free_threads)
        weight = violation_weight(budget, allowed, self.pricing)
        terms = self._queue_parameters(situation, service, burstiness, limit_s or 0.0)
        cost_model = CostModel(tuple(loads.items()), node_slots, weight, terms)
        near = max(1, min(current, math.ceil(load + 3.0 * math.sqrt(load))))
        number = cost_model.with_change_threshold(
            current, cost_model.cheapest(near), known.expected_duration_s
        )
        queued = self._queued_within_timeout(situation, known.rate_per_s)
        backlog = None
        if queued * mean_s > BACKLOG_WAITS * (limit_s or 0.0) * max(1, situation.running):
            backlog = self._backlog(situation, before.backlog, queued, load, mean_s)
            number = max(number, backlog.allocations)
        forecast_memory, forecast = self._forecast(situation, seen, mean_s, node_slots)
        floor = None
        if forecast is not None and forecast.trusted:
            needed = cost_model.with_loads(_ahead(forecast)).cheapest(number)
            if needed > placement_of(node_slots, number).max_on_these_nodes:
                number = floor = needed
        inputs: dict[str, float | str] = {
            "offered_load": load,
            "load_stddev": spread,
            "violation_weight": weight,
            "slo_target": self.objective.target,
            "max_queue_wait_s": limit_s or 0.0,
            **_optional_inputs(budget, backlog, forecast),
        }
        if floor is not None:
            inputs["forecast_allocations"] = float(floor)
        if limit_s is None:
            inputs["slo_unreachable"] = "out of reach, since the service alone takes longer"
        if situation.running >= current and current < node_slots.max_without_new_node < number:
            # A further node loads the model first, and the cluster tells the others of their new
            # numbers only when it has. So first what the nodes in use can take at once.
            inputs["after_new_node"] = float(number)
            number = node_slots.max_without_new_node
        shown = sorted({max(1, number - 1), number, number + 1, max(1, current)})
        candidates = cost_model.candidates(shown, self.objective.target, mean_s)
        step = Step(Reason.SLO, current, number, inputs, candidates)
        learnt = SloEstimate(
            service=service,
            limit=(limit_s or 0.0) / mean_s,
            expectation=known,
            rate_per_s=known.rate_per_s,
            budget=budget,
            forecast=forecast_memory,
            backlog=backlog,
            running=situation.running,
            step=step,
        )
        return step, SloMemory(
            learnt, dispersion=seen.dispersion, last=seen.last, in_flight=seen.in_flight
        )

    def _queue_parameters(
        self, situation: Situation, service: ServiceTimeEstimate, burstiness: float, limit_s: float
    ) -> QueueParameters:
        interval_s = situation.sample.interval_s
        return QueueParameters.of(
            max_wait=limit_s / service.mean_s,
            variability=(burstiness + service.scv) / 2.0,
            horizon=HORIZON_POLLS * interval_s / service.mean_s,
            drain=self.drain_s / interval_s,
            new_node=(situation.new_node_s or NEW_NODE_S) / interval_s,
        )

    def _backlog(
        self,
        situation: Situation,
        known: Backlog | None,
        queued: int,
        load: float,
        service_time_s: float,
    ) -> Backlog:
        """One that has doubled since the last look is another one, with as much time again."""
        at, interval_s = situation.at, situation.sample.interval_s
        since = at if known is None or 2 * situation.sample.queue_growth > queued else known.since
        left_s = max(interval_s, since + self.drain_s - at)
        allocations = math.ceil(load + queued * service_time_s / left_s - 1e-9)
        return Backlog(since, queued, allocations)

    def _forecast(
        self, situation: Situation, seen: SloMemory, service_time_s: float, node_slots: NodeSlots
    ) -> tuple[ForecastMemory | None, Forecast | None]:
        """What may come before a node that is asked for now would serve. Where there is but one
        node, nothing has to be asked for so early."""
        memory, sample = seen.learnt.forecast, situation.sample
        if self.forecaster is None or not (node_slots.free or len(node_slots.used) > 1):
            return memory, None
        if memory is None:
            memory = self.forecaster.begin()
        load = seen.requests * service_time_s / seen.time_s
        memory = self.forecaster.updated(memory, situation.at, load, seen.time_s)
        horizon_s = (situation.new_node_s or NEW_NODE_S) + sample.interval_s
        return memory, self.forecaster.predict(memory, situation.at, horizon_s)

    def _new_backlog(self, situation: Situation, memory: SloMemory) -> bool:
        """Whether more wait than did, or than should by now."""
        backlog = memory.learnt.backlog
        if backlog is not None:
            late_s = situation.at - backlog.since - self.drain_s
            if late_s <= situation.sample.interval_s:
                return True
        return situation.sample.in_flight > max(situation.running, memory.in_flight)

    def _violations(self, situation: Situation, memory: SloMemory, requests: int) -> float:
        """How many requests of the last interval were late, as far as it can be told.

        Those that failed, and of the others as many as would have waited too long had they come at
        its beginning or at its end, on average.
        """
        sample, running, service = situation.sample, situation.running, memory.learnt.service
        if (sample.in_flight < running and memory.in_flight < running) or service.requests <= 0.0:
            return float(sample.failed)
        limit, scv = memory.learnt.limit, service.scv
        late = queueing.violation_probability(memory.in_flight, max(1, running), limit, scv) / 2.0
        serving = sum([node.allocations or 0 for node in situation.nodes])
        for node in situation.nodes:
            if node.allocations and node.pending >= node.allocations:
                chance = queueing.violation_probability(node.pending, node.allocations, limit, scv)
                late += chance * node.allocations / serving / 2.0
        bursts = BURST_CORRECTION * max(0.0, memory.dispersion - 1.0)
        unseen = min(MAX_BURST_CORRECTION, 1.0 + bursts)
        return sample.failed + unseen * late * max(0, requests - sample.failed)

    def _queued_within_timeout(self, situation: Situation, rate_per_s: float) -> int:
        """Requests that wait for an allocation and whose callers have not given up."""
        queued = max(0, situation.sample.in_flight - situation.running)
        return int(min(queued, max(1.0, rate_per_s * self.caller_timeout_s)))


def _service_now(situation: Situation, seen: SloMemory) -> ServiceTimeEstimate:
    """What is known of service times; no requests if nothing is."""
    before, load = seen.learnt, situation.load
    service = before.service if situation.running == before.running else discounted(before.service)
    service = updated_service_time(service, seen.timed, seen.timed_s, seen.time_s)
    if service.requests <= 0.0 and load.service_time_s is not None:
        return ServiceTimeEstimate(1.0, load.service_time_s, service.scv)
    return service


def _learnt(
    seen: SloMemory, situation: Situation, service_time_s: float, burstiness: float
) -> LoadMixture:
    """What is to be expected. What was seen quietly is learnt apart from a last, surprising count,
    which it would hide."""
    known, rate_per_s = seen.learnt.expectation, seen.learnt.rate_per_s
    last, time_s = seen.last or 0, situation.sample.interval_s
    if not _is_unexpected(rate_per_s * time_s, last, burstiness):
        return expectation.updated(known, seen.requests, seen.time_s, service_time_s, burstiness)
    quiet, quiet_s = seen.requests - last, seen.time_s - time_s
    if quiet_s > 0.0:
        known = expectation.updated(known, quiet, quiet_s, service_time_s, burstiness)
    if seen.learnt.step is not None and last > JUMP_RATIO * rate_per_s * time_s:
        since_s = _seconds_since_jump(situation, rate_per_s * service_time_s, service_time_s)
        last -= round(rate_per_s * (time_s - since_s))
        time_s = since_s
    return expectation.updated(known, last, time_s, service_time_s, burstiness)


def _seconds_since_jump(situation: Situation, predicted: float, service_time_s: float) -> float:
    """How many seconds before the look the load leapt from `foreseen` erlangs, at most.

    If requests wait now, all allocations have been busy since the leap, and did what was foreseen
    before it. So what they did in all tells when that was.
    """
    sample, running = situation.sample, situation.running
    if sample.in_flight <= running or predicted >= running:
        return sample.interval_s
    done_s = sample.busy_s + running * service_time_s / 2.0  # half of what is being computed
    since_s = (done_s - predicted * sample.interval_s) / (running - predicted)
    return min(
        sample.interval_s, max(since_s, service_time_s, MIN_JUMP_FRACTION * sample.interval_s)
    )


def _ahead(forecast: Forecast) -> LoadDistribution:
    loads: dict[int, float] = {}
    for far, likely in FORECAST_POINTS:
        load = forecast.expected + far * (forecast.load - forecast.expected)
        number = expectation.index_of_load(load)
        loads[number] = loads.get(number, 0.0) + likely
    return loads


def _optional_inputs(
    budget: ErrorBudget, backlog: Backlog | None, forecast: Forecast | None
) -> dict[str, float | str]:
    """What is not always there."""
    told: dict[str, float | str] = {}
    if budget.attainment is not None:
        told["slo_attainment"] = budget.attainment
    if backlog is not None:
        told["backlog_requests"], told["backlog_allocations"] = (
            float(backlog.queued),
            float(backlog.allocations),
        )
    if forecast is not None:
        if forecast.trusted:
            told["forecast_load"] = forecast.load
        if forecast.accuracy is not None:
            told["forecast_accuracy"] = forecast.accuracy
        if forecast.coverage is not None:
            told["forecast_coverage"] = forecast.coverage
    return told


def _is_unexpected(predicted: float, arrivals: int, dispersion: float) -> bool:
    off = arrivals - predicted
    return off * off > RECOMPUTE_SIGMA * RECOMPUTE_SIGMA * max(1.0, predicted) * max(
        1.0, dispersion
    )
