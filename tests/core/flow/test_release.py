"""What becomes of deployments when nobody scales them any more."""

import pytest

from autoscaler.core.flow.release import release_change, released_start
from autoscaler.core.selection import OnExit
from autoscaler.core.state import StoppedDeployment
from autoscaler.core.values import AdaptiveAllocations, SetAllocations, SetBounds, Start
from tests.observations import deployment, node, rule


def at(allocations, native=None):
    return deployment(node(allocations=allocations), adaptive=native)


ON = AdaptiveAllocations(enabled=True, minimum=2, maximum=5)


@pytest.mark.parametrize("native", [None, ON])
def test_what_is_kept_is_left_as_it_is(native):
    assert release_change(rule(), at(3, native), OnExit.KEEP) is None


@pytest.mark.parametrize("native", [None, AdaptiveAllocations(enabled=False), ON])
def test_the_clusters_own_scaler_gets_the_bounds_of_the_rule(native):
    given = rule(min_allocations=1, max_allocations=8)
    assert release_change(given, at(3, native), OnExit.ADAPTIVE) == SetBounds(1, 8)


def test_it_is_not_told_twice():
    assert (
        release_change(rule(min_allocations=2, max_allocations=5), at(3, ON), OnExit.ADAPTIVE)
        is None
    )


@pytest.mark.parametrize(
    ("allocations", "native", "change"),
    [
        (2, None, SetAllocations(6)),
        (6, None, None),
        (9, None, None),
        (2, ON, SetAllocations(6, take_over=True)),
        (9, ON, SetAllocations(9, take_over=True)),
    ],
    ids=["too few", "enough", "more", "native", "native and more"],
)
def test_a_safe_number_is_a_floor(allocations, native, change):
    given = rule(max_allocations=20, safe_allocations=6)
    assert release_change(given, at(allocations, native), OnExit.FLOOR) == change


SLEEPER = StoppedDeployment(
    stats=deployment(
        node(allocations=4),
        deployment_id="elser-search",
        model_id="elser",
        threads_per_allocation=2,
        queue_capacity=5000,
        cache_bytes=0,
        priority="low",
        adaptive=ON,
    ),
    since=0.0,
)


def test_a_sleeper_is_started_as_it_was():
    assert released_start(SLEEPER, rule(min_allocations=2), OnExit.KEEP) == Start(
        model_id="elser",
        allocations=2,
        threads_per_allocation=2,
        queue_capacity=5000,
        cache_bytes=0,
        priority="low",
        adaptive=ON,
    )


def test_with_what_it_had_if_no_rule_governs_it_any_more():
    assert released_start(SLEEPER, None, OnExit.KEEP).allocations == 4
