"""Every reason, issue and outcome has a text."""

import pytest
from msgspec.structs import replace

from autoscaler.core.decision import (
    Decision,
    Mode,
    Outcome,
    OutcomeKind,
    SetAllocations,
    SetBounds,
    Setting,
    Start,
    Stop,
    Unmanaged,
)
from autoscaler.core.explanation import (
    change_text,
    explain,
    explain_outcome,
    missing_text,
    outcome_text,
    problem_text,
    reported_text,
    running_text,
    shortfall_text,
    unchanged_text,
    unmanaged_text,
)
from autoscaler.core.flow.constraints import joined
from autoscaler.core.shortfall import ReportedStatus, RouteStatus, Shortfall, ShortfallCause
from autoscaler.core.step_text import step_text
from autoscaler.core.values import AdaptiveAllocations, Candidate, DataIssue, Reason, Sample, Step

SLO_INPUTS = {
    "offered_load": 3.2,
    "load_stddev": 0.25,
    "violation_weight": 20.0,
    "slo_attainment": 0.994,
    "backlog_requests": 12,
    "backlog_allocations": 4,
    "forecast_load": 3.6,
}


def candidate(allocations, fraction, cost):
    return Candidate(
        allocations=allocations, violation_fraction=fraction, queue_wait_s=0.1, cost=cost
    )


FOUR, FIVE, SIX = candidate(4, 0.029, 5.9), candidate(5, 0.006, 5.4), candidate(6, 0.001, 6.1)

