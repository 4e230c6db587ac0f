"""The parameters of the queue model that follow from a situation."""

import pytest

from autoscaler.core.policies import Situation
from autoscaler.core.slo.new_node import NEW_NODE_S
from autoscaler.core.slo.prediction import queue_parameters
from autoscaler.core.slo.service_time import ServiceTimeEstimate
from autoscaler.core.values import LoadEstimate, Sample

LOAD = LoadEstimate(
    arrival_rate_per_s=1.0,
    throughput_per_s=1.0,
    service_time_s=0.1,
    cache_hit_fraction=0.0,
    in_flight=0,
    window_s=60.0,
)


def parameters(*, scv=1.0, burstiness=1.0, **given):
    situation = Situation(
        at=0.0,
        current=1,
        running=1,
        sample=Sample(at=0.0, interval_s=10.0),
        load=LOAD,
        in_flight=(0,),
        nodes=(),
        **given,
    )
    return queue_parameters(situation, ServiceTimeEstimate(100.0, 10.0, scv), burstiness, 1.0, 30.0)


def test_arrivals_and_service_times_are_equally_responsible_for_queues():
    """By the approximations of Kingman, and of Allen and Cunneen: the mean of both."""
    by_service, by_arrivals = parameters(scv=5.0), parameters(burstiness=5.0)
    assert by_service == by_arrivals
    assert by_service.variability == pytest.approx(3.0, rel=0.1)
    assert parameters().variability == pytest.approx(1.0, rel=0.1)


@pytest.mark.parametrize("measured_s", [None, 0.0])
def test_without_a_measured_time_a_new_node_takes_the_usual_one(measured_s):
    usual = parameters(new_node_s=NEW_NODE_S)
    assert parameters(new_node_s=measured_s) == usual
    assert parameters(new_node_s=NEW_NODE_S / 4.0).new_node < usual.new_node / 2.0
