"""Which hours of a gradual rollout are active."""

import pytest
from msgspec.structs import replace

from autoscaler.core.rollout_hours import (
    RolloutHours,
    block_at,
    is_active,
    is_listed,
    next_active,
    seed_of,
)

HOURS = RolloutHours(hours=tuple(range(9, 17)), timezone="UTC", share=0.5, settings="")
DAY = 24


@pytest.mark.parametrize("seed", range(20))
def test_one_of_each_two_adjacent_hours_is_active(seed):
    for first in range(9, 5 * DAY, 2):
        if is_listed(HOURS, first) and is_listed(HOURS, first + 1):
            active = [is_active(HOURS, block, seed) for block in (first, first + 1)]
            assert sum(active) == 1


@pytest.mark.parametrize(("share", "of"), [(0.25, (1, 4)), (0.75, (3, 4)), (0.4, (2, 5))])
def test_the_share_of_each_group_of_hours_is_active(share, of):
    hours = replace(HOURS, hours=tuple(range(DAY)), share=share)
    active, size = of
    first = 1000 * size  # groups go on from one day to the next
    for group in range(first, first + 40 * size, size):
        assert sum(is_active(hours, group + place, seed=3) for place in range(size)) == active


def test_groups_of_listed_hours_go_on_from_one_day_to_the_next():
    """Eight hours a day in groups of three."""
    hours = replace(HOURS, share=1.0 / 3.0)
    listed = [block for block in range(300 * DAY, 309 * DAY) if is_listed(hours, block)]
    for first in range(0, len(listed), 3):
        assert sum(is_active(hours, block, seed=3) for block in listed[first : first + 3]) == 1


@pytest.mark.parametrize("share", [0.02, 0.09, 0.3, 0.47, 0.91, 0.98])
def test_a_group_has_no_more_than_twelve_hours_whatever_the_share(share):
    assert replace(HOURS, share=share).group.denominator <= 12


@pytest.mark.parametrize("seed", range(10))
def test_the_next_active_hour_is_found_weeks_ahead_and_is_never_the_present_one(seed):
    """One hour a day, and the rule acts in one of ten."""
    hours = replace(HOURS, hours=(9,), share=0.1)
    block = 1000 * DAY
    for _ in range(5):
        following = next_active(hours, block, seed)
        assert following is not None
        assert following > block
        assert is_active(hours, following, seed)
        block = following


def test_no_other_hour_is_ever_active():
    assert not any(is_active(HOURS, block, seed=1) for block in range(9) for _ in range(3))
    assert not is_active(HOURS, 17, seed=1)


def test_seeds_differ_by_deployment_and_by_instant_and_so_do_the_active_hours():
    seeds = {seed_of(name, at) for name in ("a", "b") for at in (1.0, 1.000001)}
    assert len(seeds) == 4
    assert all(0 <= seed < 2**63 for seed in seeds)
    drawn = {tuple(is_active(HOURS, block, seed) for block in range(9, 17)) for seed in range(40)}
    assert len(drawn) > 8


def test_each_hour_of_the_day_is_active_about_half_of_the_days():
    for hour in HOURS.hours:
        active = sum(is_active(HOURS, day * DAY + hour, seed=5) for day in range(400))
        assert 150 < active < 250


def test_blocks_are_hours_of_local_time():
    half_past = 5.5 * 3600.0  # such as in India
    assert block_at(3600.0 * 4, half_past) % DAY == 9
    assert block_at(3600.0 * 4.49, half_past) % DAY == 9
    assert block_at(3600.0 * 4.5, half_past) % DAY == 10
