"""The cheapest number, held against a look at all numbers."""

import math
import random

import pytest

from autoscaler.core.slo.cost_model import (
    MIN_SAVING,
    MIN_SAVING_LOAD,
    SCALE_DOWN_COST_S,
    CostModel,
    QueueParameters,
)
from autoscaler.core.slo.load_distribution import (
    GRID_STEP,
    LoadMixture,
    mean_and_spread,
    predicted,
    updated,
)
from autoscaler.core.slo.placement import NodeSlots
from autoscaler.core.slo.queueing import violation_fraction

POLL_S = 10.0
HIGHEST = 300

ONE_NODE = NodeSlots(used=((1, 10_000),), free=())

TERMS = QueueParameters.of(max_wait=2.0, variability=1.0, horizon=100.0, drain=3.0, new_node=6.0)


def certain(erlangs):
    """A load known without doubt."""
    number = round(math.sqrt(erlangs) / GRID_STEP)
    return ((number, 1.0),)


def weighing(erlangs=4.0, *, price=20.0, ground=ONE_NODE, terms=TERMS):
    return CostModel(certain(erlangs), ground, price, terms)


class Drawn:
    """A deployment on one node, drawn at random: its load, its requests, its promise, the price."""

    def __init__(self, seed, leaps=False):
        dice = random.Random(seed)
        service_time_s = 10.0 ** dice.uniform(-2.3, 0.5)
        per_interval = 10.0 ** dice.uniform(-2.0, 1.3) / service_time_s * POLL_S
        known = LoadMixture()
        for _ in range(dice.randint(1, 60)):
            count = max(0, round(dice.gauss(per_interval, math.sqrt(per_interval))))
            known = updated(known, count, POLL_S, service_time_s, 1.0)
        if leaps:
            count = round(per_interval * dice.choice([0.2, 3.0, 10.0]))
            known = updated(known, count, POLL_S, service_time_s, 1.0)
        self.loads = predicted(known, service_time_s, 1.0)
        self.price = 10.0 ** dice.uniform(0.5, 2.7)
        self.terms = QueueParameters.of(
            max_wait=dice.choice([2.0, 0.2 / service_time_s, 1.0 / service_time_s]),
            variability=dice.choice([0.75, 1.0, 2.0, 5.0]),
            horizon=POLL_S / service_time_s,
            drain=3.0,
            new_node=6.0,
        )
        self.weighing = CostModel(tuple(self.loads.items()), ONE_NODE, self.price, self.terms)
        mean, _ = mean_and_spread(self.loads)
        self.ample = max(1, math.ceil(mean + 3.0 * math.sqrt(mean)))
        self.cheapest = min(range(1, HIGHEST), key=self.weighing.cost)


class TestBest:
    @pytest.mark.parametrize("seed", range(60))
    def test_it_is_the_cheapest_of_all_looked_for_from_above_the_load(self, seed):
        drawn = Drawn(seed)
        best = drawn.weighing.cheapest(drawn.ample)
        assert drawn.weighing.cost(best) == drawn.weighing.cost(drawn.cheapest)

    @pytest.mark.parametrize("seed", range(20))
    def test_it_is_never_dearer_than_where_it_begins(self, seed):
        drawn = Drawn(seed, leaps=True)
        for near in (1, 3, drawn.ample, drawn.cheapest, 2 * drawn.cheapest):
            best = drawn.weighing.cheapest(near)
            assert drawn.weighing.cost(best) <= drawn.weighing.cost(near)

    def test_a_dearer_late_request_makes_no_fewer_allocations(self):
        numbers = [weighing(price=price).cheapest(8) for price in (0.5, 2.0, 20.0, 200.0, 500.0)]
        assert numbers == sorted(numbers)
        assert numbers[-1] > numbers[0]

    def test_more_load_makes_more(self):
        numbers = [
            weighing(load).cheapest(round(load) + 3) for load in (0.04, 1.0, 4.0, 16.0, 64.0)
        ]
        assert numbers == sorted(set(numbers))
        assert all(number > load for number, load in zip(numbers[1:], (1, 4, 16, 64), strict=True))

    def test_doubt_makes_more(self):
        doubted = CostModel(((18, 0.5), (22, 0.5)), ONE_NODE, 20.0, TERMS)  # about four erlangs
        assert doubted.cheapest(8) > weighing().cheapest(8)

    def test_nothing_to_do_needs_one(self):
        assert weighing(0.0).cheapest(5) == 1

    def test_a_few_on_a_further_node_are_not_bought_where_more_there_would_not_pay(self):
        """A node with one allocation makes a poor queue of its share."""
        full = NodeSlots(used=((6, 0),), free=(6,))
        load = weighing(4.4, price=50.0, ground=full)
        assert load.cost(7) > load.cost(6)
        best = load.cheapest(6)
        assert load.cost(best) == min(load.cost(number) for number in range(1, 13))

    def test_beyond_what_the_nodes_can_take_the_further_one_is_worth_its_price(self):
        full = NodeSlots(used=((6, 0),), free=(6,))
        load = weighing(7.0, price=20.0, ground=full)
        best = load.cheapest(6)
        assert best > 7
        assert load.cost(best) == min(load.cost(number) for number in range(1, 13))


