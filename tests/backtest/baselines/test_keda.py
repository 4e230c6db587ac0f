"""KEDA: activation, and the autoscaler that it drives."""

from autoscaler.backtest.baselines.hpa import AverageInFlight, Hpa
from autoscaler.backtest.baselines.keda import Keda
from tests.backtest.baselines.polls import Obedient

ONE_EACH = Hpa(metric=AverageInFlight(target=1.0))


def keda(minimum=1, **given):
    peer = Keda(scaler=ONE_EACH, minimum=minimum)
    return Obedient(peer, given.pop("allocations", 1), minimum=minimum, **given)


def test_from_one_on_it_is_the_autoscaler_on_requests_in_flight():
    def load(at):
        return 20 if 30.0 <= at <= 75.0 else 4

    plain = Obedient(Hpa(metric=AverageInFlight(target=1.0)), 4, in_flight=load)
    assert keda(allocations=4, in_flight=load).watch(900.0) == plain.watch(900.0)


def test_with_a_minimum_the_last_one_stays():
    deployment = keda(allocations=3)
    deployment.watch(3600.0)
    assert deployment.allocations == 1


def test_the_last_one_goes_five_minutes_after_the_last_request():
    deployment = keda(minimum=0, in_flight=lambda at: int(at <= 90.0))
    assert deployment.watch(3600.0) == {390.0: 0}


def test_the_last_one_goes_at_once_though_the_autoscaler_would_still_wait():
    # The autoscaler saw five in flight until the last; the cool-down does not ask it.
    deployment = keda(minimum=0, allocations=5, in_flight=lambda at: 5 if at <= 90.0 else 0)
    assert deployment.watch(3600.0) == {390.0: 0}


def test_the_first_one_comes_with_the_first_poll_that_sees_a_request():
    deployment = keda(minimum=0, allocations=0, in_flight=lambda at: 3 if at >= 100.0 else 0)
    assert deployment.watch(149.0) == {120.0: 1, 135.0: 3}


def test_a_request_between_two_polls_is_not_seen():
    deployment = keda(minimum=0, allocations=0, in_flight=lambda at: int(100.0 < at < 119.0))
    assert deployment.watch(600.0) == {}


def test_an_idle_deployment_is_given_the_cool_down_from_its_first_poll_on():
    assert keda(minimum=0).watch(600.0) == {300.0: 0}
