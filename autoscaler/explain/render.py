"""The daemon's response, as tables and lines."""

import re
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table

from autoscaler.core.recommendation_text import can_load_all
from autoscaler.core.units import duration_text, load_text, percent_text, quantile_text
from autoscaler.terminal import plain, print_line
from autoscaler.wire.decision_views import (
    CandidateView,
    DeploymentResponse,
    DeploymentsResponse,
    DeploymentView,
    LeadershipView,
    LoadView,
    ManagedView,
    UnmanagedView,
    VanishedView,
)
from autoscaler.wire.input_rows import input_rows, slo_rows

_PIPE_WIDTH = 10_000
"""Characters of a line that is not for a terminal. More than any line has, so that none wraps and
programs can read them."""

_AS_EXPECTED = {"unchanged", "accepted"}
"""Outcomes that the table of all deployments does not repeat."""

_Row = tuple[str, str]


def render(response: DeploymentsResponse | DeploymentResponse, console: Console) -> None:
    """Print the problems, and a table of all deployments or one deployment in full."""
    if response.reload_failure:
        text = "The configuration was not reloaded, so the previous one is in effect: "
        for problem in f"{text}{response.reload_failure}".split("\n"):
            print_line(console, problem, "bold yellow")
    if response.failure:
        observed = f"{datetime.fromtimestamp(response.at, UTC):%H:%M:%S} UTC"
        print_line(console, f"Not observed since {observed}: {response.failure}", "bold yellow")
    if isinstance(response, DeploymentsResponse) and response.deployments:
        _print_common(response.deployments, console)
        _print(console, _overview(response.deployments))
    elif isinstance(response, DeploymentsResponse):
        print_line(console, "The cluster reports no deployment.", "bold")
    elif isinstance(response.deployment, UnmanagedView | VanishedView):
        print_line(console, f"{response.deployment.message}.", "bold")
    else:
        _render_deployment(response, response.deployment, console)
    if response.leadership is not None:
        print_line(console, _leadership_text(response.leadership), "dim")
    observed = f"Observed {_ago(response.age_s)} by autoscaler {response.autoscaler}."
    print_line(console, observed, "dim")
    if response.next_poll is not None and response.next_poll.because and not response.failure:
        due_s = max(0.0, response.next_poll.within_s - response.age_s)
        in_time = f"in {duration_text(due_s)}" if due_s else "due"
        print_line(console, f"Next poll {in_time}: {response.next_poll.because}.", "dim")


def _leadership_text(leadership: LeadershipView) -> str:
    leader = f"{leadership.leader} leads" if leadership.leader else "no leader is known"
    role = "leads" if leadership.leads else f"does not lead and changes nothing; {leader}"
    failure = leadership.failure.rstrip(".")
    failing = f"; the lease cannot be read or renewed: {failure}" if failure else ""
    return f"This instance, {leadership.instance}, {role}{failing}."


def _print_common(deployments: tuple[DeploymentView, ...], console: Console) -> None:
    """Print, once, what concerns several deployments."""
    managed = [view for view in deployments if isinstance(view, ManagedView)]
    for message in sorted({view.observe_only.message for view in managed if view.observe_only}):
        print_line(console, f"Observe only: {message}.", "bold yellow")


def _overview(deployments: tuple[DeploymentView, ...]) -> Table:
    targets = {
        target
        for view in deployments
        if isinstance(view, ManagedView) and _expected(view) and (target := _slo_target(view))
    }
    table = _table("deployment", "why")
    table.columns[0].ratio, table.columns[1].ratio = 2, 3
    for heading in ("allocations", "load", _wait_heading(targets)):
        table.add_column(heading, justify="right", no_wrap=heading != _wait_heading(targets))
    for view in deployments:
        name = plain(view.deployment)
        if isinstance(view, UnmanagedView | VanishedView):
            why = view.message.removeprefix(f"{view.deployment} ").removeprefix("is ")
            table.add_row(name, plain(why), "", "", "", style="dim")
            continue
        expected, target = _expected(view), _slo_target(view)
        of_quantile = f" ({quantile_text(target)})" if target and len(targets) > 1 else ""
        table.add_row(
            name,
            plain(", ".join(_short_reasons(view))),
            _change(view.current, view.desired),
            _erlangs(view.load),
            _waits(view, expected, of_quantile) if expected else "",
        )
    return table


def _short_reasons(view: ManagedView) -> Iterator[str]:
    if view.shortfall is not None:
        yield view.running_text
    if view.reported is not None and view.reported.problem and view.reported.state != "started":
        yield f"state {view.reported.state}" if view.reported.state else "routes failed"
    yield view.reason.replace("_", " ")
    if view.pauses and view.reason != "paused":
        yield "paused"
    if view.override is not None and view.reason != "override":
        yield "overridden"
    if view.recommended != view.desired:
        yield f"recommended {view.recommended}"
    for issue in view.sample.issues:
        yield issue.replace("_", " ")
    if view.outcome.kind not in _AS_EXPECTED:
        yield view.outcome.kind.replace("_", " ")


