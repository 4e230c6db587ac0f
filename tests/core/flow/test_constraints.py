"""What keeps a number from all that is wanted: room, schedules, and the burst ceiling."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.core.explanation import explain
from autoscaler.core.flow.constraints import BURST_HOLD_S
from autoscaler.core.flow.feedback import apply_outcomes
from autoscaler.core.flow.planning import plan
from autoscaler.core.policies import Situation
from autoscaler.core.state import State
from autoscaler.core.values import Cluster, NodeCapacity, OutcomeKind, Reason, Schedule
from tests.observations import deployment, node, observation, outcome, policy, rule
from tests.options import FixedPolicy


def schedule(name="office hours", **given):
    fields = {"cron": "0 8 * * *", "timezone": "UTC", "length_s": 3600.0}
    return Schedule(name=name, **(fields | given))


def hardware(processors, growable=False):
    node = NodeCapacity(node_id="n1", name="n1", processors=float(processors))
    return Cluster(nodes=(node,), growable=growable)


class Watch:
    """A deployment on one node that always serves, under a policy that wants what a test says."""

    def __init__(self, allocations=2, cluster=None, open_schedules=(), **given):
        self.recommending = FixedPolicy()
        self.allocations, self.cluster, self.open_schedules = allocations, cluster, open_schedules
        given = {"growth_factor": 1000.0, "stabilisation_window_s": 0.0, **given}
        self.policy = policy(rule(policy=self.recommending, **given))
        self.state, self.at, self.completed = State(), 0.0, 0
        self.wants(allocations)

    def wants(self, number, after_s=10.0, **given):
        """The decision of a cycle in which the policy wants `number`."""
        self.at += after_s
        self.completed += 10
        self.recommending.allocations = number
        serving = node("n1", allocations=self.allocations, completed=self.completed)
        stats = deployment(serving, **given)
        seen = observation(self.at, stats, cluster=self.cluster)
        planned, self.state = plan(self.state, seen, self.policy, self.open_schedules)
        (self.decision,) = planned.decisions
        return self.decision

    def answer(self, fate):
        self.state = apply_outcomes(self.state, [outcome(self.decision, fate, at=self.at)])
        if fate is OutcomeKind.ACCEPTED:
            self.allocations = self.decision.desired


class TestRoom:
    def test_no_more_is_asked_for_than_fits(self):
        watch = Watch(cluster=hardware(5), max_allocations=20)
        decision = watch.wants(9)
        assert (decision.desired, decision.reason) == (5, Reason.FIT)
        assert explain(decision).endswith("no more than 5 fit on the nodes")

    def test_what_fits_is_none_of_its_business(self):
        assert Watch(cluster=hardware(9)).wants(9).reason is Reason.RECOMMENDATION

    def test_the_present_number_is_not_lowered_for_it(self):
        decision = Watch(allocations=7, cluster=hardware(5)).wants(9)
        assert (decision.desired, decision.reason) == (7, Reason.FIT)

    def test_not_even_the_minimum_exceeds_the_free_capacity(self):
        """The cluster would refuse all of it."""
        decision = Watch(cluster=hardware(5), min_allocations=8).wants(9)
        assert (decision.desired, decision.reason) == (5, Reason.FIT)

    @pytest.mark.parametrize("growable", [True, None])
    def test_hardware_that_may_grow_is_asked_for_more(self, growable):
        assert Watch(cluster=hardware(5, growable)).wants(9).desired == 9

    def test_what_is_refused_although_it_seemed_to_fit_is_searched_below(self):
        watch = Watch(cluster=hardware(6))
        assert watch.wants(9).desired == 6
        watch.answer(OutcomeKind.NO_CAPACITY)
        decision = watch.wants(9)
        assert [step.reason for step in decision.steps[1:]] == [Reason.FIT, Reason.CAPACITY]
        assert decision.desired == 4

    def test_the_policy_is_told_what_is_free(self):
        watch = Watch(allocations=3, cluster=hardware(8))
        watch.wants(3)
        assert isinstance(watch.recommending.situation, Situation)
        assert watch.recommending.situation.free_threads == {"n1": 5}


class TestSchedules:
    def test_an_open_one_raises_to_its_minimum(self):
        early = schedule(min_allocations=6)
        watch = Watch(schedules=(early,), open_schedules={early})
        decision = watch.wants(2)
        assert (decision.desired, decision.reason) == (6, Reason.SCHEDULE)
        assert explain(decision).endswith("schedule office hours sets at least 6")

    def test_an_open_one_lowers_to_its_maximum(self):
        night = schedule("night", max_allocations=3)
        watch = Watch(allocations=8, schedules=(night,), open_schedules={night})
        decision = watch.wants(8)
        assert (decision.desired, decision.reason) == (3, Reason.SCHEDULE)

    def test_one_that_is_closed_says_nothing(self):
        assert Watch(schedules=(schedule(min_allocations=6),)).wants(2).desired == 2

    def test_one_of_another_rule_says_nothing(self):
        assert Watch(open_schedules={schedule(min_allocations=6)}).wants(2).desired == 2

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
        assert watch.wants(1).desired == 6
        assert watch.wants(12).desired == 7

    def test_if_they_cross_the_ceiling_wins(self):
        several = [schedule("day", min_allocations=6), schedule("scarcity", max_allocations=4)]
        watch = Watch(schedules=tuple(several), open_schedules=set(several))
        assert watch.wants(5).desired == 4
        assert watch.wants(1).desired == 4

    def test_bounds_have_the_last_word(self):
        wide = schedule(min_allocations=10)
        watch = Watch(max_allocations=8, schedules=(wide,), open_schedules={wide})
        assert (watch.wants(1).desired, watch.decision.reason) == (8, Reason.BOUNDS)


class TestBurst:
    def test_a_leap_gets_no_more_than_the_ceiling_at_once(self):
        decision = Watch(burst_max_allocations=5).wants(16)
        assert (decision.desired, decision.reason) == (5, Reason.BURST)
        assert explain(decision).endswith(
            "above 5 only after 60 s of higher recommendations, now 0 s"
        )

    def test_what_lasts_is_granted_after_a_minute(self):
        watch = Watch(burst_max_allocations=5)
        numbers = [watch.wants(16).desired for _ in range(8)]
        assert numbers == [5, 5, 5, 5, 5, 5, 16, 16]

    def test_what_comes_and_goes_is_never_granted(self):
        watch = Watch(burst_max_allocations=5)
        for _ in range(20):
            assert [watch.wants(number).desired for number in (16, 16, 16, 5)] == [5, 5, 5, 5]

    def test_the_present_number_is_not_lowered_for_it(self):
        decision = Watch(allocations=9, burst_max_allocations=5).wants(16)
        assert (decision.desired, decision.reason) == (9, Reason.BURST)

    def test_cycles_without_an_opinion_count_neither_way(self):
        watch = Watch(burst_max_allocations=5)
        for _ in range(5):
            watch.wants(16)
        watch.wants(16, running_allocations=3)  # not all is seen: nothing is recommended
        assert watch.decision.sample.issues
        assert [watch.wants(16).desired for _ in range(2)] == [5, 16]

    def test_a_silence_begins_the_minute_anew(self):
        watch = Watch(burst_max_allocations=5)
        for _ in range(8):
            watch.wants(16)
        watch.wants(16, after_s=600.0)
        assert watch.wants(16).desired == 5

    def test_a_minimum_beyond_it_is_the_operators_word(self):
        assert Watch(burst_max_allocations=5, min_allocations=8).wants(16).desired == 8

    def test_a_schedule_beyond_it_is_granted_at_once(self):
        sale = schedule("sale", min_allocations=12)
        watch = Watch(burst_max_allocations=5, schedules=(sale,), open_schedules={sale})
        assert watch.wants(16).desired == 12

    def test_a_minute_is_as_long_as_the_load_is_measured_over(self):
        from autoscaler.config.document import ScalingTable

        assert ScalingTable().load_window == BURST_HOLD_S


numbers = st.integers(1, 30)


@st.composite
def rules(draw):
    minimum, maximum = sorted((draw(numbers), draw(numbers)))
    schedules = draw(
        st.lists(
            st.builds(
                schedule, st.sampled_from("abc"),
                min_allocations=st.none() | numbers,
                max_allocations=st.none() | numbers,
            ),
            max_size=3, unique_by=lambda s: s.name,
        )
    )  # fmt: skip
    return {
        "min_allocations": minimum,
        "max_allocations": maximum,
        "schedules": tuple(schedules),
        "burst_max_allocations": draw(st.none() | numbers),
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
def test_no_raise_exceeds_what_fits_and_nothing_leaves_the_bounds(given, wishes, cores, data):
    cluster = hardware(cores) if cores else None
    watch = Watch(allocations=data.draw(numbers), cluster=cluster, **given)
    for wish, fate in wishes:
        watch.open_schedules = data.draw(st.sets(st.sampled_from(given["schedules"] or (None,))))
        before = watch.allocations
        decision = watch.wants(wish)
        if decision.sample.issues:
            continue
        if decision.changes:
            low, high = min(given["min_allocations"], before), max(given["max_allocations"], before)
            assert low <= decision.desired <= high
        if decision.desired > before:
            assert decision.desired <= (cores or math.inf)
        watch.answer(fate)


@given(rules(), st.integers(0, 60))
def test_without_a_refusal_a_measured_number_lies_within_the_bounds(given, wish):
    open_schedules = frozenset(given["schedules"])
    watch = Watch(allocations=given["min_allocations"], open_schedules=open_schedules, **given)
    watch.answer(OutcomeKind.ACCEPTED)
    assert given["min_allocations"] <= watch.wants(wish).desired <= given["max_allocations"]
