"""The planner against an exhaustive search on small pools."""

import random
from collections import Counter

import pytest

from autoscaler.simulation.placement import plan
from tests.simulation.planner_pools import check_limits, keeps, plan_exists, pool, satisfies


def _judged(seeds):
    """How often each verdict was passed."""
    verdicts = Counter()
    for seed in seeds:
        nodes, deployments = pool(random.Random(seed))
        made = plan(nodes, deployments)
        check_limits(nodes, deployments, made)
        if plan_exists(nodes, deployments, keeping=True):
            kept = keeps(made, deployments)
            verdicts["lost what runs"] += not kept
            verdicts["refused although a plan keeps all"] += not satisfies(made, deployments)
            verdicts["keeps all"] += kept
        elif plan_exists(nodes, deployments, keeping=False):
            verdicts["refused although a plan moves some"] += not satisfies(made, deployments)
            verdicts["moves some"] += 1
        else:
            verdicts["impossible"] += 1
            fewer = any(
                made.allocations_of(each.deployment_id) < sum(each.current.values())
                for each in deployments
                if not each.low
            )
            again = any(
                each.previously_assigned and not each.current and not each.low
                for each in deployments
            )
            verdicts["lost what runs"] += fewer and not again
    return verdicts


def _assert_sound(verdicts):
    assert verdicts["lost what runs"] == 0
    assert verdicts["refused although a plan keeps all"] == 0
    assert verdicts["refused although a plan moves some"] == 0
    assert min(verdicts["keeps all"], verdicts["moves some"], verdicts["impossible"]) > 0


def test_no_plan_takes_what_runs_or_refuses_what_fits():
    _assert_sound(_judged(range(3000)))


@pytest.mark.deep
@pytest.mark.timeout(1200)
def test_no_plan_takes_what_runs_or_refuses_what_fits_in_a_hundred_thousand_pools():
    _assert_sound(_judged(range(10_000, 110_000)))
