"""A decision, its outcome and its rollout as text; `step_text` has the text of each step."""

from autoscaler.core.decision import (
    CompletedRollout,
    Decision,
    ExternalChange,
    Mode,
    NoEffect,
    Outcome,
    OutcomeKind,
    SetAllocations,
    SetBounds,
    Setting,
    Start,
    Stop,
    Unmanaged,
)
from autoscaler.core.next_poll import NextPoll, PollCause
from autoscaler.core.shortfall import ReportedStatus, Shortfall, ShortfallCause
from autoscaler.core.step_text import step_text
from autoscaler.core.units import duration_text
from autoscaler.core.values import STARTED, Reason, Step

MAX_REPORTED_CHARACTERS = 300
"""Characters of the cluster's own words in one line. 300, because the reason has a sentence for
each node; `explain` and JSON have all of it."""

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
    OutcomeKind.OUTDATED: "not sent, because it was decided too long ago",
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
    OutcomeKind.UNKNOWN: "it is not known whether the update was applied",
    OutcomeKind.UNRECOGNISED: "refused for an unknown reason; the update may have been applied",
    OutcomeKind.INVALID: "refused",
}


_UNCERTAIN = frozenset({OutcomeKind.UNKNOWN, OutcomeKind.UNRECOGNISED})
"""Kinds of outcomes after which the update may have been applied."""


_POLL_CAUSES = {
    PollCause.QUEUE: "a queue stands",
    PollCause.JUMP: "the load has jumped",
    PollCause.DECREASE: "allocations have just been given up",
    PollCause.RECURRENCE: "the load is about to change, as it did before at this time",
    PollCause.SLOW_CLUSTER: "the cluster took long to collect the statistics",
    PollCause.SLOW_CYCLE: "planning for all deployments took long",
}
"""Why a poll is earlier or later than the routine one."""


def next_poll_text(next_poll: NextPoll) -> str:
    """When the next poll is due after the present one, and why.

    >>> next_poll_text(NextPoll(within_s=2.0, cause=PollCause.QUEUE, deployment_id="elser"))
    'next poll in 2 s: a queue stands (deployment elser)'
    >>> next_poll_text(NextPoll(within_s=10.0))
    'next poll in 10 s'
    """
    text, because = f"next poll in {duration_text(next_poll.within_s)}", poll_reason(next_poll)
    return f"{text}: {because}" if because else text


def poll_reason(next_poll: NextPoll) -> str:
    """Why the next poll is early or late; empty for the routine one."""
    cause, name = _POLL_CAUSES.get(next_poll.cause, ""), next_poll.deployment_id
    return f"{cause} (deployment {name})" if cause and name is not None else cause


def unmanaged_text(reason: Unmanaged) -> str:
    """
    >>> unmanaged_text(Unmanaged.NO_RULE)
    'not managed: no rule matches it'
    """
    return f"not managed: {_UNMANAGED[reason]}"


