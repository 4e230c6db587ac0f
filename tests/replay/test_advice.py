"""What to change in a rule, as far as a replay shows it."""

from msgspec.structs import replace

from autoscaler.core.policies import UtilisationPolicy
from autoscaler.core.selection import Rule, ScaleToZero, ZeroMethod
from autoscaler.replay.advice import advice_for
from tests.replay.replays import hour, refused, replayed, result, working_day

RULE = Rule(
    name="search",
    deployments=("*",),
    models=("*",),
    exclude=False,
    hidden=False,
    low_priority=False,
    dry_run=False,
    min_allocations=1,
    max_allocations=8,
    policy=UtilisationPolicy(target=0.7, load_window_s=60.0),
    stabilisation_window_s=0.0,
    growth_factor=100.0,
    shrink_factor=2.0,
)


def advised(replay, **changes):
    return advice_for(replay, replace(RULE, **changes))


def missing(late=0.03, **given):
    return result(hours=30.0, late=late, **given)


def test_a_rule_that_meets_the_slo_for_the_fewest_hours_is_left_alone():
    assert advised(replayed()) == ()


def test_a_maximum_that_was_reached_is_raised():
    hours = tuple(hour(n, 6.0, replayed_hours=6.0, replayed_late=99.0) for n in range(24))
    (sentence,) = advised(replayed(hours=hours, policies=(missing(),)), max_allocations=6)
    assert sentence == (
        "3% of the requests would be late, and the SLO allows 1%: raise max_allocations, which is "
        "6, where it was for 24 hours"
    )


def test_an_slo_that_the_oracle_misses_is_called_unreachable():
    oracle = result("oracle", "oracle", hours=20.0, late=0.025)
    (sentence,) = advised(replayed(policies=(missing(), oracle)))
    assert "not even a scheduler that knows each request in advance meets it" in sentence


def test_late_requests_at_one_hour_of_the_day_suggest_a_schedule():
    hours = working_day(2)
    late = tuple(
        replace(each, replayed_late=500.0 if index % 24 == 9 else 1.0)
        for index, each in enumerate(hours)
    )
    (sentence,) = advised(replayed(hours=late, policies=(missing(),)))
    assert "most of them at 09:00 UTC: let a schedule" in sentence


def test_late_requests_at_any_time_below_the_maximum_suggest_a_higher_minimum():
    hours = tuple(hour(n, replayed_late=5.0) for n in range(24))
    (sentence,) = advised(replayed(hours=hours, policies=(missing(),)))
    assert sentence.endswith("although max_allocations is not reached: raise min_allocations")


def test_a_cheaper_way_that_meets_the_slo_is_named():
    cheaper = result("hpa", "HPA at 70% utilisation", hours=20.0, late=0.001)
    (sentence,) = advised(replayed(policies=(result(hours=40.0), cheaper)))
    assert sentence.startswith("HPA at 70% utilisation would meet the SLO too, with 50% fewer")


def test_the_oracle_is_no_cheaper_way():
    oracle = result("oracle", "oracle", hours=20.0, late=0.001)
    assert advised(replayed(policies=(result(hours=40.0), oracle))) == ()


def test_a_minimum_that_alone_keeps_allocations_is_lowered():
    hours = tuple(hour(n, 0.5, replayed_hours=4.0) for n in range(24))
    rule = result(hours=96.0)
    (sentence,) = advised(replayed(hours=hours, policies=(rule,)), min_allocations=4)
    assert sentence.startswith("lower min_allocations from 4 to 1: for 24 hours")
    assert "saves about 72 allocation-hours" in sentence


def test_hours_without_a_request_suggest_scale_to_zero():
    hours = tuple(
        hour(n, 1.0 if 8 <= n < 18 else 0.0, replayed_hours=1.0, requests=9 if 8 <= n < 18 else 0)
        for n in range(24)
    )
    (sentence,) = advised(replayed(hours=hours))
    assert "there was none for up to 8 hours at a time" in sentence
    zero = ScaleToZero(after_s=1800.0, via=ZeroMethod.STOP)
    assert advised(replayed(hours=hours), zero=zero) == ()


def test_without_a_verdict_the_advice_is_to_learn_more():
    (sentence,) = advised(refused())
    assert "`autoscaler calibrate`" in sentence
    assert "dry_run" in sentence
