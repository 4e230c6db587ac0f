"""A decision, its outcome and its rollout as text; `step_text` has the text of each step."""

from autoscaler.core.decision import (
    CompletedRollout,
    Decision,
    Mode,
    Outcome,
    OutcomeKind,
    SetAllocations,
    SetBounds,
    Start,
    Stop,
    Unmanaged,
)
from autoscaler.core.step_text import step_text
from autoscaler.core.units import duration_text
from autoscaler.core.values import Reason, Step

_UNMANAGED = {
    Unmanaged.NO_RULE: "no rule matches it",
    Unmanaged.EXCLUDED: "a rule excludes it",
    Unmanaged.HIDDEN: "its id begins with a dot, and no rule includes hidden deployments",
    Unmanaged.LOW_PRIORITY: "its priority is low, and no rule includes low-priority deployments",
}


_OUTCOMES = {
    OutcomeKind.UNCHANGED: "no change",
    OutcomeKind.DRY_RUN: "dry run, not sent",
    OutcomeKind.OBSERVE_ONLY: "observe only, not sent",
    OutcomeKind.WITHHELD: "withheld in this cycle",
    OutcomeKind.ACCEPTED: "accepted",
    OutcomeKind.NO_EFFECT: "accepted without effect",
    OutcomeKind.NO_CAPACITY: "refused for lack of capacity",
    OutcomeKind.NOT_STARTED: "refused: the deployment is starting or stopping",
    OutcomeKind.ADAPTIVE_ENABLED: "refused: adaptive allocations are enabled",
    OutcomeKind.UNSUPPORTED: "refused: this version does not support adaptive allocations",
    OutcomeKind.ENDPOINT_OWNED: "not changed: an inference endpoint owns it",
    OutcomeKind.IN_USE: "not stopped: a pipeline or an inference endpoint uses it",
    OutcomeKind.GONE: "refused: not found",
    OutcomeKind.BLOCKED: "refused by a block",
    OutcomeKind.FORBIDDEN: "forbidden, like all updates until the privileges or the licence change",
    OutcomeKind.UNKNOWN: "no response; the update may have been applied",
    OutcomeKind.INVALID: "refused",
}


def unmanaged_text(reason: Unmanaged) -> str:
    """
    >>> unmanaged_text(Unmanaged.NO_RULE)
    'not managed: no rule matches it'
    """
    return f"not managed: {_UNMANAGED[reason]}"


def explain(decision: Decision) -> str:
    """One line: the change if there is one, the recommendation, the constraints that limited it.

    >>> from autoscaler.core.values import Sample
    >>> inputs = {"offered_load": 4.9, "target_utilisation": 0.7}
    >>> print(explain(Decision(
    ...     deployment_id="elser", model_id="elser", at=0.0, rule="all", dry_run=False, current=3,
    ...     min_allocations=1, max_allocations=6, sample=Sample(at=0.0, interval_s=10.0),
    ...     load=None, change=SetAllocations(6),
    ...     steps=(
    ...         Step(Reason.TARGET_TRACKING, 3, 7, inputs),
    ...         Step(Reason.BOUNDS, 7, 6, {"min_allocations": 1, "max_allocations": 6}),
    ...     ),
    ... )))
    elser 3 -> 6: load 4.90 at 70% needs 7; bounds are 1..6
    """
    texts = [step_text(step) for step in (decision.steps[0], *_limiting(decision))]
    if decision.desired != decision.current:
        # The policy held, and a constraint changed the allocations.
        texts[0] = texts[0].removeprefix("held: ")
    return f"{decision.deployment_id} {change_text(decision)}: {'; '.join(texts)}"


def change_text(decision: Decision) -> str:
    """The update that the decision sends, or what it keeps."""
    current, desired = decision.current, decision.desired
    moved = f"stays at {current}" if current == desired else f"{current} -> {desired}"
    match decision.change:
        case SetAllocations(take_over=True):
            return f"{moved}, adaptive allocations disabled"
        case SetBounds(minimum=minimum, maximum=maximum):
            raised = f"{minimum}" if minimum == current else f"{current} -> {minimum}"
            return f"minimum {raised}, maximum {maximum}"
        case Stop():
            return "is stopped"
        case Start():
            return f"is resumed with {desired} allocation{'' if desired == 1 else 's'}"
        case None if decision.steps[0].reason is Reason.STOPPED:
            return "stays stopped"
        case None:
            minimum_of = "minimum " if decision.mode is Mode.BOUNDS else ""
            return f"{minimum_of}stays at {current}"
    return moved


def explain_outcome(outcome: Outcome) -> str:
    """`explain`, and the outcome unless it is as expected."""
    text = explain(outcome.decision)
    if outcome.kind in (OutcomeKind.UNCHANGED, OutcomeKind.ACCEPTED):
        return text
    return f"{text} ({outcome_text(outcome)})"


def outcome_text(outcome: Outcome) -> str:
    """The outcome of a decision, with the cluster's message if there is one."""
    return f"{_OUTCOMES[outcome.kind]}{': ' if outcome.detail else ''}{outcome.detail}"


def completed_text(rollout: CompletedRollout) -> str:
    """That an accepted update is complete.

    >>> completed_text(
    ...     CompletedRollout(deployment_id="elser", allocations=6, lead_time_s=10.2, new_node=False)
    ... )
    'elser runs 6 allocations, 10 s after the update'
    """
    s = "" if rollout.allocations == 1 else "s"
    lead_time = duration_text(rollout.lead_time_s)
    return (
        f"{rollout.deployment_id} runs {rollout.allocations} allocation{s}, "
        f"{lead_time} after the update"
    )


def unchanged_text(outcome: Outcome) -> str:
    """Why the allocations are as before; empty if an update was, or may have been, applied.

    >>> from autoscaler.core.values import Sample
    >>> print(unchanged_text(Outcome(kind=OutcomeKind.UNCHANGED, at=0.0, decision=Decision(
    ...     deployment_id="elser", model_id="elser", at=0.0, rule="all", dry_run=False, current=5,
    ...     min_allocations=1, max_allocations=6, sample=Sample(at=0.0, interval_s=10.0), load=None,
    ...     steps=(
    ...         Step(Reason.RECOMMENDATION, 5, 3),
    ...         Step(Reason.STABILISATION, 3, 5, {"highest": 5, "window_s": 300.0}),
    ...     ),
    ... ))))
    the policy recommends 3, but 5 was recommended within the last 5 min
    """
    decision = outcome.decision
    if outcome.kind in (OutcomeKind.ACCEPTED, OutcomeKind.UNKNOWN):
        return ""
    if outcome.kind is not OutcomeKind.UNCHANGED:
        return f"the update to {decision.desired} was not applied: {outcome_text(outcome)}"
    if limiting := "; ".join(map(_reason_text, _limiting(decision))):
        return f"the policy recommends {decision.recommended}, but {limiting}"
    return _reason_text(decision.steps[0])


def _reason_text(step: Step) -> str:
    """The text of a step where it is already said that the allocations are held."""
    return step_text(step).removeprefix("held: ")


def _limiting(decision: Decision) -> tuple[Step, ...]:
    """The constraints that changed the recommendation, or would have if it were safe, in order; and
    a maximum of adaptive allocations below that of the rule."""
    return tuple(
        step
        for step in decision.steps[1:]
        if step.changed or "unsafe" in step.inputs or "adaptive_maximum" in step.inputs
    )