STEPS = {
    "held: no request has been timed yet": Step(Reason.NOT_MEASURED, 2, 2),
    "load 4.90 at 70% needs 7": Step(
        Reason.TARGET_TRACKING, 2, 7, {"offered_load": 4.9, "target_utilisation": 0.7}
    ),
    "load 3.20 ± 0.25, forecast 3.60, backlog 12, SLO attainment (24 h) 99.4%: "
    "5 cost least (0.6% late; 4 would be 2.9% late)": Step(
        Reason.SLO, 3, 5, SLO_INPUTS, (FOUR, FIVE)
    ),
    "rate 12.3, reason bursty: 7 recommended": Step(
        Reason.RECOMMENDATION, 2, 7, {"rate": 12.345, "reason": "bursty"}
    ),
    "the policy recommends 3": Step(Reason.RECOMMENDATION, 2, 3),
    "held: the policy failed: KeyError('x') (mine.py:7)": Step(
        Reason.POLICY_FAILED, 2, 2, {"error": "KeyError('x') (mine.py:7)"}
    ),
    "not measured for 10 min, so blind_allocations is the minimum": Step(
        Reason.BLIND, 2, 6, {"blind_s": 600.0, "issues": "incomplete"}
    ),
    "5 was recommended within the last 5 min": Step(
        Reason.STABILISATION, 2, 5, {"highest": 5, "window_s": 300.0}
    ),
    "no more than 4 in one update": Step(Reason.STEP_LIMIT, 9, 4, {"furthest": 4}),
    "no fewer than 4 in one update": Step(Reason.STEP_LIMIT, 2, 4, {"furthest": 4}),
    "above 8 only after 60 s of higher recommendations, now 20 s": Step(
        Reason.BURST, 12, 8, {"burst_max": 8, "hold_s": 60.0, "above_s": 20.0}
    ),
    "schedule office hours sets at least 4": Step(
        Reason.SCHEDULE, 2, 4, {"schedule": "office hours", "min_allocations": 4}
    ),
    "schedule nights sets at most 2": Step(
        Reason.SCHEDULE, 9, 2, {"schedule": "nights", "max_allocations": 2}
    ),
    "bounds are 1..8": Step(Reason.BOUNDS, 9, 8, {"min_allocations": 1, "max_allocations": 8}),
    "no more than 5 fit on the nodes": Step(Reason.FIT, 9, 5, {"fits": 5}),
    "3 of 5 granted, as free threads were granted to e5 (2)": Step(
        Reason.FIT, 5, 3, {"granted": 3, "claimed": 5, "granted_to": "e5 (2)"}
    ),
    "held: a node began to serve it and a counter decreased, or is no longer reported": Step(
        Reason.DATA_QUALITY,
        2,
        2,
        {"issues": joined((DataIssue.NEW_NODE, DataIssue.COUNTER_DECREASED))},
    ),
    "held: 40 requests timed out in this interval": Step(Reason.OVERLOAD, 2, 5, {"timeouts": 40}),
    "held: the deployment's state is stopping": Step(Reason.SETTLING, 3, 2, {"state": "stopping"}),
    "held until 6 allocations run": Step(Reason.SETTLING, 3, 6, {"running": 2, "target": 6}),
    "held: machine-learning upgrade mode is on": Step(
        Reason.MAINTENANCE, 3, 2, {"reason": "machine-learning upgrade mode is on"}
    ),
    "the cluster refused 5 for lack of capacity": Step(Reason.CAPACITY, 5, 3, {"infeasible": 5}),
    "held: waiting another 42 s after a refusal (forbidden)": Step(
        Reason.BACK_OFF, 5, 3, {"wait_s": 42.0, "reason": "forbidden"}
    ),
    "held: waiting another 42 s after an update that was accepted without effect": Step(
        Reason.BACK_OFF, 5, 3, {"wait_s": 42.0, "reason": "no_effect"}
    ),
    "overridden to 8 by alice for another 60 min: load test": Step(
        Reason.OVERRIDE,
        3,
        8,
        {"allocations": 8, "by": "alice", "wait_s": 3_600.0, "why": "load test"},
    ),
    "gradual rollout: the rule does not act now, so it has what ran before: 4 allocations": Step(
        Reason.GRADUAL_ROLLOUT, 3, 4, {"before": "4 allocations"}
    ),
    "held: increases are paused by alice for another 60 min": Step(
        Reason.PAUSED, 5, 3, {"changes": "increases", "by": "alice", "wait_s": 3_600.0, "why": ""}
    ),
    "held: another writer changed it from 8 to adaptive 1..4, 2 min ago, change 3 in a row; "
    "respected for another 18 min": Step(
        Reason.EXTERNAL_CHANGE,
        8,
        4,
        {
            "from": "8",
            "to": "adaptive 1..4",
            "at": 60.0,
            "ago_s": 120.0,
            "count": 3,
            "wait_s": 1080.0,
        },
    ),
    'held: adaptive allocations are enabled; set take_over = true or mode = "bounds"': Step(
        Reason.ADAPTIVE_ENABLED, 2, 2
    ),
    "held: adaptive allocations were enabled again": Step(
        Reason.ADAPTIVE_ENABLED, 2, 2, {"again": "yes"}
    ),
    "held: adaptive allocations were disabled again": Step(Reason.ADAPTIVE_DISABLED, 2, 2),
    "held: bounds changed 20 s ago, lowered at most every 60 s": Step(
        Reason.BOUNDS_COOLDOWN, 3, 5, {"pause_s": 60.0, "moved_s": 20.0}
    ),
    "held: 8 updates in the last 20 cycles; the next when there are fewer than 8": Step(
        Reason.UPDATE_RATE, 3, 5, {"updates": 8, "cycles": 20, "limit": 8}
    ),
    "held: began without a saved state, observed for 20 s of 10 min": Step(
        Reason.COLD_START, 3, 5, {"observed_s": 20.0, "hold_s": 600.0}
    ),
    "idle for 30 min": Step(Reason.IDLE, 1, 0, {"idle_s": 1800.0}),
    "scaled to zero and still idle": Step(
        Reason.IDLE, 1, 0, {"idle_s": 20.0, "scaled_to_zero": "yes"}
    ),
    "idle for 45 min, but scale to zero is not safe: a pipeline uses it": Step(
        Reason.IDLE, 1, 1, {"idle_s": 2700.0, "unsafe": "a pipeline uses it"}
    ),
    "it was idle, and was stopped 3 h ago": Step(Reason.STOPPED, 0, 0, {"since_s": 10_800.0}),
    "an operator requested it": Step(Reason.RESUME, 0, 1, {"reason": "an operator requested it"}),
}


