"""The cheapest allocation count, compared with an exhaustive search."""

import math
import random
from collections import Counter

import pytest
from msgspec.structs import replace

from autoscaler.core.slo.cost_model import (
    MAX_EVALUATIONS,
    MAX_LOADS,
    MIN_SAVING,
    MIN_SAVING_LOAD,
    SCALE_DOWN_COST_S,
    CostModel,
    QueueParameters,
)
from autoscaler.core.slo.load_distribution import (
    GRID_STEP,
    LoadMixture,
    index_of_load,
    mean_and_spread,
    predicted,
    updated,
)
from autoscaler.core.slo.placement import MAX_SIZES, NodeSlots
from autoscaler.core.slo.queueing import violation_fraction

POLL_S = 10.0
HIGHEST = 300

ONE_NODE = NodeSlots(used=((1, 10_000),), free=())

PARAMETERS = QueueParameters.of(
    max_wait=2.0, variability=1.0, horizon=100.0, drain=3.0, new_node=6.0
)


def certain(erlangs):
    """A load without uncertainty."""
    index = round(math.sqrt(erlangs) / GRID_STEP)
    return ((index, 1.0),)


def cost_model(erlangs=4.0, *, weight=20.0, slots=ONE_NODE, parameters=PARAMETERS):
    return CostModel(certain(erlangs), slots, weight, parameters)


class Drawn:
    """A random deployment on one node: its load, its requests, its SLO and the violation weight."""

    def __init__(self, seed, jump=False):
        dice = random.Random(seed)
        service_time_s = 10.0 ** dice.uniform(-2.3, 0.5)
        per_interval = 10.0 ** dice.uniform(-2.0, 1.3) / service_time_s * POLL_S
        known = LoadMixture()
        for _ in range(dice.randint(1, 60)):
            count = max(0, round(dice.gauss(per_interval, math.sqrt(per_interval))))
            known = updated(known, count, POLL_S, service_time_s, 1.0)
        if jump:
            count = round(per_interval * dice.choice([0.2, 3.0, 10.0]))
            known = updated(known, count, POLL_S, service_time_s, 1.0)
        self.loads = predicted(known, service_time_s, 1.0)
        self.weight = 10.0 ** dice.uniform(0.5, 2.7)
        self.parameters = QueueParameters.of(
            max_wait=dice.choice([2.0, 0.2 / service_time_s, 1.0 / service_time_s]),
            variability=dice.choice([0.75, 1.0, 2.0, 5.0]),
            horizon=POLL_S / service_time_s,
            drain=3.0,
            new_node=6.0,
        )
        self.cost_model = CostModel(
            tuple(self.loads.items()), ONE_NODE, self.weight, self.parameters
        )
        mean, _ = mean_and_spread(self.loads)
        self.ample = max(1, math.ceil(mean + 3.0 * math.sqrt(mean)))
        self.cheapest = min(range(1, HIGHEST), key=self.cost_model.cost)


