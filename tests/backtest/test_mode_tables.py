"""Both control modes and adaptive allocations: which policies are compared, and at which cost."""

import re

import pytest

from autoscaler.backtest.drivers import AdaptiveDriver
from autoscaler.backtest.policy_specs import POLICY_SPECS
from autoscaler.backtest.trial import TrialRunner, TrialSpec
from autoscaler.backtest.world.workload import workload_of
from autoscaler.core.decision import Mode
from autoscaler.errors import InputError
from benchmarks import modes
from benchmarks.mode_tables import (
    ADAPTIVE,
    BOUNDS,
    DIRECT,
    MINIMUM,
    OLD_ADAPTIVE,
    THRESHOLDS,
    Run,
    is_seasonal,
    section,
)
from tests.backtest.synthetic import row
from tests.conftest import shared

SCENARIO = """\
[model]
service_time = "250ms"
load = "20s"

[nodes]
processors = 8

[slo]
wait = "500ms"

[trace]
factor = 1
window = "10m"
"""


def run(policy, setting, hours, late, *, trace="a", updates=0, default=None, **given):
    """A day of ten thousand requests."""
    default = setting in ("", "slo_target=0.99") if default is None else default
    violations = round(10_000 * late)
    fields = {
        "requests": 10_000,
        "violations": violations,
        "violation_fraction": late,
        "changes": 48,
    }
    fields |= {"allocation_hours": hours, "scenario": "small", "default": default}
    return Run(
        row=row(trace=trace, policy=policy, setting=setting, **fields | given), updates=updates
    )


def duel(trace="a", *, adaptive=0.2):
    """Adaptive allocations cost 10 hours, or 30 with fewer violations by either variant."""
    return [
        run(DIRECT, "slo_target=0.99", 20.0, 0.01, trace=trace, updates=48),
        run(BOUNDS, "slo_target=0.5", 12.0, 0.05, trace=trace, updates=24),
        run(BOUNDS, "slo_target=0.99", 20.0, 0.02, trace=trace, updates=72),
        run(ADAPTIVE, "", 10.0, adaptive, trace=trace),
        run(OLD_ADAPTIVE, "", 10.0, adaptive, trace=trace),
        run(THRESHOLDS, "thresholds=0.5", 30.0, adaptive / 4.0, trace=trace),
        run(MINIMUM, "multiple=2", 30.0, adaptive / 16.0, trace=trace),
    ]


def lines(text, *first):
    """The cells, after these, of all lines of tables that begin with them."""
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    return [line[len(first) :] for line in cells if tuple(line[: len(first)]) == first]


class TestWithDefaultSettings:
    def test_every_policy_has_a_line_with_both_kinds_of_changes(self):
        ((*figures,),) = lines(section(duel()), "slo")
        assert figures == ["1 of 1", "1.00", "2.00", "2.0", "2.0"]
        assert lines(section(duel()), "slo-bounds") == [["0 of 1", "2.00", "2.00", "2.0", "3.0"]]
        assert lines(section(duel()), "adaptive-9") == [["0 of 1", "20.00", "1.00", "2.0", "0.0"]]

    def test_a_setting_that_is_not_the_default_is_shown(self):
        (figures,) = lines(section(duel()), "slo-bounds slo_target=0.5")
        assert figures == ["0 of 1", "5.00", "1.20", "2.0", "1.0"]

    def test_pairs_with_a_season_have_a_separate_table(self):
        both = section([*duel("a"), *duel("nasa_http_jul95", adaptive=0.4)])
        assert lines(both, "adaptive-9")[0][1] == "30.00"
        assert lines(both, "adaptive-9")[1][1] == "40.00"
        assert (
            "with a season"
            not in section(duel()).partition("For each SLO target")[0].split("|", 1)[1]
        )

    @pytest.mark.parametrize(
        ("trace", "seasonal"),
        [
            ("azure_fn_diurnal_smooth", True), ("azure_fn_diurnal_bursty", True),
            ("servegen_m_large_diurnal", True), ("nasa_http_jul95", True), ("nab_nyc_taxi", True),
            ("servegen_m_large", False), ("azure_fn_levels", False), ("nasa_http_launch_1s", False),
        ],
    )  # fmt: skip
    def test_which_traces_have_a_season(self, trace, seasonal):
        assert is_seasonal(trace) == seasonal


