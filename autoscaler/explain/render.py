"""The daemon's answer, for people."""

from collections.abc import Callable, Iterable, Iterator

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from autoscaler.adapters.admin_http.document import (
    CandidateView,
    DeploymentResponse,
    DeploymentsResponse,
    DeploymentView,
    Figure,
    LoadView,
    ManagedView,
    UnmanagedView,
)
from autoscaler.core.explanation import percent_text

_GOES_WITHOUT_SAYING = {"unchanged", "accepted"}
"""Fates that need no mention beside the number."""

_Row = tuple[str, str]


def render(response: DeploymentsResponse | DeploymentResponse, console: Console) -> None:
    """Print a table of all deployments, or the whole story of one."""
    if isinstance(response, DeploymentsResponse) and response.deployments:
        console.print(_overview(response.deployments))
    elif isinstance(response, DeploymentsResponse):
        _say(console, "The cluster reports no deployment.", "bold")
    elif isinstance(response.deployment, UnmanagedView):
        _say(console, f"{response.deployment.message}.", "bold")
    else:
        _render_deployment(response, response.deployment, console)
    age = _duration(response.age_s)
    _say(console, f"Observed {age} ago by autoscaler {response.autoscaler}.", "dim")
    if response.failure:
        _say(console, f"Not observed since: {response.failure}", "bold yellow")


def _overview(deployments: tuple[DeploymentView, ...]) -> Table:
    table = _table("deployment", "why")
    table.columns[0].ratio, table.columns[1].ratio = 2, 3
    for heading in ("allocations", "load", "wait"):
        table.add_column(heading, justify="right", no_wrap=True)
    for told in deployments:
        # As texts, since ids are the user's and not markup.
        name = Text(told.deployment)
        if isinstance(told, UnmanagedView):
            why = told.message.removeprefix(f"{told.deployment} is ")
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


def _few_words(told: ManagedView) -> Iterator[str]:
    yield told.reason.replace("_", " ")
    if told.recommended != told.desired:
        yield f"wants {told.recommended}"
    for issue in told.sample.issues:
        yield issue.replace("_", " ")
    if told.outcome.kind not in _GOES_WITHOUT_SAYING:
        yield told.outcome.kind.replace("_", " ")


def _render_deployment(response: DeploymentResponse, told: ManagedView, console: Console) -> None:
    def ago(at: float) -> str:
        return f"{_duration(response.at + response.age_s - at)} ago"

    _say(console, f"{told.deployment} {told.change.replace('->', '→')}", "bold")
    if told.unchanged_because:
        _say(console, f"Nothing changed: {told.unchanged_because}.", "bold yellow")
    measured = () if told.reason == "asleep" else _measured(told)
    console.print(_grid([*_governed(told, ago), *measured, *_figures(told)]))
    if told.steps[0].candidates:
        console.print(_candidate_table(told))
    console.print(_step_table(told))


def _governed(told: ManagedView, ago: Callable[[float], str]) -> Iterator[_Row]:
    dry_run = ", dry run" if told.dry_run else ""
    yield (
        "rule",
        f"{told.rule}, {told.min_allocations}..{told.max_allocations} allocations{dry_run}",
    )
    if (last := told.last_update) is not None:
        yield (
            "last update",
            f"{_change(last.current, last.desired)}, {ago(last.at)}: {last.message}",
        )


def _measured(told: ManagedView) -> Iterator[_Row]:
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
            yield "cache hits", percent_text(load.cache_hit_fraction)
    yield "latest interval", f"{sample.arrivals} arrivals in {sample.interval_s:.0f} s"
    yield "waiting or served", str(sample.in_flight)
    if sample.failed:
        yield "failed", f"{sample.failed}, of which {sample.timeouts} timed out"
    if sample.issues:
        yield "not trusted", ", ".join(sample.issues).replace("_", " ")


