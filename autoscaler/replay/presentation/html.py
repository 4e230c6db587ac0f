"""A replay as one HTML file: no script, no request, and readable in print."""

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from itertools import groupby
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from autoscaler.config.values import ReportSettings
from autoscaler.replay.moments import day_around, top_moments
from autoscaler.replay.presentation.charts import hours_chart, interval_bar
from autoscaler.replay.presentation.costs import cost_lines
from autoscaler.replay.presentation.figures import (
    attainment_text,
    attainment_with_interval,
    hours_text,
    hours_with_interval,
    signed,
    signed_hours,
)
from autoscaler.replay.presentation.lines import (
    HEADINGS,
    PolicyLine,
    own_assumptions,
    policy_lines,
    shared_assumptions,
    simulation_text,
)
from autoscaler.replay.presentation.sentences import (
    METHOD,
    SHADOW,
    headline,
    month_caveat,
    period_text,
    slo_sentence,
    verdict_text,
)
from autoscaler.replay.results import DeploymentReplay, Moment, ReplayResults
from autoscaler.replay.totals import Totals, hours_difference, meets, times, totals_of
from autoscaler.text import printable

MAX_SECTIONS = 50
"""Deployments with a section and a chart of their own: those that differ most in allocation-hours.
The table has all."""

_PACKAGE = "autoscaler.replay.presentation"


def render(results: ReplayResults, settings: ReportSettings, *, made_at: str) -> str:
    """The text of the page."""
    totals = totals_of(results)
    shown = sorted(results.deployments, key=_size, reverse=True)[:MAX_SECTIONS]
    anchors = {each.deployment: f"deployment-{n}" for n, each in enumerate(shown, 1)}
    shared = shared_assumptions(results)
    text: str = (
        _environment()
        .get_template("report.html")
        .render(
            style=_style(),
            headline=headline(totals, results),
            period=period_text(results.since, results.until),
            source=results.source,
            program=results.program,
            made_at=made_at,
            tiles=[] if totals is None else _tiles(totals, settings),
            together=[] if totals is None else _together(totals, settings),
            caveat=month_caveat(results),
            moments=[_moment(each, results, anchors) for each in top_moments(results)],
            advice=_advice(results, anchors),
            overview=[_overview(each, anchors) for each in results.deployments],
            deployments=[_deployment(each, anchors, shared) for each in shown],
            more=len(results.deployments) - len(shown),
            headings=HEADINGS,
            method=f"{METHOD} {SHADOW}",
            assumptions=shared,
            left_out=results.left_out,
            unknown=results.unknown,
        )
    )
    return text


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader(_PACKAGE, "page"),
        autoescape=True,
        finalize=_printable,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["commands"] = _commands
    return environment


def _commands(text: str) -> Markup:
    """A sentence in which what is between backticks is code.

    >>> print(_commands("run `a <b>`"))
    run <code>a &lt;b&gt;</code>
    """
    parts = [escape(part) for part in printable(text).split("`")]
    if len(parts) % 2 == 0:
        return escape(printable(text))
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if index % 2 else part
        for index, part in enumerate(parts)
    )


def _printable(value: Any) -> Any:
    """Any text that the template shows, and that has not been escaped yet."""
    return printable(value) if type(value) is str else value


def _style() -> Markup:
    return Markup((files(_PACKAGE) / "page" / "report.css").read_text(encoding="utf-8"))  # noqa: S704 - our own file


def _size(replayed: DeploymentReplay) -> float:
    """By how much a deployment matters here. Those without a verdict come last."""
    if not replayed.has_verdict or not replayed.policies:
        return -1.0
    return abs(hours_difference(replayed.policies[0], replayed.observed).value)


def _tiles(totals: Totals, settings: ReportSettings) -> list[dict[str, str]]:
    used = totals.recorded_hours
    change = times(totals.hours_difference, 1.0 / used) if used > 0.0 else totals.hours_difference
    tiles = [
        {
            "name": "Allocation-hours",
            "value": f"{signed(100.0 * change.value)}%" if used > 0.0 else "",
            "note": f"{signed(100.0 * change.low)}% to {signed(100.0 * change.high)}%; "
            f"{hours_text(totals.hours.value)} instead of {hours_text(used)}",
            "good": "good" if change.high < 0.0 else "bad" if change.low > 0.0 else "",
        },
        {
            "name": "SLO attainment",
            "value": attainment_text(totals.late.value),
            "note": f"{attainment_text(totals.late.high)} to {attainment_text(totals.late.low)}; "
            f"recorded: {attainment_text(totals.recorded_late.value)}",
            "good": "good"
            if totals.late_difference.high < 0.0
            else "bad"
            if totals.late_difference.low > 0.0
            else "",
        },
        {
            "name": "Deployments that meet the SLO",
            "value": f"{totals.meets} of {totals.deployments}",
            "note": f"recorded: {totals.recorded_meets} of {totals.deployments}",
            "good": "",
        },
    ]
    *_, (name, recorded, rules, difference) = cost_lines(totals, settings)
    value, _, interval = difference.partition(" (")
    tiles.append(
        {
            "name": f"A month: {name.removesuffix(' of a month')}",
            "value": value,
            "note": f"{interval.removesuffix(')')}; {rules.partition(' (')[0]} instead of "
            f"{recorded}"
            if interval
            else f"{rules.partition(' (')[0]} instead of {recorded}",
            "good": "",
        }
    )
    return tiles


