"""Choices on a terminal: which settings met the SLO on all days, and how much that shows."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from autoscaler.backtest.results.choice import Choice
from autoscaler.backtest.results.choice_text import WORST_DAY, ChoiceText, choice_text, name_of
from autoscaler.backtest.results.terminal import NARROW_BELOW, plain_table

MAX_CHOICES = 4
"""Choices shown in full. With more, each trace has a line."""


def show(console: Console, choices: Sequence[Choice], notes: Sequence[str]) -> None:
    """Print each choice, or a line for each trace where there are many.

    Nothing is printed where there is one setting only.
    """
    shown = [each for each in choices if len(each.settings) > 1]
    together = [each for each in shown if each.load is None]
    alone = [each for each in shown if each.load is not None]
    for choice in shown if len(shown) <= MAX_CHOICES else together:
        _print(console, choice_text(choice))
    if len(shown) > MAX_CHOICES:
        console.print(by_load(alone))
    if shown:
        for note in notes:
            _print_text(console, note)


def _print(console: Console, text: ChoiceText) -> None:
    console.print()
    console.print(in_lines(text, narrow=console.width < NARROW_BELOW))
    for paragraph in text.paragraphs:
        _print_text(console, f"{paragraph.subject}: {paragraph.text}")
    if text.configuration:
        _print_text(console, "To use it:", end="")
        for line in text.configuration.splitlines():
            console.print(Text(f"  {line}"), soft_wrap=True)
        console.print()


def _print_text(console: Console, text: str, end: str = "\n") -> None:
    console.print(Text(text + end))


def in_lines(text: ChoiceText, *, narrow: bool = False) -> Table:
    """A line for each setting; `narrow`: headings have several lines."""
    table = plain_table(
        text.title,
        "✓ SLO met in every case (one day, one seed)  attainment: of the worst case  hours: of all "
        "days",
    )
    for n, heading in enumerate(text.headings):
        shown = heading.replace(" ", "\n") if n and narrow else heading
        table.add_column(shown, justify="right" if n else "left", no_wrap=heading != WORST_DAY)
    for line in text.lines:
        style = "bold green" if line.cheapest else "green" if line.met else ""
        mark = "✓" if line.met else " "
        table.add_row(Text(f"{mark} {line.cells[0]}", style), *map(Text, line.cells[1:]))
    return table


def by_load(choices: Sequence[Choice]) -> Table:
    """A line for each trace and scenario: the cheapest setting that met the SLO in every case."""
    table = plain_table("The cheapest setting for each trace")
    for n, heading in enumerate(
        ("trace, scenario", "cheapest", "alloc. hours", "× slo", "slo met")
    ):
        table.add_column(heading, justify="right" if n > 1 else "left", overflow="ellipsis")
    for choice in choices:
        cheapest, default = choice.cheapest, choice.default
        table.add_row(
            Text(f"{choice.load}, {choice.scenario}"),
            Text("none" if cheapest is None else name_of(cheapest)),
            "-" if cheapest is None else f"{cheapest.allocation_hours:,.1f}",
            "-"
            if cheapest is None or default is None
            else f"{cheapest.allocation_hours / default.allocation_hours:.2f}",
            "-" if default is None else f"{default.met} of {default.cases}",
        )
    return table
