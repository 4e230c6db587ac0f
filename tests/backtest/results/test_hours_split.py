"""The factors of the hours of a policy."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.backtest.results.comparison import aggregates
from autoscaler.backtest.results.hours_split import hours_splits
from tests.backtest.synthetic import row

HOURS = {"oracle": 10.0, "rate-oracle-10s": 11.0, "rate-oracle-60s": 12.0, "rate-follower": 16.5}


def rows(policies, trace="steady", **given):
    return [
        row(trace=trace, policy=policy, setting="", allocation_hours=hours, **given)
        for policy, hours in policies.items()
    ]


def splits_of(found, **given):
    return {each.policy: each for each in hours_splits(aggregates(found), **given)}


def test_the_factors_are_ratios_to_the_reference_that_knows_less():
    split = splits_of(rows(HOURS | {"slo": 33.0}))["slo"]
    assert (split.chance, split.rate, split.policy_factor) == pytest.approx((1.1, 1.5, 2.0))
    assert split.hours == pytest.approx(3.3)
    assert split.hours_of_minute_rates == pytest.approx(2.75)


@given(st.lists(st.tuples(*[st.floats(0.1, 100.0)] * 5), min_size=1, max_size=6))
def test_over_several_pairs_the_hours_are_the_product_of_the_factors(costs):
    names = (*HOURS, "slo")
    found = [
        each
        for trace, hours in enumerate(costs)
        for each in rows(dict(zip(names, hours, strict=True)), trace=str(trace))
    ]
    for split in splits_of(found).values():
        assert split.hours == pytest.approx(split.chance * split.rate * split.policy_factor)


def test_the_references_are_not_policies():
    assert splits_of(rows(HOURS)) == {}


def test_only_pairs_on_which_all_meet_the_slo_count():
    found = rows(HOURS | {"slo": 33.0, "hpa": 20.0})
    found += rows(HOURS | {"slo": 99.0}, trace="other")
    late = {"violations": 20, "violation_fraction": 0.02}
    found += rows({"hpa": 1.0}, trace="other", **late)
    found += rows(HOURS | {"slo": 1.0}, trace="hard", **late)
    splits = splits_of(found)
    assert (splits["slo"].met, splits["slo"].pairs) == (2, 2)
    assert (splits["hpa"].met, splits["hpa"].pairs) == (1, 2)
    assert splits["hpa"].hours == pytest.approx(2.0)
    assert splits["slo"].policy_factor == pytest.approx(12.0**0.5)


def test_the_target_is_that_of_the_scenario():
    found = rows(HOURS | {"slo": 33.0}, violations=20, violation_fraction=0.02)
    assert splits_of(found) == {}
    assert "slo" in splits_of(found, targets={"small": 0.95})


def test_settings_other_than_the_default_do_not_count():
    found = [*rows(HOURS), row(policy="slo", allocation_hours=20.0, default=False)]
    assert "slo" not in splits_of(found)


@pytest.mark.parametrize("missing", ["oracle", "rate-oracle-10s", "rate-follower"])
def test_without_a_reference_there_is_no_split(missing):
    assert splits_of(rows({**HOURS, missing: 1.0} | {"slo": 33.0}))
    known = {name: hours for name, hours in HOURS.items() if name != missing}
    assert splits_of(rows(known | {"slo": 33.0})) == {}


def test_the_rate_oracle_by_the_minute_may_be_missing():
    known = {name: hours for name, hours in HOURS.items() if name != "rate-oracle-60s"}
    assert splits_of(rows(known | {"slo": 33.0}))["slo"].hours_of_minute_rates is None
