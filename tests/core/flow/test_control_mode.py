"""The control mode in effect, external control, and the changes that are requested."""

import pytest
from msgspec.structs import replace

from autoscaler.core.decision import Mode, OutcomeKind, SetAllocations, SetBounds, Start, Stop
from autoscaler.core.explanation import explain
from autoscaler.core.flow.control_mode import change_for
from autoscaler.core.flow.effect import hold_s
from autoscaler.core.flow.feedback import apply_outcomes
from autoscaler.core.flow.planning import plan
from autoscaler.core.flow.transition import ADAPTIVE_TIMEOUT_S
from autoscaler.core.selection import ScaleToZero, ZeroMethod
from autoscaler.core.state import State
from autoscaler.core.values import (
    AdaptiveAllocations,
    Cluster,
    NodeCapacity,
    Reason,
    Schedule,
    Step,
)
from tests.observations import deployment, node, observation, outcome, policy, rule

POLL_S, HALF_AN_HOUR_S = 10.0, 1800.0


class Stage:
    """A deployment that carries out accepted changes, polled every ten seconds.

    Adaptive allocations keep the allocations within their bounds, and do no more.
    """

    def __init__(self, *rules, allocations=2, adaptive=None, version="9.4.0", **ids):
        self.policy = policy(*rules)
        self.state = State()
        self.at = 0.0
        self.allocations, self.adaptive = allocations, adaptive
        self.completed, self.created_at = 0, 900.0
        self.runs = True
        self.reached = True  # whether adaptive allocations reach their minimum
        self.ids = {"deployment_id": "elser", "model_id": "elser"} | ids
        nodes = (NodeCapacity(node_id="n1", name="n1", version=version),)
        self.cluster = Cluster(nodes=nodes)
        self.owned = {}

    def stats(self):
        serving = (node(completed=self.completed, allocations=self.allocations),)
        return deployment(
            *(serving if self.allocations else ()),
            allocations=self.allocations,
            adaptive=self.adaptive,
            server_created_at=self.created_at,
            **self.ids,
        )

    def poll(self, rate=0.0, *, open_schedules=(), resume=(), kind=OutcomeKind.ACCEPTED):
        """A decision after ten seconds with `rate` requests a second of 40 ms, carried out."""
        self.at += POLL_S
        self.completed += round(rate * POLL_S)
        seen = observation(
            self.at,
            *((self.stats(),) if self.runs else ()),
            cluster=self.cluster,
            owned=self.owned,
        )
        state = replace(self.state, resume_requested=frozenset(resume))
        planned, self.state = plan(state, seen, self.policy, open_schedules)
        (decision,) = planned.decisions
        if decision.change is not None and not decision.dry_run:
            self.state = apply_outcomes(self.state, [outcome(decision, kind, at=self.at)])
            if kind is OutcomeKind.ACCEPTED:
                self._carry_out(decision.change)
        return decision

    def polls(self, count, rate=0.0, **given):
        return [self.poll(rate, **given) for _ in range(count)]

    def for_seconds(self, seconds, rate=0.0, **given):
        return self.polls(round(seconds / POLL_S), rate, **given)

    def _carry_out(self, change):
        match change:
            case SetAllocations(allocations=allocations):
                self.allocations = allocations
                if change.take_over:
                    self.adaptive = replace(self.adaptive, enabled=False)
            case SetBounds(minimum=minimum, maximum=maximum):
                self.adaptive = AdaptiveAllocations(enabled=True, minimum=minimum, maximum=maximum)
                if self.reached:
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
    def test_a_deployment_with_adaptive_allocations_is_held(self):
        stage = Stage(rule(), adaptive=ON)
        decisions = stage.polls(5, rate=200.0)
        assert changes(decisions) == []
        assert decisions[-1].reason is Reason.ADAPTIVE_ENABLED

    def test_with_take_over_it_is_taken_over_in_one_call_once_it_is_measured(self):
        stage = Stage(rule(take_over=True), adaptive=ON)
        decisions = stage.polls(5, rate=100.0)
        assert changes(decisions) == [SetAllocations(6, take_over=True)]
        assert decisions[0].change is None
        assert explain(decisions[1]).startswith("elser 2 -> 6, adaptive allocations disabled: ")

    def test_it_is_taken_over_even_if_the_allocations_are_right(self):
        stage = Stage(rule(take_over=True), allocations=6, adaptive=ON)
        assert changes(stage.polls(5, rate=100.0)) == [SetAllocations(6, take_over=True)]

    def test_adaptive_allocations_that_are_enabled_from_outside_are_not_disabled_again(self):
        stage = Stage(rule(take_over=True), adaptive=ON)
        stage.polls(5, rate=100.0)
        stage.adaptive = ON
        decisions = stage.polls(5, rate=300.0)
        assert changes(decisions) == []
        assert "were enabled again" in explain(decisions[-1])

    def test_so_are_adaptive_allocations_that_were_disabled_at_first(self):
        stage = Stage(rule(take_over=True))
        stage.polls(5, rate=100.0)
        stage.adaptive = ON
        assert changes(stage.polls(5, rate=300.0)) == []

    def test_when_they_are_disabled_again_the_allocations_are_set_again(self):
        stage = Stage(rule(take_over=True), adaptive=ON)
        stage.polls(5, rate=100.0)
        stage.adaptive = ON
        stage.polls(5, rate=300.0)
        stage.adaptive = replace(ON, enabled=False)
        assert changes(stage.polls(2, rate=300.0)) == [SetAllocations(18)]

    def test_a_restarted_deployment_is_a_new_deployment(self):
        stage = Stage(rule(take_over=True), adaptive=ON)
        stage.polls(5, rate=100.0)
        stage.adaptive, stage.created_at, stage.completed = ON, 1_700.0, 0
        assert changes(stage.polls(5, rate=100.0)) == [SetAllocations(6, take_over=True)]

    @pytest.mark.parametrize(
        "kind", [OutcomeKind.FORBIDDEN, OutcomeKind.INVALID, OutcomeKind.UNKNOWN]
    )
    def test_a_refused_take_over_is_not_sent_in_every_cycle(self, kind):
        stage = Stage(rule(take_over=True), adaptive=ON)
        assert len(changes(stage.polls(6, rate=100.0, kind=kind))) <= 3


