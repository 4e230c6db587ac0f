"""Gradual rollouts in plans: who governs a deployment in which hour, and when that is reverted."""

import pytest
from msgspec.structs import replace

from autoscaler.core.decision import (
    Mode,
    ObserveOnly,
    ObserveOnlyCause,
    OutcomeKind,
    SetAllocations,
    SetBounds,
    Setting,
)
from autoscaler.core.flow.cycle import begin_cycle, end_cycle
from autoscaler.core.flow.shadowing import only_totals
from autoscaler.core.gradual_rollout import continued, of_first_start, restarted, waiting
from autoscaler.core.instructions import Instructions, Override, Pause, PausedChanges
from autoscaler.core.rollout_hours import RolloutHours, block_at, is_active
from autoscaler.core.rollout_status import RolloutEventKind, RolloutVerdict, rollout_text
from autoscaler.core.selection import ScaleToZero, ZeroMethod
from autoscaler.core.shadow import ShadowAccount, ShadowTotals
from autoscaler.core.shortfall import ShortfallCause
from autoscaler.core.slo.policy import SloPolicy
from autoscaler.core.state import Shadow, State
from autoscaler.core.units import duration_text
from autoscaler.core.values import AdaptiveAllocations, Reason, Schedule
from tests.observations import deployment, node, observation, outcome, policy, rule

HOUR = 3600.0
HOURS = RolloutHours(hours=tuple(range(24)), timezone="UTC", share=0.5, settings="one")


class Simulated:
    """A deployment with a steady load, and the daemon's cycles every 10 s."""

    def __init__(self, *, allocations=6, adaptive=None, per_s=20.0, state=None, **given):
        self.at = 100 * 24 * HOUR
        self.state = State() if state is None else state
        self.allocations, self.adaptive, self.per_s = allocations, adaptive, per_s
        self.queued = self.rejected = 0
        self.rule = rule(
            **{"policy": SloPolicy(), "rollout": HOURS, "stabilisation_window_s": 0.0, **given}
        )
        self.completed = 0
        self.changes, self.events, self.decision = [], [], None
        self.missing, self.created_at = False, 1.0
        self.lost = 0  # allocations that ran, on a node that has gone
        self.open_schedules = set()
        self.blind_s = {}
        self.utc_offsets_s = {"UTC": 0.0}
        self.queue_capacity = 900
        self.refuses = False  # each update, because there is no capacity
        self.loses = False  # each update on the way; it may arrive later

    @property
    def rollout(self):
        return self.state.rollouts["elser"]

    def poll(self):
        self.at += 10.0
        running = max(0, self.allocations - self.lost)
        capacity = int(0.98 * running * 10.0 / 0.1)
        served = min(self.queued + int(10.0 * self.per_s), capacity)
        self.queued += int(10.0 * self.per_s) - served
        self.completed += served
        self.rejected += max(0, self.queued - self.queue_capacity)
        self.queued = min(self.queued, self.queue_capacity)
        process = node(
            allocations=running,
            completed=self.completed,
            busy_s=0.1 * self.completed,
            mean_inference_s=0.1,
            pending=self.queued,
            rejections=self.rejected,
        )
        if self.missing:
            process = replace(process, server_started_at=None)
        stats = deployment(
            process,
            allocations=self.allocations,
            running_allocations=running,
            adaptive=self.adaptive,
            queue_capacity=self.queue_capacity,
        )
        stats = replace(stats, server_created_at=self.created_at)
        seen = observation(self.at, stats)
        cycle = begin_cycle(
            self.state,
            seen,
            policy(self.rule),
            lambda _at, _schedules: self.open_schedules,
            self.blind_s,
            lambda _at, timezone: self.utc_offsets_s[timezone],
        )
        (self.decision,) = cycle.plan.decisions
        self.events += cycle.plan.rollout_events
        sent = {}
        for update in cycle.updates:
            self.changes.append(update.change)
            kind = OutcomeKind.NO_CAPACITY if self.refuses else OutcomeKind.ACCEPTED
            if self.loses:
                kind = OutcomeKind.UNKNOWN
            if kind is OutcomeKind.ACCEPTED:
                self.apply(update.change)
            sent["elser"] = outcome(update, kind)
        _, self.state = end_cycle(cycle.plan, sent, cycle.state)

    def apply(self, change):
        if isinstance(change, SetAllocations):
            self.allocations = change.allocations
            self.adaptive = replace(self.adaptive, enabled=False) if change.take_over else None
        else:
            self.adaptive = AdaptiveAllocations(
                enabled=True, minimum=change.minimum, maximum=change.maximum or None
            )
            self.allocations = max(self.allocations, change.minimum)

    def until(self, *, active, at_most_h=4):
        for _ in range(int(at_most_h * 360)):
            self.poll()
            if self.rollout.active is active:
                return
        raise AssertionError("no such hour")

    def run(self, seconds):
        for _ in range(int(seconds / 10.0)):
            self.poll()

    def kinds(self):
        return [event.kind for event in self.events]