@pytest.mark.parametrize(("text", "step"), STEPS.items(), ids=[s.reason for s in STEPS.values()])
def test_the_text_of_a_step_has_its_inputs(text, step):
    assert step_text(step) == text


def test_every_reason_has_a_text():
    assert {step.reason for step in STEPS.values()} == set(Reason)


@pytest.mark.parametrize("issue", DataIssue)
def test_every_issue_has_a_text(issue):
    text = step_text(Step(Reason.DATA_QUALITY, 2, 2, {"issues": joined((issue,))}))
    assert text.startswith("held: ")


@pytest.mark.parametrize("reason", Unmanaged)
def test_every_reason_not_to_manage_has_a_text(reason):
    assert unmanaged_text(reason).startswith("not managed: ")


@pytest.mark.parametrize(
    ("step", "text"),
    [
        (Step(Reason.SLO, 2, 5), "5 recommended"),
        (Step(Reason.SLO, 2, 5, {"offered_load": 3.2}), "load 3.20: 5 recommended"),
        (Step(Reason.SLO, 2, 5, {"backlog_requests": 0.0, "slo_attainment": 1.0}),
         "SLO attainment (24 h) 100%: 5 recommended"),
        (Step(Reason.SLO, 2, 4, {}, (FOUR,)), "4 cost least (2.9% late)"),
        (Step(Reason.SLO, 2, 1, {}, (candidate(1, 0.0, 1.0),)), "1 costs least (0% late)"),
        (Step(Reason.SLO, 2, 6, {"backlog_allocations": 6.0, "backlog_requests": 40},
              (FOUR, FIVE, SIX)),
         "backlog 40: 6 drain the backlog in time (0.1% late; 5 would be 0.6% late)"),
        (Step(Reason.SLO, 2, 6, {"backlog_allocations": 6}, (FOUR, FIVE)),
         "6 drain the backlog in time (5 would be 0.6% late)"),
        (Step(Reason.SLO, 6, 6, {}, (FIVE, SIX)),
         "keeping 6: saving from 5 below threshold (0.1% late; 5 would be 0.6% late)"),
        (Step(Reason.SLO, 2, 6, {"forecast_allocations": 6.0}, (FIVE, SIX)),
         "6 start a new node for the forecast (0.1% late; 5 would be 0.6% late)"),
        (Step(Reason.SLO, 2, 4, {"after_new_node": 15.0}, (FOUR, FIVE)),
         "4 now, target 15 after a new node loads the model (2.9% late)"),
        (Step(Reason.SLO, 2, 9, {}, (FIVE, SIX)), "9 recommended"),
    ],
)  # fmt: skip
def test_the_choice_of_the_slo_policy_as_far_as_its_inputs_are_known(step, text):
    assert step_text(step) == text


def decided(current, *steps, kind=OutcomeKind.UNCHANGED, detail="", **changed):
    desired = steps[-1].after
    fields = {"change": SetAllocations(desired) if desired != current else None, **changed}
    decision = Decision(
        deployment_id="elser",
        model_id="m",
        at=0.0,
        rule="all",
        dry_run=False,
        current=current,
        min_allocations=1,
        max_allocations=8,
        sample=Sample(at=0.0, interval_s=10.0),
        load=None,
        steps=steps,
        **fields,
    )
    return Outcome(decision=decision, kind=kind, at=0.0, detail=detail)


RECOMMENDS_12 = Step(
    Reason.TARGET_TRACKING, 9, 12, {"offered_load": 8.4, "target_utilisation": 0.7}
)
AT_MOST_8 = Step(Reason.BOUNDS, 12, 8, {"min_allocations": 1, "max_allocations": 8})
SETTLED = Step(Reason.SETTLING, 8, 8, {"running": 8, "target": 9})


