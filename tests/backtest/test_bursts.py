"""What `slo` predicts of bursty loads, against what happens to the requests."""

import math

import numpy as np
import pytest

from autoscaler.backtest.trial import TrialRunner, TrialSpec
from tests.backtest.workloads import scenario, workload

pytestmark = pytest.mark.untraced

HOURS, LEARNT_S = 4.0, 1_800.0
SERVICE_S, LOAD = 0.1, 4.0


def instants(rates, step_s, rng):
    """Arrivals of these rates, each for one step."""
    counts = rng.poisson(np.asarray(rates) * step_s)
    return np.sort((np.repeat(np.arange(len(rates)), counts) + rng.random(counts.sum())) * step_s)


def steady(rng):
    return instants([LOAD / SERVICE_S] * round(HOURS * 60.0), 60.0, rng)


def changing_every(seconds):
    """A rate that is drawn anew each time: 40% above the mean, or below."""

    def load(rng):
        rates = LOAD / SERVICE_S * rng.choice([0.6, 1.4], round(HOURS * 3600.0 / seconds))
        return instants(rates, seconds, rng)

    return load


def late(load, allocations):
    """The late fraction with this number of allocations: what was predicted, and what it was."""
    rng = np.random.default_rng(1)
    at = load(rng)
    sigma = math.sqrt(math.log(1.49))  # of a coefficient of variation of 0.7
    work_s = rng.lognormal(math.log(SERVICE_S) - sigma * sigma / 2.0, sigma, len(at))
    runner = TrialRunner(
        scenario(
            processors=allocations,
            physical_cores=allocations,
            min_allocations=allocations,
            max_allocations=allocations,
            service_time_s=SERVICE_S,
            slo_wait_s=2.0 * SERVICE_S,
        ),
        workload(at, work_s, duration_s=HOURS * 3600.0),
        seed=1,
    )
    trial = TrialSpec(policy="slo")
    driver = runner.driver(trial.spec, 0.99)
    driver.plans = []
    plant = runner.run_driver(driver)
    begun = plant.span[0] + LEARNT_S
    steps = [plan.decisions[0].steps[0] for plan in driver.plans if plan.at > begun]
    predicted = [
        candidate.violation_fraction
        for step in steps
        for candidate in step.candidates
        if candidate.allocations == allocations
    ]
    row = runner.row(plant, trial.policy, setting="", refused=0)
    return float(np.mean(predicted)), row.violation_fraction


def test_a_steady_load_is_predicted_well():
    predicted, actual = late(steady, 6)
    assert actual < 0.005
    assert predicted < 0.01


@pytest.mark.parametrize("seconds", [60.0, 300.0])
def test_a_rate_that_changes_is_not_taken_for_bursts(seconds):
    """With eight allocations, enough for the higher rate, hardly any request is late."""
    predicted, actual = late(changing_every(seconds), 8)
    assert actual < 0.002
    assert predicted < 0.02


def test_bursts_of_seconds_are_expected():
    predicted, actual = late(changing_every(2.0), 6)
    assert 0.05 < actual < 0.5
    assert actual / 2.0 < predicted < actual * 2.0
