"""Results on a terminal: who did what with each trace, or with many of them taken together."""

import math
from collections.abc import Iterable, Mapping, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from autoscaler.backtest.results.comparison import SLO_SHARE, Aggregate, Mean, aggregates
from autoscaler.backtest.results.rows import ResultRow
from autoscaler.backtest.results.summary import PolicySummary, Summary, summarise

MAX_LINES = 60
"""Of a table in full. If it were to be longer, only the summary is shown."""


def show(
    console: Console, rows: Iterable[ResultRow], *, shares: Mapping[str, float] | None = None
) -> None:
    """Print the results: every policy on every trace if they are few, and a summary if not.

    Args:
        shares: by scenario, the share of requests that must not miss.
    """
    shares = shares or {}
    all_aggregates = aggregates(rows)
    shown = at_defaults(all_aggregates)
    if len(shown) <= MAX_LINES:
        for scenario in sorted({each.scenario for each in shown}):
            chosen = [each for each in shown if each.scenario == scenario]
            console.print(in_full(scenario, chosen, shares.get(scenario, SLO_SHARE)))
    pairs = {each.pair for each in all_aggregates}
    if len(pairs) > 1 or len(shown) > MAX_LINES:
        summary = summarise(all_aggregates, shares=shares)
        console.print(in_short(summary))
        _remark(console, summary)


def at_defaults(aggregates: Sequence[Aggregate]) -> list[Aggregate]:
    """Each policy at its default setting on each pair, at all its settings where that is absent."""
    by_default = {(each.pair, each.policy) for each in aggregates if each.default}
    return [
        each for each in aggregates if each.default or (each.pair, each.policy) not in by_default
    ]


def in_full(scenario: str, aggregates: Iterable[Aggregate], share: float) -> Table:
    """A line for each policy on each trace of one scenario."""
    told = f"{scenario}: {100.0 * share:.4g} % of the requests are to be in time"
    table = _table(told, "✓ held  ✗ not  - never served  ± 95 % confidence interval over seeds")
    table.add_column("trace, policy", no_wrap=True, overflow="ellipsis", max_width=30)
    for heading in ("in time, %", "misses", "p95 wait", "p99 wait", "alloc. hours", "chg/h"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("rev.", justify="right", no_wrap=True)
    before = None
    for each in sorted(aggregates, key=_as_read):
        if each.trace != before:
            table.add_row(Text(each.trace, style="bold"))
            before = each.trace
        setting = "" if each.default else f" {each.setting}"
        table.add_row(
            Text(f"  {each.policy}{setting}"),
            _in_time(each.violation_fraction, held=each.meets(share)),
            f"{each.violations.value:,.0f}",
            seconds(each.wait_p95_s),
            seconds(each.wait_p99_s),
            _with_interval(each.allocation_hours),
            f"{each.changes_per_hour.value:.1f}",
            f"{each.reversals.value:.0f}",
        )
    return table


def _table(title: str, caption: str) -> Table:
    return Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        title=Text(title, style="bold"),
        title_justify="left",
        caption=Text(caption),
        caption_justify="left",
    )


def _as_read(aggregate: Aggregate) -> tuple[str, float, float, str]:
    """Trace by trace, the best first and of equals the cheapest."""
    worth = aggregate.violation_fraction.value, aggregate.allocation_hours.value
    return aggregate.trace, *worth, aggregate.policy


def in_short(summary: Summary) -> Table:
    """A line for each policy over all pairs."""
    references = list(
        dict.fromkeys(name for each in summary.policies for name in each.relative_cost)
    )
    table = _table(
        "All traces together",
        "held: as many of the requests were in time as asked for. Hours to a policy's: geometric "
        "mean of the ratio of allocation-hours for that, and how many traces it is over",
    )
    table.add_column("policy", no_wrap=True, overflow="ellipsis", max_width=24)
    table.add_column("held as shipped", justify="right")
    table.add_column("held at its best", justify="right")
    table.add_column("best setting", no_wrap=True, overflow="ellipsis", max_width=20)
    for reference in references:
        table.add_column(Text(f"hours to {reference}'s"), justify="right")
    for each in sorted(summary.policies, key=_merit):
        ratios = (each.relative_cost.get(reference) for reference in references)
        table.add_row(
            Text(each.policy),
            "" if each.met_by_default is None else _of(each.met_by_default, each.pairs),
            _of(each.met_by_best, each.pairs),
            Text(each.best_setting if each.met_by_best else ""),
            *(f"{ratio.value:.2f} ({ratio.pairs})" if ratio else "-" for ratio in ratios),
        )
    return table


def _merit(policy: PolicySummary) -> tuple[float, float, str]:
    held = policy.met_by_best if policy.met_by_default is None else policy.met_by_default
    return -held / max(policy.pairs, 1), -policy.met_by_best, policy.policy


def _remark(console: Console, summary: Summary) -> None:
    if summary.infeasible:
        names = ", ".join(f"{trace} ({scenario})" for trace, scenario in summary.infeasible)
        told = f"Not even the clairvoyant holds these, so they are left out of the summary: {names}"
        console.print(Text(told))


def seconds(wait_s: float | None) -> str:
    """
    >>> seconds(0.0123), seconds(12.34), seconds(754.0), seconds(None)
    ('0.012 s', '12.3 s', '754 s', '-')
    """
    if wait_s is None:
        return "-"
    places = 3 if wait_s < 10.0 else 1 if wait_s < 100.0 else 0
    return f"{wait_s:,.{places}f} s"


def attainment(violation_fraction: float) -> str:
    """The share of requests in time, in percent, rounded down: 100 means all of them.

    >>> attained(0.000_01), attained(0.0)
    ('99.99', '100')
    """
    if violation_fraction == 0.0:
        return "100"
    return f"{math.floor(1e4 * (1.0 - violation_fraction) + 1e-6) / 100.0:.2f}"


def _in_time(violation_fraction: Mean, *, held: bool) -> Text:
    mark, style = ("✓", "green") if held else ("✗", "red")
    told = f"{mark} {attainment(violation_fraction.value)}"
    if violation_fraction.half_width is not None:
        told += f" ±{100.0 * violation_fraction.half_width:.2f}"
    return Text(told, style=style)


def _with_interval(figure: Mean) -> str:
    if figure.half_width is None:
        return f"{figure.value:,.1f}"
    return f"{figure.value:,.1f} ±{figure.half_width:.1f}"


def _of(part: int, whole: int) -> str:
    return f"{part} of {whole} ({part / max(whole, 1):.0%})"
