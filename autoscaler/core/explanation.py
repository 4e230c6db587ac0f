"""A decision in words. The only place where a decision becomes prose."""

from collections.abc import Iterator, Mapping

from autoscaler.core.values import (
    Candidate,
    DataIssue,
    Decision,
    Mode,
    Outcome,
    OutcomeKind,
    Reason,
    SetAllocations,
    SetBounds,
    Start,
    Step,
    Stop,
    Unmanaged,
)

_SENTENCES = {
    Reason.NOT_MEASURED: "no request has been timed yet",
    Reason.TARGET_TRACKING: "load {offered_load:.2f} at {target_utilisation:.0%} needs {after}",
    Reason.POLICY_FAILED: "held, since the policy failed: {error}",
    Reason.STABILISATION: "{highest} was recommended within {window_s:.0f} s",
    Reason.STEP_LIMIT: "one step goes no further than {furthest}",
    Reason.BURST: "above {burst_max} only after {hold_s:.0f} s, and {above_s:.0f} s have passed",
    Reason.BOUNDS: "bounds are {min_allocations}..{max_allocations}",
    Reason.DATA_QUALITY: "held, since {issues}",
    Reason.OVERLOAD: "{timeouts} callers gave up meanwhile",
    Reason.FIT: "no more than {fits} fit on the nodes",
    Reason.MAINTENANCE: "{reason}",
    Reason.CAPACITY: "the cluster has refused {infeasible} for lack of capacity",
    Reason.BACK_OFF: "waiting another {wait_s:.0f} s after a refusal ({reason})",
    Reason.ADAPTIVE_ENABLED: "the cluster's own adaptive allocations are on, so it is left to them",
    Reason.ADAPTIVE_DISABLED: "its adaptive allocations were switched off again, so it is left as it is",
    Reason.BOUNDS_COOLDOWN: "bounds come down once in {pause_s:.0f} s, and were moved {moved_s:.0f} s ago",
    Reason.RESUME: "{reason}",
}


_ISSUES = {
    DataIssue.FIRST_OBSERVATION: "it is seen for the first time",
    DataIssue.OBSERVATION_GAP: "it was not observed for too long",
    DataIssue.CLOCK: "no time has passed",
    DataIssue.NOT_STARTED: "it is not started",
    DataIssue.INCOMPLETE: "a node that serves did not answer",
    DataIssue.NEW_NODE: "a node has just joined",
    DataIssue.COUNTER_RESET: "a process has ended or restarted",
    DataIssue.COUNTER_DECREASED: "totals have fallen",
    DataIssue.INCONSISTENT: "the answer contradicts itself",
    DataIssue.IMPLAUSIBLE: "more is reported than can be",
    DataIssue.STALLED: "requests wait and none comes or goes",
}


_UNMANAGED = {
    Unmanaged.NO_RULE: "no rule matches it",
    Unmanaged.EXCLUDED: "a rule excludes it",
    Unmanaged.HIDDEN: "its id begins with a dot, and no rule takes hidden ones",
    Unmanaged.LOW_PRIORITY: "its priority is low, and no rule takes such",
}


_OUTCOMES = {
    OutcomeKind.UNCHANGED: "nothing to change",
    OutcomeKind.DRY_RUN: "dry run, nothing sent",
    OutcomeKind.WITHHELD: "withheld in this cycle",
    OutcomeKind.ACCEPTED: "accepted",
    OutcomeKind.NO_CAPACITY: "refused for lack of capacity",
    OutcomeKind.NOT_STARTED: "refused, since it is starting or stopping",
    OutcomeKind.ADAPTIVE_ENABLED: "refused, since the cluster scales it itself",
    OutcomeKind.UNSUPPORTED: "refused, since this version knows no adaptive allocations",
    OutcomeKind.ENDPOINT_OWNED: "left alone, since an inference endpoint owns it",
    OutcomeKind.IN_USE: "not stopped, since something uses it",
    OutcomeKind.GONE: "refused, since it is gone",
    OutcomeKind.FORBIDDEN: "forbidden, as all updates are until the privileges or the licence change",
    OutcomeKind.UNKNOWN: "no answer, so nobody knows whether it took effect",
    OutcomeKind.INVALID: "refused",
}


def unmanaged_text(reason: Unmanaged) -> str:
    """
    >>> why_unmanaged(Unmanaged.NO_RULE)
    'left alone: no rule matches it'
    """
    return f"left alone: {_UNMANAGED[reason]}"