def _render_deployment(response: DeploymentResponse, view: ManagedView, console: Console) -> None:
    def ago(at: float) -> str:
        return _ago(response.at + response.age_s - at)

    measured = () if view.reason == "stopped" else _measured(view)
    inputs = view.steps[0].inputs
    rows = [*_governed(view, ago), *measured, *input_rows(inputs), *slo_rows(view)]
    said = [f"{label} {value} {label}" for label, value in rows]
    if view.shortfall is not None:
        found = f"{view.deployment}: {view.running_text}; {view.shortfall.message}"
        late = inputs.get("violation_fraction_now")
        if isinstance(late, float) and inputs.get("running") == view.running:
            found += f"; {percent_text(late)} late now"
        said.append(found)
        print_line(console, found, "bold red")
    if view.reported is not None:
        style = "bold yellow" if view.reported.problem else ""
        print_line(console, f"The cluster reports: {view.reported.message}", style)
    print_line(console, f"{view.deployment} {view.change.replace('->', '→')}", "bold")
    if (observed := view.observe_only) and observed.message not in view.unchanged_because:
        print_line(console, f"Observe only: {observed.message}.", "bold yellow")
    changed = view.external_change
    held = view.reason == "external_change"  # `unchanged_because` has it
    if changed is not None and (changed.second_writer or (changed.respected and not held)):
        message = changed.message.removeprefix(f"{view.deployment}: ")
        print_line(console, f"External change {ago(changed.at)}: {message}.", "bold yellow")
    if view.reported is not None:
        said.append(view.reported.message)
    if unchanged := _unsaid(_without_running(view, view.unchanged_because), said):
        print_line(console, f"Nothing changed: {unchanged}.", "bold yellow")
    _print(console, _grid(rows))
    if view.steps[0].candidates:
        _print(console, _candidate_table(view))
    said.append(_without_running(view, view.unchanged_because))
    _print(console, _step_table(view, said))


def _governed(view: ManagedView, ago: Callable[[float], str]) -> Iterator[_Row]:
    dry_run = ", dry run" if view.dry_run else ", observe only" if view.observe_only else ""
    bounds = f"{view.min_allocations}..{view.max_allocations}"
    yield "rule", f"{view.rule}, {bounds} allocations{dry_run}"
    overrides = () if view.override is None else (view.override,)
    for instruction in (*view.pauses, *overrides):  # also while it changes nothing
        yield "operator", instruction.message.removeprefix(f"{view.deployment}: ")
    if view.shadow is not None:
        yield "shadow", view.shadow.message
    elif view.no_shadow_because:
        yield "shadow", f"none, because {view.no_shadow_because}"
    if view.rollout is not None:
        yield "rollout", view.rollout.message
        if view.rollout.comparison:
            yield "compared", view.rollout.comparison
        if view.rollout.reverts:
            yield "reverted", view.rollout.reverts
    if (last := view.last_update) is not None:
        change = _change(last.current, last.desired)
        if view.outcome.kind == last.kind and change == view.change.replace("->", "→"):
            change = "this change"
        repeated = last.message in view.unchanged_because
        message = last.kind.replace("_", " ") if repeated else last.message
        yield "last update", f"{change}, {ago(last.at)}: {message}"


def _measured(view: ManagedView) -> Iterator[_Row]:
    load, sample = view.load, view.sample
    if load is None:
        yield "load", "not measured yet"
    else:
        window = duration_text(load.window_s)
        yield "arrival rate", f"{load.arrival_rate_per_s:.3g} per second over {window}"
        service_time_s = load.service_time_s
        measured = "not measured yet" if service_time_s is None else duration_text(service_time_s)
        inputs = view.steps[0].inputs
        if "load_of_totals" in inputs:
            measured = f"about {measured}: not measured without an overload yet"
        elif "load_at_most" in inputs:
            measured = f"at least {measured}"
        yield "service time", measured
        offered = load_text(inputs) if "offered_load" in inputs else _erlangs(load)
        yield "offered load", f"{offered} erlangs"
        if load.cache_hit_fraction:
            yield "cache hits", percent_text(load.cache_hit_fraction)
    yield "latest interval", f"{sample.arrivals} arrivals in {duration_text(sample.interval_s)}"
    yield "in-flight requests", str(sample.in_flight)
    if sample.failed:
        yield "failed requests", f"{sample.failed}, of which {sample.timeouts} timed out"
    if sample.issues:
        yield "data-quality issues", ", ".join(sample.issues).replace("_", " ")