def test_a_decision_has_its_recommendation_and_the_constraints_that_changed_it():
    decision = decided(9, RECOMMENDS_12, AT_MOST_8, SETTLED).decision
    assert explain(decision) == "elser 9 -> 8: load 8.40 at 70% needs 12; bounds are 1..8"
    assert decision.reason is Reason.BOUNDS


def test_a_decision_without_a_change_has_the_reason():
    held = decided(8, Step(Reason.RECOMMENDATION, 8, 12), AT_MOST_8)
    assert explain(held.decision) == "elser stays at 8: the policy recommends 12; bounds are 1..8"
    assert unchanged_text(held) == "the policy recommends 12, but bounds are 1..8"


def test_without_constraints_nothing_changes_for_the_reason_of_the_policy():
    right = decided(5, Step(Reason.SLO, 5, 5, {"offered_load": 3.2}, (FOUR, FIVE)))
    assert unchanged_text(right) == step_text(right.decision.steps[0])


def test_the_reason_of_a_hold_is_not_introduced_twice():
    held = decided(8, RECOMMENDS_12, Step(Reason.SETTLING, 12, 8, {"state": "starting"}))
    assert explain(held.decision).endswith("; held: the deployment's state is starting")
    assert unchanged_text(held) == (
        "the policy recommends 12, but the deployment's state is starting"
    )
    external = decided(8, Step(Reason.ADAPTIVE_ENABLED, 8, 8, {"again": "yes"}))
    assert unchanged_text(external) == "adaptive allocations were enabled again"


def test_a_hold_by_the_policy_and_by_a_constraint_is_shown_once():
    issues = {"issues": joined((DataIssue.NEW_NODE,)), "unsafe": "yes"}
    held = decided(
        12,
        Step(Reason.DATA_QUALITY, 12, 12, issues),
        AT_MOST_8,
        Step(Reason.DATA_QUALITY, 8, 12, issues),
    )
    text = "elser stays at 12: bounds are 1..8; held: a node began to serve it"
    assert explain(held.decision) == text


def test_a_change_is_not_called_a_hold():
    decision = decided(
        1,
        Step(Reason.NOT_MEASURED, 1, 1),
        Step(Reason.IDLE, 1, 0, {"idle_s": 60.0}),
        change=Stop(),
    ).decision
    assert explain(decision) == "elser is stopped: no request has been timed yet; idle for 60 s"


START = Start(
    model_id="m",
    allocations=2,
    threads_per_allocation=1,
    queue_capacity=None,
    cache_bytes=None,
    priority="normal",
    adaptive=AdaptiveAllocations(enabled=False),
)


@pytest.mark.parametrize(
    ("text", "desired", "changed"),
    [
        ("3 -> 5", 5, {}),
        ("stays at 3", 3, {}),
        ("3 -> 5, adaptive allocations disabled", 5, {"change": SetAllocations(5, take_over=True)}),
        (
            "stays at 3, adaptive allocations disabled",
            3,
            {"change": SetAllocations(3, take_over=True)},
        ),
        ("minimum 3 -> 5, maximum 8", 5, {"change": SetBounds(5, 8), "mode": Mode.BOUNDS}),
        ("minimum 3, maximum 8", 3, {"change": SetBounds(3, 8), "mode": Mode.BOUNDS}),
        ("minimum stays at 3", 3, {"mode": Mode.BOUNDS}),
        ("is stopped", 0, {"change": Stop()}),
        ("is resumed with 2 allocations", 2, {"change": START}),
        ("is resumed with 1 allocation", 1, {"change": START}),
    ],
)
def test_the_change_in_each_control_mode(text, desired, changed):
    step = Step(Reason.RECOMMENDATION, 3, desired)
    assert change_text(decided(3, step, **changed).decision) == text