def test_the_rule_acts_in_the_hours_that_the_seed_draws_and_otherwise_what_ran_before_returns():
    simulated = Simulated(allocations=9)
    simulated.poll()
    assert simulated.rollout.before == Setting(9)
    for _ in range(8 * 360):
        simulated.poll()
        rollout = simulated.rollout
        block = block_at(simulated.at, 0.0)
        drawn = is_active(HOURS, block, rollout.seed) and block != rollout.first_block
        assert rollout.active is drawn
        if not drawn:
            assert simulated.decision.desired == 9
    assert {change.allocations for change in simulated.changes} > {9}
    assert simulated.kinds() == [RolloutEventKind.BEGUN]
    assert rollout.verdict is RolloutVerdict.RUNNING
    assert rollout.active_totals.hours + rollout.before_totals.hours >= 7
    assert rollout.active_totals.allocation_s < rollout.before_totals.allocation_s


def test_it_never_acts_in_the_hour_in_which_it_begins():
    simulated = Simulated(allocations=9)
    while block_at(simulated.at + 10.0, 0.0) == block_at(100 * 24 * HOUR + 10.0, 0.0):
        simulated.poll()
        assert not simulated.rollout.active
    assert simulated.changes == []


def test_adaptive_allocations_return_with_their_own_bounds():
    for maximum in (12, None):
        found = AdaptiveAllocations(enabled=True, minimum=0, maximum=maximum)
        simulated = Simulated(adaptive=found, take_over=True, max_allocations=9)
        simulated.until(active=True)
        simulated.run(600)
        assert not simulated.adaptive.enabled
        simulated.until(active=False)
        simulated.run(30)
        assert simulated.changes[-1] == SetBounds(0, maximum or 0)
        assert simulated.adaptive == found
        count = len(simulated.changes)
        simulated.run(120)
        assert len(simulated.changes) == count
        simulated.until(active=True)
        simulated.run(30)
        assert not simulated.adaptive.enabled


def test_in_mode_bounds_a_fixed_number_returns_and_adaptive_allocations_are_disabled():
    simulated = Simulated(allocations=9, mode=Mode.BOUNDS)
    simulated.until(active=True)
    simulated.run(300)
    assert simulated.adaptive.enabled
    simulated.until(active=False)
    simulated.run(30)
    assert simulated.changes[-1] == SetAllocations(9, take_over=True)
    simulated.until(active=True)
    simulated.run(30)
    assert simulated.adaptive.enabled


def test_more_than_the_bounds_of_the_rule_returns_as_it_was():
    simulated = Simulated(allocations=30, max_allocations=8)
    simulated.until(active=True)
    simulated.run(600)
    assert simulated.allocations <= 8
    simulated.until(active=False)
    simulated.run(60)
    assert simulated.allocations == 30


def test_a_bad_rule_is_reverted_within_minutes_and_stays_so():
    simulated = Simulated(allocations=9, per_s=40.0, max_allocations=2)
    simulated.until(active=True)
    began_at = simulated.at
    while simulated.rollout.verdict is RolloutVerdict.RUNNING:
        simulated.poll()
        assert simulated.at < began_at + 600.0
    simulated.run(60)
    assert simulated.allocations == 9
    assert simulated.kinds() == [RolloutEventKind.BEGUN, RolloutEventKind.REVERTED]
    assert "requests were late" in simulated.events[-1].text
    simulated.run(12 * HOUR)
    assert simulated.allocations == 9
    assert simulated.decision.reason is Reason.GRADUAL_ROLLOUT or not simulated.decision.changes
    assert simulated.kinds().count(RolloutEventKind.REVERTED) == 1


