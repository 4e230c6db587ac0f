"""Queue waits in the plant agree with queueing theory.

Each figure is the mean of 30 independent runs of 20,000 requests, without their first tenth. The
theoretical value must lie within the 99% confidence interval (Student's t with 29 degrees of
freedom).
"""

import math
from statistics import fmean, stdev

import numpy as np
import pytest

from autoscaler.backtest.world.kernel import REJECTED
from autoscaler.backtest.world.plant import Plant
from tests.backtest.workloads import poisson, scenario, workload

RUNS, REQUESTS, T_99 = 30, 20_000, 2.756
MEAN_S = 0.1


def erlang_b(servers, load):
    blocked = 1.0
    for k in range(1, servers + 1):
        blocked = load * blocked / (k + load * blocked)
    return blocked


def erlang_c(servers, load):
    blocked, busy = erlang_b(servers, load), load / servers
    return blocked / (1.0 - busy * (1.0 - blocked))


def mean_wait_m_m_c(servers, load):
    return erlang_c(servers, load) * MEAN_S / (servers - load)


def served(load, *, allocations, nodes=1, processors=None, **given):
    """The plant at the end of the load, with fixed allocations."""
    size = processors or allocations
    scene = scenario(
        nodes=nodes,
        processors=size,
        physical_cores=size,
        max_allocations=size * nodes,
        timeout_s=1e6,
        queue_capacity=given.pop("queue_capacity", 100_000),
        **given,
    )
    plant = Plant(scene, load, allocations=allocations)
    plant.finish()
    return plant


def assert_within(figures, theory):
    assert len(figures) == RUNS
    half_width = T_99 * stdev(figures) / math.sqrt(RUNS)
    assert fmean(figures) == pytest.approx(theory, abs=half_width)
    assert half_width < 0.12 * theory  # so that the test detects deviations


def settled(waits_s):
    return waits_s[REQUESTS // 10 :]


def waits_of_runs(busy, *, allocations, cv, **given):
    rate_per_s = busy * allocations / MEAN_S
    for seed in range(RUNS):
        load = poisson(rate_per_s, REQUESTS, MEAN_S, seed=seed, cv=cv)
        yield settled(served(load, allocations=allocations, **given).fleet.waits_s)


@pytest.mark.parametrize(("allocations", "busy"), [(1, 0.7), (4, 0.8), (16, 0.9)])
def test_mean_wait_and_probability_of_waiting_are_those_of_m_m_c(allocations, busy):
    waits_s = list(waits_of_runs(busy, allocations=allocations, cv=1.0))
    load = busy * allocations
    assert_within([fmean(run) for run in waits_s], mean_wait_m_m_c(allocations, load))
    assert_within([np.mean(run > 0.0) for run in waits_s], erlang_c(allocations, load))


def test_ninety_fifth_percentile_is_that_of_m_m_c():
    waits_s = waits_of_runs(0.8, allocations=4, cv=1.0)
    theory = MEAN_S / (4 - 3.2) * math.log(erlang_c(4, 3.2) / 0.05)
    assert_within([np.quantile(run, 0.95) for run in waits_s], theory)


def test_mean_wait_is_that_of_m_d_1():
    waits_s = waits_of_runs(0.8, allocations=1, cv=0.0)
    assert_within([fmean(run) for run in waits_s], 0.8 * MEAN_S / (2.0 * (1.0 - 0.8)))


@pytest.mark.parametrize("cv", [0.7, 1.5])
def test_mean_wait_is_that_of_pollaczek_and_khinchine(cv):
    waits_s = waits_of_runs(0.7, allocations=1, cv=cv)
    theory = 0.7 * MEAN_S * (1.0 + cv**2) / (2.0 * (1.0 - 0.7))
    assert_within([fmean(run) for run in waits_s], theory)


def test_nodes_do_not_share_a_queue():
    """Two nodes of four are two M/M/4 queues, and not one M/M/8."""
    waits_s = list(waits_of_runs(0.8, allocations=8, cv=1.0, nodes=2, processors=4))
    assert_within([fmean(run) for run in waits_s], mean_wait_m_m_c(4, 3.2))
    assert mean_wait_m_m_c(8, 6.4) < 0.5 * mean_wait_m_m_c(4, 3.2)


@pytest.mark.parametrize(("allocations", "waiting", "busy"), [(1, 4, 0.9), (4, 6, 1.2)])
def test_the_rejected_fraction_is_that_of_a_finite_queue(allocations, waiting, busy):
    """M/M/c/K with K places in all, from its stationary probabilities."""
    load = busy * allocations
    weights = [load**n / math.factorial(n) for n in range(allocations)]
    weights += [
        load**allocations / math.factorial(allocations) * busy**k for k in range(waiting + 1)
    ]
    refused = []
    for seed in range(RUNS):
        callers = poisson(load / MEAN_S, REQUESTS, MEAN_S, seed=seed)
        plant = served(callers, allocations=allocations, queue_capacity=waiting)
        refused.append(float(np.mean(settled(plant.fleet.outcomes) == REJECTED)))
    assert_within(refused, weights[-1] / sum(weights))


def test_no_request_waits_in_an_idle_plant():
    plant = served(workload(np.arange(100.0), 0.5), allocations=1)
    assert plant.fleet.waits_s.tolist() == [0.0] * 100
