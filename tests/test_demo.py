"""The demo: its scenarios, its display, and a fair comparison."""

import io
import re
import webbrowser

import pytest
from rich.console import Console

from autoscaler.core.decision import Plan
from autoscaler.core.values import Observation
from autoscaler.demo import show
from autoscaler.demo.comparison import Result, Score, as_text, replay
from autoscaler.demo.scenarios import (
    MAX_ALLOCATIONS,
    built_in,
    fixed_at_the_peak,
    replayed,
    with_adaptive_allocations,
)
from autoscaler.demo.show import print_summary
from autoscaler.demo.view import View
from autoscaler.errors import InputError
from autoscaler.ports import CycleTimes, FailureKind, ObservationFailed
from autoscaler.simulation.emulator.building import build_emulation
from autoscaler.simulation.emulator.server import running_emulator
from tests.conftest import shared
from tests.fakes import FakeClock
from tests.virtual_clock import VirtualClock

BEGIN = 1_760_000_000.0
DURATION_S = 300.0  # of a short built-in scenario, in seconds of the cluster


pytestmark = pytest.mark.usefixtures("logging_restored")


def trace(tmp_path, counts, bin_s=60):
    path = tmp_path / "trace.csv"
    rows = [f"{index * bin_s},{count}" for index, count in enumerate(counts)]
    path.write_text("\n".join(["t_seconds,requests", *rows, ""]))
    return path


def allocations(scenario):
    return [deployment.number_of_allocations for deployment in scenario.deployments]


class TestScenarios:
    def test_fixed_allocations_suit_the_peak(self):
        # 65/s of 0.12 s and 150/s of 0.03 s, at 70%
        assert allocations(fixed_at_the_peak(built_in(DURATION_S))) == [12, 7]

    def test_fixed_allocations_are_no_more_than_the_maximum_of_the_rule(self, tmp_path):
        path = trace(tmp_path, [1] * 300 + [1000] + [1] * 300)
        assert allocations(fixed_at_the_peak(replayed(path, DURATION_S))) == [MAX_ALLOCATIONS]

    def test_adaptive_allocations_have_the_same_bounds(self):
        for deployment in with_adaptive_allocations(built_in(DURATION_S)).deployments:
            adaptive = deployment.adaptive_allocations
            assert adaptive.enabled
            assert adaptive.max_number_of_allocations == MAX_ALLOCATIONS

    def test_a_trace_is_replayed_around_its_peak(self, tmp_path):
        counts = [10] * 100
        counts[50] = 20
        load = replayed(trace(tmp_path, counts), 600.0).deployments[0].load
        assert (load.from_s, load.to_s) == (2760.0, 3360.0)

    @pytest.mark.parametrize("peak", [0, 99])
    def test_the_window_does_not_reach_beyond_the_trace(self, tmp_path, peak):
        counts = [10] * 100
        counts[peak] = 20
        load = replayed(trace(tmp_path, counts), 600.0).deployments[0].load
        assert 0.0 <= load.from_s < load.to_s <= 6000.0
        assert load.to_s - load.from_s == 600.0

    def test_a_trace_without_requests_is_an_input_error(self, tmp_path):
        with pytest.raises(InputError, match=r"trace\.csv"):
            replayed(trace(tmp_path, [0, 0, 0]), DURATION_S)

    @pytest.mark.parametrize(
        "name", ["azure_fn_diurnal_bursty.csv", "azure_fn_flash_decay.csv", "azure_fn_levels.csv"]
    )
    def test_recorded_traces_can_be_played(self, name):
        scenario = replayed(shared(f"traces/{name}"), 1800.0)
        cluster = build_emulation(scenario, FakeClock(BEGIN)).cluster
        cluster.advance(BEGIN + 600.0)
        assert cluster.deployments["replayed"].ledger.requests > 0