class TestCosts:
    @pytest.mark.parametrize("number", [5, 6, 8])
    def test_they_are_allocations_and_late_requests_at_their_price(self, number):
        load = weighing(4.0, price=20.0)
        assert load.cost(number) == number + 20.0 * load.violation_load(number)

    def test_in_a_long_interval_those_are_late_that_would_be_in_the_long_run(self):
        terms = QueueParameters.of(
            max_wait=2.0, variability=1.0, horizon=1e6, drain=3.0, new_node=6.0
        )
        late = weighing(4.0, terms=terms).violation_load(5)
        assert late / 4.0 == pytest.approx(
            violation_fraction(5, 4.0, terms.max_wait, terms.variability), 0.01
        )

    def test_an_overload_costs_more_than_its_own_requests(self):
        """Those that come after it are late as well."""
        assert weighing(8.0).violation_load(4) > 8.0

    def test_a_load_that_needs_a_further_node_waits_for_it(self):
        here, there = (NodeSlots(used=((4, room),), free=(8,)) for room in (8, 0))
        assert (
            weighing(6.0, ground=there).violation_load(4)
            > weighing(6.0, ground=here).violation_load(4) + 6.0
        )

    def test_a_split_makes_more_late(self):
        split = NodeSlots(used=((4, 0), (4, 0)), free=())
        pooled = NodeSlots(used=((8, 0),), free=())
        assert weighing(6.0, ground=split).violation_load(8) > weighing(
            6.0, ground=pooled
        ).violation_load(8)


class TestWorthIt:
    @pytest.mark.parametrize("seed", range(20))
    @pytest.mark.parametrize("lasts_s", [10.0, 120.0, 480.0])
    def test_the_number_is_kept_unless_the_saving_pays(self, seed, lasts_s):
        drawn = Drawn(seed)
        load, best = drawn.weighing, drawn.weighing.cheapest(drawn.ample)
        for current in range(1, best + 6):
            number = load.with_change_threshold(current, best, lasts_s)
            saving = load.cost(current) - load.cost(best)
            mean, _ = mean_and_spread(drawn.loads)
            fee = MIN_SAVING * math.sqrt(max(1.0, mean / MIN_SAVING_LOAD))
            fee += SCALE_DOWN_COST_S / lasts_s if best < current else 0.0
            assert number == (best if saving >= fee else current)

    def test_the_longer_a_load_has_lasted_the_sooner_a_saving_pays(self):
        load = weighing(4.0)
        best = load.cheapest(8)
        assert load.with_change_threshold(best + 1, best, 10.0) == best + 1
        assert load.with_change_threshold(best + 4, best, 480.0) == best

    def test_a_deployment_without_allocations_gets_one(self):
        assert weighing(0.0).with_change_threshold(0, 1, 480.0) in {0, 1}


class TestCandidates:
    def test_each_says_what_is_expected_of_it(self):
        load = weighing(4.0)
        told = load.candidates((5, 6, 7), 0.99, 0.1)
        assert [each.allocations for each in told] == [5, 6, 7]
        assert [each.cost for each in told] == [load.cost(number) for number in (5, 6, 7)]
        assert [each.violation_fraction for each in told] == [
            load.violation_load(n) / 4.0 for n in (5, 6, 7)
        ]
        waits = [each.queue_wait_s for each in told]
        assert waits == sorted(waits, reverse=True)

    def test_waits_are_in_seconds(self):
        one, ten = (
            weighing(3.2).candidates((4,), 0.99, each)[0].queue_wait_s for each in (0.1, 1.0)
        )
        assert one == pytest.approx(0.51, rel=0.1)
        assert ten == pytest.approx(10.0 * one)

    def test_nobody_is_late_where_nobody_asks(self):
        (told,) = weighing(0.0).candidates((1,), 0.99, 0.1)
        assert (told.violation_fraction, told.queue_wait_s) == (0.0, 0.0)


class TestTerms:
    def test_they_are_rounded_by_no_more_than_is_known(self):
        terms = QueueParameters.of(
            max_wait=1.7, variability=0.83, horizon=77.0, drain=3.3, new_node=5.1
        )
        assert terms.max_wait == pytest.approx(1.7, rel=0.025)
        assert terms.variability == pytest.approx(0.83, rel=0.075)
        assert terms.horizon == pytest.approx(77.0, rel=0.1)
        assert terms.drain == pytest.approx(3.3, rel=0.1)
        assert terms.new_node == pytest.approx(5.1, rel=0.1)

    def test_who_differs_little_shares_them(self):
        terms = {
            QueueParameters.of(
                max_wait=limit, variability=1.0, horizon=100.0, drain=3.0, new_node=6.0
            )
            for limit in (1.99, 2.0, 2.01)
        }
        assert len(terms) == 1

    def test_no_wait_stays_none(self):
        given = {"variability": 1.0, "horizon": 100.0, "drain": 3.0, "new_node": 6.0}
        assert QueueParameters.of(max_wait=0.0, **given).max_wait == 0.0