class TestCheapest:
    @pytest.mark.parametrize("seed", range(60))
    def test_a_search_from_above_the_load_finds_the_cheapest(self, seed):
        drawn = Drawn(seed)
        cheapest = drawn.cost_model.cheapest(drawn.ample)
        assert drawn.cost_model.cost(cheapest) == drawn.cost_model.cost(drawn.cheapest)

    @pytest.mark.parametrize("seed", range(20))
    def test_it_never_costs_more_than_the_start_of_the_search(self, seed):
        drawn = Drawn(seed, jump=True)
        for near in (1, 3, drawn.ample, drawn.cheapest, 2 * drawn.cheapest):
            cheapest = drawn.cost_model.cheapest(near)
            assert drawn.cost_model.cost(cheapest) <= drawn.cost_model.cost(near)

    @pytest.mark.parametrize("seed", range(40))
    def test_after_bursts_the_cheapest_is_found_on_several_nodes(self, seed):
        """Many loads are possible then, rare high ones among them, and few allocations run."""
        dice = random.Random(seed)
        known, service_time_s = LoadMixture(), 1.0
        for _ in range(120):
            erlangs = dice.choice([0.3, 0.3, 0.3, 2.0, 8.0, dice.uniform(10.0, 40.0)])
            count = max(0, round(dice.gauss(erlangs * POLL_S, math.sqrt(erlangs * POLL_S))))
            known = updated(known, count, POLL_S, service_time_s, 1.0)
        near = dice.randint(1, 12)
        slots = NodeSlots(((near, 27 - near), (27, 0)), (27,))
        loads = tuple(predicted(known, service_time_s, 1.0).items())
        model, best = (CostModel(loads, slots, 500.0, PARAMETERS) for _ in range(2))
        lowest_cost = min(map(best.cost, range(1, 82)))
        assert best.cost(model.cheapest(near)) <= 1.03 * lowest_cost

    def test_it_rises_with_the_violation_weight(self):
        counts = [
            cost_model(weight=weight).cheapest(8) for weight in (0.5, 2.0, 20.0, 200.0, 500.0)
        ]
        assert counts == sorted(counts)
        assert counts[-1] > counts[0]

    def test_it_rises_with_the_load(self):
        counts = [
            cost_model(load).cheapest(round(load) + 3) for load in (0.04, 1.0, 4.0, 16.0, 64.0)
        ]
        assert counts == sorted(set(counts))
        assert all(count > load for count, load in zip(counts[1:], (1, 4, 16, 64), strict=True))

    def test_it_rises_with_the_uncertainty(self):
        uncertain = CostModel(
            ((18, 0.5), (22, 0.5)), ONE_NODE, 20.0, PARAMETERS
        )  # about four erlangs
        assert uncertain.cheapest(8) > cost_model().cheapest(8)

    def test_without_load_it_is_one(self):
        assert cost_model(0.0).cheapest(5) == 1

    @pytest.mark.parametrize("first", range(0, 200, 20))
    def test_no_count_costs_less_with_a_new_node_or_without(self, first):
        """From any start of the search, with any room on the node in use and on the next."""
        for seed in range(first, first + 20):
            dice = random.Random(seed)
            room, further = dice.randint(1, 30), dice.randint(1, 30)
            slots = NodeSlots(used=((1, room),), free=(further, 1))
            erlangs, weight = dice.uniform(0.2, 1.3) * room, 10.0 ** dice.uniform(0.5, 2.7)
            found = cost_model(erlangs, weight=weight, slots=slots).cheapest(dice.randint(1, room))
            model = cost_model(erlangs, weight=weight, slots=slots)
            lowest_cost = min(map(model.cost, range(1, 3 * (room + further) + 20)))
            assert model.cost(found) <= lowest_cost + 1e-9, seed

    @pytest.mark.parametrize(
        ("used", "further", "erlangs", "weight", "max_wait", "near"),
        [
            pytest.param(((2, 7),), 5, 4.73, 386.5, 0.5, 5, id="one node"),
            pytest.param(((1, 9), (3, 9)), 9, 14.26, 48.1, 0.5, 4, id="two nodes"),
            pytest.param(((1, 4), (2, 4), (3, 4)), 12, 10.36, 212.1, 0.5, 17, id="three nodes"),
        ],
    )
    def test_most_of_a_new_node_is_used_where_a_part_of_it_is_worse_than_none(
        self, used, further, erlangs, weight, max_wait, near
    ):
        parameters = replace(PARAMETERS, max_wait=max_wait)
        slots = NodeSlots(used=used, free=(further,))
        within = slots.max_without_new_node
        model = cost_model(erlangs, weight=weight, slots=slots, parameters=parameters)
        found = model.cheapest(near)
        assert found == min(range(1, within + further + 1), key=model.cost)
        assert found >= within + further - 1
        assert model.cost(within + 1) > model.cost(within)

    def test_a_new_node_is_not_used_if_it_would_not_pay(self):
        """Queue waits are long on a node with one allocation."""
        full = NodeSlots(used=((6, 0),), free=(6,))
        load = cost_model(4.4, weight=50.0, slots=full)
        assert load.cost(7) > load.cost(6)
        cheapest = load.cheapest(6)
        assert load.cost(cheapest) == min(load.cost(count) for count in range(1, 13))

    def test_a_new_node_is_used_if_the_nodes_in_use_cannot_serve_the_load(self):
        full = NodeSlots(used=((6, 0),), free=(6,))
        load = cost_model(7.0, weight=20.0, slots=full)
        cheapest = load.cheapest(6)
        assert cheapest > 7
        assert load.cost(cheapest) == min(load.cost(count) for count in range(1, 13))