@pytest.mark.parametrize(("terminal", "width"), [(True, 100), (True, 80), (True, 60), (False, 80)])
def test_nothing_of_the_summary_is_cut_off(terminal, width):
    console = Console(file=io.StringIO(), width=width, force_terminal=terminal)
    label = f"fixed at the maximum, {MAX_ALLOCATIONS}"
    result = Result(
        label=label, allocation_hours=12_345.678, requests=1_234_567, late=0, refused=0, changes=9
    )
    print_summary(console, [result])
    text = console.file.getvalue()
    assert "…" not in text
    assert label in text
    assert ("1,234,567" in text) is (width > 80 or not terminal)
    assert console.width == width


class TestComparison:
    async def test_all_scenarios_get_the_same_requests(self):
        scenario = built_in(DURATION_S)
        scenarios = [("one", scenario), ("more", fixed_at_the_peak(scenario))]
        scenarios.append(("adaptive", with_adaptive_allocations(scenario)))
        results = await replay(scenarios, begin=BEGIN, end=BEGIN + DURATION_S)
        assert len({each.requests for each in results}) == 1
        assert results[0].requests > 1000
        assert await replay(scenarios, begin=BEGIN, end=BEGIN + DURATION_S) == results

    async def test_a_served_cluster_gets_the_same_requests(self):
        """Scaled over HTTP, and advanced in other steps."""
        scenario = built_in(DURATION_S)
        clock = VirtualClock(BEGIN)
        async with running_emulator(scenario, clock=clock) as emulator:
            assert emulator.cluster.now == BEGIN
            for allocations, seconds in ((3, 100.0), (7, 0.3), (2, 199.7)):
                emulator.cluster.update_deployment(
                    "elser-search", number_of_allocations=allocations
                )
                await clock.advance(seconds)
                await emulator.emulation.catch_up()
            served = sum(d.ledger.requests for d in emulator.cluster.deployments.values())
        (alone,) = await replay([("one", scenario)], begin=BEGIN, end=BEGIN + DURATION_S)
        assert served == alone.requests

    async def test_only_allocations_during_the_demo_count(self):
        fixed = fixed_at_the_peak(built_in(DURATION_S))
        (result,) = await replay([("fixed", fixed)], begin=BEGIN, end=BEGIN + DURATION_S)
        assert result.allocation_hours == pytest.approx((12 + 7) * DURATION_S / 3600.0)
        assert result.changes == 0

    def test_nothing_counts_before_it_begins(self):
        cluster = build_emulation(built_in(DURATION_S), FakeClock(BEGIN)).cluster
        assert Score("us", cluster).result() == Result(
            label="us", allocation_hours=0.0, requests=0, late=0, refused=0, changes=0
        )

    @pytest.mark.parametrize(
        ("ours", "theirs", "expected"),
        [
            ((5.0, 30), (10.0, 0), "50% fewer allocation hours and had more late"),
            ((5.0, 30), (4.0, 250), "25% more allocation hours and had fewer late"),
            ((5.0, 30), (4.0, 250), "3.00% instead of 25.00%"),
            ((5.0, 30), (5.0, 30), "as many allocation hours and had as many late"),
            ((5.0, 0), (0.0, 0), "more allocation hours"),
        ],
    )
    def test_the_text_compares_hours_and_late_requests(self, ours, theirs, expected):
        def result(label, figures):
            hours, late = figures
            return Result(
                label=label,
                allocation_hours=hours,
                requests=1000,
                late=late,
                refused=0,
                changes=1,
            )

        text = as_text(result("autoscaler", ours), [result("other", theirs)])
        assert expected in text
        assert text.endswith("results on other clusters will differ.")

    def test_refused_requests_count_as_failed(self):
        result = Result(label="us", allocation_hours=1.0, requests=10, late=1, refused=2, changes=0)
        assert result.failed_fraction == 0.3


