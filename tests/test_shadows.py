"""Dry runs judge themselves: stories in virtual time, on a simulated deployment."""

import math

import numpy as np
import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from autoscaler.adapters.admin_http.decisions import NoSuchDeployment
from autoscaler.adapters.prometheus import PrometheusRecorder
from autoscaler.backtest.drivers import PlanDriver, as_configured, drive
from autoscaler.backtest.trial import TrialRunner
from autoscaler.backtest.world.plant import Plant
from autoscaler.core.decision import Mode, OutcomeKind
from autoscaler.core.flow.planning import plan
from autoscaler.core.policies import UtilisationPolicy
from autoscaler.core.selection import ScaleToZero, ZeroMethod
from autoscaler.core.shadow import HOUR_S, together
from autoscaler.core.shadow_text import no_shadow_text
from autoscaler.core.slo.objective import SloObjective
from autoscaler.core.slo.policy import SloPolicy
from autoscaler.core.state import State
from autoscaler.core.values import AdaptiveAllocations, Cluster, NodeCapacity
from autoscaler.wire.state import decode_state, encode_state
from tests.adapters.recorded import cycle, outcome, steady
from tests.adapters.status_site import Site
from tests.backtest.workloads import scenario, workload
from tests.fakes import FakeClock
from tests.observations import deployment, node, observation

POLICY = SloPolicy(objective=SloObjective(wait_s=0.2))
SCENE = scenario(
    nodes=3, processors=8, physical_cores=8, max_allocations=24, load_s=20.0, retry_share=0.0
)


def load(erlangs, hours=2.0, swing=0.4, seed=3):
    """Requests of 0.1 s that keep this many allocations busy on average, in waves of an hour."""
    rng, seconds = np.random.default_rng(seed), hours * HOUR_S
    rate = 10.0 * erlangs * (1.0 + swing)
    at = np.sort(rng.random(rng.poisson(rate * seconds)) * seconds)
    wave = 1.0 + swing * np.sin(2.0 * np.pi * at / HOUR_S)
    at = at[rng.random(len(at)) < wave / (1.0 + swing)]
    work_s = rng.lognormal(math.log(0.1) - 0.2, 0.63, len(at))
    return workload(at, work_s, duration_s=seconds, seed=seed)


def rules(policy=POLICY, *, dry_run, **changed):
    ruleset = as_configured(policy, SCENE)
    rule = replace(ruleset.rules[0], dry_run=dry_run, **changed)
    return replace(ruleset, rules=(rule,))


class Dry(PlanDriver):
    """A dry run beside a fixed number of allocations."""

    def __init__(self, fixed, policy=POLICY, **changed):
        super().__init__(rules(policy, dry_run=True, **changed), SCENE.poll_interval_s)
        self.initial_allocations = fixed
        self.plans = []

    @property
    def shadow(self):
        return self.plans[-1].decisions[0].shadow

    @property
    def path(self):
        """The requested allocations of the shadow, by poll."""
        return [each.decisions[0].shadow.requested for each in self.plans[1:]]


def run(driver, workload_):
    return TrialRunner(SCENE, workload_, 3).run_driver(driver)


@pytest.fixture(scope="module")
def live():
    """The live run of the load of all stories: its row."""
    runner = TrialRunner(SCENE, load(4.0), 3)
    driver = PlanDriver(rules(dry_run=False), SCENE.poll_interval_s)
    return runner.row(runner.run_driver(driver), "slo")


@pytest.fixture(scope="module")
def too_many():
    driver = Dry(14)
    run(driver, load(4.0))
    return driver


def test_with_too_many_fixed_allocations_it_reports_saved_hours(too_many, live):
    period = together(too_many.shadow.account.days)
    assert period.totals.recorded_s / HOUR_S == pytest.approx(28.0, rel=0.01)
    assert period.saved_hours.value > 10.0
    assert period.shadow_late_fraction.value < 0.015


