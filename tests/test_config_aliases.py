"""Former names of keys and values: they still work, with one warning each."""

import json

import pytest

from autoscaler.config import ConfigError, json_schema, load
from autoscaler.config.messages import PREFIX
from autoscaler.core.decision import Mode
from autoscaler.core.selection import OnExit, ZeroMethod
from autoscaler.core.slo.objective import SloObjective
from tests.messages import without_lines
from tests.test_config import HOST, REACHABLE


@pytest.fixture
def resolve(tmp_path):
    def resolve(text, environ=None):
        path = tmp_path / "config.toml"
        path.write_text(REACHABLE + text)
        config = load(path, environ or {})
        warnings = "\n".join(config.warnings).replace(f"{tmp_path}/", "")
        return config, without_lines(warnings).splitlines()

    return resolve


def rule(text, *, defaults=""):
    return f'[defaults]\nmax_allocations = 8\n{defaults}\n[[rules]]\nname = "a"\n{text}\n'


def test_current_names_cause_no_warning(resolve):
    _, warnings = resolve(
        rule('slo = { wait = "1s", target = 0.9 }\non_exit = "adaptive"\ntake_over = true')
    )
    assert warnings == []


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (rule('slo = { wait = "1s", percentile = 0.9 }'), "rule 'a': "),
        (rule("", defaults='slo = { wait = "1s", percentile = 0.9 }'), "defaults."),
    ],
)
def test_the_slo_target(resolve, text, place):
    config, warnings = resolve(text)
    assert config.rules[0].policy.objective == SloObjective(target=0.9, wait_s=1.0)
    assert warnings == [f"config.toml: {place}slo.percentile: deprecated; use target"]


def test_adaptive_allocations(resolve):
    zero = 'scale_to_zero = { after = "1h", via = "native" }'
    config, warnings = resolve(rule(f'mode = "bounds"\non_exit = "native"\n{zero}'))
    (only,) = config.rules
    assert (only.on_exit, only.zero.via) == (OnExit.ADAPTIVE, ZeroMethod.ADAPTIVE)
    assert warnings == [
        'config.toml: rule \'a\': scale_to_zero.via: "native" is deprecated; use "adaptive"',
        'config.toml: rule \'a\': on_exit: "native" is deprecated; use "adaptive"',
    ]


class TestObserve:
    def test_is_a_dry_run_of_direct(self, resolve):
        config, warnings = resolve(rule('mode = "observe"\ntake_over = true\ndry_run = false'))
        (only,) = config.rules
        assert (only.mode, only.dry_run, only.take_over) == (Mode.DIRECT, True, True)
        assert warnings == [
            "config.toml: rule 'a': mode: \"observe\" is deprecated; use dry_run = true"
        ]

    @pytest.mark.parametrize(
        ("text", "dry_run"),
        [
            ("", True),
            ('mode = "bounds"', False),
            ('mode = "direct"', False),
            ('mode = "direct"\ndry_run = true', True),
        ],
    )
    def test_is_overridden_as_before(self, resolve, text, dry_run):
        config, _ = resolve(rule(text, defaults='mode = "observe"'))
        assert config.rules[0].dry_run is dry_run

    def test_does_not_override_an_inherited_dry_run(self, resolve):
        config, _ = resolve(rule('mode = "bounds"', defaults='mode = "observe"\ndry_run = true'))
        assert config.rules[0].dry_run


class TestTheEnvironment:
    def test_former_variables_are_accepted(self):
        environ = {
            **HOST,
            "AUTOSCALER_DEFAULTS__SLO__WAIT": "1s",
            "AUTOSCALER_DEFAULTS__SLO__PERCENTILE": "0.9",
            "AUTOSCALER_DEFAULTS__ON_EXIT": "native",
            "AUTOSCALER_DEFAULTS__MODE": "observe",
            "AUTOSCALER_RULES": json.dumps([{"name": "a", "max_allocations": 4}]),
        }
        config = load(None, environ)
        (only,) = config.rules
        assert only.policy.objective.target == 0.9
        assert (only.on_exit, only.dry_run) == (OnExit.ADAPTIVE, True)
        assert config.warnings == (
            'AUTOSCALER_DEFAULTS__MODE: "observe" is deprecated; use dry_run = true',
            f"{PREFIX}DEFAULTS__SLO__PERCENTILE: deprecated; use {PREFIX}DEFAULTS__SLO__TARGET",
            'AUTOSCALER_DEFAULTS__ON_EXIT: "native" is deprecated; use "adaptive"',
        )

    def test_a_current_variable_overrides_a_former_key_of_the_file(self, resolve):
        text = rule("", defaults='slo = { wait = "1s", percentile = 0.9 }')
        config, warnings = resolve(text, {"AUTOSCALER_DEFAULTS__SLO__TARGET": "0.95"})
        assert config.rules[0].policy.objective.target == 0.95
        assert warnings == ["config.toml: defaults.slo.percentile: deprecated; use target"]

    def test_a_problem_of_a_variable_is_not_blamed_on_a_former_key_of_the_file(self, resolve):
        text = rule("", defaults='slo = { wait = "1s", percentile = 0.9 }')
        with pytest.raises(ConfigError, match=r"^AUTOSCALER_DEFAULTS__SLO__TARGET: must be"):
            resolve(text, {"AUTOSCALER_DEFAULTS__SLO__TARGET": "5"})

    @pytest.mark.parametrize(
        ("environ", "dry_run"),
        [
            ({"AUTOSCALER_DEFAULTS__DRY_RUN": "false"}, True),
            ({"AUTOSCALER_DEFAULTS__MODE": "bounds"}, False),
            ({"AUTOSCALER_RULES": '[{"name": "b", "mode": "direct"}]'}, False),
        ],
    )
    def test_observe_in_the_file_is_overridden_as_before(self, resolve, environ, dry_run):
        config, _ = resolve(rule("", defaults='mode = "observe"'), environ)
        assert config.rules[0].dry_run is dry_run


def test_a_problem_is_reported_under_the_name_that_is_written(resolve):
    with pytest.raises(ConfigError) as raised:
        resolve(rule('slo = { wait = "1s", percentile = 99 }'))
    (problem,) = raised.value.problems
    assert problem.endswith(
        "rule 'a': slo.percentile: must be a fraction between 0.5 and 0.9999, not 99"
    )


def test_both_names_at_once_are_rejected(resolve):
    with pytest.raises(ConfigError) as raised:
        resolve(rule('slo = { wait = "1s", percentile = 0.9, target = 0.9 }'))
    (problem,) = raised.value.problems
    assert problem.endswith(
        "rule 'a': slo.percentile: former name of target, which is set too; remove percentile"
    )


def test_the_schema_contains_current_names_only():
    schema = json.dumps(json_schema())
    for former in ("percentile", '"native"', '"observe"'):
        assert former not in schema
