"""What the policy says about the SLO at each poll."""

import pytest
from msgspec.structs import replace

from autoscaler.core.policies import slo_status_safely
from autoscaler.core.slo.policy import SloPolicy
from autoscaler.core.slo.status import Learnt
from autoscaler.core.state import PolicyMemory
from tests.core.slo.test_policy import Watch


def polled(watch, arrivals, desired=None, **given):
    """The status after a poll."""
    before = watch.memory
    step = watch.poll(arrivals, **given)
    return watch.policy.slo_status(
        watch.memory, step.after if desired is None else desired, watch.situation, before
    )


def test_the_target_alone_is_known_before_the_first_request():
    status = polled(Watch(2), 0)
    assert status.target == 0.99
    assert (status.attainment, status.budget_left, status.now, status.load) == (None,) * 4
    assert (status.requests, status.late_requests) == (0, 0.0)


def test_the_sums_of_the_requests_are_those_of_the_attainment():
    """Over a few minutes, in which the decay of a day hardly counts."""
    watch, requests, late = Watch(2), 0, 0.0
    for in_flight in (0, 2, 40, 80, 60, 20, 0, 0, 0, 0, 0, 0):
        status = polled(watch, 150, hits=10, in_flight=in_flight)
        requests += status.requests
        late += status.late_requests
    attainment, pending = watch.memory.estimate.attainment, watch.memory
    assert requests == pytest.approx(attainment.requests + pending.requests, rel=0.01)
    assert late == pytest.approx(attainment.violations + pending.violations, rel=0.01)
    assert 0.0 < late < requests


def test_failed_requests_are_late_ones():
    watch = Watch(2)
    watch.polls(3, 100)
    assert polled(watch, 100, failed=7).late_requests == pytest.approx(7.0)


def test_requests_that_the_policy_does_not_count_are_not_counted():
    """More requests than predicted after a gap count from the second interval on."""
    watch = Watch(2)
    watch.polls(10, 100)
    watch.at += 300.0
    before = watch.memory
    watch.poll(1_000)
    assert Learnt(watch.situation, before, watch.memory).counted == (0, 0.0)


def test_the_budget_left_follows_from_the_attainment():
    watch = Watch(2)
    watch.polls(30, 100)
    status = polled(watch, 100, failed=50)
    assert status.attainment is not None
    spent = (1.0 - status.attainment) / 0.01
    assert status.budget_left == pytest.approx(1.0 - spent)
    assert status.budget_left < 0.0


def test_a_queue_is_waited_for_now_and_not_after_loading():
    watch = Watch(2)
    watch.polls(20, 100)
    status = polled(watch, 180, in_flight=80)
    assert status.now.allocations == 2
    assert status.now.late_fraction > 0.9
    assert status.now.queue_wait_s >= 79 * 0.1 / 2
    assert status.after_loading.allocations == watch.step.after > 2
    assert status.after_loading.late_fraction < status.now.late_fraction
    assert status.backlog_requests > 0


def test_allocations_that_were_not_compared_have_an_expectation_too():
    watch = Watch(2)
    watch.polls(20, 150)
    shown = {candidate.allocations for candidate in watch.step.candidates}
    assert 7 not in shown
    status = polled(watch, 150, desired=7)
    assert status.after_loading.allocations == 7
    assert 0.0 <= status.after_loading.late_fraction < 0.01


def test_nothing_is_expected_of_zero_allocations():
    watch = Watch(2)
    watch.polls(20, 150)
    assert polled(watch, 150, desired=0).after_loading is None


def test_what_a_poll_does_not_show_is_unknown():
    """The figures of a day remain; those of the moment do not."""
    watch = Watch(2)
    watch.polls(20, 150)
    status = watch.policy.slo_status(watch.memory, 2, None, watch.memory)
    assert status.attainment is not None
    assert status.violation_weight is not None
    assert (status.requests, status.late_requests) == (0, 0.0)
    unknown = (status.now, status.after_loading, status.load, status.backlog_requests)
    assert unknown == (None,) * 4


def test_an_unreachable_latency_has_no_longest_wait():
    status = polled(Watch(2, objective=replace(SloPolicy().objective, latency_s=0.05)), 100)
    assert status.unreachable
    assert status.max_queue_wait_s is None


def test_a_forecast_that_is_not_trusted_yet_has_no_load():
    watch = Watch(2, 2)
    watch.polls(20, 150)
    forecast = polled(watch, 150).forecast
    assert not forecast.trusted
    assert (forecast.load, forecast.median_load) == (None, None)


def test_there_is_no_forecast_with_a_single_node():
    watch = Watch(2, free={"n1": 64})
    watch.polls(20, 150)
    assert polled(watch, 150).forecast is None


class Broken(SloPolicy, frozen=True):
    def slo_status(self, *_):
        raise ValueError("no such percentile")


def test_an_error_is_named_and_nothing_is_known():
    policy = Broken()
    memory = PolicyMemory("slo", 3, policy.begin())
    status, error = slo_status_safely(policy, memory, 1, None, None)
    assert status is None
    assert "no such percentile" in error
