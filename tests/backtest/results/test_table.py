"""Tables on a terminal: complete, and within its width."""

import io

import pytest
from rich.console import Console

from autoscaler.backtest.results.table import MAX_LINES, show
from tests.backtest.synthetic import POLICIES, row, trials


def printed(rows, width=100, **given):
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    show(console, rows, **given)
    return console.file.getvalue()


def rows_of(**given):
    return [each.row for each in trials(**given)]


def line_of(text, start):
    return next(line for line in text.splitlines() if line.strip().startswith(start))


@pytest.mark.parametrize("seeds", [(1,), (1, 2, 3)])
def test_a_hundred_columns_are_enough(seeds):
    text = printed(rows_of(traces=["servegen_m_large_diurnal", "b"], seeds=seeds))
    assert max(map(len, text.splitlines())) <= 100
    assert "…" not in text


def test_on_eighty_columns_no_heading_and_no_figure_is_cut_off():
    text = printed(rows_of(traces=["diurnal"]), width=80)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_one_trace_is_shown_in_full_and_needs_no_summary():
    text = printed(rows_of(traces=["diurnal"]))
    assert all(policy in text for policy in POLICIES)
    assert "All traces together" not in text


def test_many_traces_are_summarised():
    traces = [f"trace {n}" for n in range(1 + MAX_LINES // len(POLICIES))]
    text = printed(rows_of(traces=traces))
    assert "All traces together" in text
    assert "p99 wait" not in text
    assert f"of {len(traces)}" in line_of(text, "planned")


def test_a_line_has_all_figures():
    text = printed([row(violations=15, violation_fraction=0.015, wait_p99_s=None)])
    assert line_of(text, "utilisation").split() == [
        *["utilisation", "✗", "98.50", "15", "50", "ms", "-", "24.0", "2.0", "4"]
    ]


def test_a_rule_with_its_own_slo_is_judged_by_it():
    own = row(policy="rule:all", violation_fraction=0.03, slo_target=0.95, slo_wait_s=0.2)
    text = printed([own, row(violation_fraction=0.03)])
    assert "✓ 97.00" in line_of(text, "rule:all")
    assert "✗ 97.00" in line_of(text, "utilisation")
    said = "rule:all is judged by its own SLO: 95% of the requests wait at most 200 ms"
    assert said in text


def test_several_seeds_have_an_interval():
    text = printed([row(seed=1, violation_fraction=0.001), row(seed=2, violation_fraction=0.002)])
    assert "✓ 99.85 ±0.64" in line_of(text, "utilisation")


def test_almost_all_requests_are_not_100_percent():
    text = printed([row(violation_fraction=1e-7), row(policy="static", violation_fraction=0.0)])
    assert "✓ 99.99" in line_of(text, "utilisation")
    assert "✓ 100 " in line_of(text, "static")


def test_a_policy_is_shown_at_its_default_or_at_every_setting():
    text = printed(
        [
            row(setting="target=0.5", default=False),
            row(setting="target=0.7", default=True),
            row(policy="hpa", setting="target=0.6", default=False),
        ]
    )
    assert "target=0.5" not in text
    assert "hpa target=0.6" in text


def test_the_best_policy_is_first_then_the_cheapest():
    text = printed(
        [
            row(policy="costly", allocation_hours=30.0),
            row(policy="cheap", allocation_hours=20.0),
            row(policy="good", violation_fraction=0.001, allocation_hours=40.0),
        ]
    )
    assert text.index("good") < text.index("cheap") < text.index("costly")


def test_names_are_not_interpreted_as_markup():
    assert "[red]x[/red]" in printed([row(trace="[red]x[/red]")])


def test_infeasible_pairs_are_named():
    text = printed(
        [
            row(trace="mild", policy="oracle", violation_fraction=0.0),
            row(trace="hard", policy="oracle", violation_fraction=0.5),
        ]
    )
    assert "the summary excludes them: hard (small)" in " ".join(text.split())


def test_without_rows_there_is_no_table():
    assert printed([]) == ""


def test_the_factors_of_the_hours_are_shown_if_the_references_were_run():
    hours = {"oracle": 10.0, "rate-oracle-10s": 11.0, "rate-follower": 16.5, "slo": 33.0}
    rows = [row(policy=name, allocation_hours=each) for name, each in hours.items()]
    text = printed(rows).partition("Why more hours")[2]
    assert line_of(text, "slo").split()[1:] == ["1", "of", "1", "3.30", "1.10", "1.50", "2.00"]
    assert "Why more hours" not in printed(rows[1:])
