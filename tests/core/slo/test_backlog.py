"""What drains a backlog: how many requests are worth serving, and which time costs least."""

import math
from itertools import pairwise

import pytest

from autoscaler.core.policies import Situation
from autoscaler.core.slo.backlog import SURPLUS_POLLS, TIMEOUT_FRACTION, BacklogModel
from autoscaler.core.slo.callers import DEFAULTS
from autoscaler.core.slo.memory import Backlog, SloEstimate, SloMemory
from autoscaler.core.slo.objective import SloObjective
from autoscaler.core.values import Callers, LoadEstimate, Sample
from tests.core.slo.test_policy import POLL_S, SERVICE_S, Watch

DRAIN_S = 30.0
HOUR_S = 3600.0


def model(**given):
    fields = {
        "load": 3.0,
        "rate_per_s": 30.0,
        "service_time_s": SERVICE_S,
        "max_queue_wait_s": 0.2,
        "allocations": 5,
        "violation_weight": 20.0,
        "drain_s": DRAIN_S,
        "caller_timeout_s": 2.0 * HOUR_S,
    }
    return BacklogModel(**fields | given)


class TestCheapestTime:
    def cost(self, terms, work_s, drain_s):
        added = terms.load + work_s / drain_s - terms.allocations
        return (
            added * (drain_s + SURPLUS_POLLS * POLL_S)
            + terms.violation_weight * terms.load * drain_s
        )

    @pytest.mark.parametrize("weight", [0.5, 1.0, 20.0, 500.0])
    @pytest.mark.parametrize("work_s", [10.0, 1e3, 1e5, 1e7])
    @pytest.mark.parametrize(("load", "allocations"), [(0.0, 1), (0.2, 1), (3.0, 5), (40.0, 46)])
    def test_no_other_time_costs_less(self, weight, work_s, load, allocations):
        terms = model(load=load, allocations=allocations, violation_weight=weight)
        cheapest_s = terms.cheapest_drain_s(work_s, POLL_S)
        longest_s = TIMEOUT_FRACTION * terms.caller_timeout_s
        assert 0.0 < cheapest_s <= longest_s
        others_s = [longest_s * 1.1**-power for power in range(150)]
        lowest = min(self.cost(terms, work_s, each) for each in others_s)
        assert self.cost(terms, work_s, cheapest_s) <= lowest + 1e-9 * abs(lowest)

    def test_it_grows_with_the_square_root_of_the_work(self):
        times = [model().cheapest_drain_s(work_s, POLL_S) for work_s in (1e3, 4e3)]
        assert times[1] == pytest.approx(2.0 * times[0])

    def test_without_arrivals_it_is_the_longest(self):
        assert model(load=0.0).cheapest_drain_s(1e3, POLL_S) == TIMEOUT_FRACTION * 2.0 * HOUR_S

    @pytest.mark.parametrize("callers", [Callers.UNKNOWN, Callers.DIRECT, Callers.ENDPOINT])
    def test_callers_that_give_up_soon_leave_no_choice(self, callers):
        terms = model(caller_timeout_s=DEFAULTS[callers].seconds)
        assert terms.cheapest_drain_s(1e6, POLL_S) < DRAIN_S


class Bulk:
    """A steady load, and then a bulk of requests in one interval, for which an ingest pipeline
    waits."""

    MOST = 40

    def __init__(self, queued, load=300, **slo):
        self.load = load
        self.watch = Watch(4, free={}, max_allocations=self.MOST, **slo)
        self.watch.callers = Callers.INGEST
        self.watch.polls(30, load)
        self.step = self.watch.poll(load + queued, in_flight=queued)

    def poll(self):
        """The next recommendation, with the last one carried out."""
        watch = self.watch
        watch.scale(min(self.step.after, self.MOST))
        served = round(watch.requested * watch.interval_s / watch.service_time_s)
        left = max(0, watch.in_flight + self.load - served)
        self.step = watch.poll(self.load, in_flight=left)
        return self.step

    def drained(self):
        """The allocations that run at each poll, until the queue is empty."""
        running = []
        while self.watch.in_flight:
            assert len(running) < 500, "it is never drained"
            self.poll()
            running.append(self.watch.requested)
        return running


