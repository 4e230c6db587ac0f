"""Back-tests of policies of other distributions."""

import json

import pytest
from click.testing import CliRunner

from autoscaler.backtest.drivers import as_configured
from autoscaler.backtest.options import chosen_policies
from autoscaler.backtest.policy_specs import POLICY_SPECS, names, policy_spec
from autoscaler.cli import main
from autoscaler.config.policies import Registry
from tests.backtest.test_command import SCENARIO, trace_text
from tests.backtest.workloads import scenario
from tests.plugins import install
from tests.test_writing_a_policy import MODULE

BROKEN = """
from autoscaler.core.values import Reason, Step

class Fragile:
    name, load_window_s = "fragile", 60.0

    def begin(self):
        return 0

    def recommend(self, situation, memory):
        if memory == 9:
            raise RuntimeError("enough is enough")
        return Step(Reason.RECOMMENDATION, situation.current, 2), memory + 1

def make(options, poll_s):
    return Fragile()

def refuse(options, poll_s):
    raise ValueError("needs the option speed")
"""


@pytest.fixture(autouse=True)
def _installed(tmp_path, monkeypatch):
    install(
        tmp_path, monkeypatch, MODULE, name="square_root", points="square-root=square_root:make"
    )
    points = "fragile = fragile:make\nreluctant = fragile:refuse\nhpa = fragile:make"
    install(tmp_path, monkeypatch, BROKEN, name="fragile", points=points)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "load.csv").write_text(trace_text())
    (tmp_path / "small.toml").write_text(SCENARIO)


def backtest(policies, *more):
    arguments = ["backtest", "load.csv", "--scenario", "small.toml", "--workers", "1"]
    return CliRunner().invoke(main, [*arguments, "--policy", policies, *more])


def test_they_run_only_if_named():
    assert names() == (*POLICY_SPECS, "fragile", "reluctant", "square-root")
    assert chosen_policies(["square-root,hpa"]) == ("square-root", "hpa")


def test_a_built_in_policy_of_that_name_takes_precedence():
    assert policy_spec("hpa") is POLICY_SPECS["hpa"]


def test_they_run_in_the_daemon_with_default_settings(tmp_path):
    result = backtest("square-root,utilisation", "--json", "rows.json", "--report", "report.html")
    assert result.exit_code == 0, result.stderr
    rows = json.loads((tmp_path / "rows.json").read_text())["rows"]
    row, *_ = [row for row in rows if row["policy"] == "square-root"]
    assert (row["setting"], row["default"]) == ("", True)
    assert row["changes"] > 3
    assert row["violation_fraction"] < 0.2
    assert "square-root, installed" in (tmp_path / "report.html").read_text()


def test_they_have_no_stabilisation_window():
    policy = Registry().installed("square-root", {}, 10.0)
    (rule,) = as_configured(policy, scenario()).rules
    assert (rule.policy, rule.stabilisation_window_s) == (policy, 0.0)


def test_one_that_cannot_be_made_is_reported_before_any_run():
    result = backtest("reluctant")
    assert result.exit_code == 78
    assert result.stderr == (
        "autoscaler: the policy 'reluctant', which is fragile:refuse of fragile 1.0, cannot be "
        "made without options: ValueError: needs the option speed\n"
    )


def test_one_that_fails_during_a_run_has_no_result():
    result = backtest("fragile")
    assert result.exit_code == 1
    error = (
        "load, small, seed 1: the policy failed: RuntimeError('enough is enough') (fragile.py:12)"
    )
    assert error in result.stderr


def test_an_unknown_name_is_reported_with_the_known_ones():
    result = backtest("square-rout")
    assert result.exit_code == 2
    assert "there is no policy 'square-rout'; choose from slo, slo-bounds, " in result.stderr
    assert result.stderr.endswith("oracle, fragile, reluctant, square-root\n")