def reverted():
    simulated = Simulated(allocations=9, per_s=40.0, max_allocations=2)
    simulated.until(active=True)
    simulated.run(900)
    assert simulated.rollout.verdict is RolloutVerdict.REVERTED
    return simulated


def test_a_changed_rule_begins_again_and_a_dry_run_does_not():
    simulated = reverted()
    simulated.rule = replace(simulated.rule, dry_run=True)
    simulated.run(60)
    assert simulated.rollout.verdict is RolloutVerdict.REVERTED
    hours = replace(HOURS, settings="two")
    simulated.rule = replace(simulated.rule, dry_run=False, max_allocations=12, rollout=hours)
    simulated.poll()
    assert simulated.rollout.verdict is RolloutVerdict.RUNNING
    assert simulated.rollout.before == Setting(9)
    assert simulated.rollout.active_totals.requests == 0.0
    simulated.until(active=True)


def test_an_operator_lets_it_begin_again():
    simulated = reverted()
    resumed = restarted(simulated.rollout, simulated.at)
    simulated.state = replace(simulated.state, rollouts={"elser": resumed})
    simulated.poll()
    assert not simulated.rollout.active
    simulated.until(active=True)
    assert simulated.rollout.before == Setting(9)


def test_without_a_saved_state_it_waits_for_an_operator_and_changes_nothing():
    simulated = Simulated(allocations=3, state=State(cold_start_s=0.0))
    simulated.run(6 * HOUR)
    assert simulated.rollout.verdict is RolloutVerdict.WAITING
    assert simulated.changes == []
    assert simulated.kinds() == [RolloutEventKind.WAITS]
    resumed = restarted(simulated.rollout, simulated.at)
    simulated.state = replace(simulated.state, rollouts={"elser": resumed})
    simulated.poll()
    assert simulated.rollout.before == Setting(3)
    simulated.until(active=True)


def test_while_it_waits_no_schedule_changes_what_ran_before():
    night = Schedule(
        name="night", cron="0 1 * * *", timezone="UTC", length_s=60.0, min_allocations=7
    )
    simulated = Simulated(allocations=3, state=State(cold_start_s=0.0), schedules=(night,))
    simulated.open_schedules = {night}
    simulated.run(HOUR)
    assert (simulated.changes, simulated.allocations) == ([], 3)
    resumed = restarted(simulated.rollout, simulated.at)
    simulated.state = replace(simulated.state, rollouts={"elser": resumed})
    simulated.run(60)
    assert (simulated.rollout.before, simulated.allocations) == (Setting(3), 7)


def test_at_the_very_first_start_it_begins_at_once():
    """No state has been saved before, so that no revert can have been lost."""
    simulated = Simulated(allocations=3, state=State(cold_start_s=0.0, is_first_start=True))
    simulated.poll()
    assert simulated.rollout.verdict is RolloutVerdict.RUNNING
    assert simulated.rollout.before == Setting(3)
    assert simulated.kinds() == [RolloutEventKind.BEGUN]


def test_a_deployment_that_was_created_again_has_the_setting_it_was_created_with():
    simulated = Simulated(allocations=9)
    simulated.until(active=True)
    simulated.run(600)
    simulated.created_at, simulated.allocations = simulated.at, 2
    simulated.poll()
    assert simulated.rollout.before == Setting(2)
    assert simulated.kinds()[-1] is RolloutEventKind.CHANGED
    simulated.until(active=False)
    simulated.run(300)
    assert simulated.allocations == 2


def test_a_deployment_that_is_created_again_while_it_waits_is_left_as_it_is():
    simulated = Simulated(allocations=9, state=State(cold_start_s=0.0))
    simulated.run(60)
    simulated.created_at, simulated.allocations = simulated.at, 2
    simulated.run(60)
    simulated.allocations = 3  # set by someone else
    simulated.run(HOUR)
    assert (simulated.rollout.before, simulated.changes) == (None, [])
    assert simulated.allocations == 3


