"""The rate of a load that has jumped within a poll interval."""

import pytest

from autoscaler.core.decision import Step
from autoscaler.core.policies import Situation
from autoscaler.core.slo.load_jump import Surprise, updated_mixture
from autoscaler.core.slo.memory import SloEstimate, SloMemory
from autoscaler.core.values import LoadEstimate, Reason, Sample

INTERVAL_S = 10.0
USUAL_PER_S = 0.1


def rate_after(requests, *, running=1, busy_s=0.0, service_time_s=0.01, surprise=None):
    """The rate of the last count, after an interval at whose end all these are in flight.

    Args:
        surprise: None: all these requests.
    """
    estimate = SloEstimate(rate_per_s=USUAL_PER_S, step=Step(Reason.SLO, running, running))
    load = LoadEstimate(
        arrival_rate_per_s=USUAL_PER_S,
        throughput_per_s=USUAL_PER_S,
        service_time_s=service_time_s,
        cache_hit_fraction=0.0,
        in_flight=requests,
        window_s=60.0,
    )
    situation = Situation(
        at=INTERVAL_S,
        current=running,
        running=running,
        sample=Sample(at=INTERVAL_S, interval_s=INTERVAL_S, in_flight=requests, busy_s=busy_s),
        load=load,
        in_flight=(requests,),
        nodes=(),
    )
    seen = SloMemory(estimate=estimate, requests=requests, time_s=INTERVAL_S)
    surprise = surprise or Surprise(requests, INTERVAL_S, sudden=True)
    latest = updated_mixture(seen, situation, service_time_s, 1.0, surprise).rates[0]
    return latest.requests / latest.time_s


def test_all_allocations_have_been_busy_since_the_jump():
    """One allocation was busy for four seconds, so the jump began four seconds ago."""
    assert rate_after(200, busy_s=4.0) == pytest.approx(200 / 4.0, rel=0.05)


def test_it_began_at_least_a_tenth_of_an_interval_ago():
    """A few simultaneous requests look like a jump too."""
    assert rate_after(30) == pytest.approx(30 / (0.1 * INTERVAL_S), rel=0.05)


def test_it_began_at_least_one_service_time_ago():
    assert rate_after(30, service_time_s=5.0) == pytest.approx(30 / 5.0, rel=0.05)


@pytest.mark.parametrize("running", [30, 40])
def test_without_a_queue_it_may_have_begun_with_the_interval(running):
    assert rate_after(30, running=running) == pytest.approx(30 / INTERVAL_S, rel=0.05)


def test_what_has_been_learned_already_is_not_counted_again():
    """A window that is longer than the time since the last recomputation, of the same rate."""
    window = Surprise(300, 3.0 * INTERVAL_S, sudden=False)
    assert rate_after(100, surprise=window) == pytest.approx(100 / INTERVAL_S)
