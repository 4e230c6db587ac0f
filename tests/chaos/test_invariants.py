"""What the invariants allow, and what they do not."""

import pytest
from msgspec.structs import replace
from yarl import URL

from autoscaler.core.decision import Decision, Mode, OutcomeKind, SetBounds
from autoscaler.core.state import State
from autoscaler.core.values import Cluster, NodeCapacity, Reason, Sample, Step
from autoscaler.ports import FailureKind, ObservationFailed
from tests.chaos.invariants import (
    MAX_CALLS,
    back_off,
    bounds,
    no_blind_decrease,
    no_update_storm,
    room,
)
from tests.chaos.trace import Trace, Truth
from tests.observations import deployment, loading, node, observation, outcome

STATISTICS = URL("http://es-1:9200/_ml/trained_models/_stats")
UPDATE = URL("http://es-1:9200/_ml/trained_models/model-a/deployment/_update")


def trace_of(
    now=lambda: 100.0,
    allowed=lambda: (1, 6),
    requested=1,
    load=None,
    processors=None,
    incomplete=dict,
):
    truth = Truth(
        requested=lambda _name: requested,
        load=lambda _name: load,
        processors=lambda: processors,
        bounds=allowed,
        stopped=dict,
        incomplete=incomplete,
    )
    return Trace(now, truth)


def test_a_change_of_the_rules_after_an_update_does_not_make_it_wrong():
    allowed = [(1, 6)]
    trace = trace_of(allowed=lambda: allowed[-1])
    trace.sent("daemon-1", "POST", UPDATE, b'{"number_of_allocations":5}')
    allowed.append((1, 4))
    cycle = trace.ended("daemon-1", State())
    assert bounds(trace, cycle) == ""
    late = trace.sent("daemon-1", "POST", UPDATE, b'{"number_of_allocations":5}')
    assert "outside 1 to 4" in bounds(trace, replace(cycle, changes=(late,)))


@pytest.mark.parametrize(("enabled", "wrong"), [("false", ""), ("true", "outside 1 to 6")])
def test_bounds_of_adaptive_allocations_concern_those_that_are_enabled(enabled, wrong):
    trace = trace_of()
    body = f'{{"adaptive_allocations":{{"enabled":{enabled},"max_number_of_allocations":8}}}}'
    trace.sent("daemon-1", "POST", UPDATE, body.encode())
    assert bounds(trace, trace.ended("daemon-1", State())).endswith(wrong)


BOUNDS = b'{"adaptive_allocations":{"min_number_of_allocations":1,"max_number_of_allocations":1}}'


@pytest.mark.parametrize(
    ("reason", "requested", "tainted", "wrong"),
    [
        (Reason.CAPACITY, 1, False, ""),
        (Reason.CAPACITY, 1, True, "from damaged statistics"),
        (Reason.CAPACITY, 2, False, "down from 2, at a steady load of 2.00"),
        (Reason.STEP_LIMIT, 1, False, "down from 1, at a steady load of 2.00"),
    ],
    ids=["not reached", "damaged", "reached", "for another reason"],
)
def test_a_minimum_that_does_not_fit_may_be_lowered_to_what_is_there(
    reason, requested, tainted, wrong
):
    trace = trace_of(requested=requested, load=2.0)
    statistics = trace.sent("daemon-1", "GET", STATISTICS, b"")
    statistics.status, statistics.tainted = 200, frozenset({"model-a"} if tainted else ())
    trace.sent("daemon-1", "POST", UPDATE, BOUNDS)
    decision = Decision(
        deployment_id="model-a",
        model_id="model-a",
        at=100.0,
        rule="all",
        dry_run=False,
        current=2,
        min_allocations=1,
        max_allocations=6,
        steps=(Step(Reason.RECOMMENDATION, 2, 6), Step(reason, 6, 1)),
        sample=Sample(at=100.0, interval_s=10.0),
        load=None,
        mode=Mode.BOUNDS,
        change=SetBounds(1, 1),
    )
    sent = (outcome(decision, OutcomeKind.ACCEPTED),)
    found = no_blind_decrease(trace, trace.ended("daemon-1", State(), outcomes=sent))
    assert found.endswith(wrong)
    assert bool(found) is bool(wrong)


def polled(trace, at, *deployments, processors=6.0):
    """A cycle that increases one deployment to 3 allocations."""
    machine = NodeCapacity(node_id="n1", name="n1", processors=processors)
    seen = observation(at, *deployments, cluster=Cluster(nodes=(machine,), growable=False))
    statistics = trace.sent("daemon-1", "GET", STATISTICS, b"")
    with trace.execution(statistics):
        statistics.status = 200
    trace.returned(statistics)
    trace.returned(trace.sent("daemon-1", "POST", UPDATE, b'{"number_of_allocations":3}'))
    return trace.ended("daemon-1", State(), observation=seen)


