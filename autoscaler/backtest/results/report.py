"""One HTML page with everything in it: nothing is loaded, and nothing is asked of a network.

Python puts the figures into the page as JSON; the scripts in `page` draw whichever pair of trace
and scenario the reader chooses.
"""

import html
import json
from collections.abc import Mapping, Sequence
from importlib import import_module, resources
from string import Template
from typing import Any

import msgspec
from msgspec import Struct

from autoscaler.backtest.results.comparison import (
    ORACLE,
    SLO_SHARE,
    Aggregate,
    Frontier,
    Pair,
    aggregates,
    frontiers,
)
from autoscaler.backtest.results.rows import Timeline, Trial
from autoscaler.backtest.results.summary import summarise
from autoscaler.errors import UserError

SCRIPTS = ("words.js", "plots.js", "tables.js", "report.js")
_FOLDER = resources.files(__package__) / "page"
_FIGURES = 4
"""Significant digits of what is drawn over time."""


class ScenarioSummary(Struct, frozen=True, kw_only=True):
    """A scenario, as far as a reader has to know it."""

    facts: Mapping[str, str]  # in words, in the order in which they are to be read
    slo_wait_s: float  # a request that waited longer has missed
    slo_target: float = SLO_SHARE  # of the requests that must not miss


class Report(Struct, frozen=True, kw_only=True):
    """What the page is made of. All texts are plain, whatever characters they hold."""

    title: str
    made_at: str
    command: str
    scenarios: Mapping[str, ScenarioSummary]  # by name
    policies: Mapping[str, str]  # what each does, by name, in the order they are to be listed
    shown: Sequence[str]  # policies that are drawn over time unless the reader chooses others
    native: str = "adaptive-9"  # the policy at whose cost the others are compared as well
    trials: Sequence[Trial]


def plotly_js() -> str:
    """The library that draws. Ask for it before anything is done that would be in vain without.

    Raises:
        UserError: it is not installed.
    """
    try:
        return str(import_module("plotly.offline").get_plotlyjs())
    except ImportError as absent:
        raise UserError(
            "a report needs plotly, which is not installed; install it with "
            "`pip install 'autoscaler[backtest]'`"
        ) from absent


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
    """JSON that cannot end the element it stands in, nor begin another."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _data(report: Report) -> dict[str, Any]:
    found = aggregates(trial.row for trial in report.trials)
    shares = {name: setting.slo_target for name, setting in report.scenarios.items()}
    about = {each.policy: "" for each in found} | dict(report.policies)
    return {
        "policies": [
            {"name": name, "about": text, "shown": name in report.shown}
            for name, text in _in_order(about, report.policies)
            if any(each.policy == name for each in found)
        ],
        "oracle": ORACLE,
        "native": report.native,
        "scenarios": [
            {"name": name, **msgspec.to_builtins(report.scenarios[name])}
            for name in report.scenarios
            if any(each.scenario == name for each in found)
        ],
        "pairs": _pairs(report, found, shares),
        "summaries": {
            scenario: msgspec.to_builtins(
                summarise([each for each in found if each.scenario == scenario], shares=shares)
            )
            for scenario in sorted({each.scenario for each in found})
        },
    }


def _in_order(about: Mapping[str, str], listed: Mapping[str, str]) -> list[tuple[str, str]]:
    """Those that were listed, then any others."""
    return [*listed.items(), *(each for each in about.items() if each[0] not in listed)]


def _pairs(
    report: Report, found: Sequence[Aggregate], shares: Mapping[str, float]
) -> list[dict[str, Any]]:
    swept: dict[Pair, dict[str, Frontier]] = {}
    for (trace, scenario, policy), frontier in frontiers(found).items():
        swept.setdefault((trace, scenario), {})[policy] = frontier
    courses = _timelines_by_pair(report.trials)
    return [
        {
            "trace": trace,
            "scenario": scenario,
            "policies": _policies(by_policy, shares[scenario], report.native),
            **_timelines(courses.get((trace, scenario), {})),
        }
        for (trace, scenario), by_policy in swept.items()
    ]


def _policies(
    by_policy: Mapping[str, Frontier], share: float, native: str
) -> dict[str, dict[str, Any]]:
    """What is told of each policy about one pair."""
    default = (
        [each for each in by_policy[native].points if each.default] if native in by_policy else []
    )
    spent = default[0].allocation_hours.value if default else None
    return {
        policy: {
            "points": [
                {**msgspec.to_builtins(point), "efficient": point in frontier.efficient}
                for point in frontier.points
            ],
            "cost": msgspec.to_builtins(frontier.cost_at(share)),
            "violations_at_adaptive_cost": msgspec.to_builtins(
                None if spent is None else frontier.violations_at(spent)
            ),
        }
        for policy, frontier in by_policy.items()
    }


def _timelines_by_pair(trials: Sequence[Trial]) -> dict[Pair, dict[str, Timeline]]:
    """One for each policy and pair: at the default setting if there is one, of the first seed."""
    courses: dict[Pair, dict[str, Timeline]] = {}
    for trial in sorted(trials, key=lambda each: (not each.row.default, each.row.seed)):
        if trial.timeline is not None:
            pair = trial.row.trace, trial.row.scenario
            courses.setdefault(pair, {}).setdefault(trial.row.policy, trial.timeline)
    return courses


def _timelines(courses: Mapping[str, Timeline]) -> dict[str, Any]:
    """The load is the same for all."""
    if not courses:
        return {"step_s": None, "offered_load": [], "courses": {}}
    any_of_them = next(iter(courses.values()))
    return {
        "step_s": any_of_them.step_s,
        "offered_load": _rounded(any_of_them.offered_load),
        "courses": {
            policy: {
                "requested": _rounded(course.requested),
                "running": _rounded(course.running),
                "wait_p99_s": _rounded(course.wait_p99_s),
                "violations": course.violations,
            }
            for policy, course in courses.items()
        },
    }


def _rounded(figures: Sequence[float | None]) -> list[float | None]:
    return [None if each is None else float(f"{each:.{_FIGURES}g}") for each in figures]