def test_its_hours_are_those_of_a_live_run_of_the_same_load(too_many, live):
    shadow = together(too_many.shadow.account.days)
    assert shadow.totals.shadow_s / HOUR_S == pytest.approx(live.running_allocation_hours, rel=0.08)
    assert shadow.shadow_late_fraction.value == pytest.approx(live.violation_fraction, abs=0.006)


def test_with_too_few_it_reports_fewer_late_requests_for_more_hours(live):
    few = Dry(6)
    runner = TrialRunner(SCENE, load(4.0), 3)
    row = runner.row(runner.run_driver(few), "fixed")
    period = together(few.shadow.account.days)
    assert row.violation_fraction > 0.05  # of the fixed allocations, measured
    assert period.recorded_late_fraction.value == pytest.approx(row.violation_fraction, rel=0.25)
    assert period.shadow_late_fraction.value < 0.015
    assert period.saved_hours.value < 0.0
    assert period.totals.shadow_s / HOUR_S == pytest.approx(live.running_allocation_hours, rel=0.08)


def test_the_decisions_of_the_dry_run_are_as_without_a_shadow(too_many):
    """They still start from what really runs."""
    assert {each.decisions[0].current for each in too_many.plans} == {14}
    assert not any(each.decisions[0].sends for each in too_many.plans)


def test_a_shadow_is_a_path(too_many):
    """It follows its own decisions, and stays within the bounds."""
    assert too_many.plans[0].decisions[0].shadow.requested == 14
    assert len(set(too_many.path)) > 3
    assert min(too_many.path) >= 1


def test_the_step_limit_applies_to_the_path():
    dry = Dry(16, shrink_factor=2.0, policy=UtilisationPolicy(target=0.7, load_window_s=60.0))
    run(dry, load(1.0, hours=0.1, swing=0.0))
    assert dry.path[:3] == sorted(dry.path[:3], reverse=True)
    assert 8 in dry.path
    assert {1, 2, 3} & set(dry.path)


def test_a_policy_without_an_slo_has_hours_only():
    dry = Dry(16, policy=UtilisationPolicy(target=0.7, load_window_s=60.0))
    run(dry, load(1.0, hours=0.2))
    period = together(dry.shadow.account.days)
    assert period.saved_hours.value > 0.0
    assert period.shadow_late_fraction is None


def test_an_overload_counts_for_neither():
    dry = Dry(1)
    run(dry, load(6.0, hours=0.3))
    totals = together(dry.shadow.account.days).totals
    assert totals.unknown_s > 0.5 * (totals.known_s + totals.unknown_s)


class OddLateness:
    """A model of late requests with a defect."""

    def __init__(self, *figures):
        self._figures = figures

    def after(self, backlog, requests, interval_s, per_node):
        return self._figures


class OddPolicy(SloPolicy, frozen=True, kw_only=True):
    """Computes late requests, or backlogs, that are no numbers of requests."""

    figures: tuple[float | str, ...]

    def lateness(self, situation, memory):
        return OddLateness(*self.figures)


@pytest.mark.parametrize(
    "figures",
    [(math.nan, 0.0), (0.0, math.nan), (0.0, math.inf), (-1.0, 0.0), ("none", 0.0), (0.0,)],
)
def test_late_requests_that_are_no_number_are_unknown_and_do_not_end_the_cycle(figures):
    dry = Dry(8, policy=OddPolicy(objective=SloObjective(wait_s=0.2), figures=figures))
    run(dry, load(1.0, hours=0.1))
    totals = together(dry.shadow.account.days).totals
    assert totals.known_s > 0.0
    assert (totals.judged_s, totals.requests) == (0.0, 0.0)


def test_a_live_rule_has_no_shadow():
    driver = PlanDriver(rules(dry_run=False), SCENE.poll_interval_s)
    driver.plans = []
    run(driver, load(1.0, hours=0.05))
    assert {each.decisions[0].shadow for each in driver.plans} == {None}


def observed(at, completed=0, **given):
    node_ = node("n1", allocations=4, completed=completed, busy_s=0.04 * completed)
    return observation(at, deployment(node_, **given))


def planned(state, at, completed=0, *, dry_run=True, **given):
    return plan(state, observed(at, completed, **given), rules(dry_run=dry_run))


