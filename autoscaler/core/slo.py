"""The policy `slo`: the fewest allocations that keep a promise on waiting, and what a late request
is worth decides which those are.

For each number of allocations it is reckoned how many requests would be late: with the load that
is to be expected (`expectation`), on the nodes as they would be split (`splitting`), by queueing
theory (`queueing`). The number is chosen at which allocations and late requests together cost least
(`weighing`), at the price that the error budget sets (`error_budget`).
"""

import math
from typing import ClassVar

from autoscaler.core import expectation, queueing
from autoscaler.core.error_budget import ErrorBudget, Pricing, price_of, spend
from autoscaler.core.estimation import TRUNCATION_S
from autoscaler.core.expectation import Expectation, Loads
from autoscaler.core.forecasting import Forecast, Forecaster, ForecastMemory
from autoscaler.core.objective import Objective
from autoscaler.core.policies import Situation
from autoscaler.core.service import Service, dispersion_after, resized, service_after
from autoscaler.core.splitting import Ground, ground_of, split_of
from autoscaler.core.values import Reason, Step, Value
from autoscaler.core.weighing import Terms, Weighing

NEW_NODE_S = 60.0
"""How long a node takes to load a model, until it is known better."""

STANDING = 0.25
"""A queue is a backlog if it takes more than this part of the allowed wait to serve."""

HORIZON = 3.0
"""Looks that a number is meant to be right for: a queue outlives the look that finds it."""

UNUSED_S = 300.0
"""A deployment that nobody has asked for so long needs no more than one allocation, even though
nobody knows how long a request would take."""

THINKING_S = 60.0
"""While counts are as expected, it thinks anew only so often."""

AHEAD = ((0.0, 0.75), (0.5, 0.2), (1.0, 0.05))
"""The load at the end of a forecast: how far from what is expected to the quantile, and how likely.
Below what is expected it does not matter."""

SURPRISE = 2.5
"""Standard deviations of a count from what was expected, at which it thinks at once."""


class Learnt(Value, frozen=True, kw_only=True):
    """What it knows since it last thought, and what it concluded."""

    service: Service = Service()
    expectation: Expectation = Expectation()
    rate_per_s: float = 0.0  # of arrivals, to be expected
    budget: ErrorBudget = ErrorBudget()
    forecast: ForecastMemory | None = None
    backlog_at: float | None = None  # since when there is one
    live: int = 0  # allocations then
    step: Step | None = None  # the conclusion


class SloMemory(Value, frozen=True):
    """What it remembers of a deployment."""

    learnt: Learnt = Learnt()
    # Seen since it last thought; requests are those that take an allocation.
    requests: int = 0
    late: float = 0.0
    timed: int = 0
    timed_s: float = 0.0
    time_s: float = 0.0
    # Of the last look.
    dispersion: float = 1.0  # variance of counts over their mean
    last: int | None = None  # requests
    in_system: int = 0


class History(Value, frozen=True, kw_only=True):
    """Loads that were recorded before the first look."""

    loads: tuple[float, ...] = ()  # mean of each `SLOT_S` seconds in erlangs, oldest first
    ends_at: float = 0.0  # Unix seconds


