"""The keys of scaling tables that only some policies use."""

import pytest

from autoscaler.config import ConfigError, load, policies
from autoscaler.config.document import ScalingTable
from autoscaler.config.policies import BUILT_IN, BuiltIn, BuiltInSettings
from autoscaler.config.policy_settings import built_in_settings
from autoscaler.core.policies import UtilisationPolicy
from autoscaler.core.slo.objective import SloObjective
from autoscaler.core.values import Value
from tests.messages import without_lines
from tests.test_config import REACHABLE


class RecordedSettings(Value, frozen=True, kw_only=True):
    """A policy that only records its settings."""

    settings: BuiltInSettings
    name: str = "slo"
    load_window_s: float = 60.0


@pytest.fixture(autouse=True)
def _recorded_settings(monkeypatch):
    keys = frozenset({"slo", "drain", "caller_timeout", "load_window"})
    slo = BuiltIn(build=lambda settings: RecordedSettings(settings=settings), keys=keys)
    monkeypatch.setattr(policies, "BUILT_IN", {**BUILT_IN, "slo": slo})


@pytest.fixture
def resolve(tmp_path):
    def resolve(text: str, environ: dict[str, str] | None = None):
        path = tmp_path / "config.toml"
        path.write_text(f"{text}\n{REACHABLE}")
        return load(path, environ or {})

    return resolve


@pytest.fixture
def problems(resolve, tmp_path):
    def problems(text: str) -> list[str]:
        with pytest.raises(ConfigError) as refused:
            resolve(text)
        return [
            without_lines(each).replace(f"{tmp_path}/config.toml: ", "")
            for each in refused.value.problems
        ]

    return problems


def rule(text="", policy="slo"):
    return f'[[rules]]\nname = "a"\nmax_allocations = 4\npolicy = "{policy}"\n{text}\n'


def settings_of(config):
    return config.rules[0].policy.settings


class TestDefaults:
    def test_of_the_slo(self, resolve):
        settings = settings_of(resolve(rule()))
        assert settings.objective == SloObjective(target=0.99, wait_s=None, latency_s=None)
        assert (settings.drain_s, settings.caller_timeout_s, settings.poll_interval_s) == (
            30.0,
            None,
            10.0,
        )

    def test_drain_is_at_least_the_poll_interval(self, resolve):
        settings = settings_of(resolve('poll_interval = "1m"\n' + rule()))
        assert settings.drain_s == 60.0

    def test_of_the_stabilisation_window_depend_on_the_policy(self, resolve):
        text = rule('deployments = "b"') + rule(policy="utilisation").replace('"a"', '"b"')
        slo, utilisation = resolve(text).rules
        assert (slo.stabilisation_window_s, utilisation.stabilisation_window_s) == (0.0, 300.0)

    def test_a_stabilisation_window_applies_to_every_policy(self, resolve):
        text = '[defaults]\nstabilisation_window = "2m"\n'
        for policy in ("slo", "utilisation"):
            assert resolve(text + rule(policy=policy)).rules[0].stabilisation_window_s == 120.0

    def test_an_empty_table_is_complete(self):
        defaults = built_in_settings(ScalingTable(), 10.0)
        assert (defaults.target_utilisation, defaults.load_window_s) == (0.7, 60.0)