class TestState:
    def test_a_shadow_survives_a_restart(self):
        state = State()
        for poll in range(30):
            before, state = planned(state, 1000.0 + 10.0 * poll, 100 * poll)
        decoded = decode_state(encode_state(state).content, [POLICY]).state
        after, continued = planned(decoded, 1300.0, 3000)
        expected, _ = planned(state, 1300.0, 3000)
        known = before.decisions[0].shadow
        assert known.requested < 4
        assert after.decisions[0].shadow.requested <= known.requested + 1
        assert after.decisions[0].shadow.account == expected.decisions[0].shadow.account
        assert continued.deployments["elser"].shadow.path is not None

    def test_a_rule_that_goes_live_keeps_the_days_and_ends_the_path(self):
        state = State()
        for poll in range(5):
            _, state = planned(state, 1000.0 + 10.0 * poll, 100 * poll)
        account = state.deployments["elser"].shadow.account
        now, state = planned(state, 1050.0, 500, dry_run=False)
        assert now.decisions[0].shadow is None
        assert state.deployments["elser"].shadow.path is None
        assert state.deployments["elser"].shadow.account == account
        _, state = planned(state, 1060.0, 600)
        path = state.deployments["elser"].shadow.path
        assert path.per_node == (4,)  # it begins with what runs

    def test_a_response_without_the_running_allocations_does_not_end_the_path(self):
        state = State()
        for poll in range(5):
            _, state = planned(state, 1000.0 + 10.0 * poll, 100 * poll)
        known = state.deployments["elser"].shadow.path.requested
        now, state = planned(state, 1050.0, 500, running_allocations=None)
        assert now.decisions[0].shadow is None
        again, _ = planned(state, 1060.0, 600)
        assert known < 4
        assert again.decisions[0].shadow.requested == known

    def test_a_gap_counts_for_neither(self):
        _, state = planned(State(), 1000.0)
        now, _ = planned(state, 1500.0, 5000)
        totals = now.decisions[0].shadow.latest
        assert (totals.known_s, totals.unknown_s) == (0.0, 0.0)

    def test_a_data_quality_issue_counts_for_neither(self):
        _, state = planned(State(), 1000.0, 500)
        now, _ = planned(state, 1010.0, 100)  # counters fell
        totals = now.decisions[0].shadow.latest
        assert (totals.known_s, totals.unknown_s) == (0.0, 10.0)

    def test_externally_controlled_deployments_have_none(self):
        adaptive = AdaptiveAllocations(enabled=True, minimum=1, maximum=8)
        now, _ = planned(State(), 1000.0, adaptive=adaptive)
        assert now.decisions[0].shadow is None

    def test_a_month_of_it_is_small(self):
        """At 1,000 deployments, each kilobyte is a megabyte that is saved after each cycle."""
        _, state = planned(State(), 1000.0)
        known = state.deployments["elser"]
        account = known.shadow.account
        for hour in range(31 * 24):
            totals = replace(account.hour, known_s=HOUR_S, shadow_s=1.5 * hour)
            account = account.after(HOUR_S * hour + 86_400.0, totals)
        month = replace(known, shadow=replace(known.shadow, account=account))
        sizes = [
            len(encode_state(State(deployments={"elser": each})).content)
            for each in (replace(known, shadow=None), month)
        ]
        assert sizes[1] - sizes[0] < 3_500


@pytest.fixture
async def site():
    site = Site()
    async with site.session, site.admin:
        yield site


def in_dry_run(shadow):
    return outcome(steady("elser", dry_run=True, shadow=shadow), OutcomeKind.DRY_RUN)


