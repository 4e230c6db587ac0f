"""Constraints: free capacity, schedules, and the burst ceiling."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.core.decision import Mode, OutcomeKind, SetBounds
from autoscaler.core.explanation import explain
from autoscaler.core.flow.constraints import BURST_HOLD_S
from autoscaler.core.flow.feedback import apply_outcomes
from autoscaler.core.flow.planning import plan
from autoscaler.core.policies import Situation
from autoscaler.core.state import State
from autoscaler.core.values import (
    AdaptiveAllocations,
    Cluster,
    NodeCapacity,
    Reason,
    Schedule,
)
from tests.observations import deployment, node, observation, outcome, policy, rule
from tests.options import FixedPolicy


def schedule(name="office hours", **given):
    fields = {"cron": "0 8 * * *", "timezone": "UTC", "length_s": 3600.0}
    return Schedule(name=name, **(fields | given))


ADAPTIVE = AdaptiveAllocations(enabled=True, minimum=None, maximum=3)


def hardware(processors, growable=False):
    node = NodeCapacity(node_id="n1", name="n1", processors=float(processors))
    return Cluster(nodes=(node,), growable=growable)


class Watch:
    """A deployment on one node that always serves. A test sets what its policy recommends."""

    def __init__(self, allocations=2, cluster=None, open_schedules=(), cold_start_s=None, **given):
        self.recommending = FixedPolicy()
        self.allocations, self.cluster, self.open_schedules = allocations, cluster, open_schedules
        given = {"growth_factor": 1000.0, "stabilisation_window_s": 0.0, **given}
        self.policy = policy(rule(policy=self.recommending, **given))
        self.state, self.at, self.completed = State(cold_start_s=cold_start_s), 0.0, 0
        self.decide(allocations)

    def decide(self, recommended, after_s=10.0, serving=None, **given):
        """The decision of a cycle with this recommendation."""
        self.at += after_s
        self.completed += 10
        self.recommending.allocations = recommended
        found = {"allocations": self.allocations, "completed": self.completed}
        stats = deployment(node("n1", **found | (serving or {})), **given)
        seen = observation(self.at, stats, cluster=self.cluster)
        planned, self.state = plan(self.state, seen, self.policy, self.open_schedules)
        (self.decision,) = planned.decisions
        return self.decision

    def respond(self, kind):
        self.state = apply_outcomes(self.state, [outcome(self.decision, kind, at=self.at)])
        if kind is OutcomeKind.ACCEPTED:
            self.allocations = self.decision.desired


class TestAColdStart:
    @pytest.mark.parametrize("recommended", [1, 3, 5, 8])
    def test_the_allocations_that_were_found_are_kept_until_enough_is_measured(self, recommended):
        watch = Watch(allocations=4, cold_start_s=0.0, shrink_factor=1000.0)
        while watch.at < 600.0:
            assert watch.decide(recommended).desired == 4
        assert watch.decision.steps[-1].reason is Reason.COLD_START
        assert watch.decide(recommended).desired == recommended

    @pytest.mark.parametrize(
        "shown", [{"pending": 9}, {"rejections": 1}, {"errors": 1}, {"timeouts": 1}], ids=str
    )
    def test_unless_they_are_certainly_too_few(self, shown):
        watch = Watch(allocations=4, cold_start_s=0.0)
        assert watch.decide(8, serving=shown).desired == 8

    @pytest.mark.parametrize("pending", [0, 4, 8])
    def test_requests_that_wait_by_chance_are_no_evidence(self, pending):
        watch = Watch(allocations=4, cold_start_s=0.0)
        assert watch.decide(8, serving={"pending": pending}).desired == 4

    def test_the_bounds_apply_at_once(self):
        assert Watch(allocations=8, max_allocations=6, cold_start_s=0.0).decide(8).desired == 6
        assert Watch(allocations=1, min_allocations=2, cold_start_s=0.0).decide(1).desired == 2

    def test_an_open_schedule_applies_at_once(self):
        opened = schedule(min_allocations=5)
        watch = Watch(2, open_schedules=(opened,), schedules=(opened,), cold_start_s=0.0)
        assert watch.decide(2).desired == 5

    def test_time_without_observations_is_not_counted(self):
        watch = Watch(allocations=4, cold_start_s=0.0)
        watch.decide(8)
        for _ in range(3):  # the cluster does not respond for 20 min
            watch.decide(8, after_s=1200.0)
            assert watch.decide(8).desired == 4
        assert watch.decision.steps[-1].inputs["observed_s"] == 40.0

    def test_a_daemon_with_a_saved_state_holds_nothing(self):
        assert Watch(allocations=4).decide(5).desired == 5


class TestFreeCapacity:
    def test_no_more_is_requested_than_fits(self):
        watch = Watch(cluster=hardware(5), max_allocations=20)
        decision = watch.decide(9)
        assert (decision.desired, decision.reason) == (5, Reason.FIT)
        assert explain(decision).endswith("no more than 5 fit on the nodes")

    def test_an_increase_that_fits_is_not_limited(self):
        assert Watch(cluster=hardware(9)).decide(9).reason is Reason.RECOMMENDATION

    def test_the_current_allocations_are_not_lowered_for_it(self):
        decision = Watch(allocations=7, cluster=hardware(5)).decide(9)
        assert (decision.desired, decision.reason) == (7, Reason.FIT)

    def test_not_even_the_minimum_exceeds_the_free_capacity(self):
        """The cluster would refuse all of it."""
        decision = Watch(cluster=hardware(5), min_allocations=8).decide(9)
        assert (decision.desired, decision.reason) == (5, Reason.FIT)

    def test_what_is_about_to_stop_does_not_fit(self):
        """While a further node takes allocations over, more run than are requested."""
        watch = Watch(allocations=4, cluster=hardware(5))
        decision = watch.decide(5, serving={"allocations": 5}, allocations=4)
        assert (decision.desired, decision.reason) == (4, Reason.FIT)

    def test_what_runs_fits_although_its_nodes_are_not_reported(self):
        """In mode `bounds`, a minimum up to that needs no room."""
        stats = deployment(allocations=5, running_allocations=5, adaptive=ADAPTIVE)
        bounded = policy(rule(mode=Mode.BOUNDS, min_allocations=2, max_allocations=6))
        seen = observation(10.0, stats, cluster=hardware(5))
        planned, _ = plan(State(), seen, bounded)
        (decision,) = planned.decisions
        assert decision.change == SetBounds(2, 6)

    @pytest.mark.parametrize("growable", [True, None])
    def test_no_limit_applies_where_the_hardware_may_grow(self, growable):
        assert Watch(cluster=hardware(5, growable)).decide(9).desired == 9

    def test_after_a_refusal_of_a_count_that_seemed_to_fit_the_search_starts_below_it(self):
        watch = Watch(cluster=hardware(6))
        assert watch.decide(9).desired == 6
        watch.respond(OutcomeKind.NO_CAPACITY)
        decision = watch.decide(9)
        assert [step.reason for step in decision.steps[1:]] == [Reason.FIT, Reason.CAPACITY]
        assert decision.desired == 4

    def test_the_policy_gets_the_free_threads(self):
        watch = Watch(allocations=3, cluster=hardware(8))
        watch.decide(3)
        assert isinstance(watch.recommending.situation, Situation)
        assert watch.recommending.situation.free_threads == {"n1": 5}


class TestSchedules:
    def test_an_open_one_raises_to_its_minimum(self):
        early = schedule(min_allocations=6)
        watch = Watch(schedules=(early,), open_schedules={early})
        decision = watch.decide(2)
        assert (decision.desired, decision.reason) == (6, Reason.SCHEDULE)
        assert explain(decision).endswith("schedule office hours sets at least 6")

    def test_an_open_one_lowers_to_its_maximum(self):
        night = schedule("night", max_allocations=3)
        watch = Watch(allocations=8, schedules=(night,), open_schedules={night})
        decision = watch.decide(8)
        assert (decision.desired, decision.reason) == (3, Reason.SCHEDULE)

    def test_a_closed_schedule_does_not_apply(self):
        assert Watch(schedules=(schedule(min_allocations=6),)).decide(2).desired == 2

    def test_a_schedule_of_another_rule_does_not_apply(self):
        assert Watch(open_schedules={schedule(min_allocations=6)}).decide(2).desired == 2

    def test_its_minimum_needs_no_measurement(self):
        early = schedule(min_allocations=6)
        watch = Watch(schedules=(early,), open_schedules={early})
        first = watch.state.deployments["elser"]
        assert first.samples == ()
        assert watch.decision.desired == 6

    def test_its_maximum_does(self):
        night = schedule(max_allocations=3)
        watch = Watch(allocations=8, schedules=(night,), open_schedules={night})
        assert (watch.decision.desired, watch.decision.reason) == (8, Reason.DATA_QUALITY)

    def test_of_several_the_strictest_wins(self):
        several = [
            schedule("a", min_allocations=4, max_allocations=9),
            schedule("b", min_allocations=6),
            schedule("c", min_allocations=5, max_allocations=7),
        ]
        watch = Watch(schedules=tuple(several), open_schedules=set(several))
        assert watch.decide(1).desired == 6
        assert watch.decide(12).desired == 7

    def test_if_they_cross_the_ceiling_wins(self):
        several = [schedule("day", min_allocations=6), schedule("scarcity", max_allocations=4)]
        watch = Watch(schedules=tuple(several), open_schedules=set(several))
        assert watch.decide(5).desired == 4
        assert watch.decide(1).desired == 4

    def test_the_bounds_override_schedules(self):
        wide = schedule(min_allocations=10)
        watch = Watch(max_allocations=8, schedules=(wide,), open_schedules={wide})
        assert (watch.decide(1).desired, watch.decision.reason) == (8, Reason.BOUNDS)


class TestBurst:
    def test_a_load_jump_gets_no_more_than_the_burst_ceiling_at_once(self):
        decision = Watch(burst_max_allocations=5).decide(16)
        assert (decision.desired, decision.reason) == (5, Reason.BURST)
        assert explain(decision).endswith(
            "above 5 only after 60 s of higher recommendations, now 0 s"
        )

    def test_a_recommendation_that_lasts_is_granted_after_a_minute(self):
        watch = Watch(burst_max_allocations=5)
        desired = [watch.decide(16).desired for _ in range(8)]
        assert desired == [5, 5, 5, 5, 5, 5, 16, 16]

    def test_a_recommendation_that_does_not_last_is_never_granted(self):
        watch = Watch(burst_max_allocations=5)
        for _ in range(20):
            assert [watch.decide(count).desired for count in (16, 16, 16, 5)] == [5, 5, 5, 5]

    def test_the_current_allocations_are_not_lowered_for_it(self):
        decision = Watch(allocations=9, burst_max_allocations=5).decide(16)
        assert (decision.desired, decision.reason) == (9, Reason.BURST)

    def test_cycles_without_an_opinion_count_neither_way(self):
        watch = Watch(burst_max_allocations=5)
        for _ in range(5):
            watch.decide(16)
        watch.decide(16, running_allocations=3)  # not all is seen: nothing is recommended
        assert watch.decision.sample.issues
        assert [watch.decide(16).desired for _ in range(2)] == [5, 16]

    def test_a_gap_in_the_observations_restarts_the_minute(self):
        watch = Watch(burst_max_allocations=5)
        for _ in range(8):
            watch.decide(16)
        watch.decide(16, after_s=600.0)
        assert watch.decide(16).desired == 5

    def test_a_minimum_above_the_ceiling_applies(self):
        assert Watch(burst_max_allocations=5, min_allocations=8).decide(16).desired == 8

    def test_a_schedule_beyond_it_is_granted_at_once(self):
        sale = schedule("sale", min_allocations=12)
        watch = Watch(burst_max_allocations=5, schedules=(sale,), open_schedules={sale})
        assert watch.decide(16).desired == 12

    def test_a_minute_is_as_long_as_the_load_is_measured_over(self):
        from autoscaler.config.document import ScalingTable

        assert ScalingTable().load_window == BURST_HOLD_S


counts = st.integers(1, 30)


@st.composite
def rules(draw):
    minimum, maximum = sorted((draw(counts), draw(counts)))
    schedules = draw(
        st.lists(
            st.builds(
                schedule, st.sampled_from("abc"),
                min_allocations=st.none() | counts,
                max_allocations=st.none() | counts,
            ),
            max_size=3, unique_by=lambda s: s.name,
        )
    )  # fmt: skip
    return {
        "min_allocations": minimum,
        "max_allocations": maximum,
        "schedules": tuple(schedules),
        "burst_max_allocations": draw(st.none() | counts),
    }


@given(
    rules(),
    st.lists(
        st.tuples(
            st.integers(0, 60), st.sampled_from([OutcomeKind.ACCEPTED, OutcomeKind.NO_CAPACITY])
        )
    ),
    st.none() | st.integers(1, 40),
    st.data(),
)
def test_no_raise_exceeds_what_fits_and_nothing_leaves_the_bounds(given, cycles, cores, data):
    cluster = hardware(cores) if cores else None
    watch = Watch(allocations=data.draw(counts), cluster=cluster, **given)
    for recommended, kind in cycles:
        watch.open_schedules = data.draw(st.sets(st.sampled_from(given["schedules"] or (None,))))
        before = watch.allocations
        decision = watch.decide(recommended)
        if decision.sample.issues:
            continue
        if decision.changes:
            low, high = min(given["min_allocations"], before), max(given["max_allocations"], before)
            assert low <= decision.desired <= high
        if decision.desired > before:
            assert decision.desired <= (cores or math.inf)
        watch.respond(kind)


@given(rules(), st.integers(0, 60))
def test_without_a_refusal_the_decision_for_a_measured_deployment_is_within_the_bounds(
    given, recommended
):
    open_schedules = frozenset(given["schedules"])
    watch = Watch(allocations=given["min_allocations"], open_schedules=open_schedules, **given)
    watch.respond(OutcomeKind.ACCEPTED)
    assert given["min_allocations"] <= watch.decide(recommended).desired <= given["max_allocations"]