def _estimate(told: ManagedView) -> str:
    """The load as the policy sees it, if it says so, with its standard deviation."""
    figures = [told.steps[0].inputs.get(name) for name in _SHOWN_ELSEWHERE]
    return " ± ".join(f"{figure:.2f}" for figure in figures if isinstance(figure, int | float))


_INPUT_LABELS = {
    "slo_attainment": ("in time lately", "{}"),
    "backlog_requests": ("to be cleared", "{} requests"),
    "backlog_allocations": ("to clear them in time", "{} allocations"),
    "forecast_load": ("forecast_load", "{} erlangs"),
    "forecast_accuracy": ("its mean error", "{} of a naive one's"),
    "forecast_coverage": ("not exceeded", "{}"),
    "forecast_allocations": ("for the forecast", "{} allocations"),
    "after_new_node": ("in the end, once these are full", "{} allocations"),
    "slo_target": ("share promised in time", "{}"),
    "max_queue_wait_s": ("may wait", "{} s"),
    "violation_weight": ("an erlang of late requests", "is worth {} allocations"),
}
"""What the policy looked at besides the load. Figures that are not listed keep their names."""

_SHARES = {"slo_attainment", "slo_target", "forecast_coverage"}

_SHOWN_ELSEWHERE = ("offered_load", "load_stddev", "since_s")


def _figures(told: ManagedView) -> Iterator[_Row]:
    for name, figure in told.steps[0].inputs.items():
        if name not in _SHOWN_ELSEWHERE:
            label, form = _INPUT_LABELS.get(name, (name.replace("_", " "), "{}"))
            yield label, form.format(_figure(name, figure))


def _figure(name: str, figure: Figure) -> str:
    if figure is None:
        return "unlimited"
    if isinstance(figure, str):
        return figure
    return percent_text(figure) if name in _SHARES else f"{figure:.4g}"


def _candidate_table(told: ManagedView) -> Table:
    """The numbers that were weighed against each other."""
    table = _table()
    table.title = "What the policy expects of each number:"
    table.title_style, table.title_justify = "dim", "left"
    for heading in ("allocations", "wait", "late", "cost"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for candidate in told.steps[0].candidates:
        chosen = candidate.allocations == told.recommended
        marks = {
            "wanted": chosen,
            "now": candidate.allocations == told.current,
            "decided": candidate.allocations == told.desired != told.recommended,
        }
        table.add_row(
            str(candidate.allocations),
            _wait(candidate),
            ""
            if candidate.violation_fraction is None
            else percent_text(candidate.violation_fraction),
            "∞" if candidate.cost is None else f"{candidate.cost:.2f}",
            ", ".join(mark for mark, holds in marks.items() if holds),
            style="bold" if chosen else "",
        )
    return table


def _step_table(told: ManagedView) -> Table:
    """Every rule that had a say, in order."""
    table = _table("rule", "from", "to", "because")
    for step in told.steps:
        table.add_row(
            step.reason.replace("_", " "), str(step.before), str(step.after), Text(step.message)
        )
    return table


def _expected(told: ManagedView) -> CandidateView | None:
    """What the policy expects of the number that was decided, if it weighed that one."""
    candidates = told.steps[0].candidates
    return next((each for each in candidates if each.allocations == told.desired), None)


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


def _erlangs(load: LoadView | None) -> str:
    return "?" if load is None or load.offered_load is None else f"{load.offered_load:.2f}"


def _wait(expected: CandidateView) -> str:
    return "∞" if expected.queue_wait_s is None else _seconds(expected.queue_wait_s)


def _seconds(seconds: float) -> str:
    return f"{1000.0 * seconds:.3g} ms" if seconds < 1.0 else f"{seconds:.3g} s"


def _duration(seconds: float) -> str:
    if seconds < 120.0:
        return f"{max(0.0, seconds):.0f} s"
    return f"{seconds / 60.0:.0f} min" if seconds < 7200.0 else f"{seconds / 3600.0:.0f} h"
