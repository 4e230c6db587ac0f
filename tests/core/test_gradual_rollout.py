"""A gradual rollout from one poll interval to the next: what is compared, and what reverts it."""

import pytest
from msgspec.structs import replace

from autoscaler.core.decision import Setting
from autoscaler.core.gradual_rollout import (
    ComparedInterval,
    begun,
    begun_already,
    compared,
    continued,
    in_block,
    is_warm,
    of_first_start,
    recreated,
    restarted,
    waiting,
)
from autoscaler.core.rollout_comparison import MIN_HOURS, BlockHour, BlockTotals
from autoscaler.core.rollout_hours import HOUR_S, RolloutHours, block_at
from autoscaler.core.rollout_status import RolloutVerdict

HOURS = RolloutHours(hours=tuple(range(24)), timezone="UTC", share=0.5, settings="one")
DAY_S = 24 * HOUR_S
BEGUN_AT = 100 * DAY_S


class Compared:
    """A rollout with 100 requests in each minute, of which some are late."""

    def __init__(self, late, first=None):
        self.late = late  # fraction in a minute, by whether the rule acts, and the minute
        self.at = BEGUN_AT
        self.rollout = first or begun("elser", HOURS, BEGUN_AT, Setting(9), waits=False)

    def minute(self, fraction=None, *, seconds=60.0, requests=100.0, running=4.0):
        self.at += seconds
        block = block_at(self.at, 0.0)
        rollout = in_block(self.rollout, HOURS, block, self.at)
        if fraction is None:
            fraction = self.late(rollout.active, int(self.at // 60.0))
        interval = ComparedInterval(
            requests=requests,
            late=fraction * requests,
            unavoidable=0.0,
            seconds=seconds,
            running=running,
            allowed=0.01,
        )
        self.rollout = compared(rollout, interval, self.at)

    def until(self, *, active):
        while self.rollout.active is not active:
            self.minute(0.0)

    def run(self, days):
        """Until so much time has passed, or the rule is reverted."""
        end = self.at + days * DAY_S
        while self.at < end and self.rollout.verdict is RolloutVerdict.RUNNING:
            self.minute()


def in_each_hour(minute):
    """Whether it is a certain minute of its hour."""
    return minute % 60 == 30


class TestALossOverDays:
    """One minute in an hour whose requests are all late is too rare for a gross loss."""

    def test_reverts_the_rule_and_says_by_how_much_it_was_worse(self):
        found = Compared(lambda active, minute: float(active and in_each_hour(minute)))
        found.run(4)
        assert found.rollout.verdict is RolloutVerdict.REVERTED
        assert found.rollout.reverted_at == found.at
        assert found.rollout.because.startswith(
            "late in active hours: 1.67 percentage points more than before, 95% interval "
        )
        assert found.rollout.active_totals.hours >= MIN_HOURS

    def test_is_none_if_as_many_are_late_in_the_other_hours(self):
        found = Compared(lambda _active, minute: float(in_each_hour(minute)))
        found.run(2)
        assert found.rollout.verdict is RolloutVerdict.RUNNING

    def test_is_none_if_fewer_are_late_than_before_although_the_slo_allows_fewer_still(self):
        found = Compared(lambda active, minute: (0.8 if active else 1.0) * in_each_hour(minute))
        found.run(2)
        assert found.rollout.verdict is RolloutVerdict.RUNNING

    def test_is_none_within_what_the_slo_allows(self):
        found = Compared(lambda active, minute: 0.55 * (active and in_each_hour(minute)))
        found.run(2)
        assert found.rollout.verdict is RolloutVerdict.RUNNING

    def test_does_not_count_against_a_rule_that_an_operator_has_resumed(self):
        found = Compared(lambda active, minute: float(active and in_each_hour(minute)))
        found.run(4)
        found.rollout = restarted(found.rollout, found.at)
        found.late = lambda _active, _minute: 0.0
        found.run(4)
        assert found.rollout.verdict is RolloutVerdict.RUNNING

    def test_counts_an_hour_that_a_revert_or_a_new_rule_ends_for_the_kind_that_it_was(self):
        found = Compared(lambda _active, _minute: 0.0)
        found.until(active=True)
        found.minute(0.5)
        paused = replace(found.rollout, verdict=RolloutVerdict.WAITING)
        after = in_block(paused, HOURS, found.rollout.block, found.at + 10.0)
        assert not after.active
        assert after.active_totals.hour_late == found.rollout.hour.late > 0.0
        assert after.hour == BlockHour()


class TestAGrossLoss:
    def test_is_stated_with_the_minutes_since_it_began(self):
        """And without the good ones before, which would make it seem small."""
        found = Compared(lambda _active, _minute: 0.0)
        found.until(active=True)
        for _ in range(10):
            found.minute(0.0)
        while found.rollout.verdict is RolloutVerdict.RUNNING:
            found.minute(1.0, seconds=30.0)
        because = found.rollout.because
        assert because == "100% of 900 requests were late within 4.5 min, 0% before"
        assert found.rollout.reverted_at == found.at

    def test_is_stated_without_what_is_not_known_of_the_other_hours(self):
        found = Compared(lambda _active, _minute: 0.0)
        found.until(active=True)
        found.rollout = replace(found.rollout, before_totals=BlockTotals())
        while found.rollout.verdict is RolloutVerdict.RUNNING:
            found.minute(1.0)
        assert found.rollout.because == "100% of 500 requests were late within 5 min"

    def test_is_none_if_as_many_were_late_before(self):
        found = Compared(lambda _active, _minute: 0.5)
        found.run(2)
        assert found.rollout.verdict is RolloutVerdict.RUNNING

    def test_is_none_within_what_the_slo_allows(self):
        found = Compared(lambda active, _minute: 0.01 if active else 0.0)
        found.run(2)
        assert found.rollout.verdict is RolloutVerdict.RUNNING


class TestTheTotals:
    def test_are_of_the_kind_of_hour_that_was_observed(self):
        found = Compared(lambda active, _minute: 0.002 if active else 0.004)
        found.run(3)
        active, before = found.rollout.active_totals, found.rollout.before_totals
        assert active.late_fraction == pytest.approx(0.002)
        assert before.late_fraction == pytest.approx(0.004)
        assert active.hour_late == pytest.approx(0.002 * active.hour_requests)
        assert before.hour_late == pytest.approx(0.004 * before.hour_requests)
        assert active.hours + before.hours == 72
        assert active.hour_requests == active.hours * 6000.0

    def test_state_allocations_on_average_over_time(self):
        found = Compared(lambda _active, _minute: 0.0)
        found.minute(seconds=30.0, running=8.0)
        found.minute(seconds=10.0, running=4.0)
        totals = found.rollout.before_totals
        assert totals.allocation_s / totals.seconds == pytest.approx(7.0)


class TestTheFirstMinuteAfterAChangeOfHour:
    def test_is_not_compared_and_neither_is_an_interval_that_reaches_into_it(self):
        found = Compared(lambda _active, _minute: 0.0)
        assert is_warm(found.rollout, found.at, 10.0)  # nothing has changed yet
        found.until(active=True)
        began_at = found.rollout.switched_at
        assert not is_warm(found.rollout, began_at + 69.0, 10.0)
        assert is_warm(found.rollout, began_at + 70.0, 10.0)
        assert not is_warm(found.rollout, began_at + 119.0, 60.0)

    def test_is_counted_too_when_an_operator_resumes_a_rule_that_was_acting(self):
        found = Compared(lambda _active, _minute: 0.0)
        found.until(active=True)
        assert not is_warm(restarted(found.rollout, found.at), found.at + 60.0, 10.0)


class TestResuming:
    def test_keeps_what_ran_before_and_when_the_deployment_was_created(self):
        known = replace(begun("elser", HOURS, 0.0, Setting(9), waits=False), created_at=5.0)
        found = restarted(known, 100.0)
        assert (found.before, found.created_at, found.since) == (Setting(9), 5.0, 100.0)
        assert recreated(found, 5.0, Setting(3)) is None

    def test_counts_no_requests_of_the_hour_before_it(self):
        found = Compared(lambda _active, _minute: 0.0)
        found.until(active=True)
        found.minute(0.5)
        again = restarted(found.rollout, found.at)
        assert (again.hour, again.active_totals) == (BlockHour(), BlockTotals())


class TestADeploymentThatIsCreatedAgain:
    RUNNING = replace(begun("elser", HOURS, 0.0, Setting(9), waits=False), created_at=5.0)

    def test_has_another_setting_before_the_rule(self):
        found = recreated(self.RUNNING, 6.0, Setting(2))
        assert (found.before, found.created_at) == (Setting(2), 6.0)

    def test_is_the_same_one_while_its_creation_is_unknown(self):
        assert recreated(self.RUNNING, None, Setting(2)) is None

    def test_is_not_one_whose_creation_becomes_known(self):
        unknown = replace(self.RUNNING, created_at=None)
        found = recreated(unknown, 6.0, Setting(2))
        assert (found.before, found.created_at) == (Setting(9), 6.0)

    def test_has_nothing_before_the_rule_while_it_waits(self):
        (known,) = waiting({"elser": self.RUNNING}).values()
        found = recreated(known, 6.0, Setting(2))
        assert (found.before, found.created_at) == (None, 6.0)


class TestTheFirstStart:
    BEGUN = begun("elser", HOURS, 0.0, Setting(9), waits=False)

    def test_waits_while_its_state_cannot_be_saved_and_then_goes_on(self):
        waits = of_first_start({"elser": self.BEGUN}, saved=False)
        assert waits["elser"].verdict is RolloutVerdict.WAITING
        assert of_first_start(waits, saved=True) == {"elser": self.BEGUN}

    @pytest.mark.parametrize("saved", [True, False])
    def test_leaves_a_revert_as_it_is(self, saved):
        reverted = {"elser": replace(self.BEGUN, verdict=RolloutVerdict.REVERTED)}
        assert of_first_start(reverted, saved=saved) == reverted


class TestASavedState:
    BEGUN = begun("elser", HOURS, 0.0, Setting(9), waits=False)
    REVERTED = replace(BEGUN, verdict=RolloutVerdict.REVERTED)

    def test_precedes_what_began_at_the_same_time(self):
        saved = {"elser": self.REVERTED}
        assert continued({"elser": self.BEGUN}, saved) == saved

    def test_precedes_a_rollout_that_waits_although_that_began_later(self):
        later = begun("elser", HOURS, 9.0, None, waits=True)
        assert continued({"elser": later}, {"elser": self.BEGUN}) == {"elser": self.BEGUN}

    def test_leaves_the_rollouts_of_other_deployments(self):
        own, saved = {"own": self.BEGUN}, {"saved": self.REVERTED}
        assert continued(own, saved) == {**own, **saved}

    def test_is_not_replaced_by_rollouts_that_wait(self):
        waits = replace(self.BEGUN, verdict=RolloutVerdict.WAITING)
        known = {"waits": waits, "reverted": self.REVERTED}
        assert begun_already(known) == {"reverted": self.REVERTED}


def test_a_rollout_that_waits_takes_nothing_for_what_ran_before():
    assert begun("elser", HOURS, 0.0, Setting(9), waits=True).before is None


def test_a_rule_never_acts_where_what_ran_before_is_unknown_or_while_it_waits():
    unknown = begun("elser", HOURS, BEGUN_AT, None, waits=False)
    waits = replace(unknown, verdict=RolloutVerdict.WAITING, before=Setting(9))
    for first in (unknown, waits):
        found = Compared(lambda _active, _minute: 0.0, first=first)
        for _ in range(24):
            found.minute(seconds=HOUR_S)
            assert not found.rollout.active
