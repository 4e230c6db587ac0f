"""The page as a text: well-formed, self-contained, and independent of names."""

import json
import re
from html.parser import HTMLParser

import pytest
from msgspec.structs import replace

from autoscaler.backtest.results import report as module
from autoscaler.backtest.results.report import plotly_js, render
from autoscaler.errors import UserError
from tests.backtest.synthetic import POLICIES, SKILLS, report, trials

NASTY = "</script><!--<script> $data ${title} &amp; \u2028 'quoted' \"twice\" <img src=x>"
FEW = {name: SKILLS[name] for name in ("planned", "adaptive", "oracle")}


class Page(HTMLParser):
    """Elements, attributes, scripts and texts; tags must be balanced."""

    VOID = frozenset({"meta", "link", "img", "br", "hr", "input"})

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.scripts, self.texts = [], [], {}, []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        if self.open and self.open[-1][0] == "script":
            key = self.open[-1][1].get("id") or len(self.scripts)
            self.scripts[key] = self.scripts.get(key, "") + data
        elif data.strip():
            self.texts.append(data.strip())

    @property
    def data(self):
        return json.loads(self.scripts["data"])


@pytest.fixture(scope="module")
def page():
    return Page(render(report()))


def few(**given):
    return trials(skills=FEW, **given)


class TestStructure:
    def test_all_tags_are_closed(self, page):
        assert page.open == []
        assert [tag for tag, _ in page.elements].count("script") == 3

    def test_the_elements_that_scripts_use_exist(self, page):
        present = {attributes.get("id") for _, attributes in page.elements}
        scripts = "".join(module._page(name) for name in module.SCRIPTS)
        used = set(re.findall(r'\b(?:by|getElementById)\("([\w-]+)"\)', scripts))
        assert len(used) > 8
        assert used <= present

    def test_it_has_the_title_and_the_command(self, page):
        assert "How autoscalers compare" in page.texts
        assert "autoscaler backtest --report page.html" in page.texts


class TestSelfContained:
    def test_no_element_loads_anything(self, page):
        loading = {"src", "href", "srcset", "data", "action", "poster", "background"}
        assert [each for each in page.elements if loading & set(each[1])] == []

    def test_its_content_security_policy_forbids_loading(self, page):
        policy = next(a["content"] for _, a in page.elements if a.get("http-equiv"))
        assert "default-src 'none'" in policy
        assert "http" not in policy

    def test_its_own_parts_contain_no_address(self):
        names = (*module.SCRIPTS, "report.css", "template.html")
        assert [
            name for name in names if re.search(r"https?:|//\w|@import", module._page(name))
        ] == []


class TestData:
    def test_the_figures_are_those_of_the_trials(self):
        found = few(seeds=(1, 2))
        data = Page(render(report(trials=found))).data
        rows = [each.row for each in found if each.row.policy == "adaptive"]
        pair = next(each for each in data["pairs"] if each["trace"] == "diurnal")
        (point,) = pair["policies"]["adaptive"]["points"]
        hours = [each.allocation_hours for each in rows if each.trace == "diurnal"]
        assert point["seeds"] == 2
        assert point["allocation_hours"]["value"] == pytest.approx(sum(hours) / 2)

    def test_every_policy_and_every_pair_is_included(self):
        data = Page(render(report(trials=few(scenarios=("small", "large"))))).data
        assert [each["name"] for each in data["policies"]] == list(FEW)
        assert {(each["trace"], each["scenario"]) for each in data["pairs"]} == {
            (trace, scenario)
            for trace in ("diurnal", "flash crowd")
            for scenario in ("small", "large")
        }
        assert [each["name"] for each in data["scenarios"]] == ["small", "large"]
        assert set(data["summaries"]) == {"small", "large"}

    def test_the_timeline_is_that_of_the_default_setting(self):
        found = few(traces=["diurnal"])
        default = next(t for t in found if t.row.policy == "planned" and t.row.default)
        other = next(t for t in found if t.row.policy == "planned" and not t.row.default)
        mixed = [*found, replace(other, timeline=replace(default.timeline, requested=[99.0] * 288))]
        (pair,) = Page(render(report(trials=mixed))).data["pairs"]
        assert pair["timelines"]["planned"]["requested"] == default.timeline.requested

    def test_trials_without_timelines_make_a_page(self):
        rows = [replace(each, timeline=None) for each in few()]
        assert all(
            pair["timelines"] == {} for pair in Page(render(report(trials=rows))).data["pairs"]
        )

    def test_a_policy_without_description_is_listed_last(self):
        data = Page(render(report(trials=few(), policies={"adaptive": POLICIES["adaptive"]}))).data
        assert [each["name"] for each in data["policies"]] == ["adaptive", "oracle", "planned"]


def test_names_are_escaped():
    found = trials(traces=[NASTY], scenarios=[NASTY], skills={**FEW, NASTY: SKILLS["hpa"]})
    text = render(report(title=NASTY, command=NASTY, made_at=NASTY, trials=found))
    page = Page(text)
    assert page.open == []
    assert "img" not in {tag for tag, _ in page.elements}
    assert [tag for tag, _ in page.elements].count("script") == 3
    (pair,) = page.data["pairs"]
    assert (pair["trace"], pair["scenario"]) == (NASTY, NASTY)
    assert NASTY in pair["policies"]
    assert page.texts.count(NASTY.strip()) >= 2


def test_without_plotly_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr("sys.modules", {"plotly": None})
    with pytest.raises(UserError, match=r"pip install 'autoscaler\[backtest\]'"):
        plotly_js()