def _candidate_table(view: ManagedView) -> Table:
    """The allocation counts that the policy compared."""
    table = _table()
    loaded = can_load_all(view.steps[0].inputs)
    when = "" if loaded else ", if as many could run"
    table.title = f"What the policy expects with each allocation count{when}:"
    table.title_style, table.title_justify = "dim", "left"
    target = _slo_target(view)
    for heading in ("allocations", _wait_heading({target} if target else set()), "late", "cost"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for candidate in view.steps[0].candidates:
        recommended = candidate.allocations == view.recommended
        marks = {
            "recommended": recommended,
            "running": view.shortfall is not None and candidate.allocations == view.running,
            "current": candidate.allocations == view.current,
            "desired": candidate.allocations == view.desired != view.recommended,
        }
        fraction = candidate.violation_fraction
        table.add_row(
            str(candidate.allocations),
            _wait(candidate),
            "" if fraction is None else percent_text(fraction),
            "∞" if candidate.cost is None else f"{candidate.cost:.2f}",
            ", ".join(mark for mark, applies in marks.items() if applies),
            style="bold" if recommended else "",
        )
    return table


def _step_table(view: ManagedView, said: list[str]) -> Table:
    """The policy and every constraint that applied, in order.

    Args:
        said: texts above the table, which its messages do not repeat.
    """
    table = _table("step", "before", "after", "why")
    for step in view.steps:
        message = _without_running(view, step.message)
        why = plain(_unsaid(message, said) or "as above")
        said = [*said, message]
        reason = plain(step.reason.replace("_", " "))
        table.add_row(reason, str(step.before), str(step.after), why)
    return table


def _without_running(view: ManagedView, message: str) -> str:
    """A message without the running allocations, which the first line has."""
    return message.replace(f" with {view.running_text}", "") if view.running_text else message


def _unsaid(message: str, said: list[str]) -> str:
    """A message without the clauses that other texts contain; empty if that is all of it."""
    if not message or any(message.removeprefix("held: ") in text for text in said):
        return ""
    kept = ""
    # Every second part is a separator. What is in parentheses belongs together.
    separator, *rest = ["", *re.split(r"(; |: |, )(?![^(]*\))", message)]
    for clause, following in zip(rest[::2], [*rest[1::2], ""], strict=True):
        said_before = re.compile(rf"(?<![\w.]){re.escape(clause)}(?![\w.%])")
        words = len(clause.split())
        means_something = words >= 4 or (words >= 2 and re.search(r"\d", clause))
        if not means_something or not any(map(said_before.search, said)):
            kept += f"{separator if kept else ''}{clause}"
        separator = following
    return kept.removeprefix("and ")


def _expected(view: ManagedView) -> CandidateView | None:
    """What the policy expects with the desired allocations, if these are a candidate."""
    candidates = view.steps[0].candidates
    return next((each for each in candidates if each.allocations == view.desired), None)


def _slo_target(view: ManagedView) -> float | None:
    target = view.steps[0].inputs.get("slo_target")
    return target if isinstance(target, float) else None


def _wait_heading(targets: set[float]) -> str:
    """The heading of a column of queue waits: with the quantile, if it is the same in all rows."""
    return f"expected {quantile_text(*targets)} wait" if len(targets) == 1 else "expected wait"


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
        grid.add_row(plain(label), plain(value))
    return grid


def _print(console: Console, table: RenderableType) -> None:
    """Print a table, fitted to a terminal, and as wide as it is elsewhere."""
    if console.is_terminal:
        console.print(table)
        return
    wide = console.options.update(max_width=_PIPE_WIDTH)
    for segments in console.render_lines(table, wide, pad=False):
        text = "".join(segment.text for segment in segments).rstrip()
        print_line(console, text)


def _change(before: int, after: int) -> str:
    return str(after) if before == after else f"{before} → {after}"


def _erlangs(load: LoadView | None) -> str:
    return "?" if load is None or load.offered_load is None else f"{load.offered_load:.2f}"


def _wait(expected: CandidateView) -> str:
    return "∞" if expected.queue_wait_s is None else duration_text(expected.queue_wait_s)


def _waits(view: ManagedView, expected: CandidateView, of_quantile: str) -> str:
    """The expected queue wait: now, and once all allocations run if they can be expected to."""
    if can_load_all(view.steps[0].inputs):
        return f"{_wait_now(view)}{_wait(expected)}{of_quantile}"
    return f"{_wait_now(view).removesuffix(', ')}{of_quantile}"


def _wait_now(view: ManagedView) -> str:
    """The queue wait that is expected with the running allocations, if these are not all."""
    inputs = view.steps[0].inputs
    if "queue_wait_now_s" not in inputs:
        return "∞ now, " if "violation_fraction_now" in inputs else ""
    wait_s = inputs["queue_wait_now_s"]
    return f"{'∞' if not isinstance(wait_s, float) else duration_text(wait_s)} now, "


def _ago(seconds: float) -> str:
    return f"{duration_text(float(round(seconds)))} ago"
