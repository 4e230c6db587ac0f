"""What the invariants allow, and what they do not."""

import pytest
from msgspec.structs import replace
from yarl import URL

from autoscaler.core.state import State
from autoscaler.ports import FailureKind, ObservationFailed
from tests.chaos.invariants import back_off, bounds
from tests.chaos.trace import Trace, Truth

UPDATE = URL("http://es-1:9200/_ml/trained_models/model-a/deployment/_update")


def trace_of(now=lambda: 100.0, allowed=lambda: (1, 6)):
    truth = Truth(
        requested=lambda _name: 1,
        load=lambda _name: None,
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
