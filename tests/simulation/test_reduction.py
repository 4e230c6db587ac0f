"""Scaling down a deployment: examples and invariants."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.simulation.reduction import reduced

ONE_ZONE = dict.fromkeys("abcd", "")
TWO_ZONES = {"a": "x", "b": "x", "c": "y", "d": "y"}


@pytest.mark.parametrize(
    ("targets", "allocations", "left"),
    [
        ({"a": 4, "b": 2}, 5, {"a": 4, "b": 1}),  # from the smallest node, one at a time
        ({"a": 4, "b": 1}, 4, {"a": 4}),  # the last allocation of a node
        ({"a": 4, "b": 2}, 3, {"a": 3}),  # a node is dropped if that removes enough
        ({"a": 4, "b": 2}, 0, {}),
        ({"a": 1, "b": 2}, 3, {"a": 1, "b": 2}),
        ({"a": 1, "b": 2}, 7, {"a": 1, "b": 2}),  # never fully placed: nothing to take
    ],
)
def test_within_one_zone_the_smallest_node_goes_first(targets, allocations, left):
    assert reduced(targets, ONE_ZONE, allocations) == left


@pytest.mark.parametrize(
    ("targets", "allocations", "left"),
    [
        # From the fuller zone; a whole node only if the zones stay balanced.
        ({"a": 3, "b": 2, "c": 3}, 6, {"a": 3, "c": 3}),
        ({"a": 3, "b": 2, "c": 4}, 7, {"a": 3, "b": 1, "c": 3}),
        ({"a": 4, "c": 1}, 3, {"a": 2, "c": 1}),
        ({"a": 4, "c": 0}, 0, {}),
    ],
)
def test_zones_stay_in_balance(targets, allocations, left):
    assert reduced(targets, TWO_ZONES, allocations) == left


def test_a_zone_without_the_deployment_holds_nothing():
    """So any other zone may lose a whole node."""
    zones = {"a": "x", "b": "y", "c": "z"}
    assert reduced({"a": 3, "b": 3}, zones, 2) == {"a": 2}
    assert reduced({"a": 3, "b": 3}, {"a": "x", "b": "y"}, 2) == {"a": 1, "b": 1}


@given(
    st.dictionaries(st.sampled_from("abcd"), st.integers(1, 9), min_size=1),
    st.integers(0, 40),
    st.sampled_from([ONE_ZONE, TWO_ZONES]),
)
def test_the_sum_is_as_requested_and_no_node_gains(targets, allocations, zones):
    left = reduced(targets, zones, allocations)
    assert sum(left.values()) == min(allocations, sum(targets.values()))
    assert all(0 < kept <= targets[node_id] for node_id, kept in left.items())
