"""The daemon's answer, for people."""

from collections.abc import Callable, Iterable, Iterator

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from autoscaler.adapters.admin_http.document import (
    All,
    CandidateTold,
    Figure,
    LeftAlone,
    LoadTold,
    Managed,
    One,
    Told,
)
from autoscaler.core.explanation import share

_GOES_WITHOUT_SAYING = {"unchanged", "accepted"}
"""Fates that need no mention beside the number."""

_Row = tuple[str, str]


def tell(answer: All | One, console: Console) -> None:
    """Print a table of all deployments, or the whole story of one."""
    if isinstance(answer, All) and answer.deployments:
        console.print(_overview(answer.deployments))
    elif isinstance(answer, All):
        _say(console, "The cluster reports no deployment.", "bold")
    elif isinstance(answer.deployment, LeftAlone):
        _say(console, f"{answer.deployment.sentence}.", "bold")
    else:
        _tell_story(answer, answer.deployment, console)
    age = _duration(answer.age_s)
    _say(console, f"Observed {age} ago by autoscaler {answer.autoscaler}.", "dim")
    if answer.failure:
        _say(console, f"Not observed since: {answer.failure}", "bold yellow")


def _overview(deployments: tuple[Told, ...]) -> Table:
    table = _table("deployment", "why")
    table.columns[0].ratio, table.columns[1].ratio = 2, 3
    for heading in ("allocations", "load", "wait"):
        table.add_column(heading, justify="right", no_wrap=True)
    for told in deployments:
        # As texts, since ids are the user's and not markup.
        name = Text(told.deployment)
        if isinstance(told, LeftAlone):
            why = told.sentence.removeprefix(f"{told.deployment} is ")
            table.add_row(name, Text(why), "", "", "", style="dim")
            continue
        expected = _expected(told)
        table.add_row(
            name,
            Text(", ".join(_few_words(told))),
            _change(told.current, told.desired),
            _erlangs(told.load),
            _wait(expected) if expected else "",
        )
    return table


def _few_words(told: Managed) -> Iterator[str]:
    yield told.reason.replace("_", " ")
    if told.wanted != told.desired:
        yield f"wants {told.wanted}"
    for flaw in told.sample.flaws:
        yield flaw.replace("_", " ")
    if told.outcome.fate not in _GOES_WITHOUT_SAYING:
        yield told.outcome.fate.replace("_", " ")


def _tell_story(answer: One, told: Managed, console: Console) -> None:
    def ago(at: float) -> str:
        return f"{_duration(answer.at + answer.age_s - at)} ago"

    _say(console, f"{told.deployment} {told.change.replace('->', '→')}", "bold")
    if told.nothing_changed_because:
        _say(console, f"Nothing changed: {told.nothing_changed_because}.", "bold yellow")
    measured = () if told.reason == "asleep" else _measured(told)
    console.print(_grid([*_governed(told, ago), *measured, *_figures(told)]))
    if told.steps[0].candidates:
        console.print(_weighed(told))
    console.print(_trail(told))


def _governed(told: Managed, ago: Callable[[float], str]) -> Iterator[_Row]:
    dry_run = ", dry run" if told.dry_run else ""
    yield "rule", f"{told.rule}, {told.minimum}..{told.maximum} allocations{dry_run}"
    if (last := told.last_update) is not None:
        yield (
            "last update",
            f"{_change(last.current, last.desired)}, {ago(last.at)}: {last.sentence}",
        )


def _measured(told: Managed) -> Iterator[_Row]:
    load, sample = told.load, told.sample
    if load is None:
        yield "load", "never measured"
    else:
        yield "arrivals", f"{load.arrival_rate_per_s:.3g} a second over {load.window_s:.0f} s"
        service_time_s = load.service_time_s
        took = "never measured" if service_time_s is None else _seconds(service_time_s)
        yield "service time", took
        yield "offered load", f"{_estimate(told) or _erlangs(load)} erlangs"
        if load.cache_hit_fraction:
            yield "cache hits", share(load.cache_hit_fraction)
    yield "latest interval", f"{sample.arrivals} arrivals in {sample.interval_s:.0f} s"
    yield "waiting or served", str(sample.pending)
    if sample.failed:
        yield "failed", f"{sample.failed}, of which {sample.timeouts} timed out"
    if sample.flaws:
        yield "not trusted", ", ".join(sample.flaws).replace("_", " ")


