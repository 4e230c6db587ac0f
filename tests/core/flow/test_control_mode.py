"""Which lever is used, when it is somebody else's, and what is asked for."""

import pytest
from msgspec.structs import replace

from autoscaler.core.explanation import explain
from autoscaler.core.flow.feedback import apply_outcomes
from autoscaler.core.flow.planning import plan
from autoscaler.core.flow.transition import ADAPTIVE_TIMEOUT_S
from autoscaler.core.selection import ScaleToZero, ZeroMethod
from autoscaler.core.state import State
from autoscaler.core.values import (
    AdaptiveAllocations,
    Cluster,
    Mode,
    NodeCapacity,
    OutcomeKind,
    Reason,
    Schedule,
    SetAllocations,
    SetBounds,
    Start,
    Stop,
)
from tests.observations import deployment, node, observation, outcome, policy, rule

POLL_S, HALF_AN_HOUR_S = 10.0, 1800.0


class Stage:
    """A deployment that carries out what is accepted, looked at every ten seconds.

    The cluster's own scaler raises and lowers its number into its bounds, and does no more.
    """

    def __init__(self, *rules, allocations=2, native=None, version="9.3.0", **ids):
        self.policy = policy(*rules)
        self.state = State()
        self.at = 0.0
        self.allocations, self.native = allocations, native
        self.completed, self.created_at = 0, 900.0
        self.runs = True
        self.obeys = True  # whether the cluster's own scaler can do what it wants
        self.ids = {"deployment_id": "elser", "model_id": "elser"} | ids
        nodes = (NodeCapacity(node_id="n1", name="n1", version=version),)
        self.cluster = Cluster(nodes=nodes)
        self.owned = {}

    def stats(self):
        serving = (node(completed=self.completed, allocations=self.allocations),)
        return deployment(
            *(serving if self.allocations else ()),
            allocations=self.allocations,
            adaptive=self.native,
            server_created_at=self.created_at,
            **self.ids,
        )

    def look(self, rate=0.0, *, open_schedules=(), asked=(), fate=OutcomeKind.ACCEPTED):
        """A decision after ten seconds with so many requests a second of 40 ms, carried out."""
        self.at += POLL_S
        self.completed += round(rate * POLL_S)
        seen = observation(
            self.at,
            *((self.stats(),) if self.runs else ()),
            cluster=self.cluster,
            owned=self.owned,
        )
        state = replace(self.state, resume_requested=frozenset(asked))
        planned, self.state = plan(state, seen, self.policy, open_schedules)
        (decision,) = planned.decisions
        if decision.change is not None and not decision.dry_run:
            self.state = apply_outcomes(self.state, [outcome(decision, fate, at=self.at)])
            if fate is OutcomeKind.ACCEPTED:
                self._carry_out(decision.change)
        return decision

    def looks(self, count, rate=0.0, **given):
        return [self.look(rate, **given) for _ in range(count)]

    def for_seconds(self, seconds, rate=0.0, **given):
        return self.looks(round(seconds / POLL_S), rate, **given)

    def _carry_out(self, change):
        match change:
            case SetAllocations(allocations=allocations):
                self.allocations = allocations
                if change.take_over:
                    self.native = replace(self.native, enabled=False)
            case SetBounds(minimum=minimum, maximum=maximum):
                self.native = AdaptiveAllocations(enabled=True, minimum=minimum, maximum=maximum)
                if self.obeys:
                    self.allocations = min(max(self.allocations, minimum), maximum)
            case Stop():
                self.runs = False
            case Start():
                self.runs, self.allocations = True, change.allocations
                self.created_at, self.completed = self.at, 0


def changes(decisions):
    return [decision.change for decision in decisions if decision.change is not None]


ON = AdaptiveAllocations(enabled=True, minimum=1, maximum=4)
BOUNDS = rule(mode=Mode.BOUNDS, max_allocations=20, stabilisation_window_s=60.0)


