"""A job by the clock is served in time, and the explanation says why."""

import pytest
from msgspec.structs import replace

from autoscaler.config.polling import polling_of
from autoscaler.core.next_poll import PollCause
from autoscaler.core.slo.policy import SloPolicy
from autoscaler.simulation.loads import OnOff
from autoscaler.simulation.scenario import ScenarioDeployment
from tests.end_to_end.world import START, scenario, with_policy, world_of
from tests.observations import policy, rule

PERIOD_S, BUSY_S = 300.0, 60.0
PERIODS = 8
MAX_QUEUE_WAIT_S = 0.1  # two service times
JOBS = [(30.0, 2), (60.0, 1), (60.0, 2)]  # requests per second, seed


def late(world):
    """Requests that were late or lost so far."""
    ledger = world.deployment("a").ledger
    return ledger.waited_longer_than(MAX_QUEUE_WAIT_S) + ledger.rejected + ledger.failed


async def played(rate_per_s, seed):
    """For each period: the fraction of late requests, and the cycles up to the next one."""
    simulated = scenario(ScenarioDeployment(model_id="a", number_of_allocations=1))
    governed = with_policy(
        policy(rule(max_allocations=14, stabilisation_window_s=0.0)), SloPolicy()
    )
    governed = replace(governed, polling=polling_of(10.0))
    periods, late_before, before = [], 0, 0
    async with world_of(simulated, governed) as world:
        load = OnOff(rate_per_s=rate_per_s, on_s=BUSY_S, off_s=PERIOD_S - BUSY_S, seed=seed)
        world.emulation.start_load("a", load)
        for period in range(PERIODS):
            cycles = await world.run_for(START + (period + 1) * PERIOD_S - world.clock.now() - 10.0)
            requests = world.deployment("a").ledger.requests
            fraction = (late(world) - late_before) / (requests - before)
            periods.append((fraction, cycles))
            late_before, before = late(world), requests
    return periods


@pytest.mark.parametrize(("rate_per_s", "seed"), JOBS)
async def test_a_job_of_one_minute_in_every_five_is_served_in_time_from_the_fourth_period(
    rate_per_s, seed
):
    periods = await played(rate_per_s, seed)
    for late_fraction, _ in periods[3:]:
        assert late_fraction <= 0.01


@pytest.mark.parametrize(("rate_per_s", "seed"), JOBS)
async def test_the_explanation_says_why_allocations_are_added_before_the_load_comes(
    rate_per_s, seed
):
    periods = await played(rate_per_s, seed)
    for period, (_, cycles) in enumerate(periods[4:], start=4):
        begins = START + period * PERIOD_S
        early = [cycle for cycle in cycles if cycle.observation.at < begins]
        raised = [each for each in early if each.decision("a").desired > each.decision("a").current]
        assert "at this time of every 5 min" in raised[-1].text("a")
        assert raised[-1].decision("a").steps[0].inputs["recurs_every_s"] == PERIOD_S
        assert PollCause.RECURRENCE in {cycle.plan.next_poll.cause for cycle in early}