def unsaved(**given):
    """A rollout of the very first start, whose state cannot be saved."""
    state = State(cold_start_s=0.0, is_first_start=True)
    simulated = Simulated(allocations=9, state=state, **given)
    simulated.poll()
    waits(simulated, saved=False)
    return simulated


def waits(simulated, *, saved):
    rollouts = of_first_start(simulated.state.rollouts, saved=saved)
    simulated.state = replace(simulated.state, rollouts=rollouts)


def test_while_nothing_can_be_saved_no_schedule_changes_what_ran_before():
    """The next start would take what the schedule has set for what ran before."""
    night = Schedule(
        name="night", cron="0 1 * * *", timezone="UTC", length_s=60.0, min_allocations=12
    )
    simulated = unsaved(schedules=(night,), max_allocations=16)
    simulated.open_schedules = {night}
    simulated.run(300)
    assert (simulated.changes, simulated.allocations) == ([], 9)
    waits(simulated, saved=True)
    simulated.run(60)
    assert (simulated.rollout.before, simulated.allocations) == (Setting(9), 12)


def test_what_another_writer_sets_while_nothing_can_be_saved_is_what_ran_before():
    simulated = unsaved()
    simulated.run(60)
    simulated.allocations = 7
    simulated.run(60)
    waits(simulated, saved=True)
    simulated.run(60)
    assert (simulated.rollout.before, simulated.changes) == (Setting(7), [])


def test_a_deployment_that_is_created_again_while_nothing_can_be_saved_keeps_its_setting():
    simulated = unsaved()
    simulated.run(60)
    simulated.created_at, simulated.allocations = simulated.at, 2
    simulated.run(60)
    waits(simulated, saved=True)
    simulated.run(60)
    assert (simulated.rollout.before, simulated.changes) == (Setting(2), [])


def test_a_clock_that_is_set_back_does_not_stop_the_comparison():
    simulated = Simulated(allocations=9, per_s=40.0, max_allocations=2)
    simulated.until(active=True)
    state = simulated.state
    later = replace(simulated.rollout, switched_at=simulated.at + 86_400.0)
    simulated.state = replace(state, rollouts={"elser": later})
    simulated.run(600)
    assert simulated.rollout.verdict is RolloutVerdict.REVERTED


def test_it_says_when_the_rule_acts_next_and_how_near_a_revert_is():
    simulated = Simulated(allocations=9, per_s=40.0, max_allocations=2)
    simulated.run(30)
    status = simulated.decision.rollout
    assert (
        f"the rule acts in {duration_text(status.next_active_at - simulated.at)}"
        in rollout_text(status, simulated.at)
    )
    simulated.until(active=True)
    assert abs(simulated.at - status.next_active_at) <= 10.0
    simulated.run(180)
    assert 0.2 < simulated.decision.rollout.evidence < 1.0
    simulated.run(300)
    assert simulated.decision.rollout.next_active_at is None


def test_what_another_writer_sets_in_a_returned_hour_is_what_returns_from_then_on():
    simulated = Simulated(allocations=9)
    simulated.until(active=True)
    simulated.run(600)
    simulated.until(active=False)
    simulated.run(300)
    simulated.allocations = 7
    simulated.run(60)
    assert simulated.rollout.before == Setting(7)
    assert simulated.allocations == 7
    assert simulated.kinds()[-1] is RolloutEventKind.CHANGED
    simulated.until(active=True)
    simulated.run(900)
    simulated.until(active=False)
    simulated.run(60)
    assert simulated.allocations == 7


def test_at_once_too_where_external_changes_are_not_respected():
    simulated = Simulated(allocations=9, external_change_hold_s=0.0)
    simulated.run(300)
    simulated.allocations = 7
    simulated.run(300)
    assert simulated.changes == []
    assert simulated.rollout.before == Setting(7)


def test_an_override_precedes_the_hours():
    simulated = Simulated(allocations=9)
    simulated.run(60)
    override = Override(allocations=4, since=simulated.at, until=simulated.at + 1200.0, by="alice")
    given = Instructions(overrides={"elser": override})
    simulated.state = replace(simulated.state, instructions=given)
    simulated.run(60)
    assert simulated.allocations == 4
    assert not simulated.rollout.active
    simulated.state = replace(simulated.state, instructions=Instructions())
    simulated.run(60)
    assert simulated.allocations == 9
    assert simulated.rollout.before == Setting(9)


