"""What the invariants allow, and what they do not."""

import pytest
from msgspec.structs import replace
from yarl import URL

from autoscaler.core.decision import Decision, Mode, OutcomeKind, SetBounds
from autoscaler.core.state import State
from autoscaler.core.values import Reason, Sample, Step
from autoscaler.ports import FailureKind, ObservationFailed
from tests.chaos.invariants import back_off, bounds, no_blind_decrease
from tests.chaos.trace import Trace, Truth
from tests.observations import outcome

STATISTICS = URL("http://es-1:9200/_ml/trained_models/_stats")
UPDATE = URL("http://es-1:9200/_ml/trained_models/model-a/deployment/_update")


def trace_of(now=lambda: 100.0, allowed=lambda: (1, 6), requested=1, load=None):
    truth = Truth(
        requested=lambda _name: requested,
        load=lambda _name: load,
        processors=lambda: None,
        bounds=allowed,
        stopped=frozenset,
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
