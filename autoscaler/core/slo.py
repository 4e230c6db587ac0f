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

STANDING = 1.0
"""A queue is a backlog if it takes longer to serve than this many of the waits that are allowed."""

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

UNSEEN_IN_BURSTS, MOST_UNSEEN = 0.25, 1.5
"""Where requests come in bursts, more of them meet a queue than looks do: so much more for each
unit of dispersion above 1, and so many times as many at most."""

LEAP, SHORTEST_LEAP = 2.0, 0.1
"""Times the count that was expected, from which a surprising one is a leap and not noise, and the
share of an interval that a leap has lasted at least: a few requests at once look like one."""

SURPRISE = 2.5
"""Standard deviations of a count from what was expected, at which it thinks at once."""


class Backlog(Value, frozen=True):
    """Requests that wait and will be late, if they are not yet."""

    since: float  # when it was first seen
    waiting: int
    clearing: int  # allocations that clear it in time


class Learnt(Value, frozen=True, kw_only=True):
    """What it knows since it last thought, and what it concluded."""

    service: Service = Service()
    limit: float = 0.0  # of the wait, in service times
    expectation: Expectation = Expectation()
    rate_per_s: float = 0.0  # that is expected, kept since every look compares with it
    budget: ErrorBudget = ErrorBudget()
    forecast: ForecastMemory | None = None
    backlog: Backlog | None = None
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
        current, before = situation.current, seen.learnt
        service = _service_now(situation, seen)
        if service.requests <= 0.0:
            if seen.requests == 0 and seen.time_s >= UNUSED_S:
                return Step(Reason.SLO, current, 1, {"offered_load": 0.0}), seen
            return Step(Reason.NOT_MEASURED, current, current), seen
        mean_s, burstiness = service.mean_s, max(1.0, seen.dispersion)
        limit_s = self.objective.wait_limit_s(mean_s, math.sqrt(service.scv))
        allowed = 1.0 - self.objective.percentile
        budget = spend(before.budget, seen.requests, seen.late, seen.time_s, allowed, self.pricing)
        known = _learnt(seen, situation, mean_s, burstiness)
        loads = expectation.expected(known, mean_s, burstiness)
        load, spread = expectation.mean_and_spread(loads)
        ground = ground_of(situation.nodes, situation.threads, situation.free_threads)
        price = price_of(budget, allowed, self.pricing)
        terms = self._terms(situation, service, burstiness, limit_s or 0.0)
        weighing = Weighing(tuple(loads.items()), ground, price, terms)
        near = max(1, min(current, math.ceil(load + 3.0 * math.sqrt(load))))
        number = weighing.worth_it(current, weighing.best(near), known.lasts_s)
        waiting = self._worth_serving(situation, known.rate_per_s)
        backlog = None
        if waiting * mean_s > STANDING * (limit_s or 0.0) * max(1, situation.live):
            backlog = self._backlog(situation, before.backlog, waiting, load, mean_s)
            number = max(number, backlog.clearing)
        forecast_memory, forecast = self._foreseen(situation, seen, mean_s, ground)
        floor = None
        if forecast is not None and forecast.trusted:
            needed = weighing.under(_ahead(forecast)).best(number)
            if needed > split_of(ground, number).reach:
                number = floor = needed
        because: dict[str, float | str] = {
            "offered_load": load,
            "spread": spread,
            "price": price,
            "percentile": self.objective.percentile,
            "wait_limit_s": limit_s or 0.0,
            **_told(budget, backlog, forecast),
        }
        if floor is not None:
            because["floor"] = float(floor)
        if limit_s is None:
            because["objective"] = "out of reach, since the service alone takes longer"
        if situation.live >= current and current < ground.within < number:
            # A further node loads the model first, and the cluster tells the others of their new
            # numbers only when it has. So first what the nodes in use can take at once.
            because["in_the_end"] = float(number)
            number = ground.within
        shown = sorted({max(1, number - 1), number, number + 1, max(1, current)})
        candidates = weighing.candidates(shown, self.objective.percentile, mean_s)
        step = Step(Reason.SLO, current, number, because, candidates)
        learnt = Learnt(
            service=service,
            limit=(limit_s or 0.0) / mean_s,
            expectation=known,
            rate_per_s=known.rate_per_s,
            budget=budget,
            forecast=forecast_memory,
            backlog=backlog,
            live=situation.live,
            step=step,
        )
        return step, SloMemory(
            learnt, dispersion=seen.dispersion, last=seen.last, in_system=seen.in_system
        )

    def _terms(
        self, situation: Situation, service: Service, burstiness: float, limit_s: float
    ) -> Terms:
        interval_s = situation.sample.interval_s
        return Terms.of(
            limit=limit_s / service.mean_s,
            variability=(burstiness + service.scv) / 2.0,
            interval=HORIZON * interval_s / service.mean_s,
            aftermath=self.drain_s / interval_s,
            new_node=(situation.new_node_s or NEW_NODE_S) / interval_s,
        )

    def _backlog(
        self,
        situation: Situation,
        known: Backlog | None,
        waiting: int,
        load: float,
        service_time_s: float,
    ) -> Backlog:
        """One that has doubled since the last look is another one, with as much time again."""
        at, interval_s = situation.at, situation.sample.interval_s
        since = at if known is None or 2 * situation.sample.queue_growth > waiting else known.since
        left_s = max(interval_s, since + self.drain_s - at)
        clearing = math.ceil(load + waiting * service_time_s / left_s - 1e-9)
        return Backlog(since, waiting, clearing)

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
        backlog = memory.learnt.backlog
        if backlog is not None:
            late_s = situation.at - backlog.since - self.drain_s
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
        limit, scv = memory.learnt.limit, service.scv
        late = queueing.late_chance(memory.in_system, max(1, live), limit, scv) / 2.0
        serving = sum([node.allocations or 0 for node in situation.nodes])
        for node in situation.nodes:
            if node.allocations and node.pending >= node.allocations:
                chance = queueing.late_chance(node.pending, node.allocations, limit, scv)
                late += chance * node.allocations / serving / 2.0
        bursts = UNSEEN_IN_BURSTS * max(0.0, memory.dispersion - 1.0)
        unseen = min(MOST_UNSEEN, 1.0 + bursts)
        return sample.failed + unseen * late * max(0, requests - sample.failed)

    def _worth_serving(self, situation: Situation, rate_per_s: float) -> int:
        """Requests that wait for an allocation and whose callers have not given up."""
        waiting = max(0, situation.sample.pending - situation.live)
        return int(min(waiting, max(1.0, rate_per_s * self.caller_timeout_s)))