def test_an_override_is_within_the_bounds_of_the_rule_in_any_hour():
    simulated = Simulated(allocations=30, max_allocations=8)
    simulated.run(60)
    override = Override(allocations=20, since=simulated.at, until=simulated.at + HOUR, by="alice")
    given = Instructions(overrides={"elser": override})
    simulated.state = replace(simulated.state, instructions=given)
    simulated.run(60)
    assert simulated.allocations == 8


def test_nothing_is_taken_away_while_data_is_missing():
    simulated = Simulated(allocations=2, per_s=40.0)
    simulated.until(active=True)
    simulated.run(300)
    assert simulated.allocations > 2
    raised = simulated.allocations
    simulated.missing = True
    simulated.until(active=False)
    simulated.run(120)
    assert simulated.allocations == raised
    simulated.missing = False
    simulated.run(120)
    assert simulated.allocations == 2


def test_a_dry_run_states_the_hours_and_compares_nothing():
    simulated = Simulated(allocations=9, dry_run=True)
    simulated.until(active=True)
    simulated.run(1800)
    assert simulated.changes == []
    assert simulated.rollout.active_totals.requests == 0.0
    simulated.allocations = 11  # an operator goes on as before
    simulated.run(60)
    assert simulated.rollout.before == Setting(11)


@pytest.mark.parametrize("active", [True, False])
def test_late_requests_while_a_node_is_lost_are_not_compared(active):
    """They say nothing of the rule, and nothing of what ran before."""
    simulated = Simulated(allocations=9, per_s=40.0, max_allocations=9)
    simulated.until(active=True)
    if not active:
        simulated.until(active=False)
    simulated.run(600)
    found = simulated.rollout
    simulated.lost = simulated.allocations - 2
    simulated.run(900)
    assert simulated.queued
    assert simulated.rollout.verdict is RolloutVerdict.RUNNING
    for before, after in (
        (found.active_totals, simulated.rollout.active_totals),
        (found.before_totals, simulated.rollout.before_totals),
    ):
        assert after.late - before.late < 0.01 * 900.0 * simulated.per_s


def test_the_first_minute_of_a_block_is_not_compared():
    simulated = Simulated(allocations=9)
    simulated.until(active=True)
    simulated.run(50)
    assert simulated.rollout.active_totals.requests == 0.0
    simulated.run(60)
    assert simulated.rollout.active_totals.requests > 0.0


def test_a_rule_without_a_rollout_forgets_it():
    simulated = Simulated(allocations=9)
    simulated.poll()
    simulated.rule = replace(simulated.rule, rollout=None)
    simulated.poll()
    assert simulated.state.rollouts == {}
    assert simulated.decision.rollout is None


def test_a_deployment_that_is_away_keeps_its_rollout():
    simulated = reverted()
    cycle = begin_cycle(simulated.state, observation(simulated.at + 10.0), policy(simulated.rule))
    assert cycle.state.rollouts == simulated.state.rollouts


class TestContinuing:
    def test_a_saved_revert_precedes_what_an_instance_knows(self):
        simulated = reverted()
        saved = simulated.state.rollouts
        own = {"elser": replace(simulated.rollout, verdict=RolloutVerdict.RUNNING)}
        assert continued(waiting(own), saved) == saved
        assert continued(own, saved) == saved

    def test_a_rollout_that_was_resumed_since_does_not_return_to_the_saved_one(self):
        simulated = reverted()
        own = {"elser": restarted(simulated.rollout, simulated.at)}
        assert continued(own, simulated.state.rollouts) == own

    def test_an_instance_that_begins_to_lead_waits_until_it_knows(self):
        simulated = Simulated()
        simulated.poll()
        (found,) = waiting(simulated.state.rollouts).values()
        assert found.verdict is RolloutVerdict.WAITING
        assert found.before is None  # it may be what the former leader set in an active hour
        (found,) = waiting(reverted().state.rollouts).values()
        assert found.verdict is RolloutVerdict.REVERTED