class TestIngest:
    def test_all_that_is_queued_has_a_caller(self):
        """Also when nothing arrives any more."""
        watch = Bulk(50_000).watch
        assert watch.step.inputs["backlog_requests"] == pytest.approx(50_000, rel=0.01)
        for _ in range(20):
            step = watch.poll(0, in_flight=watch.in_flight - 400)
        assert step.inputs["backlog_requests"] == pytest.approx(42_000, rel=0.01)

    def test_after_two_hours_its_callers_have_given_up(self):
        watch = Bulk(50_000, load=30).watch
        watch.polls(round(2.0 * HOUR_S / POLL_S) + 6, 30, in_flight=45_000)
        assert watch.step.inputs["backlog_requests"] == pytest.approx(3.0 * 2.0 * HOUR_S, rel=0.1)

    @pytest.mark.parametrize("wait_s", [None, 1.0, 60.0])
    @pytest.mark.parametrize("load", [0, 300])
    @pytest.mark.parametrize("queued", [3_000, 20_000, 100_000])
    def test_a_bulk_is_drained_without_ups_and_downs(self, queued, load, wait_s):
        bulk = Bulk(queued, load=load, objective=SloObjective(wait_s=wait_s))
        running = bulk.drained()
        assert len(running) * POLL_S <= 2.0 * TIMEOUT_FRACTION * 2.0 * HOUR_S
        turns = sum(b > a for a, b in pairwise(running))
        assert turns <= 1, running

    @pytest.mark.parametrize("queued", [20_000, 100_000])
    def test_the_allocations_are_given_up_at_once_when_it_is_drained(self, queued):
        bulk = Bulk(queued)
        running = bulk.drained()
        assert bulk.step.after < 0.6 * running[-1]

    def test_a_small_one_is_drained_as_any_other(self):
        assert Bulk(500).step.after == Bulk(500, caller_timeout_s=10.0).step.after

    def test_allocations_that_were_added_for_it_do_not_make_it_disappear(self):
        """With them it would be served within the SLO, but not without them."""
        bulk = Bulk(20_000, objective=SloObjective(wait_s=60.0))
        bulk.poll()
        assert bulk.watch.requested == Bulk.MOST
        assert bulk.watch.in_flight * SERVICE_S < 60.0 * Bulk.MOST
        assert "backlog_requests" in bulk.poll().inputs


class TestCallers:
    @pytest.mark.parametrize("callers", Callers)
    def test_the_time_and_its_reason_are_inputs(self, callers):
        watch = Watch(4)
        watch.callers = callers
        inputs = watch.polls(3, 300)[-1].inputs
        timeout = DEFAULTS[callers]
        assert inputs["caller_timeout_s"] == timeout.seconds
        assert inputs["caller_timeout_because"] == timeout.because

    def test_the_configuration_overrides_the_use(self):
        watch = Watch(4, caller_timeout_s=5.0)
        watch.callers = Callers.INGEST
        inputs = watch.polls(3, 300)[-1].inputs
        assert (inputs["caller_timeout_s"], inputs["caller_timeout_because"]) == (5.0, "configured")

    def test_the_longer_callers_wait_the_more_is_worth_serving(self):
        found = {}
        for callers in Callers:
            watch = Watch(4)
            watch.callers = callers
            watch.polls(30, 300)
            found[callers] = watch.poll(300, in_flight=20_000).inputs["backlog_requests"]
        assert found[Callers.UNKNOWN] == found[Callers.DIRECT] == pytest.approx(300, rel=0.05)
        assert found[Callers.ENDPOINT] == pytest.approx(900, rel=0.05)
        assert found[Callers.COMPLETION] == pytest.approx(3_600, rel=0.05)
        assert math.isclose(found[Callers.INGEST], 20_000, rel_tol=0.01)


def after(growth, **given):
    """The backlog after a poll with 1,000 queued requests, if there was one 50 s before."""
    situation = Situation(
        at=1_000.0,
        current=4,
        running=4,
        sample=Sample(at=1_000.0, interval_s=POLL_S, in_flight=1_004, queue_growth=growth),
        load=LoadEstimate(
            arrival_rate_per_s=10.0,
            throughput_per_s=10.0,
            service_time_s=SERVICE_S,
            cache_hit_fraction=0.0,
            in_flight=1_004,
            window_s=60.0,
        ),
        in_flight=(1_004,),
        nodes=(),
    )
    seen = SloMemory(estimate=SloEstimate(backlog=Backlog(950.0, 1_000 - growth, 5)))
    return model(service_time_s=SERVICE_S, **given).backlog(situation, seen)


@pytest.mark.parametrize(("growth", "since"), [(600, 1_000.0), (400, 950.0), (-100, 950.0)])
def test_a_queue_that_has_doubled_since_the_last_poll_is_a_new_backlog(growth, since):
    """Its time to be drained begins again."""
    assert after(growth).since == since


def test_it_is_drained_in_the_time_that_is_left_beside_the_load():
    assert after(600, caller_timeout_s=100.0).allocations == math.ceil(3.0 + 100.0 / DRAIN_S)
    assert after(400, caller_timeout_s=100.0).allocations == 3.0 + 100.0 / POLL_S