def explain(decision: Decision, change: str = "") -> str:
    """One line: the running allocations if some are missing, the change if there is one, the
    recommendation, the constraints that limited it, and the status that the cluster reports, if
    it reports a problem.

    Args:
        change: what became of the update; default: `change_text`.

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
    if texts[0] in texts[1:]:
        # The policy held, and a constraint for the same reason.
        del texts[0]
    elif decision.desired != decision.current:
        # The policy held, and a constraint changed the allocations.
        texts[0] = texts[0].removeprefix("held: ")
    # A shortfall has a separate line.
    if decision.shortfall is None and (reported := problem_text(decision.reported)):
        texts.append(f"the cluster reports: {_shortened(reported)}")
    text = f"{change or change_text(decision)}: {'; '.join(texts)}"
    if running := running_text(decision.shortfall):
        # Only once, at the beginning.
        text = f"{running}, {text.replace(f' with {running}', '')}"
    return f"{decision.deployment_id} {text}"


def running_text(shortfall: Shortfall | None) -> str:
    """How many of the requested allocations run; empty if all do, or that is unknown."""
    return f"{shortfall.running} of {shortfall.requested} running" if shortfall is not None else ""


def missing_text(shortfall: Shortfall, at: float) -> str:
    """Why the missing allocations do not run.

    >>> missing_text(Shortfall(since=50.0, progress_at=50.0, requested=24, running=16, lost=6,
    ...     cause=ShortfallCause.LOST), at=80.0)
    '6 lost, 2 starting, for 30 s'
    """
    missing, lost = shortfall.missing, shortfall.lost
    waited = duration_text(at - shortfall.since)
    match shortfall.cause:
        case ShortfallCause.LOST if lost < missing:
            text = f"{lost} lost, {missing - lost} starting"
        case ShortfallCause.LOST:
            text = f"{lost} lost"
        case ShortfallCause.UNPLACED:
            text = f"{missing} not placed"
        case ShortfallCause.OVERDUE:
            text = f"{missing} have not started"
        case _:
            text = f"{missing} starting"
    return f"{text}, for {waited}" if at > shortfall.since else text


def reported_text(reported: ReportedStatus | None) -> str:
    """The reported status of a deployment: its state, its reason, its routes; empty if there is
    none."""
    if reported is None:
        return ""
    texts = [] if reported.state in (STARTED, "") else [f"state {reported.state}"]
    if reported.reason:
        texts.append(reported.reason)
    for route in reported.routes:
        node = route.node or "a node"
        state = route.state or "in an unknown state"
        texts.append(f"{node} {state}" + (f": {route.reason}" if route.reason else ""))
    return "; ".join(texts)


def problem_text(reported: ReportedStatus | None) -> str:
    """`reported_text`, unless it reports only that routes are starting or stopping."""
    if reported is None:
        return ""
    quiet = not reported.reason and reported.state in (STARTED, "")
    if quiet and not any(route.reason or route.state == "failed" for route in reported.routes):
        return ""
    return reported_text(reported)


def shortfall_text(decision: Decision) -> str:
    """That fewer allocations run than are requested, and why, as far as is known."""
    shortfall = decision.shortfall
    assert shortfall is not None, "some of the requested allocations do not run"
    reported = reported_text(decision.reported)
    return (
        f"{decision.deployment_id}: {running_text(shortfall)}; "
        f"{missing_text(shortfall, decision.at)}"
        f"{f'; the cluster reports: {_shortened(reported)}' if reported else ''}"
    )


def external_change_text(change: ExternalChange) -> str:
    """That another writer has changed a deployment, and what follows.

    >>> from autoscaler.core.decision import Setting
    >>> print(external_change_text(ExternalChange(
    ...     deployment_id="elser", at=0.0, before=Setting(8), after=Setting(4), times=1,
    ...     hold_s=600.0,
    ... )))
    elser: another writer changed it from 8 to 4; respected for 10 min
    """
    if change.before == Setting(0):
        done = f"started it with {change.after}"
    else:
        done = f"changed it from {change.before} to {change.after}"
    text = f"{change.deployment_id}: another writer {done}"
    if change.second_writer:
        text += (
            f", change {change.times} in a row; look for a second autoscaler or a script that "
            "manages it, and stop one of the two"
        )
    if change.changes_mode:
        return f"{text}; respected until that is reverted"
    held = f"respected for {duration_text(change.hold_s)}" if change.hold_s else "not respected"
    return f"{text}; {held}"


def _shortened(text: str) -> str:
    if len(text) <= MAX_REPORTED_CHARACTERS:
        return text
    return f"{text[: MAX_REPORTED_CHARACTERS - 1]}…"


def change_text(decision: Decision) -> str:
    """The update that the decision sends, or what it keeps."""
    current, desired = decision.current, decision.desired
    moved = f"stays at {current}" if current == desired else f"{current} -> {desired}"
    match decision.change:
        case SetAllocations(take_over=True):
            return f"{moved}, adaptive allocations disabled"
        case SetBounds(minimum=minimum, maximum=maximum):
            raised = f"{minimum}" if minimum == current else f"{current} -> {minimum}"
            return f"minimum {raised}, maximum {maximum or 'unlimited'}"
        case Stop():
            return "is stopped"
        case Start():
            return f"is resumed with {desired} allocation{'' if desired == 1 else 's'}"
        case None if decision.steps[0].reason is Reason.STOPPED:
            return "stays stopped"
        case None if not decision.is_current_known:
            return "stays as it is"
        case None:
            minimum_of = "minimum " if decision.mode is Mode.BOUNDS else ""
            return f"{minimum_of}stays at {current}"
    return moved


def explain_outcome(outcome: Outcome) -> str:
    """`explain`, and the outcome unless it is as expected."""
    text = explain(outcome.decision, result_text(outcome))
    if outcome.kind in (OutcomeKind.UNCHANGED, OutcomeKind.ACCEPTED):
        return text
    if outcome.kind is OutcomeKind.OBSERVE_ONLY:
        return f"{text} ({_OUTCOMES[outcome.kind]})"  # the reason concerns all deployments
    return f"{text} ({outcome_text(outcome)})"


def result_text(outcome: Outcome) -> str:
    """`change_text`, but not that a deployment is stopped or resumed where it is not, or where
    that is not known."""
    if outcome.kind is OutcomeKind.ACCEPTED:
        return change_text(outcome.decision)
    verb = "may be" if outcome.kind in _UNCERTAIN else "is not"
    match outcome.decision.change:
        case Start():
            return f"{verb} resumed"
        case Stop():
            return f"{verb} stopped"
    return change_text(outcome.decision)


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


def no_effect_text(failed: NoEffect) -> str:
    """That an accepted change does not show.

    >>> no_effect_text(NoEffect(
    ...     deployment_id="elser", requested=Setting(5), shown=Setting(2), accepted_at=0.0,
    ...     at=30.0, times=1, wait_s=60.0,
    ... ))
    'elser: the update to 5 was accepted 30 s ago, but it still has 2; sent again in 60 s'
    >>> no_effect_text(NoEffect(
    ...     deployment_id="elser", requested=Setting(1), shown=Setting(0), accepted_at=0.0,
    ...     at=30.0, times=1, wait_s=60.0,
    ... ))
    'elser: the update to 1 was accepted 30 s ago, but it still has 0; sent again in 60 s'
    """
    if failed.requested == Setting(0):
        what, but = "the stop", "it still runs"
    elif failed.starts:
        what, but = "the start", "it is not reported"
    else:
        what, but = f"the update to {failed.requested}", f"it still has {failed.shown}"
    return (
        f"{failed.deployment_id}: {what} was accepted "
        f"{duration_text(failed.at - failed.accepted_at)} ago, but {but}; "
        f"sent again in {duration_text(failed.wait_s)}"
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
    if outcome.kind is OutcomeKind.ACCEPTED or outcome.kind in _UNCERTAIN:
        return ""
    if outcome.kind is not OutcomeKind.UNCHANGED:
        return f"the update to {decision.desired} was not applied: {outcome_text(outcome)}"
    found = _limiting(decision)
    if found and found[-1].reason is Reason.PAUSED:
        found = found[-1:]  # whatever the others have made of the recommendation is held
    limiting = [_reason_text(step) for step in found]
    if decision.steps[0].reason is Reason.STOPPED and limiting:
        # What resumes it, and what prevents that.
        return ", but ".join([limiting[0], *(["; ".join(limiting[1:])] if limiting[1:] else [])])
    if limiting:
        return f"the policy recommends {decision.recommended}, but {'; '.join(limiting)}"
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
