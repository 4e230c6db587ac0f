"""Every reason has its sentence."""

import pytest

from autoscaler.core.explanation import (
    explain,
    explain_outcome,
    outcome_text,
    percent_text,
    step_text,
    unchanged_text,
)
from autoscaler.core.flow.constraints import joined
from autoscaler.core.values import (
    Candidate,
    DataIssue,
    Decision,
    Outcome,
    OutcomeKind,
    Reason,
    Sample,
    SetAllocations,
    Step,
)

SLO_FIGURES = {
    "offered_load": 3.2,
    "load_stddev": 0.25,
    "violation_weight": 20.0,
    "slo_attainment": 0.994,
    "backlog_requests": 12,
    "backlog_allocations": 4,
    "forecast_load": 3.6,
}


def candidate(allocations, late_share, cost):
    return Candidate(
        allocations=allocations, violation_fraction=late_share, queue_wait_s=0.1, cost=cost
    )


FOUR, FIVE, SIX = candidate(4, 0.029, 5.9), candidate(5, 0.006, 5.4), candidate(6, 0.001, 6.1)

STEPS = {
    "no request has been timed yet": Step(Reason.NOT_MEASURED, 2, 2),
    "load 4.90 at 70% needs 7": Step(
        Reason.TARGET_TRACKING, 2, 7, {"offered_load": 4.9, "target_utilisation": 0.7}
    ),
    "load 3.20 ± 0.25, forecast 3.60, 12 waiting, 99.4% in time lately: "
    "5 cost least (0.6% late; 4 would be 2.9% late)": Step(
        Reason.SLO, 3, 5, SLO_FIGURES, (FOUR, FIVE)
    ),
    "rate 12.3, because bursty asks for 7": Step(
        Reason.RECOMMENDATION, 2, 7, {"rate": 12.345, "reason": "bursty"}
    ),
    "the policy asks for 3": Step(Reason.RECOMMENDATION, 2, 3),
    "held, since the policy failed: KeyError('x') (mine.py:7)": Step(
        Reason.POLICY_FAILED, 2, 2, {"error": "KeyError('x') (mine.py:7)"}
    ),
    "5 was recommended within 300 s": Step(
        Reason.STABILISATION, 2, 5, {"highest": 5, "window_s": 300.0}
    ),
    "one step goes no further than 4": Step(Reason.STEP_LIMIT, 9, 4, {"furthest": 4}),
    "above 8 only after 60 s, and 20 s have passed": Step(
        Reason.BURST, 12, 8, {"burst_max": 8, "hold_s": 60.0, "above_s": 20.0}
    ),
    "schedule office hours has at least 4": Step(
        Reason.SCHEDULE, 2, 4, {"schedule": "office hours", "min_allocations": 4}
    ),
    "schedule nights has at most 2": Step(
        Reason.SCHEDULE, 9, 2, {"schedule": "nights", "max_allocations": 2}
    ),
    "bounds are 1..8": Step(Reason.BOUNDS, 9, 8, {"min_allocations": 1, "max_allocations": 8}),
    "no more than 5 fit on the nodes": Step(Reason.FIT, 9, 5, {"fits": 5}),
    "held, since a node has just joined and totals have fallen": Step(
        Reason.DATA_QUALITY,
        2,
        2,
        {"issues": joined((DataIssue.NEW_NODE, DataIssue.COUNTER_DECREASED))},
    ),
    "40 callers gave up meanwhile": Step(Reason.OVERLOAD, 2, 5, {"timeouts": 40}),
    "its state is stopping": Step(Reason.SETTLING, 3, 2, {"state": "stopping"}),
    "2 of 6 allocations serve so far": Step(Reason.SETTLING, 3, 6, {"running": 2, "target": 6}),
    "machine-learning upgrade mode is on": Step(
        Reason.MAINTENANCE, 3, 2, {"reason": "machine-learning upgrade mode is on"}
    ),
    "the cluster has refused 5 for lack of capacity": Step(
        Reason.CAPACITY, 5, 3, {"infeasible": 5}
    ),
    "waiting another 42 s after a refusal (forbidden)": Step(
        Reason.BACK_OFF, 5, 3, {"wait_s": 42.0, "reason": "forbidden"}
    ),
    "the cluster's own adaptive allocations are on, so it is left to them": Step(
        Reason.ADAPTIVE_ENABLED, 2, 2
    ),
    "its adaptive allocations were switched on again, so it is left to them": Step(
        Reason.ADAPTIVE_ENABLED, 2, 2, {"again": "yes"}
    ),
    "its adaptive allocations were switched off again, so it is left as it is": Step(
        Reason.ADAPTIVE_DISABLED, 2, 2
    ),
    "bounds come down once in 60 s, and were moved 20 s ago": Step(
        Reason.BOUNDS_COOLDOWN, 3, 5, {"pause_s": 60.0, "moved_s": 20.0}
    ),
    "nobody has asked for 30 min": Step(Reason.IDLE, 1, 0, {"idle_s": 1800.0}),
    "it may have none, and nobody asks for it": Step(
        Reason.IDLE, 1, 0, {"idle_s": 20.0, "scaled_to_zero": "yes"}
    ),
    "nobody has asked for 45 min, but it has to stay: it must": Step(
        Reason.IDLE, 1, 1, {"idle_s": 2700.0, "unsafe": "it must"}
    ),
    "it was stopped 3 h ago, since nobody asked for it": Step(
        Reason.STOPPED, 0, 0, {"since_s": 10_800.0}
    ),
    "somebody asked for it": Step(Reason.RESUME, 0, 1, {"reason": "somebody asked for it"}),
}