def test_requests_to_a_deployment_that_it_would_have_stopped_are_late():
    """Until a process could have started again, had an operator resumed it at once."""
    idle = ScaleToZero(60.0, ZeroMethod.STOP)
    ruleset, state, completed, found = rules(dry_run=True, zero=idle), State(), 0, []
    only = NodeCapacity(node_id="n1", name="n1", version="9.1.0", processors=8.0)
    for poll in range(60):
        completed += 0 if 20 <= poll < 40 else 100
        seen = observed(1000.0 + 10.0 * poll, completed)
        seen = replace(seen, cluster=Cluster(nodes=(only,), growable=False))
        now, state = plan(state, seen, ruleset)
        found.append(now.decisions[0].shadow)
    assert {each.running for each in found[26:40]} == {0}
    assert [each.latest.shadow_late for each in found[40:46]] == [100.0] * 6
    assert found[-1].running > 0
    assert found[-1].latest.shadow_late < 1.0


class TestMetrics:
    def test_the_counters_are_sums_over_all_cycles(self, too_many):
        recorder, registry = PrometheusRecorder(FakeClock(start=1_000.0)), CollectorRegistry()
        registry.register(recorder)
        for _ in range(2):
            recorder.planned(*cycle(in_dry_run(too_many.shadow)))
        latest = too_many.shadow.latest

        def value(name):
            return registry.get_sample_value(name, {"deployment": "elser"})

        assert value("autoscaler_shadow_allocations") == too_many.shadow.running
        assert value("autoscaler_shadow_allocation_seconds_total") == 2.0 * latest.shadow_s > 0.0
        assert value("autoscaler_recorded_allocation_seconds_total") == 2.0 * latest.recorded_s
        assert value("autoscaler_shadow_requests_total") == 2.0 * latest.requests > 0.0
        assert value("autoscaler_shadow_unknown_seconds_total") == 0.0

    def test_a_live_deployment_has_none(self):
        recorder, registry = PrometheusRecorder(FakeClock(start=1_000.0)), CollectorRegistry()
        registry.register(recorder)
        recorder.planned(*cycle(outcome(steady("elser"), OutcomeKind.UNCHANGED)))
        found = {each.name for each in registry.collect() if each.samples}
        assert not {name for name in found if "shadow" in name or "recorded" in name}


class TestShown:
    async def test_the_page_has_a_table_by_day(self, site, too_many):
        site.observe(
            outcome(steady("elser", dry_run=True, shadow=too_many.shadow), OutcomeKind.DRY_RUN)
        )
        text = await site.text("/deployments/elser")
        assert "What the rule would have done" in text
        assert "allocation-hours instead of 28.0 (saves" in text
        assert "and not measured" in text

    async def test_a_live_deployment_has_no_such_section(self, site):
        site.observe(outcome(steady("elser"), OutcomeKind.UNCHANGED))
        assert "What the rule would have done" not in await site.text("/deployments/elser")

    async def test_the_api_has_the_days(self, site, too_many):
        site.observe(
            outcome(steady("elser", dry_run=True, shadow=too_many.shadow), OutcomeKind.DRY_RUN)
        )
        found = site.decisions.get_shadow("elser")
        assert found.together.shadow_hours == pytest.approx(sum(d.shadow_hours for d in found.days))
        low, value, high = (
            getattr(found.together.saved_hours, n) for n in ("low", "value", "high")
        )
        assert low < value < high

    async def test_of_others_it_says_why_not(self, site):
        site.observe(outcome(steady("elser"), OutcomeKind.UNCHANGED))
        with pytest.raises(NoSuchDeployment, match="it is in no dry run"):
            site.decisions.get_shadow("elser")


def test_the_plant_is_not_changed_by_it(too_many):
    plant = Plant(SCENE, load(4.0, hours=0.1), allocations=14)
    drive(plant, Dry(14))
    assert {span.requested for span in plant.allocation_spans} == {14}


@pytest.mark.parametrize(
    ("given", "because"),
    [
        (
            {"mode": Mode.BOUNDS},
            "what adaptive allocations would make of other bounds is not known",
        ),
        ({}, "its allocations are not reported"),
    ],
)
async def test_a_dry_run_without_a_shadow_says_why(site, given, because):
    decision = replace(steady("elser", dry_run=True, shadow=None), **given)
    site.observe(outcome(decision, OutcomeKind.DRY_RUN))
    assert f"This is not known, because {because}." in await site.text("/deployments/elser")
    assert no_shadow_text(replace(decision, dry_run=False)) == ""