class Slo(Value, frozen=True, kw_only=True):
    """At least `objective.percentile` of the requests are in time, at the least cost."""

    name: ClassVar[str] = "slo"

    objective: Objective = Objective()
    drain_s: float = 30.0  # within which a backlog is to be cleared
    caller_timeout_s: float = 10.0  # what has waited so long is not worth serving
    load_window_s: float = 60.0
    pricing: Pricing = Pricing()
    forecaster: Forecaster | None = Forecaster()
    history: History = History()

    def begin(self) -> SloMemory:
        """Nothing has been seen yet but what was recorded."""
        if self.forecaster is None or not self.history.loads:
            return SloMemory()
        forecast = self.forecaster.recall(self.history.loads, self.history.ends_at)
        return SloMemory(Learnt(forecast=forecast))

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
            memory.late + self._late(situation, memory, requests),
            memory.timed + sample.timed,
            memory.timed_s + sample.timed_busy_s + sample.timed * TRUNCATION_S,
            memory.time_s + interval_s,
            dispersion,
            requests,
            sample.pending,
        )
        foreseen = learnt.rate_per_s * interval_s
        if (
            learnt.step is None
            or learnt.step.before != current
            or learnt.live != situation.live
            or seen.time_s >= THINKING_S
            or sample.failed
            or _surprising(foreseen, requests, dispersion)
            or self._new_backlog(situation, memory)
        ):
            return self._thought(situation, seen)
        return learnt.step, seen

    def _thought(self, situation: Situation, seen: SloMemory) -> tuple[Step, SloMemory]:
        """The conclusion from all that was seen."""
        current, sample, live = situation.current, situation.sample, situation.live
        before, dispersion = seen.learnt, seen.dispersion
        service = before.service if live == before.live else resized(before.service)
        service = service_after(service, seen.timed, seen.timed_s, seen.time_s)
        if service.requests <= 0.0 and situation.load.service_time_s is not None:
            service = Service(1.0, situation.load.service_time_s, service.scv)
        if service.requests <= 0.0:
            if seen.requests == 0 and seen.time_s >= UNUSED_S:
                return Step(Reason.SLO, current, 1, {"offered_load": 0.0}), seen
            return Step(Reason.NOT_MEASURED, current, current), seen
        service_time_s, burstiness = service.mean_s, max(1.0, dispersion)
        limit_s = self.objective.wait_limit_s(service_time_s, math.sqrt(service.scv))
        reachable, limit_s = limit_s is not None, limit_s or 0.0
        allowed = 1.0 - self.objective.percentile
        budget = spend(before.budget, seen.requests, seen.late, seen.time_s, allowed, self.pricing)
        known = _learnt(seen, sample.interval_s, service_time_s, burstiness)
        loads = expectation.expected(known, service_time_s, burstiness)
        mean, spread = expectation.mean_and_spread(loads)
        ground = ground_of(situation.nodes, situation.threads, situation.free_threads)
        price = price_of(budget, allowed, self.pricing)
        weighing = Weighing(
            tuple(loads.items()),
            ground,
            price,
            Terms.of(
                limit=limit_s / service_time_s,
                variability=(burstiness + service.scv) / 2.0,
                interval=HORIZON * sample.interval_s / service_time_s,
                aftermath=self.drain_s / sample.interval_s,
                new_node=(situation.new_node_s or NEW_NODE_S) / sample.interval_s,
            ),
        )
        near = max(1, min(current, math.ceil(mean + 3.0 * math.sqrt(mean))))
        best = weighing.best(near)
        number = weighing.worth_it(current, best, known.lasts_s)
        waiting = self._worth_serving(situation, known.rate_per_s)
        backlog_at, clearing = None, 0
        if waiting * service_time_s > STANDING * limit_s * max(1, live):
            # One that has doubled since the last look is another one.
            grown = 2 * sample.queue_growth > waiting
            backlog_at = before.backlog_at
            if backlog_at is None or grown:
                backlog_at = situation.at
            left_s = max(sample.interval_s, backlog_at + self.drain_s - situation.at)
            clearing = math.ceil(mean + waiting * service_time_s / left_s - 1e-9)
            number = max(number, clearing)
        forecast_memory, forecast = self._foreseen(situation, seen, service_time_s, ground)
        floor = 0
        if forecast is not None and forecast.trusted:
            floor = weighing.under(_ahead(forecast)).best(number)
            if floor > split_of(ground, number).reach:
                number = floor
        number = _first_where_it_is(number, situation, ground)
        because: dict[str, float | str] = {
            "offered_load": mean,
            "spread": spread,
            "price": price,
            "percentile": self.objective.percentile,
            "wait_limit_s": limit_s,
        }
        if not reachable:
            because["objective"] = "out of reach, since the service alone takes longer"
        if budget.in_time is not None:
            because["attained"] = budget.in_time
        if backlog_at is not None:
            because |= {"backlog": float(waiting), "clearing": float(clearing)}
        if forecast is not None:
            because |= _told(forecast)
        shown = sorted({max(1, number - 1), number, number + 1, max(1, current)})
        candidates = weighing.candidates(shown, self.objective.percentile, service_time_s)
        step = Step(Reason.SLO, current, number, because, candidates)
        learnt = Learnt(
            service=service,
            expectation=known,
            rate_per_s=known.rate_per_s,
            budget=budget,
            forecast=forecast_memory,
            backlog_at=backlog_at,
            live=live,
            step=step,
        )
        return step, SloMemory(
            learnt, dispersion=dispersion, last=seen.last, in_system=seen.in_system
        )

    def _foreseen(
        self, situation: Situation, seen: SloMemory, service_time_s: float, ground: Ground
    ) -> tuple[ForecastMemory | None, Forecast | None]:
        """What may come before a node that is asked for now would serve. Where there is but one
        node, nothing has to be asked for so early."""
        memory, sample = seen.learnt.forecast, situation.sample
        if self.forecaster is None or not (ground.free or len(ground.used) > 1):
            return memory, None
        if memory is None:
            memory = self.forecaster.begin()
        load = seen.requests * service_time_s / seen.time_s
        memory = self.forecaster.after(memory, situation.at, load, seen.time_s)
        horizon_s = (situation.new_node_s or NEW_NODE_S) + sample.interval_s
        return memory, self.forecaster.ahead(memory, situation.at, horizon_s)

    def _new_backlog(self, situation: Situation, memory: SloMemory) -> bool:
        """Whether more wait than did, or than should by now."""
        backlog_at = memory.learnt.backlog_at
        if backlog_at is not None:
            late_s = situation.at - backlog_at - self.drain_s
            if late_s <= situation.sample.interval_s:
                return True
        return situation.sample.pending > max(situation.live, memory.in_system)

    def _late(self, situation: Situation, memory: SloMemory, requests: int) -> float:
        """How many requests of the last interval were late, as far as it can be told.

        Those that failed, and of the others as many as would have waited too long had they come at
        its beginning or at its end, on average.
        """
        sample, live, service = situation.sample, situation.live, memory.learnt.service
        if (sample.pending < live and memory.in_system < live) or service.requests <= 0.0:
            return float(sample.failed)
        limit_s = self.objective.wait_limit_s(service.mean_s, math.sqrt(service.scv)) or 0.0
        limit, scv = limit_s / service.mean_s, service.scv
        late = queueing.late_chance(memory.in_system, max(1, live), limit, scv) / 2.0
        serving = sum([node.allocations or 0 for node in situation.nodes])
        for node in situation.nodes:
            if node.allocations and node.pending >= node.allocations:
                chance = queueing.late_chance(node.pending, node.allocations, limit, scv)
                late += chance * node.allocations / serving / 2.0
        # Where requests come in bursts, more of them meet a queue than looks do.
        unseen = min(1.5, 1.0 + 0.25 * max(0.0, memory.dispersion - 1.0))
        return sample.failed + unseen * late * max(0, requests - sample.failed)

    def _worth_serving(self, situation: Situation, rate_per_s: float) -> int:
        """Requests that wait for an allocation and whose callers have not given up."""
        waiting = max(0, situation.sample.pending - situation.live)
        return int(min(waiting, max(1.0, rate_per_s * self.caller_timeout_s)))