class TestBounds:
    def test_adaptive_allocations_are_enabled_with_the_decided_minimum(self):
        stage = Stage(BOUNDS)
        decisions = stage.polls(3, rate=100.0)
        assert changes(decisions) == [SetBounds(6, 20)]
        assert explain(decisions[1]).startswith("elser minimum 2 -> 6, maximum 20: ")
        assert explain(decisions[2]).startswith("elser minimum stays at 6: ")

    def test_nothing_is_requested_while_the_minimum_is_right(self):
        stage = Stage(BOUNDS)
        stage.polls(3, rate=100.0)
        assert changes(stage.polls(60, rate=100.0)) == []

    def test_allocations_above_the_minimum_are_not_changed(self):
        stage = Stage(BOUNDS)
        stage.polls(3, rate=100.0)
        stage.allocations = 15
        decisions = stage.polls(10, rate=100.0)
        assert changes(decisions) == []
        assert (decisions[-1].current, decisions[-1].desired) == (6, 6)

    def test_bounds_that_were_changed_from_outside_are_corrected(self):
        stage = Stage(BOUNDS)
        stage.polls(3, rate=100.0)
        stage.polls(3, rate=100.0)
        stage.adaptive = AdaptiveAllocations(enabled=True, minimum=None, maximum=None)
        held = stage.for_seconds(600.0, rate=100.0)
        assert changes(held) == []
        assert held[0].steps[-1].inputs["to"] == "adaptive 0..unlimited"
        assert changes(stage.polls(2, rate=100.0)) == [SetBounds(6, 20)]

    def test_at_once_if_the_hold_is_zero(self):
        stage = Stage(replace(BOUNDS, external_change_hold_s=0.0))
        stage.polls(6, rate=100.0)
        stage.adaptive = AdaptiveAllocations(enabled=True, minimum=3, maximum=3)
        assert changes(stage.polls(1, rate=100.0)) == [SetBounds(6, 20)]

    def test_the_floor_comes_down_after_the_load(self):
        stage = Stage(BOUNDS)
        stage.polls(3, rate=100.0)
        after = changes(stage.polls(30, rate=10.0))
        assert after[-1] == SetBounds(1, 20)
        assert len(after) <= 3

    def test_adaptive_allocations_that_are_disabled_from_outside_are_not_enabled_again(self):
        stage = Stage(BOUNDS)
        stage.polls(3, rate=100.0)
        stage.adaptive = replace(stage.adaptive, enabled=False)
        decisions = stage.polls(5, rate=300.0)
        assert changes(decisions) == []
        assert "were disabled again" in explain(decisions[-1])

    def test_the_other_mode_in_the_configuration_takes_it_back(self):
        stage = Stage(BOUNDS)
        stage.polls(3, rate=100.0)
        stage.policy = policy(rule(take_over=True))
        assert changes(stage.polls(2, rate=100.0)) == [SetAllocations(6, take_over=True)]

    def test_the_ceiling_is_that_of_an_open_schedule(self):
        night = Schedule(
            name="night", cron="0 0 * * *", timezone="UTC", length_s=3600.0, max_allocations=4
        )
        stage = Stage(replace(BOUNDS, schedules=(night,)))
        stage.polls(3, rate=10.0)
        assert changes(stage.polls(3, rate=10.0, open_schedules=(night,))) == [SetBounds(2, 4)]
        assert changes(stage.polls(3, rate=10.0)) == [SetBounds(2, 20)]

    def test_the_ceiling_is_the_burst_ceiling_until_more_is_granted(self):
        stage = Stage(replace(BOUNDS, burst_max_allocations=5))
        assert changes(stage.polls(4, rate=100.0)) == [SetBounds(5, 5)]
        assert changes(stage.polls(10, rate=100.0)) == [SetBounds(6, 20)]

    def test_nothing_above_the_maximum_is_requested_while_a_decrease_is_delayed(self):
        stage = Stage(
            replace(BOUNDS, max_allocations=6),
            adaptive=AdaptiveAllocations(enabled=True, minimum=9, maximum=12),
            allocations=9,
        )
        assert stage.poll(rate=100.0).change is None
        assert changes(stage.polls(2, rate=100.0)) == [SetBounds(6, 6)]

    def test_a_floor_that_the_cluster_cannot_reach_is_lowered_by_halves(self):
        """Adaptive allocations request all or nothing, so they must not try for more than fits."""
        stage = Stage(BOUNDS)
        stage.reached = False
        stage.polls(2, rate=200.0)
        requested = changes(stage.for_seconds(ADAPTIVE_TIMEOUT_S + 30.0, rate=200.0))
        assert requested == [SetBounds(7, 7)]

    def test_in_a_dry_run_nothing_is_requested(self):
        stage = Stage(replace(BOUNDS, dry_run=True))
        stage.polls(10, rate=100.0)
        assert stage.adaptive is None


