"""A decision in words. The only place where a decision becomes prose."""

from collections.abc import Iterator, Mapping

from autoscaler.core.values import (
    Candidate,
    Decision,
    Fate,
    Flaw,
    Mode,
    Outcome,
    Reason,
    SetBounds,
    SetNumber,
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
    Reason.BURST: "above {burst_max} only after {hold_s:.0f} s, and {wanted_s:.0f} s have passed",
    Reason.BOUNDS: "bounds are {min}..{max}",
    Reason.UNTRUSTED: "held, since {flaws}",
    Reason.OVERLOAD: "{timeouts} callers gave up meanwhile",
    Reason.FIT: "no more than {fits} fit on the nodes",
    Reason.MAINTENANCE: "{because}",
    Reason.CAPACITY: "the cluster has refused {infeasible} for lack of capacity",
    Reason.BACK_OFF: "waiting another {wait_s:.0f} s after a refusal ({because})",
    Reason.NATIVE_SCALING: "the cluster's own adaptive allocations are on, so it is left to them",
    Reason.NATIVE_OFF: "its adaptive allocations were switched off again, so it is left as it is",
    Reason.PACE: "bounds come down once in {pause_s:.0f} s, and were moved {moved_s:.0f} s ago",
    Reason.WAKE: "{because}",
}


_FLAWS = {
    Flaw.FIRST_SIGHT: "it is seen for the first time",
    Flaw.OVERDUE: "it was not observed for too long",
    Flaw.CLOCK: "no time has passed",
    Flaw.NOT_STARTED: "it is not started",
    Flaw.INCOMPLETE: "a node that serves did not answer",
    Flaw.NEW_NODE: "a node has just joined",
    Flaw.RESET: "a process has ended or restarted",
    Flaw.BACKWARDS: "totals have fallen",
    Flaw.CONTRADICTORY: "the answer contradicts itself",
    Flaw.IMPOSSIBLE: "more is reported than can be",
    Flaw.STALLED: "requests wait and none comes or goes",
}


_UNMANAGED = {
    Unmanaged.NO_RULE: "no rule matches it",
    Unmanaged.EXCLUDED: "a rule excludes it",
    Unmanaged.HIDDEN: "its id begins with a dot, and no rule takes hidden ones",
    Unmanaged.LOW_PRIORITY: "its priority is low, and no rule takes such",
}


_FATES = {
    Fate.UNCHANGED: "nothing to change",
    Fate.DRY_RUN: "dry run, nothing sent",
    Fate.WITHHELD: "withheld in this cycle",
    Fate.ACCEPTED: "accepted",
    Fate.NO_CAPACITY: "refused for lack of capacity",
    Fate.NOT_STARTED: "refused, since it is starting or stopping",
    Fate.NATIVE_SCALING: "refused, since the cluster scales it itself",
    Fate.UNSUPPORTED: "refused, since this version knows no adaptive allocations",
    Fate.ENDPOINT_OWNED: "left alone, since an inference endpoint owns it",
    Fate.IN_USE: "not stopped, since something uses it",
    Fate.GONE: "refused, since it is gone",
    Fate.FORBIDDEN: "forbidden, as all updates are until the privileges or the licence change",
    Fate.UNKNOWN: "no answer, so nobody knows whether it took effect",
    Fate.INVALID: "refused",
}


def why_unmanaged(reason: Unmanaged) -> str:
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
    ...         Step(Reason.BOUNDS, 7, 6, {"min": 1, "max": 6}),
    ...     ),
    ... )))
    elser 3 -> 6: load 4.90 at 70% needs 7; bounds are 1..6
    """
    reasons = "; ".join(map(sentence, (decision.steps[0], *_overruling(decision))))
    return f"{decision.deployment_id} {what_changes(decision)}: {reasons}"


def what_changes(decision: Decision) -> str:
    """What is asked of the cluster, by the lever that is used."""
    current, desired = decision.current, decision.desired
    match decision.change:
        case SetNumber(allocations=allocations, take_over=True):
            return f"taken over from the cluster's own scaler, at {allocations}"
        case SetBounds(minimum=minimum, maximum=maximum):
            moved = "" if minimum == current else f"{current} -> "
            return f"at least {moved}{minimum}, at most {maximum}"
        case Stop():
            return "is stopped"
        case Start():
            return f"is started again with {desired}"
        case None if decision.steps[0].reason is Reason.ASLEEP:
            return "sleeps"
        case None:
            at_least = " at least" if decision.mode is Mode.BOUNDS else ""
            return f"stays at {current}{at_least}"
    return f"{current} -> {desired}"


def explain_outcome(outcome: Outcome) -> str:
    """`explain`, and what became of it unless that goes without saying."""
    told = explain(outcome.decision)
    if outcome.fate in (Fate.UNCHANGED, Fate.ACCEPTED):
        return told
    return f"{told} ({what_became(outcome)})"


def what_became(outcome: Outcome) -> str:
    """The fate of a decision, with the cluster's words if it had any."""
    return f"{_FATES[outcome.fate]}{': ' if outcome.detail else ''}{outcome.detail}"