def sharing(*nodes, allocations, **given):
    """Another deployment on the same node, with some allocations that may not run."""
    running = sum(each.allocations or 0 for each in nodes)
    return deployment(
        *nodes,
        deployment_id="model-b",
        allocations=allocations,
        running_allocations=running,
        **given,
    )


GROWING = deployment(node("n1", allocations=2), deployment_id="model-a")
TOO_MANY = "model-a _update 3 at {at:.1f} s: 7 threads on 6 processors"


def test_what_is_requested_counts_against_the_room_until_it_has_not_started_for_long():
    now, missing = 0.0, {"model-b": 4}
    trace = trace_of(now=lambda: now, processors=6, incomplete=lambda: dict(missing))
    other = sharing(node("n1", allocations=3), allocations=4)
    found = {}
    for now in [10.0 * poll for poll in range(64)]:
        if now == 620.0:
            missing["model-b"] = 5  # another client has requested one more
        found[now] = room(trace, polled(trace, now, GROWING, other))
    assert found[0.0] == TOO_MANY.format(at=0.0)
    assert found[600.0] == TOO_MANY.format(at=600.0)
    assert found[610.0] == ""
    assert found[620.0] == TOO_MANY.format(at=620.0)


@pytest.mark.parametrize(
    ("other", "wrong"),
    [
        (sharing(node("n1", allocations=1), allocations=2, threads_per_allocation=2), True),
        (sharing(node("n1", allocations=3), allocations=4), True),
        (sharing(node("n1", allocations=1), allocations=2, threads_per_allocation=3), False),
        (
            sharing(
                node("n1", allocations=1),
                loading("n1"),
                allocations=2,
                threads_per_allocation=3,
            ),
            True,
        ),
    ],
    ids=["wide and fits", "fits", "does not fit", "does not fit and is being loaded"],
)
def test_what_fits_nowhere_is_expected_only_while_a_node_loads_it(other, wrong):
    trace = trace_of(now=lambda: 0.0, processors=6)
    assert bool(room(trace, polled(trace, 0.0, GROWING, other))) is wrong


def test_what_runs_takes_threads_also_where_its_node_is_missing():
    trace = trace_of(now=lambda: 0.0, processors=5)
    other = deployment(
        deployment_id="model-b", allocations=2, running_allocations=1, threads_per_allocation=2
    )
    assert room(trace, polled(trace, 0.0, GROWING, other, processors=4.0)) == ""


def test_a_node_that_was_not_there_when_the_nodes_were_read_may_have_room():
    trace = trace_of(now=lambda: 0.0, processors=6)
    other = sharing(node("n1", allocations=4), loading("n2"), allocations=5)
    assert room(trace, polled(trace, 0.0, GROWING, other)) == ""


@pytest.mark.parametrize(("disturbed_by", "wrong"), [("refused", False), ("reset_after", True)])
def test_a_call_that_never_arrived_at_the_cluster_is_no_storm(disturbed_by, wrong):
    trace = trace_of()
    for _ in range(MAX_CALLS + 1):
        sent = trace.sent("daemon-1", "POST", UPDATE, b'{"number_of_allocations":5}')
        sent.disturbed_by = disturbed_by
        trace.returned(sent)
    assert bool(no_update_storm(trace, trace.ended("daemon-1", State()))) is wrong


TAKE_OVER = None


@pytest.mark.parametrize(
    ("events", "wrong"),
    [
        ([300.0], ""),
        ([246.0], "the 7th failed poll in a row after 6.0 s"),
        ([TAKE_OVER, 246.0], ""),
        ([TAKE_OVER, 246.0, 252.0], "the 8th failed poll in a row after 6.0 s"),
        ([TAKE_OVER, 246.0, TAKE_OVER, 252.0], ""),
        ([TAKE_OVER, 246.0, 306.0, 312.0], "the 9th failed poll in a row after 6.0 s"),
    ],
)
def test_one_poll_of_a_take_over_does_not_wait_for_the_back_off(events, wrong):
    now = 0.0
    trace = trace_of(now=lambda: now)
    failure = ObservationFailed(FailureKind.UNREACHABLE, "refused")
    for event in (0.0, 10.0, 30.0, 70.0, 130.0, 240.0, *events):
        if event is TAKE_OVER:
            now += 0.5
            trace.took_over("daemon-1")
            continue
        now = event
        cycle = trace.ended("daemon-1", State(), failure=failure)
    assert back_off(trace, cycle) == wrong
