"""What becomes of deployments when nobody scales them any more."""

import pytest

from autoscaler.core.handing_back import hand_back, wake_up
from autoscaler.core.selection import OnExit
from autoscaler.core.state import Sleeper
from autoscaler.core.values import NativeScaling, SetBounds, SetNumber, Start
from tests.observations import deployment, node, rule


def at(allocations, native=None):
    return deployment(node(allocations=allocations), native=native)


ON = NativeScaling(enabled=True, minimum=2, maximum=5)


@pytest.mark.parametrize("native", [None, ON])
def test_what_is_kept_is_left_as_it_is(native):
    assert hand_back(rule(), at(3, native), OnExit.KEEP) is None


@pytest.mark.parametrize("native", [None, NativeScaling(enabled=False), ON])
def test_the_clusters_own_scaler_gets_the_bounds_of_the_rule(native):
    given = rule(minimum=1, maximum=8)
    assert hand_back(given, at(3, native), OnExit.NATIVE) == SetBounds(1, 8)


def test_it_is_not_told_twice():
    assert hand_back(rule(minimum=2, maximum=5), at(3, ON), OnExit.NATIVE) is None


@pytest.mark.parametrize(
    ("allocations", "native", "change"),
    [
        (2, None, SetNumber(6)),
        (6, None, None),
        (9, None, None),
        (2, ON, SetNumber(6, take_over=True)),
        (9, ON, SetNumber(9, take_over=True)),
    ],
    ids=["too few", "enough", "more", "native", "native and more"],
)
def test_a_safe_number_is_a_floor(allocations, native, change):
    given = rule(maximum=20, safe_allocations=6)
    assert hand_back(given, at(allocations, native), OnExit.FLOOR) == change


SLEEPER = Sleeper(
    stats=deployment(
        node(allocations=4),
        deployment_id="elser-search",
        model_id="elser",
        threads_per_allocation=2,
        queue_capacity=5000,
        cache_bytes=0,
        priority="low",
        native=ON,
    ),
    since=0.0,
)


def test_a_sleeper_is_started_as_it_was():
    assert wake_up(SLEEPER, rule(minimum=2)) == Start(
        model_id="elser",
        allocations=2,
        threads_per_allocation=2,
        queue_capacity=5000,
        cache_bytes=0,
        priority="low",
        native=ON,
    )


def test_with_what_it_had_if_no_rule_governs_it_any_more():
    assert wake_up(SLEEPER, None).allocations == 4