@pytest.mark.parametrize("seed_at", range(3))
def test_a_good_rule_is_not_reverted(seed_at):
    simulated = Simulated(allocations=9, per_s=30.0 + seed_at)
    simulated.run(8 * HOUR)
    assert simulated.rollout.verdict is RolloutVerdict.RUNNING


EXPIRED = ObserveOnly(cause=ObserveOnlyCause.LICENCE, sentence="the licence has expired")


def test_what_the_rule_has_set_does_not_become_what_ran_before_while_nothing_can_be_sent():
    simulated = Simulated(allocations=9)
    simulated.until(active=True)
    simulated.run(600)
    raised, live = simulated.allocations, simulated.rule
    assert raised != 9
    simulated.rule = replace(live, observe_only=EXPIRED)
    simulated.run(60)
    assert simulated.rollout.before == Setting(9)
    simulated.rule = live
    simulated.until(active=False)
    simulated.run(60)
    assert simulated.allocations == 9


def test_nor_what_it_has_set_at_the_last_poll_before_that():
    simulated = Simulated(allocations=9)
    simulated.until(active=True)
    while not simulated.changes:
        simulated.poll()
    assert simulated.allocations != 9
    simulated.rule = replace(simulated.rule, observe_only=EXPIRED)
    simulated.run(60)
    assert simulated.rollout.before == Setting(9)


def test_nor_what_it_has_sent_then_and_arrives_later():
    simulated = Simulated(allocations=9)
    simulated.loses = True
    while not simulated.changes:
        simulated.poll()
    assert simulated.allocations == 9
    simulated.rule = replace(simulated.rule, observe_only=EXPIRED)
    simulated.run(60)
    simulated.apply(simulated.changes[-1])
    assert simulated.allocations != 9
    simulated.run(60)
    assert simulated.rollout.before == Setting(9)


def test_what_another_writer_sets_while_nothing_can_be_sent_is_what_ran_before():
    simulated = Simulated(allocations=9)
    simulated.until(active=True)
    simulated.rule = replace(simulated.rule, observe_only=EXPIRED)
    simulated.run(60)
    simulated.allocations = 7
    simulated.run(60)
    assert simulated.rollout.before == Setting(7)


def test_nor_after_a_state_that_is_too_old_and_has_only_the_totals_of_a_dry_run():
    simulated = Simulated(allocations=9)
    simulated.until(active=True)
    while not simulated.changes:
        simulated.poll()
    assert simulated.allocations != 9
    state = simulated.state
    account = ShadowAccount().after(simulated.at, ShadowTotals(known_s=HOUR))
    shadow = Shadow(seen_at=simulated.at, account=account)
    known = {"elser": replace(state.deployments["elser"], shadow=shadow)}
    later = simulated.at + 30.0 * 24.0 * HOUR
    totals = only_totals(known, later - 24.0 * HOUR)
    simulated.state = State(deployments=totals, rollouts=state.rollouts)
    simulated.at, simulated.rule = later, replace(simulated.rule, observe_only=EXPIRED)
    simulated.run(60)
    assert simulated.rollout.before == Setting(9)


SETTING = AdaptiveAllocations(enabled=True, minimum=1, maximum=9)


