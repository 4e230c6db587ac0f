"""Back-tests of a rule of the operator's configuration."""

import json
import pickle

import numpy as np
import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from autoscaler.backtest.command import closed_schedules
from autoscaler.backtest.configured_rule import RuleError, configured_rule
from autoscaler.backtest.world.days import Days, played_days
from autoscaler.cli import main
from autoscaler.config import ConfigError
from autoscaler.config.loader import read
from autoscaler.config.polling import polling_of
from autoscaler.core.decision import Mode
from autoscaler.core.policies import UtilisationPolicy
from autoscaler.core.slo.objective import SloObjective
from autoscaler.core.slo.policy import RecordedLoads, SloPolicy
from autoscaler.core.values import Schedule
from autoscaler.simulation.traces import Trace
from tests.backtest.test_command import SCENARIO, trace_text
from tests.backtest.workloads import scenario

CONFIG = """
[elasticsearch]
hosts = ["https://es:9200"]
api_key_file = "/run/secrets/absent"

[[rules]]
name = "tests"
deployments = "test-*"
exclude = true

[[rules]]
name = "rerankers"
deployments = "rerank-*"
policy = "utilisation"
target_utilisation = 0.5
burst_max_allocations = 3
dry_run = true

[[rules]]
name = "all"
slo = { wait = "1s", target = 0.95 }
max_allocations = 2
"""


@pytest.fixture
def written(tmp_path):
    def written(text, environ=None):
        path = tmp_path / "config.toml"
        path.write_text(text)
        return read(path, environ or {})

    return written


@pytest.fixture
def rule(written):
    def rule(text, name=None, environ=None, **given):
        return configured_rule(written(text, environ), name).in_scenario(scenario(**given))

    return rule


class TestChoice:
    def test_the_only_rule_that_scales_is_the_default(self, written):
        assert configured_rule(written('[[rules]]\nname = "all"\n'), None).name == "all"

    @pytest.mark.parametrize(
        ("text", "name", "message"),
        [
            (CONFIG, None, "has several rules; name one with --rule: rerankers, all"),
            (CONFIG, "al", "no rule 'al' that scales; did you mean all?; choose from"),
            (CONFIG, "tests", "no rule 'tests' that scales"),
            ("", None, "has no rule that scales; add one"),
            ("rules = 3", None, "has no rule that scales; add one"),
        ],
    )
    def test_otherwise_a_name_is_required(self, written, text, name, message):
        with pytest.raises(RuleError) as raised:
            configured_rule(written(text), name)
        assert message in str(raised.value)


