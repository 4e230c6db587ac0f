"""What the text says to configure is what the back-test ran."""

import json

import pytest
from msgspec.structs import asdict, replace

from autoscaler.backtest.configuration_text import adaptive_allocations_call
from autoscaler.backtest.configured_rule import configured_rule
from autoscaler.backtest.policy_specs import POLICY_SPECS, RunInputs, Runtime, ruleset_of
from autoscaler.config.loader import read
from tests.backtest.workloads import scenario, workload

CHOSEN = [
    (name, value)
    for name in ("slo", "slo-bounds", "utilisation")
    for value in POLICY_SPECS[name].sweep
]


@pytest.mark.parametrize(("name", "value"), CHOSEN)
@pytest.mark.parametrize(
    "changed",
    [
        {"poll_interval_s": 10.0},
        {"poll_interval_s": 5.0},
        {"poll_interval_s": 120.0},  # longer than the load window
        {"slo_wait_s": 0.0125, "timeout_s": 3600.0},  # no whole milliseconds
        {"slo_wait_s": 0.0},
    ],
)
def test_the_rule_is_the_one_of_the_run(tmp_path, name, value, changed):
    spec, place = POLICY_SPECS[name], replace(scenario(), **changed)
    path = tmp_path / "config.toml"
    path.write_text(spec.configuration(value, place))
    polling, configured = configured_rule(read(path, {}), None).in_scenario(place)
    inputs = RunInputs(workload=workload([1.0], 0.1), scenario=place)
    interval_s, ruleset = ruleset_of(spec, value, inputs)
    (run,) = ruleset.rules
    named = {"name", "deployments", "models", "hidden", "low_priority", "policy"}
    assert {k: v for k, v in asdict(configured).items() if k not in named} == {
        k: v for k, v in asdict(run).items() if k not in named
    }
    history = {"history": configured.policy.history} if name.startswith("slo") else {}
    assert configured.policy == replace(run.policy, **history)
    assert (polling.interval_s, polling) == (interval_s, ruleset.polling)


def test_a_target_that_the_configuration_rejects_is_not_offered():
    assert POLICY_SPECS["utilisation"].configuration(0.97, scenario()) == ""


@pytest.mark.parametrize(
    ("target", "changed"),
    [
        (0.4, {}),
        (0.99995, {}),
        (0.99, {"timeout_s": 0.05}),
        (0.99, {"slo_wait_s": 10.0, "timeout_s": 10.0}),
    ],
)
def test_an_slo_that_the_configuration_rejects_is_not_offered(target, changed):
    assert POLICY_SPECS["slo"].configuration(target, replace(scenario(), **changed)) == ""


def test_a_target_is_written_with_all_its_digits():
    assert "target = 0.9876543 }" in POLICY_SPECS["slo"].configuration(0.9876543, scenario())


def test_adaptive_allocations_are_enabled_by_a_call():
    place = scenario()
    first, body = adaptive_allocations_call(0.0, place).split("\n")
    assert first.startswith("POST _ml/trained_models/")
    assert json.loads(body) == {
        "adaptive_allocations": {
            "enabled": True,
            "min_number_of_allocations": place.min_allocations,
            "max_number_of_allocations": place.max_allocations,
        }
    }


@pytest.mark.parametrize(
    ("version", "expected"), [("8.17.0", "adaptive-8.16"), ("9.3.0", "adaptive-9")]
)
def test_only_adaptive_allocations_of_the_cluster_are_offered(version, expected):
    place = replace(scenario(), version=version)
    offered = [
        name
        for name, spec in POLICY_SPECS.items()
        if spec.runtime is Runtime.CLUSTER and spec.configuration(spec.default, place)
    ]
    assert offered == [expected]


def test_other_autoscalers_are_not_offered():
    others = [
        spec for spec in POLICY_SPECS.values() if spec.runtime in (Runtime.EXTERNAL, Runtime.ORACLE)
    ]
    assert not any(spec.configuration(spec.default, scenario()) for spec in others)