class TestTakingOver:
    def test_what_the_cluster_scales_is_left_to_it(self):
        stage = Stage(rule(), native=ON)
        decisions = stage.looks(5, rate=200.0)
        assert changes(decisions) == []
        assert decisions[-1].reason is Reason.ADAPTIVE_ENABLED

    def test_if_asked_to_it_is_taken_over_in_one_call_once_it_is_measured(self):
        stage = Stage(rule(take_over=True), native=ON)
        decisions = stage.looks(5, rate=100.0)
        assert changes(decisions) == [SetAllocations(6, take_over=True)]
        assert decisions[0].change is None
        assert explain(decisions[1]).startswith("elser 2 -> 6, adaptive allocations disabled: ")

    def test_it_is_taken_over_even_if_the_number_is_right(self):
        stage = Stage(rule(take_over=True), allocations=6, native=ON)
        assert changes(stage.looks(5, rate=100.0)) == [SetAllocations(6, take_over=True)]

    def test_who_switches_it_on_again_is_respected_and_it_is_said(self):
        stage = Stage(rule(take_over=True), native=ON)
        stage.looks(5, rate=100.0)
        stage.native = ON
        decisions = stage.looks(5, rate=300.0)
        assert changes(decisions) == []
        assert "were enabled again" in explain(decisions[-1])

    def test_so_is_who_switches_it_on_where_it_was_off_at_first(self):
        stage = Stage(rule(take_over=True))
        stage.looks(5, rate=100.0)
        stage.native = ON
        assert changes(stage.looks(5, rate=300.0)) == []

    def test_when_it_is_off_once_more_the_number_is_set_again(self):
        stage = Stage(rule(take_over=True), native=ON)
        stage.looks(5, rate=100.0)
        stage.native = ON
        stage.looks(5, rate=300.0)
        stage.native = replace(ON, enabled=False)
        assert changes(stage.looks(2, rate=300.0)) == [SetAllocations(18)]

    def test_a_deployment_that_was_started_anew_is_another_one(self):
        stage = Stage(rule(take_over=True), native=ON)
        stage.looks(5, rate=100.0)
        stage.native, stage.created_at, stage.completed = ON, 1_700.0, 0
        assert changes(stage.looks(5, rate=100.0)) == [SetAllocations(6, take_over=True)]

    @pytest.mark.parametrize(
        "fate", [OutcomeKind.FORBIDDEN, OutcomeKind.INVALID, OutcomeKind.UNKNOWN]
    )
    def test_a_refusal_is_not_answered_by_asking_every_time(self, fate):
        stage = Stage(rule(take_over=True), native=ON)
        assert len(changes(stage.looks(6, rate=100.0, fate=fate))) <= 3


