"""A replay as Markdown, for a ticket or a wiki. Texts from outside have no effect on it."""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from autoscaler.config.values import ReportSettings
from autoscaler.replay.moments import top_moments
from autoscaler.replay.presentation.costs import cost_lines
from autoscaler.replay.presentation.figures import (
    attainment_with_interval,
    hours_text,
    hours_with_interval,
    signed_hours,
)
from autoscaler.replay.presentation.lines import (
    HEADINGS,
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
from autoscaler.replay.results import DeploymentReplay, ReplayResults
from autoscaler.replay.totals import Totals, totals_of
from autoscaler.text import printable

_SPECIAL = str.maketrans(
    {each: f"\\{each}" for each in "\\`*_[]|#~!$@"} | {"<": "&lt;", ">": "&gt;", "&": "&amp;"}
)
"""Characters with a meaning in Markdown and in HTML."""

_ADDRESS = re.compile(r"://|(?<=\bwww)\.", re.IGNORECASE)
"""Where some renderers begin a link."""


def render(results: ReplayResults, settings: ReportSettings, *, made_at: str) -> str:
    """The text of a file."""
    totals = totals_of(results)
    parts = [
        "# What autoscaler would have done",
        f"**{_plain(headline(totals, results))}**",
        _plain(
            f"From {results.source}, {period_text(results.since, results.until)}. Made {made_at} "
            f"by {results.program}."
        ),
    ]
    if totals is not None:
        parts += _together(totals, results, settings)
    parts += _moments(results)
    parts += _advice(results)
    shared = shared_assumptions(results)
    for each in results.deployments:
        parts += _deployment(each, own_assumptions(each, shared))
    parts += _notes(results, shared)
    return "\n\n".join(parts) + "\n"


def _together(totals: Totals, results: ReplayResults, settings: ReportSettings) -> Iterator[str]:
    yield "## All deployments together"
    recorded, rules = hours_text(totals.recorded_hours), hours_with_interval(totals.hours)
    yield _table(
        ("", "recorded", "with the rules", "difference"),
        [
            ("allocation-hours", recorded, rules, signed_hours(totals.hours_difference)),
            (
                "SLO attainment",
                attainment_with_interval(totals.recorded_late),
                attainment_with_interval(totals.late),
                "",
            ),
            (
                "deployments that meet the SLO",
                f"{totals.recorded_meets} of {totals.deployments}",
                f"{totals.meets} of {totals.deployments}",
                "",
            ),
            *cost_lines(totals, settings),
        ],
    )
    yield _plain(month_caveat(results))


def _moments(results: ReplayResults) -> Iterator[str]:
    found = top_moments(results)
    if found:
        yield "## The moments that mattered"
        yield "\n".join(
            f"{number}. **{_plain(each.deployment)}**, {_plain(each.sentence)}."
            for number, each in enumerate(found, 1)
        )


def _advice(results: ReplayResults) -> Iterator[str]:
    advised = [each for each in results.deployments if each.advice]
    if advised:
        yield "## What to change"
        lines = []
        for rule, replays in groupby(sorted(advised, key=_by_rule), key=lambda each: each.rule):
            lines += [
                f"- Rule {_plain(rule)}, **{_plain(each.deployment)}**: {_plain(sentence)}."
                for each in replays
                for sentence in each.advice
            ]
        yield "\n".join(lines)


def _by_rule(replayed: DeploymentReplay) -> str:
    return replayed.rule


def _deployment(replayed: DeploymentReplay, assumptions: Sequence[str]) -> Iterator[str]:
    yield f"## {_plain(replayed.deployment)}"
    yield _plain(verdict_text(replayed))
    yield _table(HEADINGS, [line.cells for line in policy_lines(replayed)])
    yield _plain(
        f"Rule {replayed.rule}; SLO: {slo_sentence(replayed)}; {replayed.requests:,} requests. "
        f"{simulation_text(replayed)}"
    )
    if assumptions:
        yield "\n".join(f"- Assumed: {_plain(each)}" for each in assumptions)


def _notes(results: ReplayResults, assumptions: Sequence[str]) -> Iterator[str]:
    yield "## Method"
    yield f"{METHOD} {SHADOW}"
    notes = [
        *(f"- Assumed for all deployments: {_plain(each)}" for each in assumptions),
        *(f"- Left out: {_plain(each)}" for each in results.left_out),
        *(f"- Not known from this source: {_plain(each)}" for each in results.unknown),
    ]
    if notes:
        yield "\n".join(notes)


def _table(headings: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rule = ["---", *["---:"] * (len(headings) - 1)]
    return "\n".join(
        f"| {' | '.join(cells)} |"
        for cells in (headings, rule, *(tuple(map(_plain, line)) for line in lines))
    )


def _plain(text: str) -> str:
    """One line in which no character has a meaning.

    >>> print(_plain("a|b <img> https://x.example"))
    a\\|b &lt;img&gt; https\\://x.example
    """
    escaped = printable(" ".join(text.split())).translate(_SPECIAL)
    return _ADDRESS.sub(r"\\\g<0>", escaped)
