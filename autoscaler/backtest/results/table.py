"""Results on a terminal: every policy on each trace, or a summary over many traces."""

from collections.abc import Iterable, Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from autoscaler.backtest.results.comparison import SLO_TARGET, Aggregate, Mean, aggregates
from autoscaler.backtest.results.hours_split import HoursSplit, hours_splits
from autoscaler.backtest.results.quantities import attainment, seconds
from autoscaler.backtest.results.rows import ResultRow
from autoscaler.backtest.results.summary import PolicySummary, Summary, summarise
from autoscaler.backtest.results.terminal import NARROW_BELOW, plain_table
from autoscaler.core.units import duration_text
from autoscaler.terminal import plain

MAX_LINES = 60
"""Lines of the full table. With more, only the summary is shown."""


def show(
    console: Console, rows: Iterable[ResultRow], *, targets: Mapping[str, float] | None = None
) -> None:
    """Print every policy on every trace if they are few, and a summary if there are several.

    Args:
        targets: SLO targets by scenario; `SLO_TARGET` for those absent.
    """
    targets = targets or {}
    all_aggregates = aggregates(rows)
    shown = at_defaults(all_aggregates)
    if len(shown) <= MAX_LINES:
        for scenario in sorted({each.scenario for each in shown}):
            chosen = [each for each in shown if each.scenario == scenario]
            target = targets.get(scenario, SLO_TARGET)
            narrow = console.width < NARROW_BELOW
            console.print(in_full(scenario, chosen, target, narrow=narrow))
            _print_stated_slos(console, chosen)
    pairs = {each.pair for each in all_aggregates}
    if len(pairs) > 1 or len(shown) > MAX_LINES:
        summary = summarise(all_aggregates, targets=targets)
        console.print(in_short(summary))
        _print_infeasible(console, summary)
    splits = hours_splits(all_aggregates, targets=targets)
    if splits:
        console.print(in_factors(splits))


def _print_stated_slos(console: Console, aggregates: Iterable[Aggregate]) -> None:
    """The SLOs of rules that state one, in a line for each rule."""
    texts = {each.policy: text for each in aggregates if (text := slo_text(each))}
    for policy, text in texts.items():
        console.print(plain(f"{policy} is judged by its own SLO: {text}"), soft_wrap=True)


def slo_text(result: ResultRow | Aggregate) -> str:
    """The SLO of a rule that states one; empty if it is that of the scenario."""
    if result.slo_target is None or result.slo_wait_s is None:
        return ""
    return (
        f"{100.0 * result.slo_target:.4g}% of the requests wait at most "
        f"{duration_text(result.slo_wait_s)}"
    )


def at_defaults(aggregates: Sequence[Aggregate]) -> list[Aggregate]:
    """Each policy at its default setting on each pair, or at all settings without that one."""
    by_default = {(each.pair, each.policy) for each in aggregates if each.default}
    return [
        each for each in aggregates if each.default or (each.pair, each.policy) not in by_default
    ]


def in_full(
    scenario: str, aggregates: Iterable[Aggregate], target: float, *, narrow: bool = False
) -> Table:
    """A line for each policy on each trace of one scenario; `narrow`: headings have two lines."""
    table = plain_table(
        f"{scenario}: SLO target {100.0 * target:.4g}%",
        "✓ SLO met  ✗ not met  - never served  ± 95% confidence interval over seeds",
    )
    table.show_edge = not narrow
    table.add_column("trace, policy", no_wrap=True, overflow="ellipsis", max_width=30)
    for heading in ("attainment, %", "late", "p95 wait", "p99 wait", "alloc. hours", "chg/h"):
        shown = heading.replace(" ", "\n") if narrow else heading
        table.add_column(shown, justify="right", no_wrap=True)
    table.add_column("rev.", justify="right", no_wrap=True)
    previous = None
    for each in sorted(aggregates, key=_by_violations):
        if each.trace != previous:
            table.add_row(plain(each.trace, "bold"))
            previous = each.trace
        setting = "" if each.default else f" {each.setting}"
        table.add_row(
            plain(f"  {each.policy}{setting}"),
            _attainment(each.violation_fraction, met=each.meets(target)),
            f"{each.violations.value:,.0f}",
            seconds(each.wait_p95_s),
            seconds(each.wait_p99_s),
            _with_interval(each.allocation_hours),
            f"{each.changes_per_hour.value:.1f}",
            f"{each.reversals.value:.0f}",
        )
    return table


