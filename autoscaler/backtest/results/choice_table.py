"""Choices on a terminal: which settings met the SLO on all days, and how much that shows."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from autoscaler.backtest.results.choice import DEFAULT_POLICY, Choice
from autoscaler.backtest.results.choice_text import WORST, ChoiceText, choice_text, name_of
from autoscaler.backtest.results.terminal import NARROW_BELOW, plain_table
from autoscaler.terminal import plain

MAX_IN_FULL = 2
"""Choices shown in full. With more, each has a line."""

MAX_NARROW_NAME = 8
"""Characters that a narrow terminal has for the name of the worst day: enough for `day 100`."""


def show(console: Console, choices: Sequence[Choice], notes: Sequence[str]) -> None:
    """Print the choice of each scenario in full, or in a line if they are many; and a line for each
    trace if there are several.

    Nothing is printed where there is one setting only.

    Args:
        notes: what applies to all choices, or why there is none.
    """
    shown = [each for each in choices if len(each.settings) > 1]
    if choices and not shown:
        return
    together = {each.scenario for each in shown if each.load is None}
    first = [each for each in shown if each.load is None or each.scenario not in together]
    in_full = first if len(first) <= MAX_IN_FULL else []
    for choice in in_full:
        _print(console, choice_text(choice))
    others = [each for each in shown if each not in in_full]
    if others:
        console.print(by_load(others))
    if others and not in_full:
        _print_text(console, "With --report, the page has all settings, and what they show.")
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
            console.print(plain(f"  {line}"), soft_wrap=True)
        console.print()


def _print_text(console: Console, text: str, end: str = "\n") -> None:
    console.print(plain(text), end=f"{end}\n")


def in_lines(text: ChoiceText, *, narrow: bool = False) -> Table:
    """A line for each setting.

    Args:
        narrow: headings have several lines, and long names of days and traces are left out.
    """
    table = plain_table(
        text.title,
        "✓ SLO met in every case  attainment: of the worst case  hours: of all days or traces",
    )
    columns = [
        n
        for n, heading in enumerate(text.headings)
        if not (narrow and heading.startswith(WORST) and _longest(text, n) > MAX_NARROW_NAME)
    ]
    for n in columns:
        heading = text.headings[n]
        shown = heading.replace(" ", "\n") if n and narrow else heading
        table.add_column(shown, justify="right" if n else "left", no_wrap=n > 0, overflow="fold")
    for line in text.lines:
        style = "bold green" if line.cheapest else "green" if line.met else ""
        name, *figures = (line.cells[n] for n in columns)
        table.add_row(plain(f"{'✓' if line.met else ' '} {name}", style), *map(plain, figures))
    return table


def _longest(text: ChoiceText, column: int) -> int:
    return max(len(line.cells[column]) for line in text.lines)


def by_load(choices: Sequence[Choice]) -> Table:
    """A line for each choice: the cheapest setting that met the SLO in every case."""
    table = plain_table(
        "The cheapest setting that met the SLO in every case",
        f"{DEFAULT_POLICY} met: cases in which {DEFAULT_POLICY} at its default met the SLO",
    )
    for n, heading in enumerate(
        (
            "trace, scenario",
            "cheapest",
            "alloc. hours",
            f"× {DEFAULT_POLICY}",
            f"{DEFAULT_POLICY} met",
        )
    ):
        table.add_column(heading, justify="right" if n > 1 else "left", overflow="fold")
    for choice in choices:
        cheapest, default = choice.cheapest, choice.default
        table.add_row(
            plain(f"{choice.load or 'all traces'}, {choice.scenario}"),
            plain("none" if cheapest is None else name_of(cheapest)),
            "-" if cheapest is None else f"{cheapest.allocation_hours:,.1f}",
            "-"
            if cheapest is None or default is None
            else f"{cheapest.allocation_hours / default.allocation_hours:.2f}",
            "-" if default is None else f"{default.met} of {default.cases}",
        )
    return table