STOP_WHEN_IDLE = rule(zero=ScaleToZero(HALF_AN_HOUR_S, ZeroMethod.STOP))
ADAPTIVE_ZERO = replace(BOUNDS, zero=ScaleToZero(HALF_AN_HOUR_S, ZeroMethod.ADAPTIVE))


class TestMaximumOfAColdStart:
    """While an increase is held after a cold start, the maximum does not go up either."""

    RULE = rule(mode=Mode.BOUNDS, max_allocations=6)
    HELD = (Step(Reason.SLO, 2, 4), Step(Reason.COLD_START, 4, 2))

    def change(self, maximum, steps=HELD):
        on = AdaptiveAllocations(enabled=True, minimum=2, maximum=maximum)
        stats = deployment(node(allocations=2), adaptive=on)
        return change_for(self.RULE, stats, steps, certain=True)

    def test_a_maximum_that_was_lowered_to_what_fits_is_kept(self):
        assert self.change(2) is None
        assert self.change(2, (*self.HELD[:1], Step(Reason.STEP_LIMIT, 4, 2))) == SetBounds(2, 6)

    def test_a_maximum_above_that_of_the_rule_is_lowered(self):
        assert self.change(9) == SetBounds(2, 6)


@pytest.mark.parametrize("kind", [OutcomeKind.ACCEPTED, OutcomeKind.UNKNOWN])
def test_a_lost_response_to_new_bounds_delays_a_decrease_as_an_acceptance_does(kind):
    stage = Stage(BOUNDS, adaptive=ON)
    while not isinstance(stage.poll(200.0, kind=kind).change, SetBounds):
        pass
    assert stage.state.deployments["elser"].bounds_moved_at == stage.at


