"""The load of deployments by intervals, from recorded cycles."""

import pytest

from autoscaler.adapters.recording import intervals_of
from autoscaler.wire.intervals import Hardware, HardwareNode
from autoscaler.wire.recording import (
    RecordedCycle,
    RecordedDecision,
    RecordedNode,
    RecordedNodes,
)
from tests.observations import deployment, loading, node


def cycle(at, *deployments, requests=None, **given):
    decision = RecordedDecision(
        desired=3,
        recommended=4,
        outcome="dry_run",
        requests=requests,
        late_requests=None if requests is None else 0.25,
    )
    return RecordedCycle(
        at=at,
        poll_interval_s=10.0,
        deployments={stats.deployment_id: stats for stats in deployments},
        decisions={stats.deployment_id: decision for stats in deployments},
        **given,
    )


def counted(at, completed, **given):
    return cycle(at, deployment(node(completed=completed, server_last_access_at=at)), **given)


def times(lines):
    return [(line.at, line.interval_s, line.arrivals) for line in lines]


def test_an_interval_has_what_happened_between_two_cycles_and_the_decision_at_its_end():
    (found,) = intervals_of([counted(0.0, 100), counted(10.0, 150, requests=50)], -1.0)
    assert (found.at, found.interval_s, found.arrivals, found.completed) == (10.0, 10.0, 50, 50)
    assert found.busy_s == pytest.approx(2.0)
    assert (found.requested, found.running, found.issues) == (1, 1, ())
    assert (found.desired, found.outcome) == (3, "dry_run")
    assert (found.requests, found.late_requests) == (50, 0.25)
    (part,) = found.nodes
    assert (part.node, part.completed, part.allocations) == ("n1", 50, 1)


def test_one_interval_covers_polls_with_incomplete_statistics():
    """The counters of a node that did not respond are not taken for those of a new process."""
    missing = deployment(loading("n1"), allocations=1, running_allocations=1)
    found = intervals_of(
        [
            counted(0.0, 100, requests=0),
            cycle(10.0, missing, requests=0),
            counted(20.0, 180, requests=80),
        ],
        -1.0,
    )
    (interval,) = found
    assert (interval.at, interval.interval_s, interval.arrivals) == (20.0, 20.0, 80)
    assert (interval.requests, interval.late_requests) == (80, 0.5)


def test_requests_are_unknown_where_no_later_statistics_have_them():
    missing = deployment(loading("n1"), allocations=1, running_allocations=1)
    cycles = [counted(0.0, 100), cycle(10.0, missing), counted(200.0, 10), counted(210.0, 15)]
    unknown, known = intervals_of(cycles, -1.0)
    assert (unknown.at, unknown.interval_s, unknown.arrivals) == (10.0, 10.0, None)
    assert unknown.issues == ("incomplete", "counter_reset")
    assert unknown.nodes == ()
    assert (known.at, known.interval_s, known.arrivals) == (210.0, 10.0, 5)


def test_time_in_which_nothing_was_recorded_is_in_no_interval():
    found = intervals_of([counted(0.0, 0), counted(10.0, 7), counted(100.0, 90)], -1.0)
    assert times(found) == [(10.0, 10.0, 7)]


def test_requests_that_were_judged_in_a_cycle_that_is_missing_are_unknown():
    (found,) = intervals_of(
        [counted(0.0, 0, requests=0), counted(20.0, 9, requests=5, missed=True)], -1.0
    )
    assert (found.arrivals, found.requests, found.late_requests) == (9, None, None)


def test_intervals_come_in_the_order_of_their_ends():
    missing = deployment(loading("n1"), allocations=1, running_allocations=1, deployment_id="one")
    cycles = [
        cycle(
            at,
            missing if at == 10.0 else deployment(node(completed=int(at)), deployment_id="one"),
            deployment(node()),
        )
        for at in (0.0, 10.0, 20.0, 30.0)
    ]
    found = [(line.at, line.deployment) for line in intervals_of(cycles, -1.0)]
    assert found == [
        (10.0, "elser"),
        (20.0, "one"),
        (20.0, "elser"),
        (30.0, "one"),
        (30.0, "elser"),
    ]


def test_nodes_come_when_they_change():
    def nodes(*ids):
        return RecordedNodes(tuple(RecordedNode(each, 4.0, 2**30) for each in ids), "9.1.0")

    cycles = [
        counted(0.0, 0, hardware=nodes("a")),
        counted(10.0, 0, hardware=nodes("a")),
        counted(20.0, 0, hardware=RecordedNodes()),
        counted(30.0, 0, hardware=nodes("a", "b")),
    ]
    found = [line for line in intervals_of(cycles, -1.0) if isinstance(line, Hardware)]
    assert [line.at for line in found] == [0.0, 30.0]
    assert found[1].nodes[1] == HardwareNode(id="b", processors=4.0, memory_bytes=2**30)


def test_the_nodes_at_the_beginning_are_those_that_were_known_then():
    """Otherwise the last day of a recording would be without the nodes, which seldom change."""
    nodes = [RecordedNodes((RecordedNode(each, 4.0, 2**30),), "9.1.0") for each in "aab"]
    cycles = [counted(10.0 * place, place, hardware=nodes[min(place, 2)]) for place in range(4)]
    found = list(intervals_of(cycles, 15.0))
    assert [(line.at, isinstance(line, Hardware)) for line in found] == [
        (0.0, True),
        (20.0, True),
        (20.0, False),
        (30.0, False),
    ]
    assert [line.nodes[0].id for line in found[:2]] == ["a", "b"]
    assert list(intervals_of(cycles, 30.0)) == []


def test_earlier_intervals_are_left_out():
    cycles = [counted(10.0 * place, place) for place in range(4)]
    assert times(intervals_of(cycles, 15.0)) == [(20.0, 10.0, 1), (30.0, 10.0, 1)]