class TestCosts:
    @pytest.mark.parametrize("count", [5, 6, 8])
    def test_they_are_allocations_plus_weighted_violations(self, count):
        load = cost_model(4.0, weight=20.0)
        assert load.cost(count) == count + 20.0 * load.violation_load(count)

    def test_with_a_long_horizon_violations_are_the_stationary_ones(self):
        parameters = QueueParameters.of(
            max_wait=2.0, variability=1.0, horizon=1e6, drain=3.0, new_node=6.0
        )
        violations = cost_model(4.0, parameters=parameters).violation_load(5)
        assert violations / 4.0 == pytest.approx(
            violation_fraction(5, 4.0, parameters.max_wait, parameters.variability), 0.01
        )

    def test_an_overload_costs_more_than_its_own_requests(self):
        """The next requests are late as well."""
        assert cost_model(8.0).violation_load(4) > 8.0

    def test_a_load_that_needs_a_new_node_is_late_until_it_is_ready(self):
        near, far = (NodeSlots(used=((4, free),), free=(8,)) for free in (8, 0))
        assert (
            cost_model(6.0, slots=far).violation_load(4)
            > cost_model(6.0, slots=near).violation_load(4) + 6.0
        )

    def test_more_nodes_give_more_violations(self):
        spread = NodeSlots(used=((4, 0), (4, 0)), free=())
        pooled = NodeSlots(used=((8, 0),), free=())
        assert cost_model(6.0, slots=spread).violation_load(8) > cost_model(
            6.0, slots=pooled
        ).violation_load(8)


class TestChangeThreshold:
    @pytest.mark.parametrize("seed", range(20))
    @pytest.mark.parametrize("duration_s", [10.0, 120.0, 480.0])
    def test_a_change_has_to_save_more_than_the_threshold(self, seed, duration_s):
        drawn = Drawn(seed)
        load, cheapest = drawn.cost_model, drawn.cost_model.cheapest(drawn.ample)
        for current in range(1, cheapest + 6):
            count = load.with_change_threshold(current, cheapest, duration_s)
            saving = load.cost(current) - load.cost(cheapest)
            mean, _ = mean_and_spread(drawn.loads)
            threshold = MIN_SAVING * math.sqrt(max(1.0, mean / MIN_SAVING_LOAD))
            threshold += SCALE_DOWN_COST_S / duration_s if cheapest < current else 0.0
            assert count == (cheapest if saving >= threshold else current)

    def test_the_threshold_falls_with_the_duration_of_the_load(self):
        load = cost_model(4.0)
        cheapest = load.cheapest(8)
        assert load.with_change_threshold(cheapest + 1, cheapest, 10.0) == cheapest + 1
        assert load.with_change_threshold(cheapest + 4, cheapest, 480.0) == cheapest

    def test_a_deployment_without_allocations_gets_one(self):
        assert cost_model(0.0).with_change_threshold(0, 1, 480.0) in {0, 1}


class TestCandidates:
    def test_each_has_its_predictions(self):
        load = cost_model(4.0)
        found = load.candidates((5, 6, 7), 0.99, 0.1)
        assert [each.allocations for each in found] == [5, 6, 7]
        assert [each.cost for each in found] == [load.cost(count) for count in (5, 6, 7)]
        assert [each.violation_fraction for each in found] == [
            load.violation_load(n) / 4.0 for n in (5, 6, 7)
        ]
        waits = [each.queue_wait_s for each in found]
        assert waits == sorted(waits, reverse=True)

    def test_waits_are_in_seconds(self):
        one, ten = (
            cost_model(3.2).candidates((4,), 0.99, each)[0].queue_wait_s for each in (0.1, 1.0)
        )
        assert one == pytest.approx(0.51, rel=0.1)
        assert ten == pytest.approx(10.0 * one)

    def test_without_requests_there_are_no_violations(self):
        (found,) = cost_model(0.0).candidates((1,), 0.99, 0.1)
        assert (found.violation_fraction, found.queue_wait_s) == (0.0, 0.0)