class TestInAScenario:
    def test_the_keys_of_the_rule_apply(self, rule):
        _, resolved = rule(CONFIG, "rerankers")
        assert resolved.policy == UtilisationPolicy(target=0.5, load_window_s=60.0)
        assert (resolved.burst_max_allocations, resolved.stabilisation_window_s) == (3, 300.0)

    def test_absent_bounds_are_those_of_the_scenario(self, rule):
        _, resolved = rule(CONFIG, "rerankers", min_allocations=2, max_allocations=4)
        assert (resolved.min_allocations, resolved.max_allocations) == (2, 4)
        _, resolved = rule(CONFIG, "all", min_allocations=2, max_allocations=4)
        assert (resolved.min_allocations, resolved.max_allocations) == (2, 2)

    def test_the_poll_interval_of_the_configuration_takes_precedence(self, rule):
        assert rule(CONFIG, "all", poll_interval_s=30.0)[0] == polling_of(30.0)
        assert rule(f'poll_interval = "5s"\n{CONFIG}', "all", poll_interval_s=30.0)[
            0
        ] == polling_of(5.0)

    def test_the_shortest_poll_interval_is_that_of_the_configuration(self, rule):
        own = f'min_poll_interval = "4s"\n{CONFIG}'
        assert rule(own, "all", poll_interval_s=30.0)[0] == polling_of(30.0, 4.0)

    def test_it_matches_the_simulated_deployment_and_is_no_dry_run(self, rule):
        _, resolved = rule(CONFIG, "rerankers")
        assert (resolved.deployments, resolved.models) == (("*",), ("*",))
        assert (resolved.dry_run, resolved.hidden) == (False, True)

    def test_variables_override_the_file(self, rule):
        environ = {"AUTOSCALER_DEFAULTS__TARGET_UTILISATION": "0.6", "AUTOSCALER_CONFIG": "x"}
        text = '[defaults]\npolicy = "utilisation"\n[[rules]]\nname = "all"\n'
        assert rule(text, environ=environ)[1].policy.target == 0.6

    def test_slo_receives_the_recorded_load(self, written):
        history = RecordedLoads(loads=(1.0, 2.0), ends_at=0.0)
        _, resolved = configured_rule(written(CONFIG), "all").in_scenario(scenario(), history)
        assert isinstance(resolved.policy, SloPolicy)
        assert resolved.policy.objective == SloObjective(target=0.95, wait_s=1.0)
        assert resolved.policy.history == history

    def test_bounds_that_conflict_with_the_scenario_are_reported(self, rule):
        text = '[[rules]]\nname = "all"\nmin_allocations = 9\n'
        with pytest.raises(ConfigError, match="must be at least min_allocations, which is 9"):
            rule(text, max_allocations=4)

    def test_mode_bounds_requires_a_version_with_adaptive_allocations(self, rule):
        text = '[[rules]]\nname = "all"\nmode = "bounds"\n'
        assert rule(text)[1].mode is Mode.BOUNDS
        with pytest.raises(RuleError, match=r"has mode bounds, which requires Elasticsearch 8\.16"):
            rule(text, version="8.15.0")

    def test_another_process_resolves_the_same(self, written):
        configured = configured_rule(written(CONFIG), "all")
        copy = pickle.loads(pickle.dumps(configured))
        assert copy.in_scenario(scenario()) == configured.in_scenario(scenario())


