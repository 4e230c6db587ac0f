"""Decreases are postponed without evidence, and looked at again when they may be possible."""

import pytest
from msgspec.structs import replace

from autoscaler.core.next_poll import PollCause
from autoscaler.core.policies import Situation
from autoscaler.core.slo.evidence import is_due, with_evidence
from autoscaler.core.slo.memory import Alert, SloEstimate
from autoscaler.core.values import LoadEstimate, Reason, Sample, Step

LOAD = LoadEstimate(
    arrival_rate_per_s=1.0,
    throughput_per_s=1.0,
    service_time_s=1.0,
    cache_hit_fraction=0.0,
    in_flight=0,
    window_s=60.0,
)


def situation(at=100.0, current=8, in_flight=0):
    return Situation(
        at=at,
        current=current,
        running=current,
        max_allocations=20,
        in_flight=(in_flight,),
        sample=Sample(at=at, interval_s=2.0, in_flight=in_flight),
        load=LOAD,
    )


def estimate(after=8, **given):
    """One whose decrease from eight allocations is postponed; `after` were recommended."""
    return SloEstimate(postponed=True, step=Step(Reason.SLO, 8, after), **given)


class TestPostponing:
    def test_nothing_is_given_up_right_after_a_load_jump(self):
        before = estimate(alert=Alert(PollCause.JUMP, 110.0))
        assert with_evidence(situation(at=102.0), before, 0.0, 5) == (8, True)
        assert with_evidence(situation(at=110.0), before, 0.0, 5) == (5, False)

    def test_unless_the_load_ends_as_it_did_before(self):
        before = estimate(alert=Alert(PollCause.JUMP, 110.0))
        assert with_evidence(situation(at=102.0), before, 0.9, 5) == (5, False)

    def test_requests_in_flight_keep_their_allocations(self):
        assert with_evidence(situation(in_flight=6), estimate(), 0.0, 5) == (6, True)
        assert with_evidence(situation(in_flight=60), estimate(), 0.0, 5) == (8, True)

    def test_an_increase_needs_nothing(self):
        before = estimate(alert=Alert(PollCause.JUMP, 110.0))
        assert with_evidence(situation(at=102.0), before, 0.0, 9) == (9, False)


class TestAnotherLook:
    @pytest.mark.parametrize(("in_flight", "due"), [(8, False), (7, True), (0, True)])
    def test_it_is_due_once_fewer_are_in_flight(self, in_flight, due):
        assert is_due(situation(in_flight=in_flight), estimate()) is due

    @pytest.mark.parametrize(("in_flight", "due"), [(7, False), (6, False), (5, True)])
    def test_after_a_part_of_it_fewer_than_the_rest(self, in_flight, due):
        """Also if that part is not carried out."""
        assert is_due(situation(in_flight=in_flight), estimate(after=6)) is due

    @pytest.mark.parametrize("cause", [PollCause.JUMP, PollCause.DECREASE])
    def test_it_waits_while_something_is_watched(self, cause):
        before = estimate(alert=Alert(cause, 110.0))
        assert not is_due(situation(at=108.0), before)
        assert is_due(situation(at=110.0), before)

    def test_nothing_is_due_without_a_postponed_decrease(self):
        assert not is_due(situation(), replace(estimate(), postponed=False))