class TestQueueParameters:
    def test_the_rounding_is_within_the_accuracy_of_the_model(self):
        parameters = QueueParameters.of(
            max_wait=1.7, variability=0.83, horizon=77.0, drain=3.3, new_node=5.1
        )
        assert parameters.max_wait == pytest.approx(1.7, rel=0.025)
        assert parameters.variability == pytest.approx(0.83, rel=0.075)
        assert parameters.horizon == pytest.approx(77.0, rel=0.1)
        assert parameters.drain == pytest.approx(3.3, rel=0.1)
        assert parameters.new_node == pytest.approx(5.1, rel=0.1)

    def test_similar_deployments_share_them(self):
        parameters = {
            QueueParameters.of(
                max_wait=limit, variability=1.0, horizon=100.0, drain=3.0, new_node=6.0
            )
            for limit in (1.99, 2.0, 2.01)
        }
        assert len(parameters) == 1

    def test_a_wait_of_zero_stays_zero(self):
        given = {"variability": 1.0, "horizon": 100.0, "drain": 3.0, "new_node": 6.0}
        assert QueueParameters.of(max_wait=0.0, **given).max_wait == 0.0


class TestBoundedSearch:
    """Whatever the load and the nodes are, the search takes about the same time."""

    @staticmethod
    def drawn(seed):
        dice = random.Random(seed)
        loads = {round(10.0 ** dice.uniform(0.0, 5.0)): dice.random() for _ in range(200)}
        total = sum(loads.values())
        used = [
            (int(10.0 ** dice.uniform(0, 6)), int(10.0 ** dice.uniform(0, 6))) for _ in range(9)
        ]
        slots = NodeSlots(tuple(sorted(used)), (10**6, 16))
        return CostModel(
            tuple((index, weight / total) for index, weight in loads.items()),
            slots,
            10.0 ** dice.uniform(-2.0, 2.7),
            PARAMETERS,
        )

    @pytest.mark.parametrize("seed", range(30))
    def test_the_evaluations_are_limited(self, seed):
        model, near = self.drawn(seed), int(10.0 ** random.Random(seed).uniform(0.0, 9.0))
        model.cheapest(near)
        of_one_count = MAX_LOADS + MAX_SIZES
        assert model.evaluations <= MAX_EVALUATIONS + 3 * of_one_count

    @pytest.mark.parametrize("erlangs", [400.0, 10_000.0, 1e6])
    @pytest.mark.parametrize("near", [1, 1_000, 10**8])
    def test_the_cheapest_count_of_a_large_load_is_found_roughly(self, erlangs, near):
        """To a fraction of the standard deviation of the load, from any count."""
        deviation = math.sqrt(erlangs)
        slots = NodeSlots(used=((1, 10**9),), free=())
        found = cost_model(erlangs, slots=slots).cheapest(near)
        counts = [round(erlangs + deviation * score / 50.0) for score in range(400)]
        best = cost_model(erlangs, slots=slots)
        lowest_cost = min(map(best.cost, counts))
        assert best.cost(found) - lowest_cost < 0.02 * deviation

    @pytest.mark.parametrize("sizes", [2, 5, 9])
    def test_uncertain_loads_on_unequal_nodes_cost_little_more_than_they_must(self, sizes):
        """Also where the search ends before it has compared all counts."""
        ratios = []
        for seed in range(8):
            dice = random.Random(seed)
            median, sigma = 10.0 ** dice.uniform(1.0, 2.5), dice.uniform(1.0, 2.0)
            drawn = [min(5_000.0, median * math.exp(dice.gauss(0.0, sigma))) for _ in range(300)]
            loads = Counter(index_of_load(load) for load in drawn)
            used = [(dice.randint(1, 9), dice.randint(10, 500)) for _ in range(sizes)]

            def model(loads=loads, used=used):
                return CostModel(
                    tuple((index, count / 300.0) for index, count in loads.items()),
                    NodeSlots(tuple(sorted(used)), (500, 16)),
                    50.0,
                    PARAMETERS,
                )

            found, any_count = model().cheapest(near=10), model()
            best = min(any_count.cost(round(1.3**step)) for step in range(34))
            ratios.append(any_count.cost(found) / best)
        assert sum(ratios) / len(ratios) < 1.25