class TestWhatRanBefore:
    def test_is_unknown_while_a_deployment_has_no_allocations_and_nothing_is_changed(self):
        simulated = Simulated(allocations=0, per_s=0.0)
        simulated.run(2 * HOUR)
        assert (simulated.rollout.before, simulated.changes) == (None, [])
        simulated.allocations = 3
        simulated.run(60)
        assert simulated.rollout.before == Setting(3)

    def test_is_kept_while_a_dry_run_cannot_read_what_runs(self):
        simulated = Simulated(allocations=9, dry_run=True)
        simulated.run(60)
        simulated.allocations, simulated.per_s = 0, 0.0
        simulated.run(60)
        assert simulated.rollout.before == Setting(9)

    def test_does_not_follow_another_writer_in_the_hour_of_the_rule(self):
        simulated = Simulated(allocations=9, max_allocations=9, min_allocations=9)
        simulated.until(active=True)
        simulated.run(60)
        simulated.allocations = 7
        simulated.run(60)
        assert simulated.rollout.before == Setting(9)
        simulated.rule = replace(simulated.rule, observe_only=EXPIRED)
        simulated.run(60)
        assert simulated.rollout.before == Setting(9)

    def test_follows_one_who_enables_adaptive_allocations_in_any_hour(self):
        simulated = Simulated(allocations=9)
        simulated.until(active=True)
        simulated.run(60)
        simulated.adaptive = SETTING
        simulated.run(60)
        assert simulated.rollout.before == Setting(None, 1, 9)

    def test_returns_below_the_minimum_of_the_rule_too(self):
        simulated = Simulated(allocations=2, per_s=5.0, min_allocations=5)
        simulated.until(active=True)
        simulated.run(120)
        assert simulated.allocations >= 5
        simulated.until(active=False)
        simulated.run(60)
        assert simulated.allocations == 2

    def test_returns_above_the_burst_ceiling_of_the_rule_at_once(self):
        simulated = Simulated(allocations=9, burst_max_allocations=4)
        simulated.until(active=True)
        simulated.run(600)
        assert simulated.allocations <= 4
        simulated.until(active=False)
        simulated.run(20)
        assert simulated.allocations == 9

    def test_is_not_scaled_to_zero_by_the_rule(self):
        zero = ScaleToZero(120.0, ZeroMethod.STOP)
        simulated = Simulated(allocations=9, per_s=0.0, zero=zero)
        first = block_at(simulated.at + 10.0, 0.0)
        while block_at(simulated.at + 10.0, 0.0) == first:
            simulated.poll()
        assert (simulated.allocations, simulated.changes) == (9, [])

    def test_stays_as_it_is_after_many_blind_cycles_too(self):
        simulated = Simulated(allocations=9, blind_allocations=12)
        simulated.run(60)
        simulated.missing, simulated.blind_s = True, {"elser": HOUR}
        simulated.run(300)
        assert (simulated.allocations, simulated.changes) == (9, [])

    def test_does_not_change_by_learning_when_the_deployment_was_created(self):
        simulated = Simulated(allocations=9)
        simulated.created_at = None
        simulated.run(60)
        simulated.created_at = 5.0
        simulated.run(60)
        assert simulated.kinds() == [RolloutEventKind.BEGUN]


class TestWhatIsNotCompared:
    def unchanged(self, simulated, seconds=600):
        before = simulated.rollout
        simulated.run(seconds)
        after = simulated.rollout
        return (after.active_totals, after.before_totals) == (
            before.active_totals,
            before.before_totals,
        )

    def test_hours_that_are_not_listed(self):
        simulated = Simulated(allocations=9, rollout=replace(HOURS, hours=(5, 6)))
        simulated.run(300)
        assert simulated.rollout.before_totals.requests == 0.0

    def test_what_follows_a_revert(self):
        assert self.unchanged(reverted(), 3 * HOUR)

    def test_an_override(self):
        simulated = Simulated(allocations=9)
        simulated.run(300)
        override = Override(
            allocations=9, since=simulated.at, until=simulated.at + HOUR, by="alice"
        )
        given = Instructions(overrides={"elser": override})
        simulated.state = replace(simulated.state, instructions=given)
        assert self.unchanged(simulated)

    def test_a_pause(self):
        simulated = Simulated(allocations=9)
        simulated.run(300)
        pause = Pause(
            changes=PausedChanges.EVERYTHING,
            since=simulated.at,
            until=simulated.at + HOUR,
            by="alice",
        )
        given = Instructions(pauses={"elser": pause})
        simulated.state = replace(simulated.state, instructions=given)
        assert self.unchanged(simulated)

    def test_what_another_writer_has_set_while_it_is_respected(self):
        simulated = Simulated(allocations=9, external_change_hold_s=HOUR)
        simulated.until(active=True)
        simulated.run(300)
        simulated.allocations = 12
        assert self.unchanged(simulated)

    def test_adaptive_allocations_that_another_writer_has_enabled(self):
        simulated = Simulated(allocations=9)
        simulated.until(active=True)
        simulated.run(300)
        simulated.adaptive = SETTING
        simulated.poll()
        assert self.unchanged(simulated)

    def test_polls_from_which_nothing_is_learnt(self):
        simulated = Simulated(allocations=9)
        simulated.until(active=True)
        simulated.run(300)
        simulated.missing = True
        simulated.poll()
        assert self.unchanged(simulated, 300)

    def test_but_requests_that_wait_for_allocations_to_start_are_compared(self):
        simulated = Simulated(allocations=2, per_s=10.0)
        simulated.until(active=True)
        simulated.run(120)
        known = simulated.rollout.active_totals
        running, simulated.per_s = simulated.allocations, 30.0
        for _ in range(18):
            simulated.poll()
            simulated.lost = simulated.allocations - running  # none of the new ones has started
        assert simulated.decision.shortfall.cause is ShortfallCause.STARTING
        assert simulated.rollout.active_totals.late > known.late + 1000.0

    def test_an_hour_in_which_what_ran_before_has_not_returned(self):
        simulated = Simulated(allocations=2, per_s=40.0)
        simulated.until(active=True)
        simulated.run(300)
        assert simulated.allocations > 2
        simulated.refuses = True
        simulated.until(active=False)
        assert self.unchanged(simulated)


