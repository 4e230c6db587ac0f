"""Who can be put to the test, and at which settings."""

import numpy as np
import pytest

from autoscaler.backtest.baselines.baseline import Baseline
from autoscaler.backtest.policy_specs import POLICY_SPECS, RunInputs, Runtime
from autoscaler.core.values import Mode
from tests.backtest.baselines.polls import Obedient
from tests.backtest.workloads import demand, poisson, scenario

DEFINED_BY_KNOWING = {"static-peak", "static-mean", "zero-lag-oracle"}

BASELINES = [name for name, each in POLICY_SPECS.items() if each.runtime is Runtime.EXTERNAL]

every_baseline = pytest.mark.parametrize("name", BASELINES)
every_knob = pytest.mark.parametrize(
    "name", [name for name, each in POLICY_SPECS.items() if each.parameter]
)


def foreseen(requests=None, **given):
    if requests is None:
        requests = demand(np.arange(0.0, 86_400.0, 10.0), 50.0, duration_s=86_400.0)
    return RunInputs(workload=requests, scenario=scenario(**given))


def test_everybody_is_there():
    assert set(POLICY_SPECS) - set(BASELINES) == {
        "slo",
        "slo-bounds",
        "utilisation",
        "adaptive-8.16",
        "adaptive-9",
        "oracle",
    }
    assert set(BASELINES) == {
        "hpa",
        "keda",
        "kpa",
        "ray-serve",
        "aws-target-tracking",
        "aws-predictive",
        "gcp-predictive",
        "predictive-hpa-linear",
        "predictive-hpa-holt-winters",
        "threshold-step",
        "static-peak",
        "static-mean",
        "zero-lag-oracle",
    }


def test_titles_tell_them_apart():
    assert len({contestant.title for contestant in POLICY_SPECS.values()}) == len(POLICY_SPECS)


@pytest.mark.parametrize("name", POLICY_SPECS)
def test_where_it_is_at_home_says_what_it_is(name):
    contestant = POLICY_SPECS[name]
    home, version = contestant.runtime, contestant.version
    needs_its_scaler = home is Runtime.CLUSTER or contestant.mode is Mode.BOUNDS
    assert (version is not None) == needs_its_scaler
    assert contestant.mode is Mode.DIRECT or home is Runtime.DAEMON
    if home in (Runtime.CLUSTER, Runtime.ORACLE):
        assert contestant.build is None
    else:
        policy = contestant.build(contestant.default, foreseen())
        assert isinstance(policy, Baseline) == (home is Runtime.EXTERNAL)


@pytest.mark.parametrize(
    "name", [name for name, each in POLICY_SPECS.items() if not each.parameter]
)
def test_without_a_knob_there_is_nothing_to_set(name):
    contestant = POLICY_SPECS[name]
    assert (contestant.setting(contestant.default), contestant.sweep) == ("", ())


@every_knob
def test_its_sweep_has_five_values_and_the_default_among_them(name):
    contestant = POLICY_SPECS[name]
    assert len(set(contestant.sweep)) == 5
    assert contestant.default in contestant.sweep


@every_knob
def test_its_settings_are_told_apart_in_a_row(name):
    contestant = POLICY_SPECS[name]
    texts = {contestant.setting(value) for value in contestant.sweep}
    assert len(texts) == 5
    assert all(text.startswith(f"{contestant.parameter}=") for text in texts)


def test_both_levers_are_tried_with_the_same_policy():
    direct, bounds = POLICY_SPECS["slo"], POLICY_SPECS["slo-bounds"]
    assert (direct.mode, bounds.mode) == (Mode.DIRECT, Mode.BOUNDS)
    assert direct.build is bounds.build
    assert (direct.default, direct.sweep) == (bounds.default, bounds.sweep)


@every_baseline
def test_it_looks_at_a_whole_number_of_samples_at_a_time(name):
    contestant = POLICY_SPECS[name]
    baseline = contestant.build(contestant.default, foreseen())
    samples = baseline.poll_interval_s / baseline.sampling_s
    assert samples == round(samples) >= 1


@every_baseline
def test_it_is_named_as_its_policy_is(name):
    contestant = POLICY_SPECS[name]
    assert name.startswith(contestant.build(contestant.default, foreseen()).name)


@every_baseline
def test_from_generous_to_stingy_it_takes_less_and_less(name):
    """At five erlangs, after two hours: the fewest it held in the second one."""
    contestant, fewest = POLICY_SPECS[name], []
    for value in contestant.sweep:
        baseline = contestant.build(value, foreseen())
        start = foreseen().workload.start
        deployment = Obedient(baseline, 7, load=lambda _: 5.0, in_flight=lambda _: 5)
        deployment.watch(start + 3600.0, begin_s=start)
        held = [deployment.allocations]
        held += deployment.watch(start + 7200.0, begin_s=start).values()
        fewest.append(min(held))
    assert fewest == sorted(fewest, reverse=True)
    assert fewest[0] > fewest[-1]


@every_baseline
def test_only_who_is_defined_by_it_knows_the_demand(name):
    contestant = POLICY_SPECS[name]
    quiet = foreseen(poisson(1.0, 300, 0.1, seed=1))
    busy = foreseen(poisson(50.0, 9000, 0.3, seed=2))
    same = contestant.build(contestant.default, quiet) == contestant.build(contestant.default, busy)
    assert same == (name not in DEFINED_BY_KNOWING)


@pytest.mark.parametrize("name", ["aws-predictive", "gcp-predictive", "predictive-hpa-linear"])
def test_who_looks_ahead_looks_as_far_as_a_start_takes(name):
    contestant = POLICY_SPECS[name]
    short, long = (
        contestant.build(contestant.default, foreseen(load_s=load_s)) for load_s in (20.0, 90.0)
    )
    assert short != long


class TestFixedNumbers:
    # Five erlangs, and in the third minute twenty.
    BURST = demand(
        np.concatenate([np.arange(0.0, 600.0), np.arange(120.0, 180.0) + 0.5]),
        np.concatenate([np.full(600, 5.0), np.full(60, 15.0)]),
        duration_s=600.0,
    )

    @pytest.mark.parametrize(
        ("name", "multiple", "number"),
        [
            ("static-peak", 1.0, 23),  # 20 / 0.9
            ("static-peak", 0.8, 19),
            ("static-mean", 1.0, 10),  # 6.5 / 0.7
            ("static-mean", 1.6, 16),
        ],
    )
    def test_they_are_multiples_of_what_peak_or_mean_takes(self, name, multiple, number):
        baseline = POLICY_SPECS[name].build(multiple, foreseen(self.BURST))
        assert baseline.allocations == number


def test_who_knows_now_knows_every_ten_seconds():
    requests = demand([1.0, 11.0, 12.0], [7.0, 14.0, 14.0], duration_s=30.0)
    baseline = POLICY_SPECS["zero-lag-oracle"].build(0.7, foreseen(requests))
    assert baseline.loads == pytest.approx((0.7, 2.8, 0.0))
    assert baseline.start == requests.start