def test_a_stopped_deployment_stays_stopped():
    stopped = decided(0, Step(Reason.STOPPED, 0, 0, {"since_s": 60.0}))
    assert explain(stopped.decision) == (
        "elser stays stopped: it was idle, and was stopped 60 s ago"
    )


@pytest.mark.parametrize("kind", OutcomeKind)
def test_every_outcome_has_a_text(kind):
    outcome = decided(9, RECOMMENDS_12, AT_MOST_8, kind=kind, detail="no room")
    assert outcome_text(outcome).endswith(": no room")
    assert explain_outcome(outcome).startswith("elser 9 -> 8: ")


@pytest.mark.parametrize(
    "kind",
    sorted(
        set(OutcomeKind)
        - {
            OutcomeKind.UNCHANGED,
            OutcomeKind.ACCEPTED,
            OutcomeKind.UNKNOWN,
            OutcomeKind.UNRECOGNISED,
        }
    ),
)
def test_an_update_that_was_not_applied_has_the_message_of_the_cluster(kind):
    outcome = decided(9, RECOMMENDS_12, AT_MOST_8, kind=kind, detail="no room")
    text = unchanged_text(outcome)
    assert text.startswith("the update to 8 was not applied: ")
    assert text.endswith(": no room")


@pytest.mark.parametrize("kind", [OutcomeKind.ACCEPTED, OutcomeKind.UNKNOWN])
def test_an_update_that_may_have_been_applied_is_not_reported_as_unchanged(kind):
    assert unchanged_text(decided(9, RECOMMENDS_12, AT_MOST_8, kind=kind)) == ""


class TestRefusedResumption:
    def decided(self, kind):
        steps = (
            Step(Reason.STOPPED, 0, 0, {"since_s": 60.0}),
            Step(Reason.RESUME, 0, 1, {"reason": "resume requested"}),
        )
        start = Start(
            model_id="e5",
            allocations=1,
            threads_per_allocation=1,
            queue_capacity=None,
            cache_bytes=None,
            priority="normal",
            adaptive=None,
        )
        return replace(decided(0, *steps).decision, change=start), kind

    @pytest.mark.parametrize(
        ("kind", "expected"),
        [
            (OutcomeKind.ACCEPTED, "is resumed with 1 allocation"),
            (OutcomeKind.UNKNOWN, "may be resumed"),
            (OutcomeKind.UNRECOGNISED, "may be resumed"),
            (OutcomeKind.NO_CAPACITY, "is not resumed"),
            (OutcomeKind.DRY_RUN, "is not resumed"),
        ],
    )
    def test_the_sentence_begins_with_whether_it_is_resumed(self, kind, expected):
        decision, kind = self.decided(kind)
        assert f" {expected}: " in explain_outcome(Outcome(decision=decision, kind=kind, at=0.0))

    def test_what_resumes_it_comes_before_what_prevents_that(self):
        wait = Step(Reason.BACK_OFF, 1, 0, {"wait_s": 660.0, "reason": "no_capacity"})
        decision, kind = self.decided(OutcomeKind.UNCHANGED)
        held = replace(decision, steps=(*decision.steps, wait), change=None)
        assert unchanged_text(Outcome(decision=held, kind=kind, at=0.0)) == (
            "resume requested, but waiting another 11 min after a refusal (no capacity)"
        )


def lost(**changed):
    shortfall = {
        "since": 0.0,
        "progress_at": 0.0,
        "requested": 24,
        "running": 16,
        "lost": 8,
        "cause": ShortfallCause.LOST,
    } | changed
    return Shortfall(**shortfall)


