"""The table of goals: what the runs show about each, on each set of traces."""

import pytest

from autoscaler.backtest.results.file import Results
from autoscaler.errors import UserError
from benchmarks.goals import GOALS, goals_section
from tests.backtest.synthetic import row

SCENARIO = "short-three-nodes"
FLEET, SQUARE = "azure_fn_fleet_dev", "azure_fn_square_wave"


def of(policy, trace, late, hours, *, changes=24, setting="", default=True):
    return row(
        trace=trace,
        scenario=SCENARIO,
        policy=policy,
        setting=setting,
        default=default,
        violations=round(1000 * late),
        violation_fraction=late,
        allocation_hours=hours,
        changes=changes,
    )


def results(*rows):
    return Results(
        program="autoscaler 1.0",
        command="autoscaler backtest",
        made_at="2026-01-01T00:00:00Z",
        scenarios={SCENARIO: {"slo_target": 0.99}},
        rows=rows,
    )


def lines(*found):
    """The cells after the first one, by the first."""
    table = goals_section(found).partition("\n\n")[0]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
    return {first: rest for first, *rest in cells}


WIDE = results(
    of("oracle", "wide_fn_01", 0.01, 10.0),
    of("slo", "wide_fn_01", 0.005, 15.0, changes=240),
    of("oracle", "wide_fn_02", 0.01, 10.0),
    of("slo", "wide_fn_02", 0.05, 15.0, changes=960),
    of("oracle", "wide_fn_03", 0.40, 10.0),  # infeasible
    of("slo", "wide_fn_03", 0.50, 90.0, changes=96_000),
    of("rate-oracle-60s", "wide_fn_01", 0.01, 12.5),
    of("rate-oracle-60s", "wide_fn_02", 0.01, 5.0),
)
SHAPES = results(
    of("oracle", SQUARE, 0.01, 50.0),
    of("slo", SQUARE, 0.01, 60.0),
    of("oracle", FLEET, 0.01, 50.0),
    of("slo", FLEET, 0.01, 60.0),
)


class TestGoals:
    FOUND = lines(WIDE, SHAPES)

    def test_each_set_has_its_own_limits(self):
        first = self.FOUND["pairs on which the SLO is met, %"]
        assert first == ["≥ 90", "50.0, not met", "≥ 94", "100, met"]

    def test_infeasible_pairs_do_not_count(self):
        assert self.FOUND["changes per hour"][:2] == ["≤ 25", "25.0, met"]
        assert self.FOUND["requests that meet the SLO on the worst pair, %"][1] == "95.0, not met"

    def test_hours_are_multiples_of_the_oracles(self):
        assert self.FOUND["hours, × oracle"] == ["≤ 1.45", "1.50, not met", "≤ 1.4", "1.20, met"]

    def test_the_rate_oracle_is_compared_where_both_meet_the_slo(self):
        assert self.FOUND["hours, × rate-oracle-60s"] == ["≤ 1.18", "1.20, not met", "≤ 1.15", "-"]

    def test_some_goals_are_of_one_trace(self):
        square = self.FOUND["hours on `azure_fn_square_wave`, short requests, three nodes"]
        assert square == ["", "", "≤ 65", "60.0, met"]
        assert self.FOUND["hours on `azure_fn_fleet_dev`, the same"][3] == "60.0, not met"

    def test_without_other_settings_nothing_is_said_about_them(self):
        assert self.FOUND["hours, × kpa, tuned for each pair"][:2] == ["≤ 0.8", "-"]
        assert self.FOUND["changes, × kpa, tuned for each pair"][:2] == ["≤ 0.25", "-"]

    def test_both_policies_are_tuned_for_each_pair(self):
        found = lines(
            results(
                of("oracle", "wide_fn_01", 0.01, 10.0),
                of("slo", "wide_fn_01", 0.01, 15.0, setting="slo_target=0.99", changes=48),
                of("slo", "wide_fn_01", 0.10, 12.0, setting="slo_target=0.9", default=False),
                of("kpa", "wide_fn_01", 0.10, 15.0, setting="target=0.7", changes=2400),
                of("kpa", "wide_fn_01", 0.01, 20.0, setting="target=0.4", default=False,
                   changes=480),
            )
        )  # fmt: skip
        assert found["hours, × kpa, tuned for each pair"] == ["≤ 0.8", "0.75, met"]
        assert found["changes, × kpa, tuned for each pair"] == ["≤ 0.25", "0.10, met"]

    def test_all_goals_are_shown(self):
        assert set(self.FOUND) >= {goal.text for goal in GOALS}


class TestMistakes:
    def test_files_without_runs_are_refused(self):
        with pytest.raises(UserError, match="no runs"):
            goals_section([results()])

    def test_files_without_the_policy_are_refused(self):
        with pytest.raises(UserError, match="no run of slo"):
            goals_section([results(of("oracle", "wide_fn_01", 0.01, 10.0))])