class TestSlo:
    @pytest.mark.parametrize(
        ("slo", "objective"),
        [
            ('{ latency = "250ms", target = 0.95 }',
             SloObjective(target=0.95, latency_s=0.25)),
            ('{ latency = "1s" }', SloObjective(latency_s=1.0)),
            ('{ wait = "100ms" }', SloObjective(wait_s=0.1)),
            ('{ wait = "0s", target = 0.5 }', SloObjective(target=0.5, wait_s=0.0)),
        ],
    )  # fmt: skip
    def test_a_latency_or_a_wait_and_the_target(self, resolve, slo, objective):
        assert settings_of(resolve(rule(f"slo = {slo}"))).objective == objective

    def test_it_is_inherited_as_a_whole(self, resolve):
        text = '[defaults.slo]\nlatency = "250ms"\ntarget = 0.9\n'
        assert settings_of(resolve(text + rule())).objective == SloObjective(
            target=0.9, latency_s=0.25
        )
        overruled = resolve(text + rule('slo = { wait = "1s" }'))
        assert settings_of(overruled).objective == SloObjective(wait_s=1.0)

    def test_it_may_be_set_in_the_environment(self, resolve):
        environ = {
            "AUTOSCALER_DEFAULTS__SLO__WAIT": "200ms",
            "AUTOSCALER_DEFAULTS__SLO__TARGET": "0.9",
            "AUTOSCALER_DEFAULTS__DRAIN": "1m",
        }
        settings = settings_of(resolve(rule(), environ))
        assert (settings.objective, settings.drain_s) == (
            SloObjective(target=0.9, wait_s=0.2),
            60.0,
        )

    @pytest.mark.parametrize(
        ("slo", "problem"),
        [
            ("{ target = 0.9 }", ": set latency or wait; neither is set"),
            ('{ latency = "1s", wait = "1s" }', ": set latency or wait; not both"),
            ('{ wait = "1s", target = 0.4 }',
             ".target: must be a fraction between 0.5 and 0.9999, not 0.4"),
            ('{ wait = "1s", target = 99 }',
             ".target: must be a fraction between 0.5 and 0.9999, not 99"),
            ('{ latency = "0s" }', ".latency: must be between 1ms and 1h, not 0s"),
            ('{ wait = "2h" }', ".wait: must be between 0s and 1h, not 2h"),
            ('{ wiat = "1s" }', ".wiat: no such key; did you mean wait?"),
            ("3", ": must be a table, not 3; its keys are latency, wait and target"),
        ],
    )  # fmt: skip
    @pytest.mark.parametrize("place", ["defaults.", "rule 'a': "])
    def test_an_invalid_one_is_reported_where_it_is_written(self, problems, slo, problem, place):
        text = f"[defaults]\nslo = {slo}\n" if place == "defaults." else rule(f"slo = {slo}")
        assert problems(text) == [f"{place}slo{problem}"]

    @pytest.mark.parametrize("slo", ['{ latency = "10s" }', '{ wait = "10s" }'])
    def test_one_that_exceeds_the_caller_timeout(self, problems, slo):
        limit = "caller_timeout, which is 10s unless it is set"
        assert problems(rule(f"slo = {slo}")) == [
            f"rule 'a': slo: must be shorter than {limit}, not 10s"
        ]

    def test_one_that_exceeds_the_configured_caller_timeout(self, problems):
        text = 'caller_timeout = "2s"\nslo = { wait = "5s" }'
        assert problems(rule(text)) == [
            "rule 'a': slo: must be shorter than caller_timeout, which is 2s, not 5s"
        ]

    def test_a_longer_one_needs_callers_that_wait(self, resolve):
        text = 'caller_timeout = "2h"\nslo = { wait = "1m" }'
        assert settings_of(resolve(rule(text))).objective.wait_s == 60.0


class TestTimes:
    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ('drain = "500ms"', "drain: must be between 1s and 1h, not 500ms"),
            ('drain = "5s"', "drain: must be at least poll_interval, which is 10s, not 5s"),
            ('caller_timeout = "3h"', "caller_timeout: must be between 100ms and 2h, not 3h"),
            ("caller_timeout = 5", ("caller_timeout: must be a duration with its unit, such as "
             '"30s", "5m" or "1h30m", not 5')),
        ],
    )  # fmt: skip
    def test_have_their_ranges(self, problems, text, problem):
        assert problems(rule(text)) == [f"rule 'a': {problem}"]

    def test_are_resolved(self, resolve):
        settings = settings_of(resolve(rule('drain = "2m"\ncaller_timeout = "30s"')))
        assert (settings.drain_s, settings.caller_timeout_s) == (120.0, 30.0)


class TestUse:
    @pytest.mark.parametrize(
        ("policy", "text"),
        [
            ("utilisation", 'slo = { wait = "1s" }'),
            ("utilisation", 'drain = "30s"'),
            ("utilisation", 'caller_timeout = "30s"'),
            ("slo", "target_utilisation = 0.5"),
        ],
    )
    def test_a_rule_must_not_set_a_key_that_its_policy_does_not_use(self, problems, policy, text):
        key = text.partition(" ")[0]
        assert problems(rule(text, policy)) == [
            f"rule 'a': {key}: has no effect with policy {policy}; remove it"
        ]

    def test_the_defaults_may_set_keys_of_every_policy(self, resolve):
        text = """
            [defaults]
            target_utilisation = 0.5
            load_window = "2m"
            slo = { wait = "1s" }
            drain = "5s"
            """
        (only,) = resolve(text + rule(policy="utilisation")).rules
        assert only.policy == UtilisationPolicy(target=0.5, load_window_s=120.0)
