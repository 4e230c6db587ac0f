"""The planner against an exhaustive search on small pools in any state, some deployments short."""

import random
from collections import Counter

import pytest

from autoscaler.simulation.placement import plan
from tests.simulation.planner_pools import (
    check_limits,
    currently,
    fit,
    nowhere,
    pool_in_any_state,
    rooms_of,
    taken,
)


def _verdicts(nodes, deployments):
    """What an exhaustive search has against a plan, for each priority in the room left to it."""
    made = plan(nodes, deployments)
    check_limits(nodes, deployments, made)
    rooms = rooms_of(nodes)
    for low in (False, True):
        here = [each for each in deployments if each.low == low]
        yield _verdict(nodes, rooms, here, made)
        for each in here:
            placed = made.placed[each.deployment_id]
            rooms = taken(rooms, each, [placed.get(node.node_id, 0) for node in nodes])


def _verdict(nodes, rooms, deployments, made):
    requested = [each.allocations for each in deployments]
    planned = [made.allocations_of(each.deployment_id) for each in deployments]
    now = [sum(each.current.values()) for each in deployments]
    again = [int(each.previously_assigned) for each in deployments]
    anywhere = nowhere(nodes, deployments)
    stays = currently(nodes, deployments)
    kept = all(
        made.placed[each.deployment_id].get(node_id, 0) >= n
        for each in deployments
        for node_id, n in each.current.items()
    )
    if fit(rooms, deployments, requested, stays):
        return "sound" if kept and planned == requested else "moves or refuses what fits as it is"
    if fit(rooms, deployments, requested, anywhere):
        return "sound, moving" if planned == requested else "refuses what fits by moving"
    first_again = [min(n, more) for n, more in zip(planned, again, strict=True)]
    if _any_less(first_again, again) and fit(rooms, deployments, again, anywhere):
        return "leaves without any what could have one"
    least = [max(n, one) for n, one in zip(now, first_again, strict=True)]
    if _any_less(planned, now) and fit(rooms, deployments, least, anywhere):
        return "takes what could stay"
    for index, (n, more) in enumerate(zip(planned, requested, strict=True)):
        one_more = [*planned[:index], n + 1, *planned[index + 1 :]]
        if n < more and fit(rooms, deployments, one_more, anywhere):
            return "leaves room unused that one more would fit into"
    return "sound, short"


def _any_less(some, others):
    return any(one < other for one, other in zip(some, others, strict=True))


def _assert_sound(seeds):
    verdicts = Counter(
        verdict for seed in seeds for verdict in _verdicts(*pool_in_any_state(random.Random(seed)))
    )
    assert set(verdicts) == {"sound", "sound, moving", "sound, short"}, verdicts


def test_a_shortage_takes_nothing_that_can_stay_and_refuses_nothing_that_fits():
    _assert_sound(range(2000))


@pytest.mark.deep
@pytest.mark.timeout(1200)
def test_a_shortage_takes_and_refuses_nothing_needlessly_in_a_hundred_thousand_pools():
    _assert_sound(range(10_000, 110_000))
