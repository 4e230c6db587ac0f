"""The page in a browser: it is drawn, and drawn again after a selection."""

import re
import shutil
import subprocess

import pytest

from autoscaler.backtest.results.choice import choices
from autoscaler.backtest.results.report import render
from autoscaler.backtest.results.rows import Trial
from tests.backtest.results.test_choice import THREE_DAYS, USABLE, days, run
from tests.backtest.synthetic import SKILLS, report, row, trials

pytestmark = pytest.mark.skipif(
    shutil.which("chromium") is None, reason="chromium is not installed"
)

NASTY = "<img src=x onerror=alert(1)> </script>"
CHOOSE_THE_SECOND = """<script>
document.getElementById("next").click();
document.querySelector("#scenario").selectedIndex = 1;
document.querySelector("#scenario").dispatchEvent(new Event("change"));
</script></body>"""


@pytest.fixture
def drawn(tmp_path):
    """The document of a page after its scripts have run."""

    def draw(text):
        path = tmp_path / "page.html"
        path.write_text(text)
        ran = subprocess.run(
            [
                *("chromium", "--headless", "--no-sandbox", "--disable-gpu"),
                *("--disable-dev-shm-usage", f"--user-data-dir={tmp_path / 'profile'}"),
                *("--virtual-time-budget=20000", "--window-size=1280,3000", "--dump-dom"),
                path.as_uri(),
            ],
            capture_output=True,
            text=True,
            timeout=100,
            check=True,
        )
        return ran.stdout

    return draw


def content(page, kind, name):
    """The HTML inside an element that has no other of its kind inside."""
    return re.search(rf'<{kind} [^>]*id="{name}"[^>]*>(.*?)</{kind}>', page, re.DOTALL)[1]


def test_plots_and_tables_are_drawn_without_an_error(drawn):
    page = drawn(render(report()))
    assert page.count('class="plot js-plotly-plot"') == 3
    assert content(page, "p", "error") == ""
    # A step line of each policy that is shown, a frontier of each, a cell of each on each trace.
    assert page.count('class="trace scatter') >= 2 * 4 + len(SKILLS)
    assert page.count('class="heatmap-label') >= 2 * len(SKILLS)
    assert content(page, "table", "summary").count("<tr>") == 1 + len(SKILLS)
    assert content(page, "table", "figures").count("<tr>") == 1 + len(SKILLS)
    assert content(page, "span", "chosen") == "diurnal"
    assert "NaN" not in page.partition("<main>")[2].partition("</main>")[0]


def test_no_button_sends_data_to_a_server(drawn):
    buttons = re.findall(r'data-title="([^"]+)"', drawn(render(report())))
    assert "Zoom" in buttons
    assert [each for each in buttons if re.search(r"share|cloud|plotly", each, re.IGNORECASE)] == []


def test_another_trace_of_another_scenario_is_drawn_when_selected(drawn):
    found = trials(scenarios=("small", "large"), traces=("diurnal", NASTY))
    page = drawn(render(report(trials=found)).replace("</body>", CHOOSE_THE_SECOND))
    assert content(page, "p", "error") == ""
    assert "<img" not in page.partition("<main>")[2].partition("</main>")[0]
    order = sorted(("diurnal", NASTY))
    shown = order[1].replace("<", "&lt;").replace(">", "&gt;")
    assert content(page, "span", "chosen") == shown


def test_without_timelines_and_with_one_policy_the_page_is_drawn(drawn):
    skills = {"hpa": SKILLS["hpa"]}
    found = [each for each in trials(skills=skills) if not each.row.default]
    page = drawn(render(report(trials=found)))
    assert content(page, "p", "error") == ""
    assert page.count('class="plot js-plotly-plot"') == 3


def with_choices(rows):
    found = [Trial(row=each) for each in rows]
    return render(report(trials=found, choices=choices(rows, USABLE), notes=("Day 1 is a day.",)))


def test_the_choice_of_the_trace_is_drawn_with_all_its_days(drawn):
    page = drawn(with_choices(THREE_DAYS))
    assert content(page, "p", "error") == ""
    section = content(page, "section", "choice-section")
    assert section.count("<tr>") == 1 + 4
    assert "<td>utilisation target=0.5 ◀ cheapest</td>" in section.replace(' class="met"', "")
    assert "<strong>Cheapest: </strong>utilisation target=0.5 met the SLO in all 3" in section
    assert "<pre>at 0.5</pre>" in section
    assert "Day 1 is a day." in section


def test_the_choice_of_another_trace_is_drawn_with_it_and_that_of_all_traces_stays(drawn):
    other = (("slo", "slo_target=0.99", 9.0, 0.0), ("utilisation", "target=0.7", 8.0, 0.0))
    rows = [*THREE_DAYS, *(run(NASTY, 1, *each) for each in other)]
    section = content(drawn(with_choices(rows)), "section", "choice-section")
    shown = NASTY.replace("<", "&lt;").replace(">", "&gt;")
    assert f"Which setting for {shown} in small?" in section
    assert "Which setting for all traces together in small?" in section
    assert "Which setting for week in small?" not in section


def test_without_a_setting_to_choose_there_is_no_such_section(drawn):
    page = drawn(render(report(trials=[Trial(row=each) for each in days("hpa", "", 9.0, 0.0)])))
    assert re.search(r'<section id="choice-section" hidden="">', page)


def test_the_factors_of_the_hours_are_drawn_if_the_references_were_run(drawn):
    hours = {"oracle": 10.0, "rate-oracle-10s": 11.0, "rate-follower": 16.5, "slo": 33.0}
    found = [Trial(row=row(policy=name, allocation_hours=each)) for name, each in hours.items()]
    split = content(drawn(render(report(trials=found))), "table", "split")
    assert split.count("<tr>") == 1 + 1
    assert "<td>3.30</td><td>1.10</td><td>1.50</td><td>2.00</td>" in split