@pytest.mark.parametrize(("told", "step"), STEPS.items(), ids=[s.reason for s in STEPS.values()])
def test_each_rule_tells_the_figures_it_looked_at(told, step):
    assert step_text(step) == told


def test_no_reason_is_without_a_sentence():
    assert {step.reason for step in STEPS.values()} == set(Reason)


@pytest.mark.parametrize("flaw", DataIssue)
def test_no_flaw_is_without_words(flaw):
    told = step_text(Step(Reason.DATA_QUALITY, 2, 2, {"issues": joined((flaw,))}))
    assert told.startswith("held, since ")


@pytest.mark.parametrize(
    ("step", "told"),
    [
        (Step(Reason.SLO, 2, 5), "needs 5"),
        (Step(Reason.SLO, 2, 5, {"offered_load": 3.2}), "load 3.20: needs 5"),
        (Step(Reason.SLO, 2, 5, {"backlog_requests": 0.0, "slo_attainment": 1.0}), "100% in time lately: needs 5"),
        (Step(Reason.SLO, 2, 4, {}, (FOUR,)), "4 cost least (2.9% late)"),
        (Step(Reason.SLO, 2, 1, {}, (candidate(1, 0.0, 1.0),)), "1 costs least (0% late)"),
        (
            Step(Reason.SLO, 2, 6, {"backlog_allocations": 6.0, "backlog_requests": 40}, (FOUR, FIVE, SIX)),
            "40 waiting: 6 clear what waits in time (0.1% late; 5 would be 0.6% late)",
        ),
        (Step(Reason.SLO, 2, 6, {"backlog_allocations": 6}, (FOUR, FIVE)),
         "6 clear what waits in time (5 would be 0.6% late)"),
        (Step(Reason.SLO, 2, 6, {}, (FIVE, SIX)),
         "6, though 5 would cost least (0.1% late; 5 would be 0.6% late)"),
        (Step(Reason.SLO, 2, 9, {}, (FIVE, SIX)), "9, though 5 would cost least"),
    ],
)  # fmt: skip
def test_what_the_slo_policy_weighs_is_told_as_far_as_it_is_known(step, told):
    assert step_text(step) == told


def test_a_share_never_looks_like_none_or_all_unless_it_is():
    assert [percent_text(each) for each in (0.0, 1e-9, 0.9999999, 1.0)] == [
        "0%", "<0.1%", ">99.9%", "100%"
    ]  # fmt: skip


def decided(current, *steps, fate=OutcomeKind.UNCHANGED, detail=""):
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
        change=SetAllocations(steps[-1].after) if steps[-1].after != current else None,
    )
    return Outcome(decision=decision, kind=fate, at=0.0, detail=detail)


WANTS_12 = Step(Reason.TARGET_TRACKING, 9, 12, {"offered_load": 8.4, "target_utilisation": 0.7})
AT_MOST_8 = Step(Reason.BOUNDS, 12, 8, {"min_allocations": 1, "max_allocations": 8})
SETTLED = Step(Reason.SETTLING, 8, 8, {"running": 8, "target": 9})


def test_a_decision_tells_its_recommendation_and_what_overruled_it():
    decision = decided(9, WANTS_12, AT_MOST_8, SETTLED).decision
    assert explain(decision) == "elser 9 -> 8: load 8.40 at 70% needs 12; bounds are 1..8"
    assert decision.reason is Reason.BOUNDS


def test_a_decision_that_changes_nothing_says_so_and_why():
    held = decided(8, Step(Reason.RECOMMENDATION, 8, 12), AT_MOST_8)
    assert explain(held.decision) == ("elser stays at 8: the policy asks for 12; bounds are 1..8")
    assert unchanged_text(held) == "the policy wants 12, but bounds are 1..8"


def test_a_number_that_is_right_stays_for_what_the_policy_says():
    right = decided(5, Step(Reason.SLO, 5, 5, {"offered_load": 3.2}, (FOUR, FIVE)))
    assert unchanged_text(right) == step_text(right.decision.steps[0])


@pytest.mark.parametrize("fate", OutcomeKind)
def test_no_fate_is_without_words(fate):
    outcome = decided(9, WANTS_12, AT_MOST_8, fate=fate, detail="no room")
    assert outcome_text(outcome).endswith(": no room")
    assert explain_outcome(outcome).startswith("elser 9 -> 8: ")


@pytest.mark.parametrize(
    "fate",
    sorted(set(OutcomeKind) - {OutcomeKind.UNCHANGED, OutcomeKind.ACCEPTED, OutcomeKind.UNKNOWN}),
)
def test_what_was_decided_and_not_done_is_told_with_the_clusters_words(fate):
    outcome = decided(9, WANTS_12, AT_MOST_8, fate=fate, detail="no room")
    told = unchanged_text(outcome)
    assert told.startswith("8 was decided, but not done: ")
    assert told.endswith(": no room")


@pytest.mark.parametrize("fate", [OutcomeKind.ACCEPTED, OutcomeKind.UNKNOWN])
def test_nothing_is_said_to_be_unchanged_that_may_have_changed(fate):
    assert unchanged_text(decided(9, WANTS_12, AT_MOST_8, fate=fate)) == ""
