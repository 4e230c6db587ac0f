"""Intervals of load, from two observations of a deployment."""

from msgspec.structs import replace

from autoscaler.core.values import AdaptiveAllocations
from autoscaler.load_intervals import load_interval
from autoscaler.wire.intervals import NodeInterval
from tests.observations import deployment, loading, node


def interval(before, after):
    return load_interval(before, after, at=5_060.0, interval_s=60.0)


def test_arrivals_are_what_was_completed_and_failed_and_what_the_queue_grew_by():
    found = interval(
        deployment(node(completed=100, pending=2), node("n2", completed=50)),
        deployment(
            node(completed=130, pending=7, cache_hits=4), node("n2", completed=60, errors=3)
        ),
    )
    assert (found.arrivals, found.completed, found.failed, found.in_flight) == (48, 40, 3, 7)
    assert (found.cache_hits, found.issues, found.requested, found.running) == (4, (), 2, 2)
    assert found.busy_s == 40 * 0.04
    assert found.nodes[1] == NodeInterval(
        node="n2",
        allocations=1,
        completed=10,
        cache_hits=0,
        failed=3,
        busy_s=60 * 0.04 - 50 * 0.04,
        in_flight=0,
        started_at=1_000.0,
    )


def test_counts_of_a_new_node_are_unknown_and_those_of_the_others_are_not():
    found = interval(
        deployment(node(completed=100)),
        deployment(node(completed=110), node("n2", completed=60)),
    )
    assert (found.completed, found.issues) == (10, ("new_node",))
    assert found.nodes[1].completed is None
    assert found.nodes[1].in_flight == 0


def test_a_process_that_was_loading_has_counted_since_its_start():
    found = interval(
        deployment(node(completed=100), loading("n2")),
        deployment(node(completed=110), node("n2", completed=7)),
    )
    assert (found.completed, found.issues) == (17, ())


def test_counts_are_unknown_where_nothing_can_be_compared():
    for before, after in (
        (deployment(node("n1")), deployment(node("n2", completed=60))),
        (deployment(node(completed=60)), deployment(node(completed=50))),
    ):
        found = interval(before, after)
        assert found.issues
        assert (found.arrivals, found.completed, found.failed, found.busy_s) == (None,) * 4


def test_the_time_of_a_node_whose_counts_fell_is_unknown():
    found = interval(deployment(node(completed=60)), deployment(node(completed=50)))
    (part,) = found.nodes
    assert (part.completed, part.busy_s) == (None, None)


def test_nothing_arrives_at_a_deployment_without_allocations():
    none = deployment(allocations=0)
    found = interval(none, none)
    assert (found.arrivals, found.completed, found.issues) == (0, 0, ())


def test_settings_are_those_at_the_end():
    plain = deployment(node())
    assert interval(plain, plain).adaptive is False
    settings = AdaptiveAllocations(enabled=True, minimum=1, maximum=9)
    found = interval(plain, replace(plain, adaptive=settings))
    assert (found.adaptive, found.adaptive_minimum, found.adaptive_maximum) == (True, 1, 9)
    assert interval(plain, replace(plain, allocations=None)).adaptive is None
