"""KEDA: activation, and the horizontal pod autoscaler behind it."""

from autoscaler.backtest.baselines.hpa import AverageInFlight, Hpa
from autoscaler.backtest.baselines.keda import Keda
from tests.backtest.baselines.polls import Obedient

ONE_EACH = Hpa(metric=AverageInFlight(target=1.0))


def keda(minimum=1, **given):
    baseline = Keda(scaler=ONE_EACH, min_allocations=minimum)
    return Obedient(baseline, given.pop("allocations", 1), minimum=minimum, **given)


def test_from_1_it_is_the_autoscaler_on_in_flight_requests():
    def load(at):
        return 20 if 30.0 <= at <= 75.0 else 4

    plain = Obedient(Hpa(metric=AverageInFlight(target=1.0)), 4, in_flight=load)
    assert keda(allocations=4, in_flight=load).watch(900.0) == plain.watch(900.0)


def test_with_a_minimum_one_allocation_remains():
    deployment = keda(allocations=3)
    deployment.watch(3600.0)
    assert deployment.allocations == 1


def test_the_last_allocation_is_removed_five_minutes_after_the_last_request():
    deployment = keda(minimum=0, in_flight=lambda at: int(at <= 90.0))
    assert deployment.watch(3600.0) == {390.0: 0}


def test_deactivation_does_not_wait_for_the_autoscaler():
    # The autoscaler had five in-flight requests until the end; the cool-down ignores it.
    deployment = keda(minimum=0, allocations=5, in_flight=lambda at: 5 if at <= 90.0 else 0)
    assert deployment.watch(3600.0) == {390.0: 0}


def test_the_first_poll_with_a_request_activates():
    deployment = keda(minimum=0, allocations=0, in_flight=lambda at: 3 if at >= 100.0 else 0)
    assert deployment.watch(149.0) == {120.0: 1, 135.0: 3}


def test_a_request_between_two_polls_is_not_noticed():
    deployment = keda(minimum=0, allocations=0, in_flight=lambda at: int(100.0 < at < 119.0))
    assert deployment.watch(600.0) == {}


def test_the_cool_down_of_an_idle_deployment_begins_with_the_first_poll():
    assert keda(minimum=0).watch(600.0) == {300.0: 0}