class TestBounds:
    def test_the_clusters_own_scaler_is_switched_on_with_the_number_as_its_floor(self):
        stage = Stage(BOUNDS)
        decisions = stage.looks(3, rate=100.0)
        assert changes(decisions) == [SetBounds(6, 20)]
        assert explain(decisions[1]).startswith("elser minimum 2 -> 6, maximum 20: ")
        assert explain(decisions[2]).startswith("elser minimum stays at 6: ")

    def test_nothing_is_asked_for_while_the_floor_is_right(self):
        stage = Stage(BOUNDS)
        stage.looks(3, rate=100.0)
        assert changes(stage.looks(60, rate=100.0)) == []

    def test_what_the_cluster_adds_by_itself_is_its_own_business(self):
        stage = Stage(BOUNDS)
        stage.looks(3, rate=100.0)
        stage.allocations = 15
        decisions = stage.looks(10, rate=100.0)
        assert changes(decisions) == []
        assert (decisions[-1].current, decisions[-1].desired) == (6, 6)

    def test_bounds_that_somebody_has_moved_are_put_right(self):
        stage = Stage(BOUNDS)
        stage.looks(3, rate=100.0)
        stage.native = AdaptiveAllocations(enabled=True, minimum=None, maximum=None)
        assert changes(stage.looks(2, rate=100.0)) == [SetBounds(6, 20)]

    def test_the_floor_comes_down_after_the_load(self):
        stage = Stage(BOUNDS)
        stage.looks(3, rate=100.0)
        after = changes(stage.looks(30, rate=10.0))
        assert after[-1] == SetBounds(1, 20)
        assert len(after) <= 3

    def test_who_switches_it_off_is_respected_and_it_is_said(self):
        stage = Stage(BOUNDS)
        stage.looks(3, rate=100.0)
        stage.native = replace(stage.native, enabled=False)
        decisions = stage.looks(5, rate=300.0)
        assert changes(decisions) == []
        assert "were disabled again" in explain(decisions[-1])

    def test_the_other_mode_in_the_configuration_takes_it_back(self):
        stage = Stage(BOUNDS)
        stage.looks(3, rate=100.0)
        stage.policy = policy(rule(take_over=True))
        assert changes(stage.looks(2, rate=100.0)) == [SetAllocations(6, take_over=True)]

    def test_the_ceiling_is_that_of_an_open_schedule(self):
        night = Schedule(
            name="night", cron="0 0 * * *", timezone="UTC", length_s=3600.0, max_allocations=4
        )
        stage = Stage(replace(BOUNDS, schedules=(night,)))
        stage.looks(3, rate=10.0)
        assert changes(stage.looks(3, rate=10.0, open_schedules=(night,))) == [SetBounds(2, 4)]
        assert changes(stage.looks(3, rate=10.0)) == [SetBounds(2, 20)]

    def test_the_ceiling_is_the_burst_ceiling_until_more_is_granted(self):
        stage = Stage(replace(BOUNDS, burst_max_allocations=5))
        assert changes(stage.looks(4, rate=100.0)) == [SetBounds(5, 5)]
        assert changes(stage.looks(10, rate=100.0)) == [SetBounds(6, 20)]

    def test_nothing_beyond_the_maximum_is_asked_for_while_it_must_not_come_down_yet(self):
        stage = Stage(
            replace(BOUNDS, max_allocations=6),
            native=AdaptiveAllocations(enabled=True, minimum=9, maximum=12),
            allocations=9,
        )
        assert stage.look(rate=100.0).change is None
        assert changes(stage.looks(2, rate=100.0)) == [SetBounds(6, 6)]

    def test_a_floor_that_the_cluster_cannot_reach_is_lowered_by_halves(self):
        """Its scaler asks for all or nothing, so that it must not want more than there is."""
        stage = Stage(BOUNDS)
        stage.obeys = False
        stage.looks(2, rate=200.0)
        asked = changes(stage.for_seconds(ADAPTIVE_TIMEOUT_S + 30.0, rate=200.0))
        assert asked == [SetBounds(7, 7)]

    def test_in_a_dry_run_nothing_is_asked_for(self):
        stage = Stage(replace(BOUNDS, dry_run=True))
        stage.looks(10, rate=100.0)
        assert stage.native is None


SLEEPY = rule(zero=ScaleToZero(HALF_AN_HOUR_S, ZeroMethod.STOP))
NATIVE_ZERO = replace(BOUNDS, zero=ScaleToZero(HALF_AN_HOUR_S, ZeroMethod.ADAPTIVE))


