"""One self-contained HTML page, which loads nothing from a network.

The figures are embedded as JSON; the scripts in `page` draw the trace and scenario that the reader
selects.
"""

import html
import json
from collections.abc import Mapping, Sequence
from importlib import import_module, resources
from string import Template
from typing import Any

import msgspec
from msgspec import Struct

from autoscaler.backtest.results.choice import Choice
from autoscaler.backtest.results.choice_text import choice_text
from autoscaler.backtest.results.comparison import (
    ORACLE,
    SLO_TARGET,
    Aggregate,
    Frontier,
    Pair,
    aggregates,
    frontiers,
)
from autoscaler.backtest.results.hours_split import hours_splits
from autoscaler.backtest.results.rows import Timeline, Trial
from autoscaler.backtest.results.summary import summarise
from autoscaler.errors import UserError

SCRIPTS = ("words.js", "plots.js", "tables.js", "choices.js", "report.js")
_FOLDER = resources.files(__package__) / "page"
_FIGURES = 4
"""Significant digits of timelines, enough for a plot and half the size of the page."""


class ScenarioSummary(Struct, frozen=True, kw_only=True):
    """A scenario, as the page describes it."""

    facts: Mapping[str, str]  # texts by heading, in the order to be shown
    slo_wait_s: float  # max queue wait
    slo_target: float = SLO_TARGET


class Report(Struct, frozen=True, kw_only=True):
    """The content of the page. All texts are plain text and are escaped."""

    title: str
    made_at: str
    command: str
    scenarios: Mapping[str, ScenarioSummary]  # by name
    policies: Mapping[str, str]  # descriptions by name, in the order to be listed
    shown: Sequence[str]  # policies that the plots show at first
    adaptive: str = "adaptive-9"  # the policy at whose cost the others are compared
    trials: Sequence[Trial]
    choices: Sequence[Choice] = ()
    notes: Sequence[str] = ()  # which days were simulated, and whether the load was scaled


def plotly_js() -> str:
    """The plotting library. Call it before a long computation, to find out that it is missing.

    Raises:
        UserError: plotly is not installed.
    """
    try:
        return str(import_module("plotly.offline").get_plotlyjs())
    except ImportError as error:
        raise UserError(
            "--report needs plotly; install it with `pip install 'autoscaler[backtest]'`, or in a "
            "checkout with `make backtest-deps`"
        ) from error


def render(report: Report) -> str:
    """The text of the page."""
    # One pass, so that nothing which is put in can be taken for a place to put something in.
    return Template(_page("template.html")).substitute(
        title=html.escape(report.title),
        made_at=html.escape(report.made_at),
        command=html.escape(report.command),
        style=_page("report.css"),
        library=plotly_js(),
        data=_embedded(_data(report)),
        scripts="\n".join(_page(name) for name in SCRIPTS),
    )


def _page(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


def _embedded(data: Any) -> str:
    """JSON that cannot end its HTML element or begin another one."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _data(report: Report) -> dict[str, Any]:
    found = aggregates(trial.row for trial in report.trials)
    targets = {name: scenario.slo_target for name, scenario in report.scenarios.items()}
    about = {each.policy: "" for each in found} | dict(report.policies)
    return {
        "policies": [
            {"name": name, "about": text, "shown": name in report.shown}
            for name, text in _in_order(about, report.policies)
            if any(each.policy == name for each in found)
        ],
        "oracle": ORACLE,
        "adaptive": report.adaptive,
        "scenarios": [
            {"name": name, **msgspec.to_builtins(report.scenarios[name])}
            for name in report.scenarios
            if any(each.scenario == name for each in found)
        ],
        "pairs": _pairs(report, found, targets),
        "summaries": {
            scenario: msgspec.to_builtins(
                summarise([each for each in found if each.scenario == scenario], targets=targets)
            )
            for scenario in sorted({each.scenario for each in found})
        },
        "choices": [
            {
                "scenario": each.scenario,
                "load": each.load,
                "traces": [
                    *(day.day for day in each.settings[0].days),
                    *(day for day, _ in each.infeasible),
                ],
                **msgspec.to_builtins(choice_text(each)),
            }
            for each in report.choices
        ],
        "notes": list(report.notes),
        "splits": {
            scenario: msgspec.to_builtins(
                hours_splits([each for each in found if each.scenario == scenario], targets=targets)
            )
            for scenario in sorted({each.scenario for each in found})
        },
    }


def _in_order(about: Mapping[str, str], listed: Mapping[str, str]) -> list[tuple[str, str]]:
    """The listed policies, then any others."""
    return [*listed.items(), *(each for each in about.items() if each[0] not in listed)]


def _pairs(
    report: Report, found: Sequence[Aggregate], targets: Mapping[str, float]
) -> list[dict[str, Any]]:
    swept: dict[Pair, dict[str, Frontier]] = {}
    for (trace, scenario, policy), frontier in frontiers(found).items():
        swept.setdefault((trace, scenario), {})[policy] = frontier
    by_pair = _timelines_by_pair(report.trials)
    return [
        {
            "trace": trace,
            "scenario": scenario,
            "policies": _policies(by_policy, targets[scenario], report.adaptive),
            **_timelines(by_pair.get((trace, scenario), {})),
        }
        for (trace, scenario), by_policy in swept.items()
    ]


def _policies(
    by_policy: Mapping[str, Frontier], target: float, adaptive: str
) -> dict[str, dict[str, Any]]:
    """The figures of each policy on one pair."""
    points = by_policy[adaptive].points if adaptive in by_policy else ()
    default = [each for each in points if each.default]
    hours = default[0].allocation_hours.value if default else None
    return {
        policy: {
            "points": [
                {**msgspec.to_builtins(point), "efficient": point in frontier.efficient}
                for point in frontier.points
            ],
            "cost": msgspec.to_builtins(frontier.cost_at(target)),
            "violations_at_adaptive_cost": msgspec.to_builtins(
                None if hours is None else frontier.violations_at(hours)
            ),
        }
        for policy, frontier in by_policy.items()
    }


def _timelines_by_pair(trials: Sequence[Trial]) -> dict[Pair, dict[str, Timeline]]:
    """The timeline of each policy and pair, at the default setting if tried, of the first seed."""
    timelines: dict[Pair, dict[str, Timeline]] = {}
    for trial in sorted(trials, key=lambda each: (not each.row.default, each.row.seed)):
        if trial.timeline is not None:
            pair = trial.row.trace, trial.row.scenario
            timelines.setdefault(pair, {}).setdefault(trial.row.policy, trial.timeline)
    return timelines


def _timelines(timelines: Mapping[str, Timeline]) -> dict[str, Any]:
    """The offered load, which is the same for all policies, and a timeline for each of them."""
    if not timelines:
        return {"step_s": None, "offered_load": [], "timelines": {}}
    first = next(iter(timelines.values()))
    return {
        "step_s": first.step_s,
        "offered_load": _rounded(first.offered_load),
        "timelines": {
            policy: {
                "requested": _rounded(timeline.requested),
                "running": _rounded(timeline.running),
                "wait_p99_s": _rounded(timeline.wait_p99_s),
                "violations": timeline.violations,
            }
            for policy, timeline in timelines.items()
        },
    }


def _rounded(figures: Sequence[float | None]) -> list[float | None]:
    return [None if each is None else float(f"{each:.{_FIGURES}g}") for each in figures]