class TestLateRequestsThatWereToBeExpected:
    def test_are_those_with_as_many_allocations_as_before(self):
        """Also once the queue is full, when nothing is known of what callers repeat."""
        simulated = Simulated(allocations=2, per_s=10.0, min_allocations=2, max_allocations=2)
        simulated.until(active=True)
        simulated.per_s = 25.0
        simulated.run(900)
        assert simulated.rollout.active_totals.late > 10_000.0
        assert simulated.rollout.before_totals.late == 0.0
        assert simulated.rollout.verdict is RolloutVerdict.RUNNING

    def test_are_those_that_the_model_expects_of_fewer_allocations_than_the_load_has_erlangs(self):
        """2.5 erlangs, and 2 allocations before the rule, which has 1."""
        simulated = Simulated(allocations=2, per_s=10.0, max_allocations=1)
        simulated.queue_capacity = 100_000  # so that no request fails
        simulated.until(active=True)
        simulated.per_s = 25.0
        simulated.run(900)
        assert simulated.rollout.active_totals.late > 5000.0
        assert simulated.rollout.before_totals.late < 100.0
        assert simulated.rollout.verdict is RolloutVerdict.RUNNING

    def test_are_none_that_only_repeated_requests_would_have_caused(self):
        """10 in a second are served, and what ran before would have served them without a queue."""
        simulated = Simulated(allocations=3, per_s=20.0, max_allocations=1)
        simulated.until(active=True)
        simulated.per_s = 40.0
        simulated.run(900)
        assert simulated.rollout.verdict is RolloutVerdict.REVERTED

    @pytest.mark.parametrize("maximum", [9, None])
    def test_are_none_where_adaptive_allocations_would_have_been_more(self, maximum):
        found = AdaptiveAllocations(enabled=True, minimum=1, maximum=maximum)
        simulated = Simulated(
            allocations=6, adaptive=found, take_over=True, per_s=21.0, max_allocations=2
        )
        simulated.queue_capacity = 100_000  # so that no request fails
        simulated.until(active=True)
        simulated.run(600)
        assert simulated.rollout.verdict is RolloutVerdict.REVERTED


def test_hours_are_those_of_the_time_zone_of_the_rule():
    hours = replace(HOURS, hours=(5,), timezone="Asia/Kolkata")  # 5.5 h ahead: 23:30 to 00:30
    simulated = Simulated(allocations=9, rollout=hours)
    simulated.utc_offsets_s = {"Asia/Kolkata": 5.5 * HOUR}
    simulated.run(60)
    assert simulated.decision.rollout.listed
    status = simulated.decision.rollout
    assert status.next_active_at % (24 * HOUR) == 23.5 * HOUR
    simulated.run(HOUR / 2)
    assert not simulated.decision.rollout.listed


def test_a_rollout_is_forgotten_with_a_deployment_that_is_away_for_90_days():
    simulated = reverted()
    for days, is_known in ((89, True), (91, False)):
        later = observation(simulated.at + days * 24 * HOUR)
        cycle = begin_cycle(simulated.state, later, policy(simulated.rule))
        assert bool(cycle.state.rollouts) is is_known