def explain(decision: Decision) -> str:
    """One line: the change, if there is one, the recommendation, then every rule that overruled it.

    >>> from autoscaler.core.values import Sample
    >>> because = {"offered_load": 4.9, "target_utilisation": 0.7}
    >>> print(explain(Decision(
    ...     deployment_id="elser", model_id="elser", at=0.0, rule="all", dry_run=False, current=3,
    ...     minimum=1, maximum=6, sample=Sample(at=0.0, interval_s=10.0), load=None,
    ...     change=SetNumber(6),
    ...     steps=(
    ...         Step(Reason.TARGET_TRACKING, 3, 7, because),
    ...         Step(Reason.BOUNDS, 7, 6, {"min_allocations": 1, "max_allocations": 6}),
    ...     ),
    ... )))
    elser 3 -> 6: load 4.90 at 70% needs 7; bounds are 1..6
    """
    reasons = "; ".join(map(step_text, (decision.steps[0], *_overruling(decision))))
    return f"{decision.deployment_id} {change_text(decision)}: {reasons}"


def change_text(decision: Decision) -> str:
    """What is asked of the cluster, by the lever that is used."""
    current, desired = decision.current, decision.desired
    match decision.change:
        case SetAllocations(allocations=allocations, take_over=True):
            return f"taken over from the cluster's own scaler, at {allocations}"
        case SetBounds(minimum=minimum, maximum=maximum):
            moved = "" if minimum == current else f"{current} -> "
            return f"at least {moved}{minimum}, at most {maximum}"
        case Stop():
            return "is stopped"
        case Start():
            return f"is started again with {desired}"
        case None if decision.steps[0].reason is Reason.STOPPED:
            return "stays stopped"
        case None:
            at_least = " at least" if decision.mode is Mode.BOUNDS else ""
            return f"stays at {current}{at_least}"
    return f"{current} -> {desired}"


def explain_outcome(outcome: Outcome) -> str:
    """`explain`, and what became of it unless that goes without saying."""
    told = explain(outcome.decision)
    if outcome.kind in (OutcomeKind.UNCHANGED, OutcomeKind.ACCEPTED):
        return told
    return f"{told} ({outcome_text(outcome)})"


def outcome_text(outcome: Outcome) -> str:
    """The fate of a decision, with the cluster's words if it had any."""
    return f"{_OUTCOMES[outcome.kind]}{': ' if outcome.detail else ''}{outcome.detail}"


def unchanged_text(outcome: Outcome) -> str:
    """Why the number is as it was; empty if the cluster has, or may have, taken over another.

    >>> from autoscaler.core.values import Sample
    >>> print(unchanged_text(Outcome(kind=OutcomeKind.UNCHANGED, at=0.0, decision=Decision(
    ...     deployment_id="elser", model_id="elser", at=0.0, rule="all", dry_run=False, current=5,
    ...     minimum=1, maximum=6, sample=Sample(at=0.0, interval_s=10.0), load=None,
    ...     steps=(
    ...         Step(Reason.RECOMMENDATION, 5, 3),
    ...         Step(Reason.STABILISATION, 3, 5, {"highest": 5, "window_s": 300.0}),
    ...     ),
    ... ))))
    the policy wants 3, but 5 was recommended within 300 s
    """
    decision = outcome.decision
    if outcome.kind in (OutcomeKind.ACCEPTED, OutcomeKind.UNKNOWN):
        return ""
    if outcome.kind is not OutcomeKind.UNCHANGED:
        return f"{decision.desired} was decided, but not done: {outcome_text(outcome)}"
    if overruling := "; ".join(map(step_text, _overruling(decision))):
        return f"the policy wants {decision.recommended}, but {overruling}"
    return step_text(decision.steps[0])


def _overruling(decision: Decision) -> tuple[Step, ...]:
    """The limits that moved the number, or would have if it were safe, in their order."""
    return tuple(step for step in decision.steps[1:] if step.changed or "unsafe" in step.inputs)


def step_text(step: Step) -> str:
    """What one rule looked at.

    >>> sentence(Step(Reason.BOUNDS, 9, 8, {"min_allocations": 1, "max_allocations": 8}))
    'bounds are 1..8'
    """
    if step.reason is Reason.RECOMMENDATION:
        figures = ", ".join(f"{name} {_figure(value)}" for name, value in step.inputs.items())
        return f"{figures or 'the policy'} asks for {step.after}"
    if step.reason is Reason.SLO:
        figures = ", ".join(_figures_of_slo(step.inputs))
        return f"{figures}{': ' if figures else ''}{_choice_text(step)}"
    if step.reason is Reason.SCHEDULE:
        bound = (
            "at least {min_allocations}"
            if "min_allocations" in step.inputs
            else "at most {max_allocations}"
        )
        return f"schedule {{schedule}} has {bound}".format(**step.inputs)
    if step.reason is Reason.SETTLING:
        if "state" in step.inputs:
            return f"its state is {step.inputs['state']}"
        return "{running} of {target} allocations serve so far".format(**step.inputs)
    if step.reason is Reason.IDLE:
        idle = f"nobody has asked for {_duration(step.inputs['idle_s'])}"
        if "scaled_to_zero" in step.inputs:
            idle = "it may have none, and nobody asks for it"
        unsafe = step.inputs.get("unsafe")
        return idle if unsafe is None else f"{idle}, but it has to stay: {unsafe}"
    if step.reason is Reason.STOPPED:
        return f"it was stopped {_duration(step.inputs['since_s'])} ago, since nobody asked for it"
    if step.reason is Reason.FIT and "granted_to" in step.inputs:
        return (
            "{granted} of {claimed} granted, as free threads were granted to {granted_to}".format(
                **step.inputs
            )
        )
    if step.reason is Reason.ADAPTIVE_ENABLED and "again" in step.inputs:
        return "its adaptive allocations were switched on again, so it is left to them"
    inputs = dict(step.inputs)
    if step.reason is Reason.DATA_QUALITY:
        issues = str(inputs["issues"]).split(", ")
        inputs["issues"] = " and ".join(_ISSUES[DataIssue(issue)] for issue in issues)
    return _SENTENCES[step.reason].format(after=step.after, **inputs)


