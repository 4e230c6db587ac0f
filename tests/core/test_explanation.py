"""Every reason has its sentence."""

import pytest

from autoscaler.core.constraints import words
from autoscaler.core.explanation import explain, sentence
from autoscaler.core.values import Decision, Flaw, Reason, Sample, Step

STEPS = {
    "no request has been timed yet": Step(Reason.NOT_MEASURED, 2, 2),
    "load 4.90 at 70% needs 7": Step(
        Reason.TARGET_TRACKING, 2, 7, {"offered_load": 4.9, "target_utilisation": 0.7}
    ),
    "rate 12.3, because bursty asks for 7": Step(
        Reason.RECOMMENDATION, 2, 7, {"rate": 12.345, "because": "bursty"}
    ),
    "the policy asks for 3": Step(Reason.RECOMMENDATION, 2, 3),
    "5 was recommended within 300 s": Step(
        Reason.STABILISATION, 2, 5, {"highest": 5, "window_s": 300.0}
    ),
    "one step goes no further than 4": Step(Reason.STEP_LIMIT, 9, 4, {"furthest": 4}),
    "bounds are 1..8": Step(Reason.BOUNDS, 9, 8, {"min": 1, "max": 8}),
    "held, since a node has just joined and totals have fallen": Step(
        Reason.UNTRUSTED, 2, 2, {"flaws": words((Flaw.NEW_NODE, Flaw.BACKWARDS))}
    ),
    "40 callers gave up meanwhile": Step(Reason.OVERLOAD, 2, 5, {"timeouts": 40}),
    "its state is stopping": Step(Reason.SETTLING, 3, 2, {"state": "stopping"}),
    "2 of 6 allocations serve so far": Step(Reason.SETTLING, 3, 6, {"live": 2, "target": 6}),
    "machine-learning upgrade mode is on": Step(
        Reason.MAINTENANCE, 3, 2, {"because": "machine-learning upgrade mode is on"}
    ),
    "the cluster has refused 5 for lack of capacity": Step(
        Reason.CAPACITY, 5, 3, {"infeasible": 5}
    ),
    "waiting another 42 s after a refusal (forbidden)": Step(
        Reason.BACK_OFF, 5, 3, {"wait_s": 42.0, "because": "forbidden"}
    ),
    "the cluster's own adaptive allocations are on, so it is left to them": Step(
        Reason.NATIVE_SCALING, 2, 2
    ),
}


@pytest.mark.parametrize(("told", "step"), STEPS.items(), ids=[s.reason for s in STEPS.values()])
def test_each_rule_tells_the_figures_it_looked_at(told, step):
    assert sentence(step) == told


def test_no_reason_is_without_a_sentence():
    assert {step.reason for step in STEPS.values()} == set(Reason)


@pytest.mark.parametrize("flaw", Flaw)
def test_no_flaw_is_without_words(flaw):
    told = sentence(Step(Reason.UNTRUSTED, 2, 2, {"flaws": words((flaw,))}))
    assert told.startswith("held, since ")


def test_a_decision_tells_its_recommendation_and_what_overruled_it():
    decision = Decision(
        deployment_id="elser",
        model_id="m",
        at=0.0,
        rule="all",
        dry_run=False,
        current=9,
        minimum=1,
        maximum=8,
        sample=Sample(at=0.0, interval_s=10.0),
        load=None,
        steps=(
            Step(Reason.TARGET_TRACKING, 9, 12, {"offered_load": 8.4, "target_utilisation": 0.7}),
            Step(Reason.BOUNDS, 12, 8, {"min": 1, "max": 8}),
            Step(Reason.SETTLING, 8, 8, {"live": 8, "target": 9}),
        ),
    )
    assert explain(decision) == "elser 9 -> 8: load 8.40 at 70% needs 12; bounds are 1..8"
    assert decision.reason is Reason.BOUNDS
