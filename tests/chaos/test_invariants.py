"""The invariants judge a change by what was so when it was sent."""

from msgspec.structs import replace
from yarl import URL

from autoscaler.core.state import State
from tests.chaos.invariants import bounds
from tests.chaos.trace import Trace, Truth

UPDATE = URL("http://es-1:9200/_ml/trained_models/model-a/deployment/_update")


def test_a_change_of_the_rules_after_an_update_does_not_make_it_wrong():
    allowed = [(1, 6)]
    truth = Truth(
        requested=lambda _name: 1,
        load=lambda _name: None,
        processors=lambda: None,
        bounds=lambda: allowed[-1],
        stopped=frozenset,
    )
    trace = Trace(lambda: 100.0, truth)
    trace.sent("daemon-1", "POST", UPDATE, b'{"number_of_allocations":5}')
    allowed.append((1, 4))
    cycle = trace.ended("daemon-1", State())
    assert bounds(trace, cycle) == ""
    late = trace.sent("daemon-1", "POST", UPDATE, b'{"number_of_allocations":5}')
    assert "outside 1 to 4" in bounds(trace, replace(cycle, changes=(late,)))
