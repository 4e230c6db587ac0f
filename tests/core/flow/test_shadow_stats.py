"""Where the allocations of a shadow would be."""

from autoscaler.core.flow.shadow_judgement import per_node
from autoscaler.core.flow.shadow_stats import FreeThreads, placed, shadow_stats, slots_in_use
from tests.observations import deployment, loading, node

THREE = deployment(node("a", allocations=4), node("b", allocations=2), node("c", allocations=1))


def test_a_decrease_gives_up_the_nodes_with_the_fewest():
    assert placed(THREE, 5, FreeThreads({})) == {"a": 4, "b": 1}
    assert placed(THREE, 4, FreeThreads({})) == {"a": 4}


def test_an_increase_fills_the_nodes_in_use_before_others():
    free = FreeThreads({"a": 0, "b": 1, "c": 2, "d": 8})
    assert placed(THREE, 11, free) == {"a": 4, "b": 3, "c": 3, "d": 1}


def test_what_fits_nowhere_is_left_out():
    assert sum(placed(THREE, 20, FreeThreads({"a": 1, "b": 0, "c": 0})).values()) == 8


def test_what_one_shadow_gives_up_another_may_use():
    free = FreeThreads({"a": 0, "b": 0, "c": 0})
    placed(THREE, 4, free)
    other = deployment(node("c", allocations=1), deployment_id="other")
    assert placed(other, 9, free) == {"c": 2, "b": 2}


def test_without_reported_nodes_everything_fits():
    assert placed(THREE, 50, FreeThreads({})) == {"a": 47, "b": 2, "c": 1}
    assert placed(deployment(), 3, FreeThreads({})) == {"": 3}


def test_the_statistics_have_the_allocations_of_the_shadow():
    by_node = placed(THREE, 5, FreeThreads({}))
    found = shadow_stats(THREE, 6, by_node, in_flight=10)
    assert (found.allocations, found.running_allocations, found.adaptive) == (6, 5, None)
    assert [(each.node_id, each.allocations, each.pending) for each in found.nodes] == [
        ("a", 4, 8),
        ("b", 1, 2),
    ]


def test_nodes_that_load_the_model_are_not_in_use_yet():
    stats = deployment(node("a", allocations=2), loading("b"))
    assert placed(stats, 2, FreeThreads({"a": 3, "b": 9})) == {"a": 2}
    found = shadow_stats(stats, 2, {"a": 2}, in_flight=0)
    assert slots_in_use(found, {"a": 3, "b": 9}) == 5


def test_allocations_that_no_node_reports_run_on_one_node():
    silent = deployment(node(allocations=None), running_allocations=4)
    assert per_node(silent) == (4,)
    assert per_node(deployment(node("n1", allocations=3), node("n2", allocations=1))) == (3, 1)
    assert per_node(deployment(node(allocations=2), running_allocations=None)) == (2,)