class TestZero:
    def test_what_nobody_asks_for_is_stopped_when_its_time_has_come(self):
        stage = Stage(SLEEPY)
        stage.looks(3, rate=10.0)
        assert Stop() not in changes(stage.for_seconds(HALF_AN_HOUR_S - 20.0))
        decisions = stage.looks(3)
        assert changes(decisions) == [Stop()]
        assert not stage.runs
        assert explain(decisions[-1]).startswith("elser stays stopped: stopped ")

    def test_a_single_request_begins_the_time_anew(self):
        stage = Stage(SLEEPY)
        stage.for_seconds(HALF_AN_HOUR_S - 60.0)
        stage.look(rate=0.1)
        stage.for_seconds(HALF_AN_HOUR_S - 60.0)
        assert stage.runs

    def test_it_sleeps_until_somebody_asks(self):
        stage = Stage(SLEEPY)
        stage.for_seconds(HALF_AN_HOUR_S + 100.0)
        assert changes(stage.for_seconds(3600.0)) == []
        decision = stage.look(asked=("elser",))
        assert isinstance(decision.change, Start)
        assert explain(decision).startswith("elser is resumed with 1: ")
        assert stage.runs
        assert stage.look().desired == 1
        assert stage.state.stopped == {}

    def test_a_schedule_with_a_minimum_wakes_it_and_keeps_it_awake(self):
        day = Schedule(
            name="day", cron="0 8 * * *", timezone="UTC", length_s=3600.0, min_allocations=3
        )
        stage = Stage(replace(SLEEPY, schedules=(day,)))
        stage.for_seconds(HALF_AN_HOUR_S + 100.0)
        assert not stage.runs
        decisions = stage.for_seconds(2 * HALF_AN_HOUR_S, open_schedules=(day,))
        assert isinstance(decisions[0].change, Start)
        assert decisions[-1].desired == 3
        assert Stop() not in changes(decisions)

    def test_habits_wake_it(self):
        """Used at the same time on two days, it is there on the third before anybody asks."""
        stage = Stage(SLEEPY)
        awake = []
        for day in range(3):
            for quarter in range(96):
                decisions = stage.looks(90, rate=10.0 if quarter == 40 and stage.runs else 0.0)
                if any(isinstance(decision.change, Start) for decision in decisions):
                    awake.append((day, quarter))
                if quarter == 39 and day < 2 and not stage.runs:
                    stage.look(asked=("elser",))
        assert awake == [(2, 39)]

    def test_without_a_rule_that_lets_it_sleep_it_is_woken(self):
        stage = Stage(SLEEPY)
        stage.for_seconds(HALF_AN_HOUR_S + 100.0)
        stage.policy = policy(rule())
        assert isinstance(stage.look().change, Start)

    def test_even_if_no_rule_takes_it_any_more(self):
        stage = Stage(SLEEPY)
        stage.for_seconds(HALF_AN_HOUR_S + 100.0)
        stage.policy = policy(rule(deployments=("others",)))
        assert isinstance(stage.look().change, Start)

    def test_a_start_that_is_refused_is_tried_again_after_a_while(self):
        stage = Stage(SLEEPY)
        stage.for_seconds(HALF_AN_HOUR_S + 100.0)
        stage.policy = policy(rule())
        refused = stage.for_seconds(300.0, fate=OutcomeKind.NO_CAPACITY)
        assert 2 <= len(changes(refused)) <= 4
        stage.for_seconds(600.0)
        assert stage.runs

    def test_one_whose_model_was_deleted_is_forgotten(self):
        stage = Stage(SLEEPY)
        stage.for_seconds(HALF_AN_HOUR_S + 100.0)
        stage.look(asked=("elser",), fate=OutcomeKind.GONE)
        assert stage.state.stopped == {}

    def test_if_the_answer_to_a_stop_is_lost_it_is_looked_after_either_way(self):
        stage = Stage(SLEEPY)
        stage.for_seconds(HALF_AN_HOUR_S, fate=OutcomeKind.UNKNOWN)
        stage.looks(3, fate=OutcomeKind.UNKNOWN)
        assert stage.runs
        stage.for_seconds(HALF_AN_HOUR_S)
        assert not stage.runs
        assert set(stage.state.stopped) == {"elser"}

    def test_what_an_inference_endpoint_owns_is_not_stopped_and_it_is_said(self):
        stage = Stage(SLEEPY)
        stage.owned = {"elser": "elser"}
        decisions = stage.for_seconds(HALF_AN_HOUR_S + 100.0)
        assert changes(decisions) == [SetAllocations(1)]
        assert "but scale to zero is not safe: inference endpoint elser owns it" in explain(
            decisions[-1]
        )

    def test_what_is_in_use_is_not_asked_to_stop_all_the_time(self):
        stage = Stage(SLEEPY)
        decisions = stage.for_seconds(HALF_AN_HOUR_S + 600.0, fate=OutcomeKind.IN_USE)
        assert changes(decisions).count(Stop()) <= 1

    def test_the_clusters_own_scaler_is_allowed_nothing_and_gets_its_floor_back(self):
        stage = Stage(NATIVE_ZERO)
        stage.looks(3, rate=100.0)
        stage.for_seconds(HALF_AN_HOUR_S + 100.0)
        assert stage.native == AdaptiveAllocations(enabled=True, minimum=0, maximum=20)
        stage.allocations = 0  # which the cluster does in its own time
        assert changes(stage.for_seconds(3600.0)) == []
        stage.allocations = 1  # and this when somebody asks
        asked = changes(stage.looks(3, rate=100.0))
        assert asked[-1] == SetBounds(6, 20)

    @pytest.mark.parametrize("given", [{"version": "9.1.4"}, {"deployment_id": "elser-search"}])
    def test_not_where_that_is_unsafe(self, given):
        stage = Stage(NATIVE_ZERO, **given)
        stage.looks(3, rate=100.0)
        decisions = stage.for_seconds(HALF_AN_HOUR_S + 100.0)
        assert stage.native.minimum == 1
        assert "but scale to zero is not safe" in explain(decisions[-1])
