"""The state in which deployments are released."""

import pytest

from autoscaler.core.decision import SetAllocations, SetBounds, Start
from autoscaler.core.flow.release import release_change, released_start
from autoscaler.core.selection import OnExit
from autoscaler.core.state import StoppedDeployment
from autoscaler.core.values import AdaptiveAllocations
from tests.observations import deployment, node, rule


def at(allocations, adaptive=None):
    return deployment(node(allocations=allocations), adaptive=adaptive)


ON = AdaptiveAllocations(enabled=True, minimum=2, maximum=5)


@pytest.mark.parametrize("adaptive", [None, ON])
def test_with_keep_nothing_is_changed(adaptive):
    assert release_change(rule(), at(3, adaptive), OnExit.KEEP) is None


@pytest.mark.parametrize("adaptive", [None, AdaptiveAllocations(enabled=False), ON])
def test_adaptive_allocations_get_the_bounds_of_the_rule(adaptive):
    given = rule(min_allocations=1, max_allocations=8)
    assert release_change(given, at(3, adaptive), OnExit.ADAPTIVE) == SetBounds(1, 8)


def test_bounds_that_are_in_force_are_not_set_again():
    assert (
        release_change(rule(min_allocations=2, max_allocations=5), at(3, ON), OnExit.ADAPTIVE)
        is None
    )


@pytest.mark.parametrize(
    ("allocations", "adaptive", "change"),
    [
        (2, None, SetAllocations(6)),
        (6, None, None),
        (9, None, None),
        (2, ON, SetAllocations(6, take_over=True)),
        (9, ON, SetAllocations(9, take_over=True)),
    ],
    ids=["too few", "enough", "more", "adaptive", "adaptive and more"],
)
def test_safe_allocations_are_a_minimum(allocations, adaptive, change):
    given = rule(max_allocations=20, safe_allocations=6)
    assert release_change(given, at(allocations, adaptive), OnExit.FLOOR) == change


STOPPED = StoppedDeployment(
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


def test_a_stopped_deployment_is_started_with_its_former_parameters():
    assert released_start(STOPPED, rule(min_allocations=2), OnExit.KEEP) == Start(
        model_id="elser",
        allocations=2,
        threads_per_allocation=2,
        queue_capacity=5000,
        cache_bytes=0,
        priority="low",
        adaptive=ON,
    )


def test_with_its_former_allocations_if_no_rule_governs_it_any_more():
    assert released_start(STOPPED, None, OnExit.KEEP).allocations == 4