def _by_violations(aggregate: Aggregate) -> tuple[str, float, float, str]:
    """By trace; the fewest violations first, then the cheapest."""
    rank = aggregate.violation_fraction.value, aggregate.allocation_hours.value
    return aggregate.trace, *rank, aggregate.policy


def in_short(summary: Summary) -> Table:
    """A line for each policy over all pairs."""
    references = list(
        dict.fromkeys(name for each in summary.policies for name in each.relative_cost)
    )
    table = plain_table(
        "All traces together",
        "SLO met: traces on which the SLO was met. Hours, × policy: allocation-hours that just "
        "meet the SLO, as a multiple of that policy's; geometric mean over the traces in brackets",
    )
    table.add_column("policy", no_wrap=True, overflow="ellipsis", max_width=24)
    table.add_column("SLO met, default", justify="right")
    table.add_column("SLO met, best setting", justify="right")
    table.add_column("best setting", no_wrap=True, overflow="ellipsis", max_width=20)
    for reference in references:
        table.add_column(plain(f"hours, × {reference}"), justify="right")
    for each in sorted(summary.policies, key=_by_traces_met):
        ratios = (each.relative_cost.get(reference) for reference in references)
        table.add_row(
            plain(each.policy),
            "" if each.met_by_default is None else _of(each.met_by_default, each.pairs),
            _of(each.met_by_best, each.pairs),
            plain(each.best_setting if each.met_by_best else ""),
            *(f"{ratio.value:.2f} ({ratio.pairs})" if ratio else "-" for ratio in ratios),
        )
    return table


def in_factors(splits: Iterable[HoursSplit]) -> Table:
    """A line for each policy: its hours as a multiple of the oracle's, and the factors of that."""
    table = plain_table(
        "Why more hours than the oracle",
        "On the traces on which the policy and all references meet the SLO: hours = chance x rate "
        "x policy. Chance: the requests are not known. Rate: nor is the rate to come. Policy: all "
        "else",
    )
    table.add_column("policy", no_wrap=True, overflow="ellipsis", max_width=28)
    for heading in ("SLO met", "hours, × oracle", "chance", "rate", "policy"):
        table.add_column(heading, justify="right")
    for each in sorted(splits, key=lambda split: (-split.met / split.pairs, split.hours)):
        table.add_row(
            plain(each.policy),
            f"{each.met} of {each.pairs}",
            *(
                f"{factor:.2f}"
                for factor in (each.hours, each.chance, each.rate, each.policy_factor)
            ),
        )
    return table


def _by_traces_met(policy: PolicySummary) -> tuple[float, float, str]:
    met = policy.met_by_best if policy.met_by_default is None else policy.met_by_default
    return -met / max(policy.pairs, 1), -policy.met_by_best, policy.policy


def _print_infeasible(console: Console, summary: Summary) -> None:
    if summary.infeasible:
        names = ", ".join(f"{trace} ({scenario})" for trace, scenario in summary.infeasible)
        text = f"No policy meets the SLO on these, so the summary excludes them: {names}"
        console.print(plain(text))


def _attainment(violation_fraction: Mean, *, met: bool) -> Text:
    mark, style = ("✓", "green") if met else ("✗", "red")
    text = f"{mark} {attainment(violation_fraction.value)}"
    if violation_fraction.half_width is not None:
        text += f" ±{100.0 * violation_fraction.half_width:.2f}"
    return plain(text, style)


def _with_interval(figure: Mean) -> str:
    if figure.half_width is None:
        return f"{figure.value:,.1f}"
    return f"{figure.value:,.1f} ±{figure.half_width:.1f}"


def _of(part: int, whole: int) -> str:
    return f"{part} of {whole} ({part / max(whole, 1):.0%})"
