"""The policies of a back-test and their settings."""

import numpy as np
import pytest

from autoscaler.backtest.baselines.baseline import Baseline
from autoscaler.backtest.policy_specs import POLICY_SPECS, RunInputs, Runtime
from autoscaler.core.decision import Mode
from tests.backtest.baselines.polls import Obedient
from tests.backtest.workloads import poisson, scenario, workload

DEFINED_BY_THE_WORKLOAD = {"static-peak", "static-mean"}

BASELINES = [name for name, each in POLICY_SPECS.items() if each.runtime is Runtime.EXTERNAL]

every_baseline = pytest.mark.parametrize("name", BASELINES)
every_parameter = pytest.mark.parametrize(
    "name", [name for name, each in POLICY_SPECS.items() if each.parameter]
)


def inputs_of(requests=None, **given):
    if requests is None:
        requests = workload(np.arange(0.0, 86_400.0, 10.0), 50.0, duration_s=86_400.0)
    return RunInputs(workload=requests, scenario=scenario(**given))


def test_the_policies():
    assert set(POLICY_SPECS) - set(BASELINES) == {
        "slo",
        "slo-bounds",
        "utilisation",
        "adaptive-8.16",
        "adaptive-9",
        "rate-follower",
        "rate-oracle-60s",
        "rate-oracle-10s",
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
    }


def test_titles_are_distinct():
    assert len({spec.title for spec in POLICY_SPECS.values()}) == len(POLICY_SPECS)


@pytest.mark.parametrize("name", POLICY_SPECS)
def test_the_runtime_determines_the_other_fields(name):
    spec = POLICY_SPECS[name]
    runtime, version = spec.runtime, spec.version
    needs_adaptive = runtime is Runtime.CLUSTER or spec.mode is Mode.BOUNDS
    assert (version is not None) == needs_adaptive
    assert spec.mode is Mode.DIRECT or runtime is Runtime.DAEMON
    if runtime in (Runtime.CLUSTER, Runtime.ORACLE):
        assert spec.build is None
    else:
        policy = spec.build(spec.default, inputs_of())
        assert isinstance(policy, Baseline) == (runtime is Runtime.EXTERNAL)


@pytest.mark.parametrize(
    "name", [name for name, each in POLICY_SPECS.items() if not each.parameter]
)
def test_without_a_parameter_there_is_one_setting(name):
    spec = POLICY_SPECS[name]
    assert (spec.setting(spec.default), spec.sweep) == ("", ())


@every_parameter
def test_its_sweep_has_five_values_including_the_default(name):
    """`utilisation` has eight, because an operator can choose one of them."""
    spec = POLICY_SPECS[name]
    assert len(spec.sweep) == len(set(spec.sweep)) == (8 if name == "utilisation" else 5)
    assert spec.default in spec.sweep


@every_parameter
def test_its_settings_are_distinct_in_results(name):
    spec = POLICY_SPECS[name]
    texts = {spec.setting(value) for value in spec.sweep}
    assert len(texts) == len(spec.sweep)
    assert all(text.startswith(f"{spec.parameter}=") for text in texts)


def test_both_control_modes_have_the_same_policy():
    direct, bounds = POLICY_SPECS["slo"], POLICY_SPECS["slo-bounds"]
    assert (direct.mode, bounds.mode) == (Mode.DIRECT, Mode.BOUNDS)
    assert direct.build is bounds.build
    assert (direct.default, direct.sweep) == (bounds.default, bounds.sweep)


@every_baseline
def test_its_poll_interval_is_a_multiple_of_its_sampling_interval(name):
    spec = POLICY_SPECS[name]
    baseline = spec.build(spec.default, inputs_of())
    samples = baseline.poll_interval_s / baseline.sampling_s
    assert samples == round(samples) >= 1


@every_baseline
def test_its_name_begins_with_that_of_its_policy(name):
    spec = POLICY_SPECS[name]
    assert name.startswith(spec.build(spec.default, inputs_of()).name)


@every_baseline
def test_its_sweep_reduces_the_allocations(name):
    """At five erlangs: the fewest allocations in the second hour."""
    spec, fewest = POLICY_SPECS[name], []
    for value in spec.sweep:
        baseline = spec.build(value, inputs_of())
        start = inputs_of().workload.start
        deployment = Obedient(baseline, 7, load=lambda _: 5.0, in_flight=lambda _: 5)
        deployment.watch(start + 3600.0, begin_s=start)
        allocations = [deployment.allocations]
        allocations += deployment.watch(start + 7200.0, begin_s=start).values()
        fewest.append(min(allocations))
    assert fewest == sorted(fewest, reverse=True)
    assert fewest[0] > fewest[-1]


@every_baseline
def test_only_policies_defined_by_the_workload_use_it(name):
    spec = POLICY_SPECS[name]
    quiet = inputs_of(poisson(1.0, 300, 0.1, seed=1))
    busy = inputs_of(poisson(50.0, 9000, 0.3, seed=2))
    same = spec.build(spec.default, quiet) == spec.build(spec.default, busy)
    assert same == (name not in DEFINED_BY_THE_WORKLOAD)


@pytest.mark.parametrize("name", ["aws-predictive", "gcp-predictive", "predictive-hpa-linear"])
def test_forecasts_reach_as_far_as_a_start_takes(name):
    spec = POLICY_SPECS[name]
    short, long = (spec.build(spec.default, inputs_of(load_s=load_s)) for load_s in (20.0, 90.0))
    assert short != long


class TestFixedAllocations:
    # Five erlangs, and in the third minute twenty.
    BURST = workload(
        np.concatenate([np.arange(0.0, 600.0), np.arange(120.0, 180.0) + 0.5]),
        np.concatenate([np.full(600, 5.0), np.full(60, 15.0)]),
        duration_s=600.0,
    )

    @pytest.mark.parametrize(
        ("name", "multiple", "allocations"),
        [
            ("static-peak", 1.0, 23),  # 20 / 0.9
            ("static-peak", 0.8, 19),
            ("static-mean", 1.0, 10),  # 6.5 / 0.7
            ("static-mean", 1.6, 16),
        ],
    )
    def test_they_are_multiples_of_those_for_peak_or_mean(self, name, multiple, allocations):
        baseline = POLICY_SPECS[name].build(multiple, inputs_of(self.BURST))
        assert baseline.allocations == allocations


def test_the_rate_oracles_know_the_rate_at_their_resolution():
    requests = workload(np.arange(0.0, 30.0), 0.1, duration_s=120.0)
    fine, coarse = (
        [outlook.now for outlook in POLICY_SPECS[name].foresee(inputs_of(requests))]
        for name in ("rate-oracle-10s", "rate-oracle-60s")
    )
    assert len(set(fine[:3])) == 1
    assert fine[2] != fine[3] == fine[5]
    assert len(set(coarse[:6])) == 1
    assert coarse[5] != coarse[6]