def _together(totals: Totals, settings: ReportSettings) -> list[tuple[str, str, str, str]]:
    """Lines of a table: what, as recorded, with the rules, and the difference."""
    return [
        (
            "allocation-hours",
            hours_text(totals.recorded_hours),
            hours_with_interval(totals.hours),
            signed_hours(totals.hours_difference),
        ),
        (
            "SLO attainment",
            attainment_with_interval(totals.recorded_late),
            attainment_with_interval(totals.late),
            "",
        ),
        *cost_lines(totals, settings),
    ]


def _moment(moment: Moment, results: ReplayResults, anchors: dict[str, str]) -> dict[str, Any]:
    hours = next(
        day_around(each.hours, moment.at)
        for each in results.deployments
        if each.deployment == moment.deployment
    )
    label = f"{printable(moment.deployment)}: {moment.sentence}"
    return {
        "deployment": moment.deployment,
        "anchor": anchors.get(moment.deployment),
        "sentence": moment.sentence,
        "late": signed(moment.late_difference),
        "hours": signed(moment.hours_difference),
        "chart": hours_chart(hours, label, marked=moment.at) if hours else "",
    }


def _advice(results: ReplayResults, anchors: dict[str, str]) -> list[dict[str, Any]]:
    """The advice by rule."""
    advised = sorted((each for each in results.deployments if each.advice), key=_rule_of)
    return [
        {
            "rule": rule,
            "deployments": [
                {
                    "deployment": each.deployment,
                    "anchor": anchors.get(each.deployment),
                    "sentences": each.advice,
                }
                for each in replays
            ],
        }
        for rule, replays in groupby(advised, key=_rule_of)
    ]


def _rule_of(replayed: DeploymentReplay) -> str:
    return replayed.rule


def _overview(replayed: DeploymentReplay, anchors: dict[str, str]) -> dict[str, Any]:
    judged = replayed.has_verdict and bool(replayed.policies)
    line: dict[str, Any] = {
        "deployment": replayed.deployment,
        "anchor": anchors.get(replayed.deployment),
        "judged": judged,
        "recorded": hours_text(replayed.observed.hours.value),
        "recorded_slo": attainment_with_interval(replayed.observed.late_fraction),
        "target": f"{100.0 * replayed.slo_target:.4g}%",
    }
    if judged:
        rule = replayed.policies[0]
        difference = hours_difference(rule, replayed.observed)
        line["hours"] = hours_with_interval(rule.hours)
        line["difference"] = signed_hours(difference)
        line["slo"] = attainment_with_interval(rule.late_fraction)
        line["meets"] = meets(rule, replayed.slo_target)
    return line


def _deployment(
    replayed: DeploymentReplay, anchors: dict[str, str], shared: Sequence[str]
) -> dict[str, Any]:
    lines = list(policy_lines(replayed))
    most = max((line.hours.high for line in lines), default=0.0)
    recorded = replayed.observed.hours.value
    judged = replayed.has_verdict and bool(replayed.policies)
    label = (
        f"{printable(replayed.deployment)}: allocations, load and late requests of each hour, as "
        f"recorded{' and with the rule' if judged else ''}"
    )
    return {
        "deployment": replayed.deployment,
        "anchor": anchors[replayed.deployment],
        "judged": judged,
        "verdict": verdict_text(replayed),
        "facts": [
            f"rule {replayed.rule}",
            f"{replayed.requests:,} requests",
            f"SLO: {slo_sentence(replayed)}",
        ],
        "chart": hours_chart(replayed.hours, label, rule=judged) if replayed.hours else "",
        "lines": [_line(each, recorded, most) for each in lines],
        "simulation": simulation_text(replayed),
        "assumptions": own_assumptions(replayed, shared),
    }


def _line(line: PolicyLine, recorded: float, most: float) -> dict[str, Any]:
    kind = "recorded" if line.is_recorded else "rule" if line.is_rule else "other"
    return {
        "cells": line.cells,
        "kind": kind,
        "slo": {True: "good", False: "bad", None: ""}[line.meets],
        "bar": interval_bar(line.hours, recorded, most, kind),
    }
