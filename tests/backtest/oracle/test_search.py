"""The oracle compared with every possible schedule, on small cases."""

from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.backtest.oracle.search import SLOT_S, Oracle, ScheduledChange, run_schedule, widened
from autoscaler.backtest.results.scoring import RequestSlo, cost, violations
from autoscaler.backtest.world.scenario import find_scenario
from autoscaler.backtest.world.traces import find_traces
from autoscaler.backtest.world.workload import workload_of
from tests.backtest.workloads import scenario, workload
from tests.conftest import shared

SLOTS, LEVELS, CASES = 5, 3, 10


def case(seed):
    """Fifty seconds of load that changes from slot to slot, for at most three allocations."""
    rng = np.random.default_rng(seed)
    at = []
    for slot in range(SLOTS):
        count = rng.poisson(rng.uniform(0.2, 2.3) * SLOT_S / 0.5)
        at += list(slot * SLOT_S + np.sort(rng.random(count)) * SLOT_S)
    work_s = rng.lognormal(np.log(0.5) - 0.2, 0.63, len(at))
    return workload(at, work_s, duration_s=SLOTS * SLOT_S, seed=seed)


def scene():
    return scenario(
        processors=LEVELS, physical_cores=LEVELS, max_allocations=LEVELS, service_time_s=0.5,
        slo_wait_s=1.0, slo_target=0.9,
    )  # fmt: skip


def hours(plant):
    return cost(plant.allocation_spans, *plant.span).allocation_hours


def violations_of(plant):
    slo = RequestSlo(1.0, 0.9)
    return np.count_nonzero(violations(plant.fleet.waits_s, plant.fleet.outcomes, slo))


def schedule(levels, start):
    """Changes for one level in each slot, early enough that each slot begins with its level."""
    changes = [ScheduledChange(start, levels[0])]
    for slot, (before, after) in enumerate(pairwise(levels), start=1):
        if after != before:
            early_s = scene().control_s if after > before else 0.0
            changes.append(ScheduledChange(start + slot * SLOT_S - early_s, after))
    return changes


def best_of_all(load):
    allowed = 0.1 * len(load.at)
    costs = []
    for levels in product(range(1, LEVELS + 1), repeat=SLOTS):
        plant = run_schedule(scene(), load, schedule(levels, load.start))
        if violations_of(plant) <= allowed:
            costs.append(hours(plant))
    return min(costs, default=None)


@pytest.mark.deep
def test_the_oracle_is_close_to_the_optimum():
    """Of 243 schedules in each of ten cases, none is more than 10% cheaper, and the best is on
    average less than 1% cheaper."""
    ratios = []
    for seed in range(CASES):
        load = case(seed)
        plant, met = Oracle(scene(), load).best(0.9)
        best = best_of_all(load)
        assert met == (best is not None)
        if best is not None:
            ratios.append(hours(plant) / best)
    assert len(ratios) >= 8
    assert max(ratios) <= 1.1
    assert np.mean(ratios) <= 1.01


def test_short_crowds_on_further_nodes_cost_less_than_fixed_allocations():
    """Where delays prevent fast reactions, schedules with wider levels are tried."""
    rng = np.random.default_rng(3)
    crowds = [rng.uniform(200.0 * n + 50.0, 200.0 * n + 90.0, 2400) for n in range(18)]
    at = np.sort(np.concatenate([rng.uniform(0.0, 3600.0, 3600), *crowds]))
    load = workload(at, 0.1, duration_s=3600.0)
    place = scenario(nodes=3, processors=3, max_allocations=9, load_s=180.0)
    plant, met = Oracle(place, load).best(0.99)
    slo = RequestSlo(place.slo_wait_s, 0.99)
    late = np.count_nonzero(violations(plant.fleet.waits_s, plant.fleet.outcomes, slo))
    assert met
    assert late <= 0.01 * len(at)
    assert hours(plant) < 9.0


def test_load_that_switches_off_costs_little_more_than_its_work():
    """The queue that a burst leaves is served before the allocations are given up."""
    rng = np.random.default_rng(5)
    bursts = [rng.uniform(120.0 * n + 60.0, 120.0 * n + 120.0, 800) for n in range(15)]
    at = np.sort(np.concatenate(bursts))
    load = workload(at, rng.lognormal(-0.2, 0.63, len(at)), duration_s=1900.0)
    place = scenario(
        processors=40, physical_cores=40, max_allocations=40, service_time_s=1.0, slo_wait_s=2.0
    )
    plant, met = Oracle(place, load).best(0.99)
    assert met
    assert hours(plant) < 1.2 * load.work_s.sum() / 3600.0


def test_delays_that_no_node_causes_are_met_by_aiming_at_fewer_late_requests():
    """On this load, schedules that avoid new nodes are as late as those that do not."""
    (source,) = find_traces([str(shared("traces-wide/wide_client_09.csv.gz"))])
    place = find_scenario("long-three-nodes")
    load = workload_of(source.read(), place, 1)
    plant, met = Oracle(place, load).best(0.99)
    assert met
    assert hours(plant) < 1.3 * load.work_s.sum() / 3600.0


@given(st.lists(st.integers(1, 9), min_size=1, max_size=30), st.integers(1, 5))
def test_a_widened_schedule_extends_each_level_before_and_after(levels, slots):
    wide = widened(np.array(levels), slots).tolist()
    for place, level in enumerate(wide):
        assert level == max(levels[max(0, place - slots) : place + slots + 1])
