"""The rate oracle: what it reaches, and what it cannot know."""

import numpy as np
import pytest

from autoscaler.backtest.drivers import drive
from autoscaler.backtest.oracle.outlooks import known_outlooks, usual_outlooks
from autoscaler.backtest.oracle.rate_oracle import RateOracle
from autoscaler.backtest.oracle.search import Oracle
from autoscaler.backtest.oracle.staffing import StaffingDriver
from autoscaler.backtest.results.scoring import RequestSlo, cost, violations
from autoscaler.backtest.world.plant import Plant
from tests.backtest.workloads import scenario, workload

PLACE = scenario(processors=30, physical_cores=30, max_allocations=30)
TWO_NODES = scenario(
    nodes=2, processors=15, physical_cores=15, max_allocations=30, load_s=60.0
)  # fmt: skip


def switching(rate_per_s=100.0, *, every_s=240.0, on_s=60.0, hours=1.0, seed=3):
    """Poisson arrivals of 100 ms, on for a minute in every four."""
    rng = np.random.default_rng(seed)
    bursts = [
        begin + on_s * rng.random(rng.poisson(rate_per_s * on_s))
        for begin in np.arange(every_s - on_s, 3600.0 * hours, every_s)
    ]
    at = np.sort(np.concatenate([*bursts, 3600.0 * hours * rng.random(round(1800 * hours))]))
    return workload(at, rng.lognormal(-2.5, 0.6, len(at)), duration_s=3600.0 * hours)


def late_of(plant, place, target=0.99):
    slo = RequestSlo(place.slo_wait_s, target)
    return np.count_nonzero(violations(plant.fleet.waits_s, plant.fleet.outcomes, slo))


def hours(plant):
    return cost(plant.allocation_spans, *plant.span).allocation_hours


@pytest.mark.parametrize("place", [PLACE, TWO_NODES], ids=["one node", "two nodes"])
class TestReferences:
    def test_the_less_is_known_the_more_it_costs(self, place):
        """Every request, the rate of ten seconds, and what usually follows."""
        load = switching()
        known, usual = known_outlooks(load, place, 10.0), usual_outlooks(load, place)
        costs = []
        for oracle in (
            Oracle(place, load),
            RateOracle(place, load, known, 5),
            RateOracle(place, load, usual, 5),
        ):
            plant, met = oracle.best(0.99)
            assert met
            assert late_of(plant, place) <= 0.01 * len(load.at)
            costs.append(hours(plant))
        every_request, rates, usual_rates = costs
        assert every_request <= rates <= 1.35 * every_request
        assert usual_rates > 1.3 * rates

    def test_a_lower_target_costs_less(self, place):
        load = switching()
        oracle = RateOracle(place, load, known_outlooks(load, place, 10.0), 5)
        assert hours(oracle.best(0.9)[0]) < hours(oracle.best(0.999)[0])

    def test_a_run_repeats_exactly(self, place):
        load = switching()
        runs = [
            RateOracle(place, load, known_outlooks(load, place, 10.0), 5).best(0.99)[0]
            for _ in range(2)
        ]
        assert runs[0].allocation_spans == runs[1].allocation_spans


def test_an_slo_that_no_weight_meets_is_not_met():
    """The load is twice what all nodes serve."""
    load = switching(600.0)
    plant, met = RateOracle(PLACE, load, known_outlooks(load, PLACE, 10.0), 5).best(0.99)
    assert not met
    assert late_of(plant, PLACE) > 0.01 * len(load.at)


class TestStaffing:
    def run(self, place, load, weight, outlooks=None):
        plant = Plant(place, load, allocations=2)
        driver = StaffingDriver(
            place, known_outlooks(load, place, 10.0) if outlooks is None else outlooks, weight
        )
        drive(plant, driver)
        assert driver.refused == 0
        return plant

    def running_at(self, plant, elapsed_s):
        start, _ = plant.span
        return [each for each in plant.allocation_spans if each.at <= start + elapsed_s][-1].running

    def test_it_has_the_allocations_when_the_rate_rises_and_gives_them_up_at_once(self):
        plant = self.run(PLACE, switching(), 20.0)
        assert self.running_at(plant, 179.9) <= 3
        assert self.running_at(plant, 180.5) >= 10
        assert self.running_at(plant, 250.5) <= 3

    def test_a_new_node_serves_when_the_rate_needs_it(self):
        load = switching(200.0)
        plant = self.run(TWO_NODES, load, 20.0)
        assert self.running_at(plant, 180.5) > 20
        assert self.running_at(plant, 260.5) <= 15

    def test_without_an_outlook_the_allocations_are_held(self):
        load = switching()
        plant = self.run(PLACE, load, 20.0, [None] * 400)
        assert {each.requested for each in plant.allocation_spans} == {2}

    def test_a_queue_is_served(self):
        """A burst within a slot leaves a queue, for which the next slot has more allocations."""
        burst = np.linspace(99.0, 99.9, 1000)
        at = np.sort(np.concatenate([np.arange(0.0, 300.0, 0.5), burst]))
        load = workload(at, 0.1, duration_s=300.0)
        plant = self.run(PLACE, load, 0.5)
        assert self.running_at(plant, 100.5) >= 8
        assert self.running_at(plant, 120.5) <= 3