def _learnt(
    seen: SloMemory, interval_s: float, service_time_s: float, burstiness: float
) -> Expectation:
    """What is to be expected. What was seen quietly is learnt apart from a last, surprising count,
    which it would hide."""
    known, requests, time_s = seen.learnt.expectation, seen.requests, seen.time_s
    last, foreseen = seen.last or 0, seen.learnt.rate_per_s * interval_s
    if time_s > interval_s and _surprising(foreseen, last, burstiness):
        known = expectation.after(
            known, requests - last, time_s - interval_s, service_time_s, burstiness
        )
        requests, time_s = last, interval_s
    return expectation.after(known, requests, time_s, service_time_s, burstiness)


def _ahead(forecast: Forecast) -> Loads:
    loads: dict[int, float] = {}
    for far, likely in AHEAD:
        load = forecast.expected + far * (forecast.load - forecast.expected)
        number = expectation.number_of(load)
        loads[number] = loads.get(number, 0.0) + likely
    return loads


def _told(forecast: Forecast) -> dict[str, float | str]:
    told: dict[str, float | str] = {"forecast": forecast.load if forecast.trusted else "not used"}
    if forecast.accuracy is not None:
        told["forecast_accuracy"] = forecast.accuracy
    if forecast.coverage is not None:
        told["forecast_coverage"] = forecast.coverage
    return told


def _surprising(foreseen: float, arrivals: int, dispersion: float) -> bool:
    off = arrivals - foreseen
    return off * off > SURPRISE * SURPRISE * max(1.0, foreseen) * max(1.0, dispersion)


def _first_where_it_is(number: int, situation: Situation, ground: Ground) -> int:
    """First what the nodes in use can take at once: a further node loads the model first, and the
    cluster tells the others of their new numbers only when it has."""
    if situation.live >= situation.current and situation.current < ground.within < number:
        return ground.within
    return number