class TestZero:
    def test_an_idle_deployment_is_stopped_after_its_time(self):
        stage = Stage(STOP_WHEN_IDLE)
        stage.polls(3, rate=10.0)
        assert Stop() not in changes(stage.for_seconds(HALF_AN_HOUR_S - 20.0))
        decisions = stage.polls(3)
        assert changes(decisions) == [Stop()]
        assert not stage.runs
        assert explain(decisions[-1]).startswith(
            "elser stays stopped: it was idle, and was stopped "
        )

    def test_a_lost_stop_that_takes_effect_after_another_writers_change_is_not_forgotten(self):
        stage = Stage(STOP_WHEN_IDLE)
        while not isinstance(stage.poll(kind=OutcomeKind.UNKNOWN).change, Stop):
            pass
        stage.allocations += 1
        stage.poll()
        stage.runs = False
        stage.poll()
        assert "elser" in stage.state.stopped

    def test_a_single_request_restarts_the_idle_time(self):
        stage = Stage(STOP_WHEN_IDLE)
        stage.for_seconds(HALF_AN_HOUR_S - 60.0)
        stage.poll(rate=0.1)
        stage.for_seconds(HALF_AN_HOUR_S - 60.0)
        assert stage.runs

    def test_it_stays_stopped_until_a_resume_request(self):
        stage = Stage(STOP_WHEN_IDLE)
        stage.for_seconds(HALF_AN_HOUR_S + 100.0)
        assert changes(stage.for_seconds(3600.0)) == []
        decision = stage.poll(resume=("elser",))
        assert isinstance(decision.change, Start)
        assert explain(decision).startswith("elser is resumed with 1 allocation: ")
        assert stage.runs
        assert stage.poll().desired == 1
        assert stage.state.stopped == {}

    def test_a_schedule_with_a_minimum_resumes_it_and_keeps_it_running(self):
        day = Schedule(
            name="day", cron="0 8 * * *", timezone="UTC", length_s=3600.0, min_allocations=3
        )
        stage = Stage(replace(STOP_WHEN_IDLE, schedules=(day,)))
        stage.for_seconds(HALF_AN_HOUR_S + 100.0)
        assert not stage.runs
        decisions = stage.for_seconds(2 * HALF_AN_HOUR_S, open_schedules=(day,))
        assert isinstance(decisions[0].change, Start)
        assert decisions[-1].desired == 3
        assert Stop() not in changes(decisions)

    def test_usual_use_resumes_it(self):
        """Used at the same time on two days, it runs on the third before the first request."""
        stage = Stage(STOP_WHEN_IDLE)
        resumed = []
        for day in range(3):
            for quarter in range(96):
                decisions = stage.polls(90, rate=10.0 if quarter == 40 and stage.runs else 0.0)
                if any(isinstance(decision.change, Start) for decision in decisions):
                    resumed.append((day, quarter))
                if quarter == 39 and day < 2 and not stage.runs:
                    stage.poll(resume=("elser",))
        assert resumed == [(2, 39)]

    def test_without_a_rule_that_scales_it_to_zero_it_is_resumed(self):
        stage = Stage(STOP_WHEN_IDLE)
        stage.for_seconds(HALF_AN_HOUR_S + 100.0)
        stage.policy = policy(rule())
        assert isinstance(stage.poll().change, Start)

    def test_even_if_no_rule_takes_it_any_more(self):
        stage = Stage(STOP_WHEN_IDLE)
        stage.for_seconds(HALF_AN_HOUR_S + 100.0)
        stage.policy = policy(rule(deployments=("others",)))
        assert isinstance(stage.poll().change, Start)

    def test_a_start_that_is_refused_is_tried_again_after_a_while(self):
        stage = Stage(STOP_WHEN_IDLE)
        stage.for_seconds(HALF_AN_HOUR_S + 100.0)
        stage.policy = policy(rule())
        refused = stage.for_seconds(300.0, kind=OutcomeKind.NO_CAPACITY)
        assert 2 <= len(changes(refused)) <= 4
        stage.for_seconds(600.0)
        assert stage.runs

    def test_the_entry_of_a_deleted_model_is_dropped(self):
        stage = Stage(STOP_WHEN_IDLE)
        stage.for_seconds(HALF_AN_HOUR_S + 100.0)
        stage.poll(resume=("elser",), kind=OutcomeKind.GONE)
        assert stage.state.stopped == {}

    def test_if_the_response_to_a_stop_is_lost_the_deployment_stays_managed(self):
        stage = Stage(STOP_WHEN_IDLE)
        stage.for_seconds(HALF_AN_HOUR_S, kind=OutcomeKind.UNKNOWN)
        stage.polls(3, kind=OutcomeKind.UNKNOWN)
        assert stage.runs
        stage.for_seconds(HALF_AN_HOUR_S)
        assert not stage.runs
        assert set(stage.state.stopped) == {"elser"}

    def test_a_deployment_of_an_inference_endpoint_is_not_stopped_and_the_step_says_so(self):
        stage = Stage(STOP_WHEN_IDLE)
        stage.owned = {"elser": "elser"}
        decisions = stage.for_seconds(HALF_AN_HOUR_S + 100.0)
        assert changes(decisions) == [SetAllocations(1)]
        assert "but scale to zero is not safe: inference endpoint elser owns it" in explain(
            decisions[-1]
        )

    def test_a_deployment_in_use_is_not_stopped_in_every_cycle(self):
        stage = Stage(STOP_WHEN_IDLE)
        decisions = stage.for_seconds(HALF_AN_HOUR_S + 600.0, kind=OutcomeKind.IN_USE)
        assert changes(decisions).count(Stop()) <= 1

    def test_adaptive_allocations_may_go_to_zero_and_get_their_minimum_back(self):
        stage = Stage(ADAPTIVE_ZERO)
        stage.polls(3, rate=100.0)
        stage.for_seconds(HALF_AN_HOUR_S + 100.0)
        assert stage.adaptive == AdaptiveAllocations(enabled=True, minimum=0, maximum=20)
        stage.allocations = 0  # which the cluster does in its own time
        assert changes(stage.for_seconds(3600.0)) == []
        stage.allocations = 1  # and this at the first request
        requested = changes(stage.polls(3, rate=100.0))
        assert requested[-1] == SetBounds(6, 20)

    @pytest.mark.parametrize("given", [{"version": "9.1.4"}, {"deployment_id": "elser-search"}])
    def test_not_where_that_is_unsafe(self, given):
        stage = Stage(ADAPTIVE_ZERO, **given)
        stage.polls(3, rate=100.0)
        decisions = stage.for_seconds(HALF_AN_HOUR_S + 100.0)
        assert stage.adaptive.minimum == 1
        assert "but scale to zero is not safe" in explain(decisions[-1])


@pytest.mark.parametrize(
    ("configured_s", "holds_s"), [(0.0, [0.0, 0.0, 60.0, 120.0]), (300.0, [300.0, 300.0, 600.0])]
)
def test_a_change_of_a_second_writer_is_respected_twice_as_long_as_the_one_before(
    configured_s, holds_s
):
    respecting = rule(external_change_hold_s=configured_s)
    found = [hold_s(respecting, times) for times in range(1, len(holds_s) + 1)]
    assert found == holds_s