def _estimate(told: Managed) -> str:
    """The load as the policy sees it, if it says so, with its standard deviation."""
    figures = [told.steps[0].because.get(name) for name in _TOLD_ELSEWHERE]
    return " ± ".join(f"{figure:.2f}" for figure in figures if isinstance(figure, int | float))


_FIGURES = {
    "attained": ("in time lately", "{}"),
    "backlog": ("to be cleared", "{} requests"),
    "clearing": ("to clear them in time", "{} allocations"),
    "forecast": ("forecast", "{} erlangs"),
    "forecast_accuracy": ("its mean error", "{} of a naive one's"),
    "forecast_coverage": ("not exceeded", "{}"),
    "floor": ("for the forecast", "{} allocations"),
    "in_the_end": ("in the end, once these are full", "{} allocations"),
    "percentile": ("share promised in time", "{}"),
    "wait_limit_s": ("may wait", "{} s"),
    "price": ("an erlang of late requests", "is worth {} allocations"),
}
"""What the policy looked at besides the load. Figures that are not listed keep their names."""

_SHARES = {"attained", "percentile", "forecast_coverage"}

_TOLD_ELSEWHERE = ("offered_load", "spread", "since_s")


def _figures(told: Managed) -> Iterator[_Row]:
    for name, figure in told.steps[0].because.items():
        if name not in _TOLD_ELSEWHERE:
            label, form = _FIGURES.get(name, (name.replace("_", " "), "{}"))
            yield label, form.format(_figure(name, figure))


def _figure(name: str, figure: Figure) -> str:
    if figure is None:
        return "unlimited"
    if isinstance(figure, str):
        return figure
    return share(figure) if name in _SHARES else f"{figure:.4g}"


def _weighed(told: Managed) -> Table:
    """The numbers that were weighed against each other."""
    table = _table()
    table.title = "What the policy expects of each number:"
    table.title_style, table.title_justify = "dim", "left"
    for heading in ("allocations", "wait", "late", "cost"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for candidate in told.steps[0].candidates:
        chosen = candidate.allocations == told.wanted
        marks = {
            "wanted": chosen,
            "now": candidate.allocations == told.current,
            "decided": candidate.allocations == told.desired != told.wanted,
        }
        table.add_row(
            str(candidate.allocations),
            _wait(candidate),
            "" if candidate.late_share is None else share(candidate.late_share),
            "∞" if candidate.cost is None else f"{candidate.cost:.2f}",
            ", ".join(mark for mark, holds in marks.items() if holds),
            style="bold" if chosen else "",
        )
    return table


def _trail(told: Managed) -> Table:
    """Every rule that had a say, in order."""
    table = _table("rule", "from", "to", "because")
    for step in told.steps:
        table.add_row(
            step.reason.replace("_", " "), str(step.before), str(step.after), Text(step.sentence)
        )
    return table


def _expected(told: Managed) -> CandidateTold | None:
    """What the policy expects of the number that was decided, if it weighed that one."""
    weighed = told.steps[0].candidates
    return next((each for each in weighed if each.allocations == told.desired), None)


def _table(*headings: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _grid(rows: Iterable[_Row]) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for label, value in rows:
        grid.add_row(label, Text(value))
    return grid


def _say(console: Console, sentence: str, style: str) -> None:
    """A line; as long as it is where no terminal asks for shorter ones."""
    console.print(Text(sentence, style), highlight=False, soft_wrap=not console.is_terminal)


def _change(before: int, after: int) -> str:
    return str(after) if before == after else f"{before} → {after}"


def _erlangs(load: LoadTold | None) -> str:
    return "?" if load is None or load.offered_load is None else f"{load.offered_load:.2f}"


def _wait(expected: CandidateTold) -> str:
    return "∞" if expected.wait_s is None else _seconds(expected.wait_s)


def _seconds(seconds: float) -> str:
    return f"{1000.0 * seconds:.3g} ms" if seconds < 1.0 else f"{seconds:.3g} s"


def _duration(seconds: float) -> str:
    if seconds < 120.0:
        return f"{max(0.0, seconds):.0f} s"
    return f"{seconds / 60.0:.0f} min" if seconds < 7200.0 else f"{seconds / 3600.0:.0f} h"
