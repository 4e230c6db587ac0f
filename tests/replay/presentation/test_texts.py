"""A replay on a terminal and as Markdown: what is said, and that hostile texts stay texts."""

import io
import re

from markdown_it import MarkdownIt
from rich.console import Console

from autoscaler.config.values import ReportSettings
from autoscaler.replay.presentation import html, markdown, table
from autoscaler.replay.presentation.lines import HEADINGS, policy_lines
from autoscaler.replay.presentation.sentences import headline, verdict_text
from autoscaler.replay.results import Estimate
from autoscaler.replay.totals import totals_of
from tests.replay.replays import hostile, refused, replayed, result, results

COSTS = ReportSettings(cost_per_allocation_hour=0.12, currency="EUR")


def on_terminal(found):
    file = io.StringIO()
    table.show(Console(file=file, width=200, force_terminal=False), found)
    return file.getvalue()


def as_markdown(found, settings=COSTS):
    return markdown.render(found, settings, made_at="2025-11-04 09:00 UTC")


def as_page(found):
    return html.render(found, COSTS, made_at="2025-11-04 09:00 UTC")


def test_the_verdict_has_the_difference_and_both_intervals():
    assert verdict_text(replayed()) == (
        "It would have used 31% fewer allocation-hours (28% to 34%), and 0.4% (0.3% to 0.6%) of "
        "the requests would have been late instead of 0.7%."
    )


def test_a_difference_within_its_interval_is_called_none():
    rule = result(
        hours=71.0,
        hours_difference=Estimate(-1.0, -4.0, 2.0),
        late_difference=Estimate(0.0, -0.001, 0.001),
    )
    text = verdict_text(replayed(policies=(rule,)))
    assert "about as many allocation-hours (5.6% fewer to 2.8% more)" in text
    assert "which is no certain difference from 0.7%" in text


def test_an_interval_that_contains_large_differences_does_not_show_that_there_is_none():
    rule = result(hours=58.0, hours_difference=Estimate(-14.0, -34.0, 6.0))
    text = verdict_text(replayed(policies=(rule,)))
    assert "perhaps 19% fewer allocation-hours (47% fewer to 8.3% more)" in text


def test_the_headline_is_no_surer_than_the_verdict_of_the_only_deployment():
    rule = result(late_difference=Estimate(-0.003, -0.01, 0.001))
    found = results(replayed(policies=(rule,)))
    assert "which is no certain difference from 0.7%" in headline(totals_of(found), found)


def test_without_a_verdict_the_failed_assumption_is_named():
    text = verdict_text(refused())
    assert text.startswith("No verdict: the simulation of what really ran has")
    assert "service times grow with the load" in text


def test_without_a_verdict_it_is_unknown_whether_the_slo_was_met():
    (line,) = policy_lines(refused())
    assert (line.meets, line.cells[HEADINGS.index("SLO")]) == (None, "unknown")
    found = results(refused())
    for text in (on_terminal(found), as_markdown(found), as_page(found)):
        assert "unknown" in text
        assert not re.search(r"\b(met|missed)\b", text)


def test_a_report_says_where_the_days_of_a_dry_run_are():
    for text in (as_markdown(results()), as_page(results())):
        assert "Those days are not in this report but on the status page" in text


def test_what_is_assumed_for_all_deployments_is_said_once():
    found = results(
        replayed("a", assumptions=("the callers are patient", "a is alone")),
        replayed("b", assumptions=("the callers are patient",)),
        refused("c", assumptions=("the callers are patient",)),
    )
    for text in (on_terminal(found), as_markdown(found), as_page(found)):
        assert text.count("the callers are patient") == 1
        assert "Assumed for all deployments: the callers are patient" in text
        assert "Assumed: a is alone" in text
    alone = results(replayed("a", assumptions=("the callers are patient",)))
    assert "Assumed: the callers are patient" in on_terminal(alone)


def test_the_headline_says_for_how_many_there_is_no_verdict():
    found = results(replayed(), refused())
    assert headline(totals_of(found), found).endswith(
        "For one more deployment, there is no verdict."
    )
    found = results(refused())
    assert headline(totals_of(found), found).startswith("No verdict for one deployment")


def test_the_terminal_has_a_line_for_each_policy_and_the_verdict_of_each_deployment():
    text = on_terminal(results())
    for title in ("what really ran", "rule search", "HPA", "KEDA", "fixed at the peak", "oracle"):
        assert title in text
    assert text.count("It would have used") == 2
    assert "No verdict:" in text
    assert "Not known from this source: cache hits" in text


def test_no_text_acts_on_the_terminal():
    text = on_terminal(hostile())
    assert all(c.isprintable() or c == "\n" for c in text)
    assert "\\x1b[2J" in text


def test_markdown_has_the_costs_of_a_month_and_that_they_are_extrapolated():
    text = as_markdown(results())
    assert re.search(r"\| cost of a month \| \d+ EUR \| \d+ EUR \(\d+ to \d+\) \| −\d+ EUR", text)
    assert "Extrapolated from 24 h" in text
    assert "shorter than a week" in text
    assert "cost of a month" not in as_markdown(results(), ReportSettings())


def test_markdown_is_valid_and_hostile_texts_are_text():
    made = MarkdownIt("gfm-like", {"linkify": False}).render(as_markdown(hostile()))
    assert "<img" not in made
    assert "<a " not in made
    assert "&lt;img src=x onerror=alert(1)&gt;" in made
    cells = [line.count("<td") for line in made.split("<tr>")[1:] if "<td" in line]
    assert set(cells) == {4, 7}
    assert not re.search(r"(?<!\\)://evil|www\.evil", as_markdown(hostile()))


def test_markdown_without_any_deployment_says_so():
    found = results()
    found = type(found)(
        program="autoscaler", source="x.jsonl", since=0.0, until=0.0, deployments=()
    )
    assert "There is nothing to judge" in as_markdown(found)
