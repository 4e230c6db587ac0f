"""The contribution of each part of the policy: what is switched off, and the tables of it."""

import pytest
from msgspec.structs import replace

from autoscaler.backtest.policy_specs import policy_spec
from autoscaler.backtest.results.comparison import ORACLE
from autoscaler.backtest.results.file import Results
from autoscaler.backtest.trial import TrialRunner
from autoscaler.core.slo.backlog import BacklogModel
from autoscaler.core.slo.count_window import CountWindow
from autoscaler.core.slo.error_budget import ErrorBudget, WeightSettings, violation_weight
from autoscaler.core.slo.memory import SloMemory
from autoscaler.core.slo.short_counts import ShortCounts
from autoscaler.errors import InputError, UserError
from benchmarks.ablation import (
    BURSTS,
    CALLER_TIMEOUT,
    CHEAPEST_DRAIN,
    EARLY_POLLS,
    GROUPS,
    PREVENTABLE,
    RECURRENCE,
    WHOLE,
    Group,
    Outcome,
    Part,
    main,
    section,
)
from benchmarks.constants import constant_of, with_values
from benchmarks.evidence import combined
from benchmarks.runs import SEED, SloRun, cases, ensure_same_requests, of_all, slo_run
from tests.backtest.synthetic import row
from tests.backtest.test_slo_policy import scene, stream

SCENARIO = "short-three-nodes"
PARTS = [part for group in GROUPS for part in group.variants]


def run(part, load, scenario):
    runner = TrialRunner(scenario, load, SEED)
    with with_values(part.off) as spec:
        return slo_run(runner, spec)


class TestParts:
    """Each part has an effect where it is meant to have one, and none once it is switched off."""

    TIMER = stream(*(12 * ((100.0, 120.0), (0.2, 480.0))))

    def test_without_early_polls_all_are_ten_seconds_apart(self):
        whole, without = (run(part, self.TIMER, scene(40)) for part in (WHOLE, EARLY_POLLS))
        assert without.polls_per_hour == 360.0
        assert whole.polls_per_hour > 400.0

    def test_without_recurrence_a_timer_costs_more(self):
        whole, without = (run(part, self.TIMER, scene(40)) for part in (WHOLE, RECURRENCE))
        assert without.row.allocation_hours > 1.2 * whole.row.allocation_hours

    def test_requests_of_patient_callers_count_for_longer(self):
        load = stream((2.0, 900.0), (60.0, 30.0), (2.0, 1200.0), service_time_s=1.0)
        patient = scene(
            20, service_time_s=1.0, slo_wait_s=2.0, timeout_s=7200.0, queue_capacity=10_000
        )
        whole, without = (run(part, load, patient) for part in (WHOLE, CALLER_TIMEOUT))
        assert whole.row.allocation_hours > without.row.allocation_hours

    def test_without_bursts_within_seconds_windows_count(self):
        short = ShortCounts(dispersion=2.0, pairs=20.0)
        memory = SloMemory(window=CountWindow(dispersion=3.0, short=short))
        assert memory.dispersion == 2.0
        with with_values(BURSTS.off):
            assert memory.dispersion == 3.0

    def test_late_requests_that_nothing_could_prevent_count_like_others(self):
        budget = ErrorBudget(
            violations=700.0, requests=100_000.0, time_s=86_400.0, unpreventable=700.0
        )

        def weight():
            return violation_weight(budget, 0.01, WeightSettings())

        whole = weight()
        with with_values(PREVENTABLE.off):
            without = weight()
        assert whole < without < WeightSettings().max_weight / 0.01
        counted = replace(budget, unpreventable=0.0, counted_violations=700.0)
        assert without == violation_weight(counted, 0.01, WeightSettings())

    def test_a_backlog_is_drained_within_drain(self):
        backlog = BacklogModel(
            load=0.1,
            rate_per_s=0.1,
            service_time_s=1.0,
            max_queue_wait_s=2.0,
            allocations=1,
            violation_weight=10.0,
            drain_s=30.0,
            caller_timeout_s=7200.0,
        )
        assert backlog.cheapest_drain_s(10_000.0, 10.0) > backlog.drain_s
        with with_values(CHEAPEST_DRAIN.off):
            assert backlog.cheapest_drain_s(10_000.0, 10.0) <= backlog.drain_s

    @pytest.mark.parametrize("part", PARTS, ids=lambda part: part.title)
    def test_a_part_that_is_switched_off_is_on_again_afterwards(self, part):
        before = [constant_of(name).values for name in part.off]
        with with_values(part.off):
            pass
        assert [constant_of(name).values for name in part.off] == before

    def test_the_whole_policy_is_the_one_that_ships(self):
        with with_values(WHOLE.off) as spec:
            assert spec is policy_spec("slo")

    @pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.title)
    def test_each_group_begins_with_the_whole(self, group):
        assert group.variants[0] == WHOLE

    def test_the_last_variant_is_without_each_of_the_others(self):
        _, *parts, last = GROUPS[0].variants
        assert last.off == {name: value for part in parts for name, value in part.off.items()}