class TestAtEqualCost:
    def test_between_settings_the_logarithm_of_the_violations_is_linear(self):
        """At 20 hours, half-way: 20% and 5% make 10%, 20% and 1.25% make 5%."""
        text = section(duel())
        assert lines(text, THRESHOLDS, "slo_target=0.99")[0][:4] == ["1", "0", "5.00", "5.00"]
        assert lines(text, MINIMUM, "slo_target=0.99")[0][:4] == ["1", "0", "2.50", "2.50"]

    def test_a_pair_on_which_it_is_worse_is_counted_and_named(self):
        text = section([*duel("a"), *duel("b", adaptive=0.04)])
        # 1% compared with 2%, and as before.
        assert lines(text, MINIMUM, "slo_target=0.99")[0][:4] == ["2", "1", "1.12", "0.50"]
        worse = text.partition("Pairs on which slo-bounds is worse")[2]
        assert lines(worse, "b", "small", MINIMUM) == [["slo_target=0.99", "0.50"]]
        assert lines(worse, "a", "small", MINIMUM) == []

    def test_the_slo_target_at_which_it_is_worst_is_shown(self):
        worse = section(duel("b", adaptive=0.04)).partition("Pairs on which slo-bounds is worse")[2]
        (line,) = lines(worse, "b", "small", THRESHOLDS)
        assert line == ["slo_target=0.5", "0.70"]

    def test_where_no_setting_is_costly_enough_nothing_is_compared(self):
        cheap = [each for each in duel() if each.row.policy not in (MINIMUM, THRESHOLDS)]
        cheap += [run(MINIMUM, "multiple=2", 19.0, 0.01), run(THRESHOLDS, "x", 25.0, 0.1)]
        text = section(cheap)
        assert lines(text, MINIMUM, "slo_target=0.99")[0][:4] == ["0", "-", "-", "-"]
        assert lines(text, THRESHOLDS, "slo_target=0.99")[0][0] == "1"

    def test_no_violation_counts_as_half_a_request(self):
        runs = [each for each in duel() if each.row.setting != "slo_target=0.99"]
        text = section([*runs, run(BOUNDS, "slo_target=0.99", 20.0, 0.0), duel()[0]])
        assert lines(text, THRESHOLDS, "slo_target=0.99")[0][2] == "2,000"

    def test_the_reverse_at_the_cost_of_both_defaults(self):
        """`adaptive-9` is too cheap; `slo` has half as many violations at the same cost."""
        text = section(duel())
        assert lines(text, "adaptive-9, default", "any")[0][:4] == ["0", "-", "-", "-"]
        assert lines(text, "slo, default", "any")[0][:4] == ["1", "1", "0.50", "0.50"]

    def test_seasonal_pairs_are_counted_separately(self):
        text = section([*duel("a"), *duel("nab_nyc_taxi", adaptive=0.4)])
        cells = lines(text, THRESHOLDS, "slo_target=0.99")[0]
        assert cells[0] == "2"
        assert cells[4:] == ["1", "0", "10.0", "10.0"]


class TestTheCommand:
    @pytest.fixture(autouse=True)
    def folder(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "small.toml").write_text(SCENARIO)
        counts = [f"{10 * turn},{20 + 5 * turn}" for turn in range(60)]
        (tmp_path / "load.csv").write_text("\n".join(["t_seconds,requests", *counts, ""]))

    def test_every_policy_is_run_and_shown(self, capsys):
        modes.main(["load.csv", "--scenario", "small.toml", "--seeds", "2"])
        output = capsys.readouterr()
        assert "1 pairs, 0 of them with a season; seeds: 2." in output.out
        names = [
            DIRECT,
            BOUNDS,
            *[f"{BOUNDS} slo_target={target:g}" for target in modes.TARGETS[:-1]],
        ]
        for name in (*names, ADAPTIVE, OLD_ADAPTIVE):
            assert len(lines(output.out, name)) == 1
        assert [cells[0] for cells in lines(output.out, THRESHOLDS)] == [
            f"slo_target={target:g}" for target in modes.TARGETS
        ]
        assert re.findall(r"modes: (\d) of 2", output.err) == ["1", "2"]

    def test_an_absent_trace_is_reported_in_one_sentence(self, capsys):
        with pytest.raises(SystemExit) as ended:
            modes.main(["nothing.csv"])
        assert ended.value.code == InputError.exit_code
        assert capsys.readouterr().err.startswith("error: nothing.csv")


def test_both_control_modes_have_these_policy_names():
    assert POLICY_SPECS[DIRECT].mode is Mode.DIRECT
    assert POLICY_SPECS[BOUNDS].mode is Mode.BOUNDS


@pytest.mark.deep
def test_on_a_seasonal_day_no_fixed_minimum_of_this_cost_is_half_as_good():
    """Nor does the next one, which costs slightly more."""
    path, name = shared("traces/azure_fn_diurnal_bursty.csv"), "short-three-nodes"
    (task,) = modes.tasks([str(path)], [name], 1)
    workload = workload_of(task.trace, task.scenario, task.seed)
    runner = TrialRunner(task.scenario, workload, task.seed)
    ours = runner.run(TrialSpec(policy=BOUNDS)).row
    assert ours.violation_fraction < 0.01
    for minimum in range(1, task.scenario.max_allocations):
        plant = runner.run_driver(AdaptiveDriver(minimum, task.scenario.max_allocations))
        theirs = runner.row(plant, ADAPTIVE)
        assert theirs.violations > 2 * ours.violations
        if theirs.allocation_hours > ours.allocation_hours:
            break
