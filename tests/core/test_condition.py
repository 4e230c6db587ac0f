"""How a deployment is, at a glance."""

import pytest

from autoscaler.core.condition import Level, condition, unmanaged_condition, unreadable_condition
from autoscaler.core.decision import (
    ExternalChange,
    ObserveOnly,
    ObserveOnlyCause,
    OutcomeKind,
    Setting,
    Unmanaged,
)
from autoscaler.core.instructions import Override, Pause, PausedChanges
from autoscaler.core.shortfall import ReportedStatus, Shortfall, ShortfallCause
from autoscaler.core.slo_status import Expectation, SloStatus
from autoscaler.core.values import Reason, Step
from tests.adapters.recorded import decision, outcome, steady

TRACKING = Step(Reason.TARGET_TRACKING, 3, 3, {"offered_load": 2.0, "target_utilisation": 0.7})


def of(kind=OutcomeKind.UNCHANGED, detail="", **changed):
    return condition(outcome(steady(**changed), kind, detail))


def shortfall(cause):
    return Shortfall(since=940.0, progress_at=940.0, requested=24, running=16, lost=8, cause=cause)


def test_a_deployment_that_runs_as_it_should_is_fine():
    assert of() == type(of())(Level.FINE, ())
    assert of(dry_run=True).level is Level.FINE


def test_a_lost_node_is_trouble_and_a_start_is_not():
    lost = of(shortfall=shortfall(ShortfallCause.LOST))
    assert lost.level is Level.TROUBLE
    assert lost.reasons == ("16 of 24 running: 8 lost, for 60 s",)
    assert of(shortfall=shortfall(ShortfallCause.STARTING)).level is Level.FINE


def test_the_maximum_is_trouble_while_more_is_needed():
    found = condition(outcome(decision(), OutcomeKind.ACCEPTED))
    assert found.level is Level.TROUBLE
    assert found.reasons == ("needs 7, limited to 6: bounds are 1..6",)


def test_a_minimum_that_raises_a_recommendation_is_no_trouble():
    raised = Step(Reason.BOUNDS, 1, 3, {"min_allocations": 3, "max_allocations": 6})
    low = Step(Reason.TARGET_TRACKING, 3, 1, {"offered_load": 0.2, "target_utilisation": 0.7})
    assert of(steps=(low, raised)).level is Level.FINE


def test_late_requests_now_are_trouble_and_those_of_the_day_need_attention():
    day = SloStatus(target=0.99, attainment=0.95)
    assert of(slo=day).level is Level.ATTENTION
    assert of(slo=day).reasons == ("95% of the requests met the SLO, not 99%",)
    now = Expectation(allocations=3, late_fraction=0.4, queue_wait_s=2.0)
    assert of(slo=SloStatus(target=0.99, now=now)).reasons == ("40% of the requests are late now",)
    assert of(slo=SloStatus(target=0.99)).level is Level.FINE  # unknown is no failure


def test_a_cause_comes_before_its_effect():
    """The list of deployments has room for one reason."""
    now = Expectation(allocations=3, late_fraction=0.4, queue_wait_s=2.0)
    slo = SloStatus(target=0.99, now=now)
    why = ObserveOnly(cause=ObserveOnlyCause.PRIVILEGE, sentence="the key lacks manage_ml")
    late = "40% of the requests are late now"
    assert of(slo=slo, observe_only=why).reasons == ("observe only: the key lacks manage_ml", late)
    assert of(OutcomeKind.NO_CAPACITY, "full", slo=slo).reasons[-1] == late


def test_the_lowest_of_several_limits_comes_first():
    steps = (
        Step(Reason.TARGET_TRACKING, 3, 14, {"offered_load": 10.0, "target_utilisation": 0.7}),
        Step(Reason.BOUNDS, 14, 8, {"min_allocations": 1, "max_allocations": 8}),
        Step(Reason.FIT, 8, 3, {"fits": 3}),
    )
    lowest, other = of(steps=steps).reasons
    assert lowest.startswith("needs 14, limited to 3")
    assert other.startswith("needs 14, limited to 8")


@pytest.mark.parametrize(
    ("kind", "level"),
    [
        (OutcomeKind.NO_CAPACITY, Level.TROUBLE),
        (OutcomeKind.FORBIDDEN, Level.TROUBLE),
        (OutcomeKind.NO_EFFECT, Level.TROUBLE),
        (OutcomeKind.UNKNOWN, Level.ATTENTION),
        (OutcomeKind.WITHHELD, Level.ATTENTION),
        (OutcomeKind.DRY_RUN, Level.FINE),
    ],
)
def test_an_update_that_was_not_applied_counts_by_its_kind(kind, level):
    found = condition(outcome(steady(), kind, "because"))
    assert found.level is level
    assert bool(found.reasons) is (level is not Level.FINE)


def test_a_second_writer_is_trouble():
    def changed(times):
        return ExternalChange(
            deployment_id="elser",
            at=990.0,
            before=Setting(3),
            after=Setting(2),
            times=times,
            hold_s=600.0,
        )

    assert of(external_change=changed(3)).level is Level.TROUBLE
    assert of(external_change=changed(1)).level is Level.FINE


def test_what_holds_a_deployment_needs_attention():
    held = Step(Reason.DATA_QUALITY, 3, 3, {"issues": "incomplete"})
    assert of(steps=(held,)).reasons == ("held: statistics of a serving node are missing",)
    fewer = Step(Reason.TARGET_TRACKING, 3, 1, {"offered_load": 0.2, "target_utilisation": 0.7})
    kept = Step(Reason.DATA_QUALITY, 1, 3, {"issues": "incomplete"})
    assert of(steps=(fewer, kept)).level is Level.ATTENTION
    assert of(steps=(TRACKING, held)).level is Level.FINE  # it changed nothing


def test_a_missing_privilege_needs_attention():
    why = ObserveOnly(cause=ObserveOnlyCause.PRIVILEGE, sentence="the key lacks manage_ml")
    assert of(observe_only=why).reasons == ("observe only: the key lacks manage_ml",)


def test_what_an_operator_has_instructed_needs_attention():
    given = {"since": 900.0, "until": 4_600.0, "by": "alice", "reason": "load test"}
    pause = Pause(changes=PausedChanges.DECREASES, **given)
    assert of(pauses=(pause,)).level is Level.ATTENTION
    assert of(pauses=(pause,)).reasons == (
        "decreases are paused by alice for another 60 min: load test",
    )
    assert of(override=Override(allocations=8, **given)).reasons == (
        "overridden to 8 allocations by alice for another 60 min: load test",
    )


def test_the_words_of_the_cluster_are_shown():
    failed = ReportedStatus(state="failed", reason="out of memory", routes=())
    assert of(reported=failed).reasons == ("the cluster reports: state failed; out of memory",)


def test_deployments_without_a_decision():
    assert unmanaged_condition(Unmanaged.NO_RULE).level is Level.UNMANAGED
    assert unreadable_condition("no id").level is Level.TROUBLE