def why_nothing_changed(outcome: Outcome) -> str:
    """Why the number is as it was; empty if the cluster has, or may have, taken over another.

    >>> from autoscaler.core.values import Sample
    >>> print(why_nothing_changed(Outcome(fate=Fate.UNCHANGED, at=0.0, decision=Decision(
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
    if outcome.fate in (Fate.ACCEPTED, Fate.UNKNOWN):
        return ""
    if outcome.fate is not Fate.UNCHANGED:
        return f"{decision.desired} was decided, but not done: {what_became(outcome)}"
    if overruling := "; ".join(map(sentence, _overruling(decision))):
        return f"the policy wants {decision.wanted}, but {overruling}"
    return sentence(decision.steps[0])


def _overruling(decision: Decision) -> tuple[Step, ...]:
    """The limits that moved the number, or would have if it were safe, in their order."""
    return tuple(step for step in decision.steps[1:] if step.changed or "unsafe" in step.because)


def sentence(step: Step) -> str:
    """What one rule looked at.

    >>> sentence(Step(Reason.BOUNDS, 9, 8, {"min": 1, "max": 8}))
    'bounds are 1..8'
    """
    if step.reason is Reason.RECOMMENDATION:
        figures = ", ".join(f"{name} {_figure(value)}" for name, value in step.because.items())
        return f"{figures or 'the policy'} asks for {step.after}"
    if step.reason is Reason.SLO:
        figures = ", ".join(_figures_of_slo(step.because))
        return f"{figures}{': ' if figures else ''}{_verdict(step)}"
    if step.reason is Reason.SCHEDULE:
        bound = "at least {min}" if "min" in step.because else "at most {max}"
        return f"schedule {{schedule}} has {bound}".format(**step.because)
    if step.reason is Reason.SETTLING:
        if "state" in step.because:
            return f"its state is {step.because['state']}"
        return "{live} of {target} allocations serve so far".format(**step.because)
    if step.reason is Reason.IDLE:
        idle = f"nobody has asked for {_duration(step.because['idle_s'])}"
        if "sleeps" in step.because:
            idle = "it may have none, and nobody asks for it"
        unsafe = step.because.get("unsafe")
        return idle if unsafe is None else f"{idle}, but it has to stay: {unsafe}"
    if step.reason is Reason.ASLEEP:
        return f"it was stopped {_duration(step.because['since_s'])} ago, since nobody asked for it"
    if step.reason is Reason.NATIVE_SCALING and "again" in step.because:
        return "its adaptive allocations were switched on again, so it is left to them"
    because = dict(step.because)
    if step.reason is Reason.UNTRUSTED:
        flaws = str(because["flaws"]).split(", ")
        because["flaws"] = " and ".join(_FLAWS[Flaw(flaw)] for flaw in flaws)
    return _SENTENCES[step.reason].format(after=step.after, **because)


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


def _figures_of_slo(because: Mapping[str, float | str]) -> Iterator[str]:
    if "offered_load" in because:
        spread = f" ± {because['spread']:.2f}" if "spread" in because else ""
        yield f"load {because['offered_load']:.2f}{spread}"
    if "forecast" in because:
        yield f"forecast {because['forecast']:.2f}"
    if because.get("backlog"):
        yield f"{because['backlog']:.0f} waiting"
    if "attained" in because:
        yield f"{share(float(because['attained']))} in time lately"


def _verdict(step: Step) -> str:
    """What speaks for the number: its cost, or else what was more important.

    >>> def candidate(allocations, late_share, cost):
    ...     return Candidate(allocations=allocations, late_share=late_share, wait_s=0.1, cost=cost)
    >>> weighed = (candidate(4, 0.029, 4.9), candidate(5, 0.006, 5.2), candidate(6, 0.001, 6.1))
    >>> _verdict(Step(Reason.SLO, 3, 4, {}, weighed))
    '4 cost least (2.9% late)'
    >>> _verdict(Step(Reason.SLO, 3, 5, {"in_the_end": 9.0}, weighed))
    '5 at once on the nodes in use, 9 in the end (0.6% late; 4 would be 2.9% late)'
    >>> _verdict(Step(Reason.SLO, 3, 6, {"clearing": 6}, weighed))
    '6 clear what waits in time (0.1% late; 5 would be 0.6% late)'
    """
    number = step.after
    by_number = {candidate.allocations: candidate for candidate in step.candidates}
    chosen, fewer = by_number.get(number), by_number.get(number - 1)
    s = "s" if number == 1 else ""
    cheapest = min(step.candidates, key=_cost, default=None)
    if "in_the_end" in step.because:
        verdict = (
            f"{number} at once on the nodes in use, {step.because['in_the_end']:.0f} in the end"
        )
    elif step.because.get("floor") == number:
        verdict = f"{number} get{s} a further node ready for the forecast"
    elif cheapest is not None and chosen is not None and chosen.cost <= cheapest.cost:
        verdict = f"{number} cost{s} least"
    elif step.because.get("clearing") == number:
        verdict = f"{number} clear{s} what waits in time"
    elif cheapest is not None:
        verdict = f"{number}, though {cheapest.allocations} would cost least"
    else:
        verdict = f"needs {number}"
    expected = []
    if chosen is not None:
        expected.append(f"{share(chosen.late_share)} late")
    if fewer is not None:
        expected.append(f"{fewer.allocations} would be {share(fewer.late_share)} late")
    return f"{verdict} ({'; '.join(expected)})" if expected else verdict


def _cost(candidate: Candidate) -> float:
    return candidate.cost


def share(fraction: float) -> str:
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