class TestWhatRuns:
    HELD = Step(Reason.DATA_QUALITY, 24, 24, {"issues": "counter_reset"})
    NO_ROOM = ReportedStatus(state="started", reason="no room on ml-1", routes=())

    def test_it_stands_first(self):
        decision = replace(decided(24, self.HELD).decision, running=16, shortfall=lost())
        assert explain(decision) == (
            "elser 16 of 24 running, stays at 24: held: a process ended or restarted"
        )

    def test_the_words_of_the_cluster_are_in_the_line_about_the_shortfall(self):
        decision = replace(
            decided(24, self.HELD).decision, at=30.0, shortfall=lost(), reported=self.NO_ROOM
        )
        assert "no room" not in explain(decision)
        assert shortfall_text(decision) == (
            "elser: 16 of 24 running; 8 lost, for 30 s; the cluster reports: no room on ml-1"
        )

    def test_without_a_shortfall_they_come_last(self):
        decision = replace(decided(24, self.HELD).decision, reported=self.NO_ROOM)
        assert explain(decision).endswith("; the cluster reports: no room on ml-1")

    def test_nothing_runs(self):
        assert running_text(lost(running=0, lost=24)) == "0 of 24 running"

    @pytest.mark.parametrize(
        ("changed", "expected"),
        [
            ({}, "8 lost, for 30 s"),
            ({"lost": 5}, "5 lost, 3 starting, for 30 s"),
            ({"since": 30.0}, "8 lost"),
            ({"lost": 0, "cause": ShortfallCause.STARTING}, "8 starting, for 30 s"),
            ({"lost": 0, "cause": ShortfallCause.UNPLACED}, "8 not placed, for 30 s"),
            ({"lost": 0, "cause": ShortfallCause.OVERDUE}, "8 have not started, for 30 s"),
        ],
    )
    def test_why_the_missing_ones_do_not_run(self, changed, expected):
        assert missing_text(lost(**changed), at=30.0) == expected

    def test_the_reasons_of_the_cluster_are_quoted(self):
        routes = (
            RouteStatus(node="ml-1", state="failed", reason="out of memory"),
            RouteStatus(node="ml-2", state="starting", reason=""),
        )
        reported = ReportedStatus(
            state="failed", reason="All node routes are failed", routes=routes
        )
        assert reported_text(reported) == (
            "state failed; All node routes are failed; ml-1 failed: out of memory; ml-2 starting"
        )

    def test_adaptive_allocations_have_no_maximum_unless_one_is_set(self):
        assert str(Setting(None)) == "adaptive 0..unlimited"
        assert str(Setting(None, 1, 4)) == "adaptive 1..4"
        assert str(Setting(4)) == "4"

    def test_routes_that_start_are_no_problem(self):
        routes = (RouteStatus(node="ml-2", state="starting", reason=""),)
        assert problem_text(ReportedStatus(state="started", reason="", routes=routes)) == ""
        assert reported_text(ReportedStatus(state="started", reason="", routes=routes)) == (
            "ml-2 starting"
        )

    @pytest.mark.parametrize(("state", "reason"), [("started", "too slow"), ("failed", "")])
    def test_a_route_that_failed_or_has_a_reason_is_a_problem(self, state, reason):
        routes = (RouteStatus(node="ml-2", state=state, reason=reason),)
        assert problem_text(ReportedStatus(state="started", reason="", routes=routes)) == (
            f"ml-2 {state}" + (f": {reason}" if reason else "")
        )

    def test_long_reasons_are_cut_in_one_line(self):
        long = ReportedStatus(state="started", reason="x" * 5_000, routes=())
        text = explain(replace(decided(24, self.HELD).decision, reported=long))
        assert len(text) < 500
        assert text.endswith("…")


def test_a_pause_alone_explains_why_an_override_changes_nothing():
    by = {"by": "alice", "wait_s": 600.0, "why": ""}
    held = decided(
        3,
        Step(Reason.RECOMMENDATION, 3, 4),
        Step(Reason.OVERRIDE, 4, 6, {"allocations": 6, **by}),
        Step(Reason.PAUSED, 6, 3, {"changes": "everything", **by}),
        kind=OutcomeKind.UNCHANGED,
    )
    assert unchanged_text(held) == (
        "the policy recommends 4, but paused by alice for another 10 min"
    )