class TestCommand:
    @pytest.fixture(autouse=True)
    def folder(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "load.csv").write_text(trace_text())
        (tmp_path / "small.toml").write_text(SCENARIO)

    def rows(self, folder, config, *arguments):
        (folder / "config.toml").write_text(config)
        base = ["backtest", "load.csv", "--scenario", "small.toml", "--workers", "1"]
        result = CliRunner().invoke(
            main, [*base, "--config", "config.toml", "--json", "rows.json", *arguments]
        )
        assert result.exit_code == 0, result.stderr
        return json.loads((folder / "rows.json").read_text())["rows"]

    def test_only_the_rule_runs_unless_policies_are_named(self, tmp_path):
        rows = self.rows(tmp_path, CONFIG, "--rule", "all")
        assert [row["policy"] for row in rows] == ["rule:all"]
        rows = self.rows(tmp_path, CONFIG, "--rule", "all", "--policy", "hpa")
        assert [row["policy"] for row in rows] == ["rule:all", "hpa"]

    def test_a_rule_with_default_keys_is_the_policy(self, tmp_path):
        text = '[[rules]]\nname = "all"\npolicy = "utilisation"\n'
        rule, policy = self.rows(tmp_path, text, "--policy", "utilisation")
        for row in (rule, policy):
            del row["policy"], row["setting"]
        assert rule == policy

    def test_a_schedule_opens_by_the_time_of_the_trace(self, tmp_path):
        schedule = Schedule(
            name="night", cron="0 0 * * sun", timezone="UTC", length_s=3600.0, min_allocations=8
        )
        text = (
            '[[rules]]\nname = "all"\npolicy = "utilisation"\n[[rules.schedules]]\n'
            f'name = "{schedule.name}"\ncron = "{schedule.cron}"\ntimezone = "UTC"\n'
            'length = "1h"\nmin_allocations = 8\n'
        )
        (scheduled,) = self.rows(tmp_path, text)
        assert scheduled["allocation_hours"] == pytest.approx(8 * 600 / 3600, rel=0.1)
        (tmp_path / "small.toml").write_text(f"{SCENARIO}begins_at = 2026-01-05T00:00:00Z\n")
        (unscheduled,) = self.rows(tmp_path, text)
        assert unscheduled["allocation_hours"] < 0.8 * scheduled["allocation_hours"]

    def test_a_schedule_that_is_never_open_is_reported(self, tmp_path):
        (tmp_path / "config.toml").write_text(
            '[[rules]]\nname = "all"\n[[rules.schedules]]\nname = "office"\n'
            'cron = "0 8 * * mon"\ntimezone = "UTC"\nlength = "1h"\nmin_allocations = 2\n'
            '[[rules.schedules]]\nname = "night"\ncron = "0 20 * * sat"\ntimezone = "UTC"\n'
            'length = "8h"\nmin_allocations = 2\n'
        )
        base = ["backtest", "load.csv", "--scenario", "small.toml", "--workers", "1"]
        result = CliRunner().invoke(main, [*base, "--config", "config.toml"])
        assert result.exit_code == 0
        assert "warning: schedule office is never open in this trace" in result.stderr
        assert "schedule night" not in result.stderr

    def test_a_schedule_that_is_open_on_one_of_the_days_is_not_reported(self, written):
        """The trace begins on a Sunday."""
        text = '[[rules]]\nname = "all"\n'
        for day in ("mon", "wed"):
            text += f'[[rules.schedules]]\nname = "{day}"\ncron = "0 8 * * {day}"\n'
            text += 'timezone = "UTC"\nlength = "1h"\nmin_allocations = 2\n'
        trace = Trace(name="load", bin_s=3600.0, counts=np.full(48, 100))
        days = list(played_days(trace, replace(scenario(), hours=24.0), Days(whole=True)))
        assert len(days) == 2
        assert list(closed_schedules(configured_rule(written(text), None), days)) == [
            "schedule wed is never open in this trace; traces begin at `begins_at` of the scenario"
        ]

    def test_a_rule_is_judged_by_the_slo_that_it_states(self, tmp_path):
        page = ("--rule", "all", "--policy", "slo", "--report", "page.html")
        rule, *others = self.rows(tmp_path, CONFIG, *page)
        assert (rule["slo_target"], rule["slo_wait_s"]) == (0.95, 1.0)
        assert all("slo_target" not in row for row in others)
        text = "judged by its own SLO: 95% of the requests wait at most 1 s"
        assert text in (tmp_path / "page.html").read_text()
        strict = CONFIG.replace('wait = "1s"', 'wait = "1ms"')
        assert self.rows(tmp_path, strict, "--rule", "all")[0]["slo_wait_s"] == 0.001

    def test_a_rule_without_a_stated_slo_is_judged_by_that_of_the_scenario(self, tmp_path):
        (row,) = self.rows(tmp_path, '[[rules]]\nname = "all"\n')
        assert "slo_target" not in row

    def test_a_stated_latency_becomes_a_queue_wait(self, tmp_path):
        config = CONFIG.replace('wait = "1s"', 'latency = "1s"')
        (row,) = self.rows(tmp_path, config, "--rule", "all")
        assert 0.0 < row["slo_wait_s"] < 1.0

    def test_a_report_names_the_rule(self, tmp_path):
        self.rows(tmp_path, CONFIG, "--rule", "all", "--report", "page.html")
        assert "rule all of config.toml" in (tmp_path / "page.html").read_text()

    def test_a_rule_requires_a_configuration(self):
        result = CliRunner().invoke(main, ["backtest", "load.csv", "--rule", "all"])
        assert (result.exit_code, result.stderr) == (
            2,
            "autoscaler: --rule requires --config, the file that contains the rule\n",
        )

    def test_former_policy_names_are_accepted_with_a_warning(self, tmp_path):
        base = ["backtest", "load.csv", "--scenario", "small.toml", "--workers", "1"]
        result = CliRunner().invoke(main, [*base, "--policy", "native-9,clairvoyant"])
        assert result.exit_code == 0
        assert "--policy: native-9 is deprecated; use adaptive-9" in result.stderr
        assert "oracle" in result.stdout