def _service_now(situation: Situation, seen: SloMemory) -> Service:
    """What is known of service times; no requests if nothing is."""
    before, load = seen.learnt, situation.load
    service = before.service if situation.live == before.live else resized(before.service)
    service = service_after(service, seen.timed, seen.timed_s, seen.time_s)
    if service.requests <= 0.0 and load.service_time_s is not None:
        return Service(1.0, load.service_time_s, service.scv)
    return service


def _learnt(
    seen: SloMemory, situation: Situation, service_time_s: float, burstiness: float
) -> Expectation:
    """What is to be expected. What was seen quietly is learnt apart from a last, surprising count,
    which it would hide."""
    known, rate_per_s = seen.learnt.expectation, seen.learnt.rate_per_s
    last, time_s = seen.last or 0, situation.sample.interval_s
    if not _surprising(rate_per_s * time_s, last, burstiness):
        return expectation.after(known, seen.requests, seen.time_s, service_time_s, burstiness)
    quiet, quiet_s = seen.requests - last, seen.time_s - time_s
    if quiet_s > 0.0:
        known = expectation.after(known, quiet, quiet_s, service_time_s, burstiness)
    if seen.learnt.step is not None and last > LEAP * rate_per_s * time_s:
        since_s = _leapt_since(situation, rate_per_s * service_time_s, service_time_s)
        last -= round(rate_per_s * (time_s - since_s))
        time_s = since_s
    return expectation.after(known, last, time_s, service_time_s, burstiness)


def _leapt_since(situation: Situation, foreseen: float, service_time_s: float) -> float:
    """How many seconds before the look the load leapt from `foreseen` erlangs, at most.

    If requests wait now, all allocations have been busy since the leap, and did what was foreseen
    before it. So what they did in all tells when that was.
    """
    sample, live = situation.sample, situation.live
    if sample.pending <= live or foreseen >= live:
        return sample.interval_s
    done_s = sample.busy_s + live * service_time_s / 2.0  # half of what is being computed
    since_s = (done_s - foreseen * sample.interval_s) / (live - foreseen)
    return min(sample.interval_s, max(since_s, service_time_s, SHORTEST_LEAP * sample.interval_s))


def _ahead(forecast: Forecast) -> Loads:
    loads: dict[int, float] = {}
    for far, likely in AHEAD:
        load = forecast.expected + far * (forecast.load - forecast.expected)
        number = expectation.number_of(load)
        loads[number] = loads.get(number, 0.0) + likely
    return loads


def _told(
    budget: ErrorBudget, backlog: Backlog | None, forecast: Forecast | None
) -> dict[str, float | str]:
    """What is not always there."""
    told: dict[str, float | str] = {}
    if budget.in_time is not None:
        told["attained"] = budget.in_time
    if backlog is not None:
        told["backlog"], told["clearing"] = float(backlog.waiting), float(backlog.clearing)
    if forecast is not None:
        if forecast.trusted:
            told["forecast"] = forecast.load
        if forecast.accuracy is not None:
            told["forecast_accuracy"] = forecast.accuracy
        if forecast.coverage is not None:
            told["forecast_coverage"] = forecast.coverage
    return told


def _surprising(foreseen: float, arrivals: int, dispersion: float) -> bool:
    off = arrivals - foreseen
    return off * off > SURPRISE * SURPRISE * max(1.0, foreseen) * max(1.0, dispersion)
