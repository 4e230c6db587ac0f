"""The report as a page: its content, and that it has neither scripts nor requests."""

import re
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import pytest

from autoscaler.config.values import ReportSettings
from autoscaler.replay.presentation import html
from autoscaler.replay.presentation.charts import hours_chart
from autoscaler.replay.results import Estimate
from tests.replay.replays import hostile, hour, refused, replayed, results, working_day

COSTS = ReportSettings(cost_per_allocation_hour=0.12, currency="<b>Credits</b>")
VOID = {"meta", "link", "br"}


class Page(HTMLParser):
    """Its elements, attributes and text; every element is closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.attributes, self.words = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        self.elements.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def page_of(found, settings=COSTS):
    return Page(html.render(found, settings, made_at="2025-11-04 09:00 UTC"))


def test_it_has_the_headline_the_moments_the_advice_and_each_deployment():
    page = page_of(results())
    assert "With the rules, 2 deployments would have used 31% fewer allocation-hours" in page.text
    assert "The five moments that mattered" in page.text
    assert "No verdict: the simulation of what really ran" in page.text
    assert "Not known from this source: cache hits" in page.text
    assert page.elements.count("svg") == 5 + 3 + 7 + 7 + 1  # moments, deployments, bars


def test_it_loads_nothing_and_runs_nothing():
    page = page_of(results())
    assert {"script", "iframe", "object", "img", "style"} & set(page.elements) == {"style"}
    addresses = [value for name, value in page.attributes if name in ("src", "href")]
    assert all(each.startswith(("#", "data:,")) for each in addresses)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert "url(" not in html.render(results(), COSTS, made_at="")


def test_links_lead_to_a_part_of_the_page():
    page = page_of(results())
    ids = {value for name, value in page.attributes if name == "id"}
    assert {v[1:] for n, v in page.attributes if n == "href" and v.startswith("#")} <= ids


def test_hostile_texts_are_text():
    page = page_of(hostile())
    assert "img" not in page.elements
    assert "b" not in page.elements
    assert "<img src=x onerror=alert(1)>\\x1b[2J\\u202e" in page.text
    text = html.render(hostile(), COSTS, made_at="")
    assert all(c.isprintable() or c == "\n" for c in text)


def test_a_cost_has_the_unit_of_the_operator():
    assert "<b>Credits</b>" in page_of(results()).text
    assert "A month: allocation-hours" in page_of(results(), ReportSettings()).text


def test_of_many_deployments_those_that_differ_most_have_a_section():
    many = [replayed(f"d-{n}", working_day()) for n in range(60)]
    page = page_of(results(*many, refused()))
    assert "11 more are in this table only" in page.text
    assert page.text.count("It would have used") == html.MAX_SECTIONS


@pytest.mark.parametrize(
    "found", [results(refused()), results(replayed(hours=()))], ids=["no", "0"]
)
def test_without_a_verdict_or_hours_there_is_a_page(found):
    assert "Deployments" in page_of(found).text


def drawn(hours, **options):
    return ET.fromstring(str(hours_chart(hours, "a <chart>", **options)))


def test_a_chart_is_valid_with_any_load():
    zero = tuple(hour(n, 0.0, replayed_hours=0.0, recorded_hours=0.0) for n in range(3))
    for hours in (working_day(), working_day(30), zero, zero[:1], (hour(0, peak_load=None),)):
        chart = drawn(hours)
        points = " ".join(each.get("d", "") for each in chart.iter())
        assert "nan" not in points
        assert chart.get("aria-label") == "a <chart>"
        assert len([each for each in chart.iter() if each.get("class") == "time"]) <= 6


def test_a_chart_without_a_verdict_does_not_show_the_rule():
    classes = {each.get("class") for each in drawn(working_day(), rule=False).iter()}
    assert "line recorded" in classes
    assert "line rule" not in classes
    text = str(hours_chart(working_day(), "", rule=False))
    assert "rule:" not in text


def test_the_interval_of_a_bar_stays_within_it():
    bar = str(html.interval_bar(Estimate(5.0, -1.0, 99.0), 3.0, 10.0, "rule"))
    assert [float(each) for each in re.findall(r"[MH](\d+\.\d)", bar)][:2] == [0.0, 150.0]