class TestView:
    def view(self, width, height=40):
        cluster = build_emulation(built_in(DURATION_S), FakeClock(BEGIN)).cluster
        console = Console(
            file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None
        )
        clock = FakeClock(BEGIN + 90.0)
        view = View(console, cluster, clock, lasting_s=DURATION_S, speed=20.0)
        view.page_url = "http://127.0.0.1:12345/"
        return view, console

    def drawn(self, view, console):
        with console.capture() as capture:
            console.print(view)
        return capture.get().splitlines()

    @pytest.mark.parametrize("width", [40, 60, 80, 100, 200])
    def test_its_height_is_constant(self, width):
        view, console = self.view(width)
        before = self.drawn(view, console)
        for second in range(30):
            view.skipped(
                ObservationFailed(FailureKind.TIMEOUT, "no response " * 20), BEGIN + second
            )
        after = self.drawn(view, console)
        assert len(before) == len(after)
        assert max(map(len, after)) <= width

    def test_a_low_terminal_has_fewer_lines(self):
        high, low = (len(self.drawn(*self.view(100, height))) for height in (40, 15))
        assert low < high

    def test_time_and_page_are_always_shown(self):
        text = "\n".join(self.drawn(*self.view(80)))
        assert "1:30 of 5:00" in text
        assert "http://127.0.0.1:12345/" in text
        assert "not observed yet" in text

    def test_a_cycle_without_deployments_is_drawn(self):
        view, console = self.view(100)
        nothing = Observation(at=BEGIN, deployments={})
        times = CycleTimes(observe_s=0.0, plan_s=0.0, act_s=0.0)
        view.planned(nothing, Plan(at=BEGIN, decisions=()), (), times)
        assert "not observed yet" in "\n".join(self.drawn(view, console))


class TestShow:
    async def test_a_short_demo(self, capsys):
        await show(None, speed=100.0, duration_s=2.0, keep_running=False)
        shown = capsys.readouterr().out
        assert re.search(r"http://127\.0\.0\.1:\d+/metrics", shown)
        assert re.search(r"^ +\d+:\d\d  elser-search 1 -> \d+: load ", shown, re.MULTILINE)
        requests = re.findall(r"^ [af].* ([\d,]+) +[\d,]+ \(\d", shown, re.MULTILINE)
        assert len(requests) == 3, shown
        assert len(set(requests)) == 1, "the scenarios got different requests"
        assert "Compared with" in shown
        assert "polls every 20 s" in shown  # 10 s would be 100 ms of the host

    async def test_it_opens_its_status_page_on_request(self, capsys, monkeypatch):
        opened = []
        monkeypatch.setattr(webbrowser, "open", opened.append)
        await show(None, speed=100.0, duration_s=1.0, keep_running=False, open_page=True)
        (address,) = re.findall(r"Status page: (\S+)", capsys.readouterr().out)
        assert opened == [address]

    async def test_on_a_terminal_it_is_drawn_in_place(self, capsys, monkeypatch):
        for name, text in {"FORCE_COLOR": "1", "COLUMNS": "100", "LINES": "30"}.items():
            monkeypatch.setenv(name, text)
        monkeypatch.setenv("TERM", "xterm")
        await show(None, speed=50.0, duration_s=1.2, keep_running=False)
        shown = capsys.readouterr().out
        assert " of 1:00" in shown
        assert "░" in shown
        assert "polls every" not in shown

    async def test_a_trace_is_played_and_the_summary_is_complete_in_a_file(
        self, capsys, monkeypatch, tmp_path
    ):
        monkeypatch.setenv("COLUMNS", "60")
        path = trace(tmp_path, [3, 4, 5, 9, 4, 3] * 5)
        await show(path, speed=200.0, duration_s=1.0, keep_running=False)
        shown = capsys.readouterr().out
        row = r"^ fixed at the peak +\d+\.\d\d +[\d,]+ +[\d,]+ \(\d+\.\d\d%\) +\d+ +\d+ *$"
        assert re.search(row, shown, re.MULTILINE), shown
