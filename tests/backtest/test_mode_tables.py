"""Both levers beside the cluster's own scaler: who is compared with whom, and at which cost."""

import re

import pytest

from autoscaler.backtest.drivers import AdaptiveDriver
from autoscaler.backtest.policy_specs import POLICY_SPECS
from autoscaler.backtest.trial import TrialRunner, TrialSpec
from autoscaler.backtest.world.workload import workload_of
from autoscaler.core.values import Mode
from autoscaler.errors import InputError
from benchmarks import modes
from benchmarks.mode_tables import (
    BOUNDS,
    DIRECT,
    MINIMUM,
    NATIVE,
    OLD_NATIVE,
    THRESHOLDS,
    Run,
    is_seasonal,
    told,
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


def run(policy, setting, hours, missed, *, trace="a", updates=0, default=None, **given):
    """A day of ten thousand requests."""
    default = setting in ("", "share=0.99") if default is None else default
    misses = round(10_000 * missed)
    fields = {"requests": 10_000, "violations": misses, "violation_fraction": missed, "changes": 48}
    fields |= {"allocation_hours": hours, "scenario": "small", "default": default}
    return Run(
        row=row(trace=trace, policy=policy, setting=setting, **fields | given), updates=updates
    )


def duel(trace="a", *, native=0.2):
    """The scaler alone takes 10 hours, or 30 for a fifth of its misses or a tenth of them."""
    return [
        run(DIRECT, "share=0.99", 20.0, 0.01, trace=trace, updates=48),
        run(BOUNDS, "share=0.5", 12.0, 0.05, trace=trace, updates=24),
        run(BOUNDS, "share=0.99", 20.0, 0.02, trace=trace, updates=72),
        run(NATIVE, "", 10.0, native, trace=trace),
        run(OLD_NATIVE, "", 10.0, native, trace=trace),
        run(THRESHOLDS, "thresholds=0.5", 30.0, native / 4.0, trace=trace),
        run(MINIMUM, "multiple=2", 30.0, native / 16.0, trace=trace),
    ]


def lines(text, *first):
    """The cells, after these, of all lines of tables that begin with them."""
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    return [line[len(first) :] for line in cells if tuple(line[: len(first)]) == first]


class TestAsShipped:
    def test_everybody_is_there_with_both_kinds_of_changes(self):
        ((*figures,),) = lines(told(duel()), "slo")
        assert figures == ["1 of 1", "1.00", "2.00", "2.0", "2.0"]
        assert lines(told(duel()), "slo-bounds") == [["0 of 1", "2.00", "2.00", "2.0", "3.0"]]
        assert lines(told(duel()), "adaptive-9") == [["0 of 1", "20.00", "1.00", "2.0", "0.0"]]

    def test_what_moving_the_bounds_was_told_otherwise_is_said(self):
        (figures,) = lines(told(duel()), "slo-bounds share=0.5")
        assert figures == ["0 of 1", "5.00", "1.20", "2.0", "1.0"]

    def test_those_with_a_season_have_a_table_of_their_own(self):
        both = told([*duel("a"), *duel("nasa_http_jul95", native=0.4)])
        assert lines(both, "adaptive-9")[0][1] == "30.00"
        assert lines(both, "adaptive-9")[1][1] == "40.00"
        assert "with a season" not in told(duel()).partition("For each promise")[0].split("|", 1)[1]

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
    def test_between_its_settings_the_scalers_misses_are_on_a_line_of_logarithms(self):
        """At 20 hours, half-way: 20 % and 5 % make 10 %, 20 % and 1.25 % make 5 %."""
        text = told(duel())
        assert lines(text, THRESHOLDS, "share=0.99")[0][:4] == ["1", "0", "5.00", "5.00"]
        assert lines(text, MINIMUM, "share=0.99")[0][:4] == ["1", "0", "2.50", "2.50"]

    def test_a_pair_on_which_it_misses_more_is_counted_and_named(self):
        text = told([*duel("a"), *duel("b", native=0.04)])
        # 1 % beside 2 %, and as before.
        assert lines(text, MINIMUM, "share=0.99")[0][:4] == ["2", "1", "1.12", "0.50"]
        worse = text.partition("Where moving the bounds is worse")[2]
        assert lines(worse, "b", "small", MINIMUM) == [["share=0.99", "0.50"]]
        assert lines(worse, "a", "small", MINIMUM) == []

    def test_the_promise_at_which_it_is_worst_is_the_one_that_is_told(self):
        worse = told(duel("b", native=0.04)).partition("Where moving the bounds is worse")[2]
        (line,) = lines(worse, "b", "small", THRESHOLDS)
        assert line == ["share=0.5", "0.70"]

    def test_where_the_scaler_is_never_so_dear_nothing_is_compared(self):
        cheap = [each for each in duel() if each.row.policy not in (MINIMUM, THRESHOLDS)]
        cheap += [run(MINIMUM, "multiple=2", 19.0, 0.01), run(THRESHOLDS, "x", 25.0, 0.1)]
        text = told(cheap)
        assert lines(text, MINIMUM, "share=0.99")[0][:4] == ["0", "-", "-", "-"]
        assert lines(text, THRESHOLDS, "share=0.99")[0][0] == "1"

    def test_no_miss_at_all_counts_as_half_a_request(self):
        runs = [each for each in duel() if each.row.setting != "share=0.99"]
        text = told([*runs, run(BOUNDS, "share=0.99", 20.0, 0.0), duel()[0]])
        assert lines(text, THRESHOLDS, "share=0.99")[0][2] == "2,000"

    def test_the_other_way_round_at_the_cost_of_either_as_shipped(self):
        """The scaler is too cheap; the number by itself misses half as much for the same."""
        text = told(duel())
        assert lines(text, "adaptive-9, as shipped", "any")[0][:4] == ["0", "-", "-", "-"]
        assert lines(text, "slo, as shipped", "any")[0][:4] == ["1", "1", "0.50", "0.50"]

    def test_seasonal_pairs_are_counted_apart(self):
        text = told([*duel("a"), *duel("nab_nyc_taxi", native=0.4)])
        cells = lines(text, THRESHOLDS, "share=0.99")[0]
        assert cells[0] == "2"
        assert cells[4:] == ["1", "0", "10.0", "10.0"]


class TestTheCommand:
    @pytest.fixture(autouse=True)
    def folder(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "small.toml").write_text(SCENARIO)
        counts = [f"{10 * turn},{20 + 5 * turn}" for turn in range(60)]
        (tmp_path / "load.csv").write_text("\n".join(["t_seconds,requests", *counts, ""]))

    def test_everybody_is_tried_and_what_came_of_it_is_told(self, capsys):
        modes.main(["load.csv", "--scenario", "small.toml", "--seeds", "2", "--workers", "1"])
        said = capsys.readouterr()
        assert "1 pairs, 0 of them with a season; seeds: 2." in said.out
        names = [DIRECT, BOUNDS, *[f"{BOUNDS} share={share:g}" for share in modes.SHARES[:-1]]]
        for name in (*names, NATIVE, OLD_NATIVE):
            assert len(lines(said.out, name)) == 1
        assert [cells[0] for cells in lines(said.out, THRESHOLDS)] == [
            f"share={share:g}" for share in modes.SHARES
        ]
        assert re.findall(r"levers: (\d) of 2", said.err) == ["1", "2"]

    def test_a_trace_that_is_not_there_is_told_in_a_sentence(self, capsys):
        with pytest.raises(SystemExit) as ended:
            modes.main(["nothing.csv"])
        assert ended.value.code == InputError.exit_code
        assert capsys.readouterr().err.startswith("error: nothing.csv")


def test_the_two_levers_are_contestants_of_those_names():
    assert POLICY_SPECS[DIRECT].mode is Mode.DIRECT
    assert POLICY_SPECS[BOUNDS].mode is Mode.BOUNDS


def test_on_a_seasonal_day_no_fixed_minimum_is_half_as_good_at_any_cost_up_to_this():
    """Nor at a little more, for the minima that are tried are what they are."""
    path, name = shared("traces/azure_fn_diurnal_bursty.csv"), "short-three-nodes"
    (task,) = modes.tasks([str(path)], [name], 1)
    demand = workload_of(task.trace, task.scenario, task.seed)
    arena = TrialRunner(task.scenario, demand, task.seed)
    ours = arena.run(TrialSpec(policy=BOUNDS)).row
    assert ours.violation_fraction < 0.01
    for minimum in range(1, task.scenario.max_allocations):
        plant = arena.run_driver(AdaptiveDriver(minimum, task.scenario.max_allocations))
        theirs = arena.row(plant, NATIVE)
        assert theirs.violations > 2 * ours.violations
        if theirs.allocation_hours > ours.allocation_hours:
            break
