"""What a replay found, on a terminal."""

from rich.console import Console
from rich.table import Table

from autoscaler.backtest.results.terminal import plain_table
from autoscaler.replay.presentation.lines import (
    HEADINGS,
    own_assumptions,
    policy_lines,
    shared_assumptions,
)
from autoscaler.replay.presentation.sentences import (
    METHOD,
    headline,
    period_text,
    slo_sentence,
    verdict_text,
)
from autoscaler.replay.results import DeploymentReplay, ReplayResults
from autoscaler.replay.totals import totals_of
from autoscaler.terminal import plain, print_line

MAX_TABLES = 30
"""Deployments of which a table is printed; of the others, one line. The report has them all."""


def show(console: Console, results: ReplayResults) -> None:
    """Print a table and the verdict for each deployment, and all of them in one sentence."""
    print_line(console, f"{results.source}: {period_text(results.since, results.until)}")
    shared = shared_assumptions(results)
    for number, each in enumerate(results.deployments):
        console.print()
        if number < MAX_TABLES:
            console.print(_table(each))
            print_line(console, verdict_text(each))
            for assumption in own_assumptions(each, shared):
                print_line(console, f"Assumed: {assumption}", "dim")
            for advice in each.advice:
                print_line(console, f"→ {advice}")
        else:
            print_line(console, verdict_text(each), label=plain(f"{each.deployment}: ", "bold"))
    console.print()
    for assumption in shared:
        print_line(console, f"Assumed for all deployments: {assumption}", "dim")
    for sentence in results.left_out:
        print_line(console, f"Left out: {sentence}")
    for sentence in results.unknown:
        print_line(console, f"Not known from this source: {sentence}", "dim")
    print_line(console, headline(totals_of(results), results), "bold")
    print_line(console, METHOD, "dim")


def _table(replayed: DeploymentReplay) -> Table:
    table = plain_table(
        f"{replayed.deployment} (rule {replayed.rule}), {replayed.requests:,} requests; "
        f"{slo_sentence(replayed)}"
    )
    table.add_column(HEADINGS[0], overflow="ellipsis", max_width=34)
    for heading in HEADINGS[1:]:
        table.add_column(heading, justify="right")
    for line in policy_lines(replayed):
        name, *cells = line.cells
        style = "bold" if line.is_rule else ""
        slo = {"met": "green", "missed": "red"}
        table.add_row(plain(name, style), *(plain(each, slo.get(each, style)) for each in cells))
    return table