def _duration(seconds: float | str) -> str:
    """
    >>> _duration(90.0), _duration(1800.0), _duration(90_000.0)
    ('90 s', '30 min', '25 h')
    """
    seconds = float(seconds)
    if seconds < 120.0:
        return f"{seconds:.0f} s"
    return f"{seconds / 60.0:.0f} min" if seconds < 7200.0 else f"{seconds / 3600.0:.0f} h"


def _figure(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.3g}"


def _figures_of_slo(inputs: Mapping[str, float | str]) -> Iterator[str]:
    if "offered_load" in inputs:
        spread = f" ± {inputs['load_stddev']:.2f}" if "load_stddev" in inputs else ""
        yield f"load {inputs['offered_load']:.2f}{spread}"
    if "forecast_load" in inputs:
        yield f"forecast {inputs['forecast_load']:.2f}"
    if inputs.get("backlog_requests"):
        yield f"{inputs['backlog_requests']:.0f} waiting"
    if "slo_attainment" in inputs:
        yield f"{percent_text(float(inputs['slo_attainment']))} in time lately"


def _choice_text(step: Step) -> str:
    """What speaks for the number: its cost, or else what was more important.

    >>> def candidate(allocations, late_share, cost):
    ...     return Candidate(allocations=allocations, late_share=late_share, wait_s=0.1, cost=cost)
    >>> weighed = (candidate(4, 0.029, 4.9), candidate(5, 0.006, 5.2), candidate(6, 0.001, 6.1))
    >>> _verdict(Step(Reason.SLO, 3, 4, {}, weighed))
    '4 cost least (2.9% late)'
    >>> _verdict(Step(Reason.SLO, 3, 5, {"after_new_node": 9.0}, weighed))
    '5 at once on the nodes in use, 9 in the end (0.6% late; 4 would be 2.9% late)'
    >>> _verdict(Step(Reason.SLO, 3, 6, {"backlog_allocations": 6}, weighed))
    '6 clear what waits in time (0.1% late; 5 would be 0.6% late)'
    """
    number = step.after
    by_number = {candidate.allocations: candidate for candidate in step.candidates}
    chosen, fewer = by_number.get(number), by_number.get(number - 1)
    s = "s" if number == 1 else ""
    cheapest = min(step.candidates, key=_cost, default=None)
    if "after_new_node" in step.inputs:
        verdict = (
            f"{number} at once on the nodes in use, {step.inputs['after_new_node']:.0f} in the end"
        )
    elif step.inputs.get("forecast_allocations") == number:
        verdict = f"{number} get{s} a further node ready for the forecast"
    elif cheapest is not None and chosen is not None and chosen.cost <= cheapest.cost:
        verdict = f"{number} cost{s} least"
    elif step.inputs.get("backlog_allocations") == number:
        verdict = f"{number} clear{s} what waits in time"
    elif cheapest is not None:
        verdict = f"{number}, though {cheapest.allocations} would cost least"
    else:
        verdict = f"needs {number}"
    expected = []
    if chosen is not None:
        expected.append(f"{percent_text(chosen.violation_fraction)} late")
    if fewer is not None:
        expected.append(
            f"{fewer.allocations} would be {percent_text(fewer.violation_fraction)} late"
        )
    return f"{verdict} ({'; '.join(expected)})" if expected else verdict


def _cost(candidate: Candidate) -> float:
    return candidate.cost


def percent_text(fraction: float) -> str:
    """A share of the requests in per cent; what is not quite none or all never looks like it.

    >>> share(0.029), share(1e-5), share(0.99999), share(1.0)
    ('2.9%', '<0.1%', '>99.9%', '100%')
    """
    percent = 100.0 * fraction
    if 0.0 < percent < 0.05:
        return "<0.1%"
    if 99.95 <= percent < 100.0:
        return ">99.9%"
    return f"{percent:.1f}".removesuffix(".0") + "%"