POLLS = Part(title="polls", instead="fewer", off={"slo.x.Y": 1.0})
EVERY = "all of these"
GROUP = Group(
    title="Some callers", variants=(WHOLE, POLLS, Part(title=EVERY, instead="", off=POLLS.off))
)


def outcome(variant, trace="a", *, polls=8640, **given):
    made = row(trace=trace, scenario=SCENARIO, policy="slo", setting="", **given)
    return Outcome(group=GROUP.title, variant=variant, run=SloRun(row=made, polls=polls))


def evidence(**fractions):
    """The oracle's rows, with its violation fraction on each trace."""
    rows = [
        row(trace=trace, scenario=SCENARIO, policy=ORACLE, setting="", violation_fraction=fraction)
        for trace, fraction in fractions.items()
    ]
    made = Results(
        program="autoscaler 1.0",
        command="autoscaler backtest a",
        made_at="2026-01-01T00:00:00Z",
        scenarios={SCENARIO: {"slo_target": 0.99}},
        rows=tuple(rows),
    )
    return combined([made])


FOUND = [
    outcome("nothing", polls=17280),
    outcome("polls", violations=30, violation_fraction=0.03, allocation_hours=48.0, changes=24),
    outcome(EVERY, allocation_hours=12.0),
]


def line(text, first):
    lines = [[cell.strip() for cell in each.split("|")[1:-1]] for each in text.splitlines()]
    return next(cells for cells in reversed(lines) if cells and cells[0] == first)


class TestSection:
    def test_each_variant_is_compared_with_the_oracle_and_the_whole(self):
        text = section(FOUND, [GROUP], evidence(a=0.01))
        assert line(text, "nothing") == [
            "nothing", "1 of 1", "99.00", "1.00", "1.00", "1.000", "2.0", "2.00",
        ]  # fmt: skip
        assert line(text, "polls") == [
            "polls", "0 of 1", "97.00", "3.00", "2.00", "2.000", "1.0", "1.00",
        ]  # fmt: skip
        assert line(text, EVERY)[4:6] == ["0.50", "0.500"]

    def test_the_constants_are_named(self):
        assert "| polls        | fewer" in section(FOUND, [GROUP], evidence(a=0.01))
        assert "`slo.x.Y = 1`" in section(FOUND, [GROUP], evidence(a=0.01))

    def test_infeasible_pairs_do_not_count(self):
        late = {"violations": 500, "violation_fraction": 0.5}
        variants = ("nothing", "polls", EVERY)
        found = [*FOUND, *(outcome(variant, "b", **late) for variant in variants)]
        text = section(found, [GROUP], evidence(a=0.01, b=0.5))
        assert "the 1 pairs" in text
        assert line(text, "nothing")[1:3] == ["1 of 1", "99.00"]

    def test_pairs_that_were_not_tried_do_not_count(self):
        text = section(FOUND, [GROUP], evidence(a=0.01, c=0.01))
        assert line(text, "nothing")[1] == "1 of 1"


class TestSameRequests:
    def test_a_pair_without_a_run_of_the_oracle_is_an_error(self):
        with pytest.raises(InputError, match=f"no run of b in {SCENARIO} with seed 1"):
            ensure_same_requests(evidence(a=0.01), [outcome("nothing", "b").run.row])

    def test_other_requests_are_an_error(self):
        other = replace(outcome("nothing").run.row, requests=999)
        with pytest.raises(InputError, match=r"have 1,000 requests of a .* which has 999 requests"):
            ensure_same_requests(evidence(a=0.01), [other])


class TestCommand:
    def test_cases_are_the_scenarios_with_three_nodes(self):
        assert [case.name for case in cases(["diurnal"])] == [
            "diurnal, short-three-nodes",
            "diurnal, long-three-nodes",
        ]

    def test_a_case_that_fails_ends_the_command_with_its_reason(self, monkeypatch):
        monkeypatch.setattr("os.cpu_count", lambda: 1)

        def fail(case):
            raise UserError("it cannot be played; choose another")

        with pytest.raises(UserError, match="diurnal, short-three-nodes: it cannot be played"):
            of_all(cases(["diurnal"]), fail, "test")

    def test_a_missing_result_file_is_one_sentence(self, capsys, tmp_path):
        with pytest.raises(SystemExit):
            main(["diurnal", "--results", str(tmp_path / "absent.json")])
        assert capsys.readouterr().err.startswith("error: cannot read results from")
